"""One structured log line per call, on the logger `genledger.calls`."""

from __future__ import annotations

import logging
from typing import Any, TextIO

from genledger.engine.record import CallRecord
from genledger.shared.text import as_json

logger = logging.getLogger("genledger.calls")

_AMBIGUOUS = frozenset(' "=')


class _WhenAlone(logging.StreamHandler[TextIO]):
    """Writes lines to stderr, unless the application has a handler for them."""

    def emit(self, record: logging.LogRecord) -> None:
        here: logging.Logger | None = logger
        while here is not None:
            if any(handler is not self for handler in here.handlers):
                return
            here = here.parent if here.propagate else None
        super().emit(record)


_stderr = _WhenAlone()


def show_lines(wanted: bool) -> None:
    """Enable the lines, and write them to stderr while the application's logging has no handler for them.

    Args:
        wanted: Otherwise the lines go where the application's logging sends messages of level INFO, if anywhere.
    """
    if wanted:
        logger.addHandler(_stderr)
        if logger.level == logging.NOTSET:
            logger.setLevel(logging.INFO)
    elif _stderr in logger.handlers:
        logger.removeHandler(_stderr)
        logger.setLevel(logging.NOTSET)


class CallLog:
    """Writes the lines.

    Args:
        json: One JSON object per line instead of `key=value` pairs.
        hash_users: Write a digest in place of the user, so that lines can be joined but name nobody.
    """

    def __init__(self, *, json: bool = False, hash_users: bool = False) -> None:
        self._json = json
        self._hash_users = hash_users

    def write(self, entry: CallRecord) -> None:
        """Log one call at level INFO; nothing is formatted when nobody listens."""
        if not logger.isEnabledFor(logging.INFO):
            return
        fields = self._fields(entry)
        if self._json:
            message = as_json(fields)
        else:
            message = " ".join(f"{key}={_plain(value)}" for key, value in fields.items())
        logger.info("%s", message, extra={"genledger": fields})

    def _fields(self, entry: CallRecord) -> dict[str, Any]:
        attribution = entry.attribution
        usage = entry.usage
        user = attribution.user
        if user is not None and self._hash_users:
            import hashlib

            user = hashlib.sha256(user.encode()).hexdigest()[:16]
        fields: dict[str, Any] = {
            "feature": attribution.feature,
            "tenant": attribution.tenant,
            "user": user,
            "operation": entry.operation,
            "provider": entry.provider,
            "model": entry.response_model or entry.request_model,
            "input_tokens": usage.input_tokens if usage is not None else None,
            "output_tokens": usage.output_tokens if usage is not None else None,
            "cache_read_tokens": usage.cache_read_tokens or None if usage is not None else None,
            "cache_write_tokens": usage.cache_write_tokens or None if usage is not None else None,
            "reasoning_tokens": usage.reasoning or None if usage is not None else None,
            "estimated": entry.usage_estimated or None,
            "cost_usd": round(entry.cost.amount, 9) if entry.cost is not None else None,
            "unpriced": entry.unpriced,
            "latency_ms": round(entry.duration_s * 1000, 1),
            "outcome": entry.outcome,
            "error": entry.error_type,
            "attempts": entry.attempts if entry.attempts > 1 else None,
            "request_id": entry.response_id,
            "trace_id": f"{entry.trace_id:032x}",
        }
        return {key: value for key, value in fields.items() if value is not None}


def _plain(value: Any) -> str:
    """Return a value unchanged if it is unambiguous, else as a JSON string."""
    text = f"{value:.9f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
    return text if text.isprintable() and not _AMBIGUOUS.intersection(text) else as_json(text)
