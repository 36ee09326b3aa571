"""Functions behind a client's decorator: those that were imported by name, and those that are left alone."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest

from genledger.instrumentation.adapters.decorated import behind_decorators
from genledger.instrumentation.patching import Patch, Patcher

SOURCE = """
def decorated(function):
    @wraps(function)
    def call(*args, **kwargs):
        return "<" + function(*args, **kwargs) + ">"
    return call

@decorated
def ask(model):
    return model

def plain(model):
    return model
"""


@pytest.fixture
def library() -> Iterator[Any]:
    module = ModuleType("decorated_client")
    exec(SOURCE, {"wraps": functools.wraps, "__name__": module.__name__} | vars(module), vars(module))
    sys.modules[module.__name__] = module
    yield module
    del sys.modules[module.__name__]


def louder(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return str(wrapped(*args, **kwargs)).upper()


def patched(library: Any) -> Patcher:
    names = ("ask", "plain", "missing")
    patcher = Patcher(behind_decorators([Patch(library.__name__, name, louder, optional=True) for name in names]))
    patcher.apply()
    return patcher


def test_a_function_that_was_imported_before_is_patched_behind_its_decorator(library: Any) -> None:
    ask: Callable[..., Any] = library.ask
    patcher = patched(library)
    assert ask("gpt") == "<GPT>"
    assert library.ask is ask
    patcher.restore()
    assert ask("gpt") == "<gpt>"


def test_a_patch_that_is_applied_again_works_once(library: Any) -> None:
    patched(library).restore()
    patcher = patched(library)
    patcher.apply()
    assert library.ask("gpt") == "<GPT>"
    patcher.restore()
    assert library.ask("gpt") == "<gpt>"


def test_a_function_without_a_decorator_is_left_alone(library: Any) -> None:
    patched(library)
    assert library.plain("gpt") == "gpt"
