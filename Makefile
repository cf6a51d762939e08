# The developer's menu. Each target does its own set-up on a machine with Python 3.11 or 3.12.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed

.PHONY: demo test test-long serve check bench lock clean

demo: $(INSTALLED)  ## segment sample images through HTTP; IMAGES=folder takes yours
	$(BIN)/python scripts/demo.py $(IMAGES)

test: $(INSTALLED)  ## all checks and tests
	scripts/check
	scripts/test

test-long: $(INSTALLED)  ## soaks and thousand-case runs
	scripts/test -m long

serve: $(INSTALLED)  ## the service in the foreground
	$(BIN)/spheroserve up $(ARGS)

check: $(INSTALLED)  ## format, lint, types
	scripts/check

bench: $(INSTALLED)  ## measure this machine, under 15 minutes on two cores; writes docs and profiles
	$(BIN)/python -m benchmarks sweep --variant compact --seconds 4
	$(BIN)/python -m benchmarks serve --variant compact --clients 1 --clients 16 --seconds 10 --no-haproxy
	$(BIN)/python -m benchmarks cold-start --variant compact --repeats 2
	$(BIN)/python -m benchmarks report

lock: $(INSTALLED)  ## write constraints.txt from what is installed
	scripts/lock

$(INSTALLED): pyproject.toml constraints.txt
	PYTHON=$(PYTHON) scripts/install

clean:
	rm -rf .venv build dist demo-output
