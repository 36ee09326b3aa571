"""instructor, 1.8.3 to 1.x: one task around the attempts at an answer that fits the application's class.

https://github.com/567-labs/instructor. Each attempt is a call of the client, which is recorded and priced as such.
What its cache answers is no call.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from genledger import pricing
from genledger.engine.cache_hits import note_hit
from genledger.engine.operation import Content
from genledger.engine.recorder import active
from genledger.instrumentation.adapters.callbacks import then
from genledger.instrumentation.adapters.refusals import unless_refused, unretried
from genledger.instrumentation.adapters.stepped_functions import Described, SteppedCall, stepping
from genledger.instrumentation.instrumentor import Instrumentor
from genledger.instrumentation.patching import Patch, Patches
from genledger.pricing.getters import field

_LOOPS = (
    *(("instructor.v2.core.patch", f"retry_{kind}_v2") for kind in ("sync", "async")),
    *(
        (module, f"retry_{kind}")
        for module in ("instructor.core.patch", "instructor.patch")
        for kind in ("sync", "async")
    ),
)
"""The loop of attempts, where it is called, since 1.13; and before that."""


def describe_attempts(instance: Any, given: dict[str, Any]) -> Described:
    """Return the task of getting an answer, which is plumbing where any answer will do."""
    model = given.get("response_model")
    name = getattr(model, "__name__", None) or type(model).__name__
    return Described("task", f"extract {name}", loops=True, hidden=model is None)


def finish_attempts(call: SteppedCall, result: Any) -> None:
    """Write the answer."""
    call.write(partial(_result, result))


def _result(result: Any) -> Content:
    from genledger.engine.content.step_content import result_of  # only where content is captured

    return result_of("task", result)


_STEP = stepping(describe_attempts, finish_attempts)


def attempting(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Run the loop of attempts with retries that end with a refusal."""
    if active() is not None and "max_retries" in kwargs:
        kwargs = {**kwargs, "max_retries": unless_refused(kwargs["max_retries"])}
    return _STEP(wrapped, instance, args, kwargs)


def note_cached(result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Note that the cache answered, if it did: with the answer that it keeps, and the usage of all its attempts."""
    recorder = active()
    if recorder is not None and result is not None:
        answer = getattr(result, "_raw_response", None)
        model = field(answer, "model")
        reading = pricing.read_usage("", "", answer) if answer is not None else None
        note_hit(
            recorder,
            "instructor",
            model=model if isinstance(model, str) else None,
            usage=reading.usage if reading is not None else None,
        )


class InstructorInstrumentor(Instrumentor):
    """Records the structure of instructor's calls."""

    library = "instructor"
    distribution = "instructor"
    supports = "instructor >= 1.8.3, < 2"

    def patches(self) -> Patches:
        """Return the loops of attempts, what makes their retries, and what looks into the cache."""
        return [
            *(Patch(module, path, attempting, optional=True) for module, path in _LOOPS),
            Patch("instructor.core.retry", "initialize_retrying", unretried, optional=True),
            Patch("instructor.retry", "initialize_retrying", unretried, optional=True),
            Patch("instructor.cache", "load_cached_response", then("instructor", note_cached), optional=True),
        ]
