# The developer's menu. Each target does its own set-up on a machine with Python 3.11 or 3.12.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed

.PHONY: demo test test-long serve check lock clean

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

lock: $(INSTALLED)  ## write constraints.txt from what is installed
	scripts/lock

$(INSTALLED): pyproject.toml constraints.txt
	PYTHON=$(PYTHON) scripts/install

clean:
	rm -rf .venv build dist demo-output
