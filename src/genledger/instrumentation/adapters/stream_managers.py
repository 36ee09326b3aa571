"""Stream helpers that read the response again instead of the stream that their manager had opened.

The manager opens a stream, its helper makes a second one of the same response and drops the first: the call would
look broken off before it began. Helpers that know their `response` by themselves read the first.
"""

from __future__ import annotations

from typing import Any

from genledger.instrumentation.patching import Patch, Patches, Wrapper


def keeps_stream(module: str, stream: str) -> Patches:
    """Return the patches that give a helper the stream that its manager had opened.

    Args:
        module: The module of both.
        stream: The helper's class; `…Manager` makes it, and `Async…` is its twin.
    """
    managers = ((f"{stream}Manager", "__enter__", _keeping), (f"Async{stream}Manager", "__aenter__", _keeping_async))
    return [
        Patch(module, f"{manager}.{enter}", keeping(manager), optional=True, unless=f"{stream}.response")
        for manager, enter, keeping in managers
    ]


def _keeping(manager: str) -> Wrapper:
    request = f"_{manager}__api_request"

    def enter(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        opened = getattr(instance, request)()
        setattr(instance, request, lambda: opened)
        helper = wrapped(*args, **kwargs)
        helper._raw_stream = opened
        return helper

    return enter


def _keeping_async(manager: str) -> Wrapper:
    request = f"_{manager}__api_request"

    async def enter(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        opened = await getattr(instance, request)

        async def again() -> Any:
            return opened

        setattr(instance, request, again())
        helper = await wrapped(*args, **kwargs)
        helper._raw_stream = opened
        return helper

    return enter
