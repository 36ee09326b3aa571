"""Budget request of one call, before it is made."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from genledger.context.attribution import NOBODY, Attribution

Reprice = Callable[[str | None, int | None], float | None]
"""USD a call may cost at most with this model and this output limit (`None`: as asked); `None` when not known."""


class BudgetRequest(NamedTuple):
    """One call, as budgets see it. Made once, before the call.

    `cost_ceiling` is the most the call can cost in USD, and `None` when its price is not known.
    `input_tokens` may be an estimate. `api_key` is `hash_api_key(key)`, never the key. `run` identifies the
    agent run, `depth` says how many runs it is nested in, `steps` how many agent steps the call is, and
    `tool_calls` holds one signature (name and arguments, or a hash of them) for each tool call that the run
    made since its last call. `more_tool_calls` returns those that only the request itself tells; it is asked when a
    rule counts repeats. `reprice` is asked when a rule degrades the call, and only then.
    """

    provider: str
    operation: str
    model: str | None
    attribution: Attribution = NOBODY
    input_tokens: int | None = None
    max_output_tokens: int | None = None
    cost_ceiling: float | None = None
    api_key: str | None = None
    run: str | None = None
    depth: int = 0
    steps: int = 1
    tool_calls: tuple[str, ...] = ()
    reprice: Reprice | None = None
    more_tool_calls: Callable[[], tuple[str, ...]] | None = None


def hash_api_key(key: str) -> str:
    """Return the name under which rules know an API key: 16 hexadecimal digits of its SHA-256."""
    import hashlib

    return hashlib.sha256(key.encode()).hexdigest()[:16]
