"""The streaming helper of the client before 0.43, which reads the response again instead of the stream it was given.

`messages.stream()` there opens a stream, makes a second one of the same response, and drops the first: the call
would look broken off before it began. Since 0.43 the helper reads the first.
"""

from __future__ import annotations

from typing import Any

from genledger.instrumentation.patching import Patch, Patches, Wrapper

_MODULES = {
    "anthropic.lib.streaming._messages": "MessageStream",
    "anthropic.lib.streaming._prompt_caching_beta_messages": "PromptCachingBetaMessageStream",
}


def _keeping(manager: str) -> Wrapper:
    """Give the helper that a manager makes the stream that the manager had opened."""
    request = f"_{manager}__api_request"

    def enter(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        opened = getattr(instance, request)()
        setattr(instance, request, lambda: opened)
        helper = wrapped(*args, **kwargs)
        helper._raw_stream = opened
        return helper

    return enter


def _keeping_async(manager: str) -> Wrapper:
    """As `_keeping`, of an asynchronous manager."""
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


def patches() -> Patches:
    """What makes a helper, where helpers know their response by themselves."""
    found: Patches = []
    for module, stream in _MODULES.items():
        manager = f"{stream}Manager"
        found += [
            Patch(module, f"{manager}.__enter__", _keeping(manager), optional=True, unless=f"{stream}.response"),
            Patch(
                module,
                f"Async{manager}.__aenter__",
                _keeping_async(f"Async{manager}"),
                optional=True,
                unless=f"{stream}.response",
            ),
        ]
    return found
