"""Tests use public ways in: what is private in the source may change without them."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from .applications import REPOSITORY
from .test_imports import MODULES

OTHERS = {
    "_attributes": "a span of the SDK, whose setter refuses what the test needs",
    "_attributes_aggregation": "a view's match of the SDK, whose change the test plays",
    "_client": "a collection of Chroma",
    "_exit": "os._exit",
    "_exporter": "a processor or reader of the SDK",
    "_pool": "a transport of httpx",
    "_replace": "public, of named tuples",
}
"""Names that others have, too, and that tests use of these."""


def is_private(name: str) -> bool:
    """Whether a name begins with one underscore."""
    return name.startswith("_") and not name.startswith("__")


def own_names(tree: ast.AST) -> Iterator[str]:
    """Every private name that a module defines: of its own, of its classes and of their instances."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr


PRIVATE = {
    name
    for file in MODULES.values()
    for name in own_names(ast.parse(file.read_text(encoding="utf-8")))
    if is_private(name)
} - OTHERS.keys()


def uses(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Every use of a private name of the source: as an attribute, imported, or by its name as a string."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) not in ("self", "cls"):
            yield node.lineno, node.attr
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("genledger"):
            yield from ((node.lineno, one.name) for one in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in ("getattr", "setattr"):
            yield from (
                (node.lineno, part)
                for one in node.args
                if isinstance(one, ast.Constant) and isinstance(one.value, str)
                for part in one.value.split(".")
            )


@pytest.mark.parametrize("folder", sorted({path.name for path in (REPOSITORY / "tests").iterdir() if path.is_dir()}))
def test_tests_use_nothing_private(folder: str) -> None:
    wrong = []
    for file in sorted((REPOSITORY / "tests" / folder).rglob("*.py")):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        mine = set(own_names(tree))
        wrong += [
            f"{file.relative_to(REPOSITORY)}:{line} uses {name}" for line, name in uses(tree) if name in PRIVATE - mine
        ]
    assert wrong == []
