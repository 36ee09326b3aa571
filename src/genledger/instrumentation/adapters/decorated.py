"""Functions that a client's own decorator wraps: also those that the application imported by name, before us.

A patch replaces the attribute of a module. Who has the function itself goes past that, but not past what its
decorator calls. That is in a cell of the function's closure, which Python lets be set.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from types import CellType, ModuleType
from typing import Any

import wrapt

from genledger.engine.call import running_call
from genledger.engine.operation import Operation
from genledger.instrumentation.adapters.methods import Find
from genledger.instrumentation.patching import Hook, Patch, Patches, Wrapper


def behind_decorators(patches: Patches) -> Patches:
    """Return the same patches of functions of modules, each applied to what the function's decorator calls.

    A function that has no decorator, or one that does not follow `functools.wraps`, is left alone.
    """
    modules: dict[str, dict[str, Wrapper]] = {}
    for patch in patches:
        if isinstance(patch, Patch):
            modules.setdefault(patch.module, {})[patch.path] = patch.wrapper
    hooks: Patches = [patch for patch in patches if isinstance(patch, Hook)]
    return [*hooks, *(_hook(module, wrappers) for module, wrappers in modules.items())]


def unless_running(library: str, operation: Operation) -> Find:
    """Return what finds an operation, unless one of the library's calls of it is running: then this is how it is done.

    Args:
        library: The library's name for users.
        operation: The operation of the functions.
    """

    def find(given: dict[str, Any]) -> Operation | None:
        call = running_call(library)
        return None if call is not None and call.operation is operation else operation

    return find


def _hook(name: str, wrappers: Mapping[str, Wrapper]) -> Hook:
    def install(module: ModuleType) -> None:
        for function, wrapper in wrappers.items():
            for cell, decorated in _cells(vars(module).get(function)):
                if cell.cell_contents is decorated:
                    cell.cell_contents = wrapt.FunctionWrapper(decorated, wrapper)

    def remove(module: ModuleType) -> None:
        for function in wrappers:
            for cell, decorated in _cells(vars(module).get(function)):
                cell.cell_contents = decorated

    return Hook(name, install, remove)


def _cells(function: Any) -> Iterator[tuple[CellType, Any]]:
    """Yield the cells in which a decorated function has what it decorates, as it was or as we replaced it."""
    decorated = getattr(function, "__wrapped__", None)
    for cell in getattr(function, "__closure__", None) or ():
        with suppress(ValueError):  # an empty cell
            held = cell.cell_contents
            ours = isinstance(held, wrapt.FunctionWrapper) and held.__wrapped__ is decorated
            if decorated is not None and (held is decorated or ours):
                yield cell, decorated
