"""Imports point one way, and in no circle; what they need is declared."""

from __future__ import annotations

import ast
import sys
import tomllib
from collections.abc import Iterable, Iterator
from graphlib import CycleError, TopologicalSorter
from importlib.metadata import distribution
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import pytest
from packaging.requirements import Requirement

from .applications import REPOSITORY

SOURCES = {
    "genledger": REPOSITORY / "src",
    "genledger_semconv": REPOSITORY / "semconv",
    "genledger_instrumentors": REPOSITORY / "instrumentors",
}

ENGINE = {"pricing", "context", "budgets", "shared", "genledger_semconv"}
ALLOWED: dict[str, set[str]] = {
    "genledger_semconv": set(),
    "version": set(),
    "shared": set(),
    "pricing": {"shared", "genledger_semconv"},
    "context": {"pricing", "shared", "genledger_semconv"},
    "channels": {"shared"},
    "budgets": {"channels", "context", "shared", "genledger_semconv"},
    "engine": ENGINE,
    "instrumentation": ENGINE | {"engine"},
    "genledger_instrumentors": {"instrumentation", "engine", "pricing", "genledger_semconv", "shared"},
    # What is given the record of a call knows the record, and no client.
    "ledger": {"engine", "context", "pricing", "shared"},
    "dashboards": {"reports", "ledger", "engine", "budgets", "shared", "genledger_semconv"},
    "alerting": {"dashboards", "reports", "ledger", "budgets", "channels", "shared", "genledger_semconv"},
    "reports": {"ledger", "pricing", "shared"},
    "destinations": {"ledger", "engine", "context", "pricing", "shared", "genledger_semconv"},
    # What is on top of everything.
    "setup": ENGINE | {"alerting", "instrumentation", "engine", "ledger", "destinations", "version"},
    "integrations": {"setup", "budgets"},
    "doctor": {
        "alerting",
        "setup",
        "destinations",
        "ledger",
        "instrumentation",
        "budgets",
        "pricing",
        "shared",
        "version",
    },
    "cli": {
        "alerting",
        "channels",
        "dashboards",
        "destinations",
        "doctor",
        "ledger",
        "reports",
        "engine",
        "budgets",
        "pricing",
        "shared",
        "version",
    },
    "genledger": {"setup", "integrations", "reports", "engine", "context", "budgets", "pricing", "shared", "version"},
}
"""What each package may import of the others. `genledger` is the public API alone."""

LIBRARIES: dict[str, set[str]] = {
    "genledger_semconv": {"opentelemetry"},
    "shared": {
        "genai_prices",
        "langfuse",
        "opentelemetry",
        "orjson",
        "pydantic",
        "pydantic_core",
        "sqlite3",
        "wrapt",
        # Whose private attributes are tested there.
        "opentelemetry.exporter.otlp.proto.grpc.trace_exporter",
        "opentelemetry.exporter.otlp.proto.http.trace_exporter",
    },
    "pricing": {"genai_prices", "httpx2", "platformdirs", "pydantic"},
    "context": {"opentelemetry"},
    "budgets": {"opentelemetry", "orjson", "platformdirs", "pydantic", "redis", "sqlite3"},
    "engine": {"opentelemetry", "orjson"},
    "instrumentation": {"opentelemetry", "orjson", "wrapt"},
    "genledger_instrumentors": {"opentelemetry"},
}
"""What the packages around a call may import of others' libraries: no client and no exporter."""


class Import(NamedTuple):
    """One import statement's module and name, and whether it is there for type checking alone."""

    module: str
    line: int
    typing: bool
    name: str = ""


def modules() -> dict[str, Path]:
    """Every module of ours, and its file."""
    found = {}
    for name, root in SOURCES.items():
        for file in (root / name).rglob("*.py"):
            parts = file.relative_to(root).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return found


MODULES = modules()


def imports(module: str) -> Iterator[Import]:
    """Every import in a module, at its top or inside of anything."""
    file = MODULES[module]
    package = module.split(".") if file.name == "__init__.py" else module.split(".")[:-1]

    def within(node: ast.AST, typing: bool) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                yield from (Import(one.name, child.lineno, typing) for one in child.names)
            elif isinstance(child, ast.ImportFrom):
                base = [*package[: len(package) - child.level + 1]] if child.level else []
                source = ".".join([*base, *([child.module] if child.module else [])])
                for one in child.names:
                    name = f"{source}.{one.name}"
                    yield Import(name if name in MODULES else source, child.lineno, typing, one.name)
            else:
                guarded = isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"
                yield from within(child, typing or guarded)

    yield from within(ast.parse(file.read_text(encoding="utf-8")), False)


def package_of(module: str) -> str:
    """The package that a module of ours belongs to: its folder right under `genledger`, or the distribution's."""
    first, _, rest = module.partition(".")
    return rest.partition(".")[0] or first if first == "genledger" else first


def test_the_order_of_packages_is_one() -> None:
    assert {package_of(module) for module in MODULES} == set(ALLOWED)
    list(TopologicalSorter(ALLOWED).static_order())


@pytest.mark.parametrize("package", ALLOWED)
def test_a_package_imports_only_what_is_below_it(package: str) -> None:
    wrong = [
        f"{MODULES[module].relative_to(REPOSITORY)}:{one.line} imports {one.module}"
        for module in MODULES
        if package_of(module) == package
        for one in imports(module)
        if one.module in MODULES and package_of(one.module) not in ALLOWED[package] | {package}
    ]
    assert wrong == []


@pytest.mark.parametrize("package", LIBRARIES)
def test_a_package_around_a_call_knows_no_client_and_no_backend(package: str) -> None:
    wrong = [
        f"{MODULES[module].relative_to(REPOSITORY)}:{one.line} imports {one.module}"
        for module in MODULES
        if package_of(module) == package
        for one in imports(module)
        if one.module not in MODULES and not known(one.module, LIBRARIES[package])
    ]
    assert wrong == []


BACKENDS = ("sqlite3", "socket", "http", "urllib.request", "opentelemetry.exporter")


def known(module: str, libraries: set[str]) -> bool:
    """Whether a module is one of these libraries', or one of Python that reaches no backend."""
    name = module.partition(".")[0]
    if any(f"{module}.".startswith(f"{one}.") for one in BACKENDS):
        return module in libraries
    return name in libraries or name in sys.stdlib_module_names


def test_modules_import_each_other_in_no_circle() -> None:
    """Imports inside of functions count: a circle is no less one for being hidden. Those for types alone do not."""
    graph = {
        module: {one.module for one in imports(module) if not one.typing and one.module in MODULES} - {module}
        for module in MODULES
    }
    circle: list[str] = []
    try:
        list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        circle = error.args[1]
    assert not circle


# What is imported is declared

PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]

USERS = {
    "grpc": {
        "genledger.destinations.otlp",
        "genledger.destinations.delivery.grpc_exporter",
        "genledger.shared.private_attributes",
    },
    "analytics": {"genledger.cli.answers"},
    "langfuse": {
        "genledger.shared.private_attributes",
        "genledger.dashboards.langfuse_push",
        "genledger.destinations.langfuse.api_client",
        "genledger.destinations.langfuse.model_prices",
        "genledger.destinations.langfuse.outcome_scores",
    },
    "redis": {"genledger.budgets.stores.redis"},
    "page": {"genledger.dashboards.local_page.chart_library"},
}
"""The modules that import what only an extra installs."""


def files_of(requirements: Iterable[str]) -> set[Path]:
    """The files that these distributions installed."""
    installed = [distribution(Requirement(one).name) for one in requirements]
    return {Path(str(one.locate_file(file))).resolve() for one in installed for file in one.files or ()}


def file_of(one: Import) -> Path | None:
    """The file of an imported module, or of the module that an imported name is in; `None` for Python's own."""
    for module in (f"{one.module}.{one.name}", one.module):
        if module.partition(".")[0] in sys.stdlib_module_names:
            return None
        try:
            spec = find_spec(module)
        except ModuleNotFoundError:
            continue
        if spec is not None and spec.origin is not None:
            return Path(spec.origin).resolve()
    pytest.fail(f"{one.module} cannot be found")


def test_every_library_that_is_imported_is_declared() -> None:
    always = files_of(PROJECT["dependencies"])
    extras = {extra: files_of(PROJECT["optional-dependencies"][extra]) for extra in USERS}
    undeclared = []
    for module in MODULES:
        declared = always.union(*(files for extra, files in extras.items() if module in USERS[extra]))
        undeclared += [
            f"{MODULES[module].relative_to(REPOSITORY)}:{one.line} imports {one.module}"
            for one in imports(module)
            if one.module not in MODULES and (file := file_of(one)) is not None and file not in declared
        ]
    assert undeclared == []
