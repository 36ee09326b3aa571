"""Loggers whose messages are text, whatever they quote: one line each, bounded, without credentials."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable

from genledger.shared.text import message


def logger_of(name: str) -> logging.Logger:
    """Return the logger of this name, which writes every value that its messages quote as `message` does."""
    logger = logging.getLogger(name)
    logger.addFilter(_as_text)
    return logger


def _as_text(record: logging.LogRecord) -> bool:
    if isinstance(record.args, tuple):
        record.args = tuple(one if isinstance(one, (int, float)) else _Quoted(one) for one in record.args)
    if record.exc_info and record.exc_info[1] is not None:
        record.exc_text = _traceback(record.exc_info[1])
    return True


class _Quoted:
    """A value in a message; formatted only if the message is written."""

    __slots__ = ("_value",)

    def __init__(self, value: object) -> None:
        self._value = value

    def __str__(self) -> str:
        return _said(str, self._value)

    def __repr__(self) -> str:
        return _said(repr, self._value)


def _said(speak: Callable[[object], str], value: object) -> str:
    try:
        return message(speak(value))
    except Exception:  # it is the application's, or nested too deeply
        return f"<{type(value).__name__}>"


def _traceback(error: BaseException | None) -> str:
    """As Python writes it, but with each error's message on one line."""
    parts: list[str] = []
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        frames = "".join(traceback.format_tb(error.__traceback__))
        kind = f"{type(error).__module__}.{type(error).__qualname__}".removeprefix("builtins.")
        parts.append(f"Traceback (most recent call last):\n{frames}{message(kind)}: {_said(str, error)}")
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return "\n\n".join(reversed(parts))
