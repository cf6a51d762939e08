"""The layout is held by tests: who may import whom, no cycles, files that can be read."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("serve_app", "deployments", "training", "benchmarks")
MAX_LINES = 300

# Whoever starts with the left may not import what starts with the right.
FORBIDDEN = [
    ("deployments", "serve_app"),
    ("deployments", "training"),
    ("deployments", "benchmarks"),
    ("serve_app", "training"),
    ("serve_app", "benchmarks"),
    ("deployments.inference", "ray"),
    ("training", "ray"),
    ("training", "serve_app"),
    # The routes speak to a protocol, so that they are tested without a cluster.
    ("serve_app.routes", "ray"),
    ("serve_app.routes", "serve_app.ingress"),
    ("serve_app.schemas", "ray"),
    ("serve_app.error_handlers", "ray"),
]


def modules() -> dict[str, Path]:
    found = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def is_type_checking(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def imports_of(nodes: list[ast.stmt], deep: bool) -> Iterator[str]:
    """Absolute names imported; inside functions too if ``deep``."""
    for node in nodes:
        if is_type_checking(node):
            continue
        for inner in ast.walk(node) if deep else [node]:
            if isinstance(inner, ast.Import):
                yield from (alias.name for alias in inner.names)
            elif isinstance(inner, ast.ImportFrom):
                assert inner.level == 0, "relative import"
                for alias in inner.names:
                    full = f"{inner.module}.{alias.name}"
                    yield full if full in MODULES else str(inner.module)


def imports(name: str, deep: bool) -> set[str]:
    tree = ast.parse(MODULES[name].read_text(encoding="utf-8"))
    return set(imports_of(tree.body, deep))


def within(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


@pytest.mark.parametrize(("importer", "imported"), FORBIDDEN)
def test_import_direction(importer: str, imported: str) -> None:
    offences = [
        f"{name} imports {target}"
        for name in MODULES
        if within(name, importer)
        for target in imports(name, deep=True)
        if within(target, imported)
    ]
    assert offences == []


def test_only_app_binds_deployments() -> None:
    # A socket is bound to a pair.
    bind = re.compile(r"\.bind\((?!\()")
    binders = {
        name
        for name, path in MODULES.items()
        if not name.startswith("benchmarks.") and bind.search(path.read_text(encoding="utf-8"))
    }
    assert binders == {"serve_app.app"}


def test_no_import_cycles() -> None:
    graph = {
        name: {target for target in imports(name, deep=False) if target in MODULES}
        for name in MODULES
    }
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " -> ".join((*trail[trail.index(name) :], name))
        if name not in done:
            for target in sorted(graph[name]):
                visit(target, (*trail, name))
            done.add(name)

    for name in graph:
        visit(name, ())
    assert done == set(MODULES)


@pytest.mark.parametrize("name", sorted(MODULES))
def test_file_can_be_read_in_one_sitting(name: str) -> None:
    assert len(MODULES[name].read_text(encoding="utf-8").splitlines()) <= MAX_LINES
