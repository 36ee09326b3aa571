"""The stage itself: its patterns and the application's own rule, over texts, messages and JSON documents."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

import orjson

from genledger.budgets.enforcement.exceeded import BudgetExceeded
from genledger.engine.content.redaction.cuts import clip
from genledger.engine.content.redaction.echoes import without_echoes
from genledger.engine.content.redaction.patterns import PATTERNS, Pattern, replace
from genledger.shared import internal_errors
from genledger.shared.identity_map import IdentityMap
from genledger.shared.text import well_formed

FAILED = "[redaction failed]"
"""What stands in place of a value whose redaction failed."""

MAX_MESSAGE = 4096
"""Bytes of an error's text, wherever it goes."""

MAX_NAME = 256
"""Bytes of what an error is called."""


class Redactor:
    """Replaces what must not leave the process.

    Args:
        patterns: Which of the built-in patterns to look for.
        function: The application's own rule: takes a text, returns what may be kept of it.
        content: Whether prompts and answers are recorded, so that what quotes them may be, too.
    """

    def __init__(
        self,
        patterns: Iterable[Pattern] = PATTERNS,
        function: Callable[[str], str] | None = None,
        *,
        content: bool = False,
    ) -> None:
        self._patterns = frozenset(patterns)
        self._function = function
        self._content = content
        self._described: IdentityMap[str] = IdentityMap()

    def text(self, value: str) -> str:
        """Return one text, redacted. A failure replaces it whole."""
        try:
            return self._own(self.built_in(well_formed(value)))
        except Exception as error:
            internal_errors.report("redacting", error)
            return FAILED

    def message(self, value: str, limit: int = MAX_MESSAGE) -> str:
        """Return the beginning of a text, redacted: at most `limit` bytes."""
        return clip(self.text(clip(value, limit, self.built_in)), limit, self.built_in)

    def error(self, error: BaseException) -> str:
        """Return what an exception says, bounded and redacted; nothing when it fails to say it."""
        try:
            said = str(error)
        except Exception as fault:
            internal_errors.report("reading an error", fault)
            return ""
        return self.message(said)

    def description(self, error: BaseException, request: Any = None) -> str | None:
        """Return what a span's status says of an exception, bounded and redacted.

        While content is off, that is nothing for an exception that may quote it: of a parser, or the application's
        own. Those of servers and connections are kept, without the words of the request.

        Args:
            error: The exception.
            request: The request that it answers. The steps around the call know the exception again.
        """
        if self._content:
            return self.error(error)
        if request is None:
            known = self._described.get(error)
            if known is not None:
                return known or None
        if not _of_a_request(error):
            return None
        said: str | None = self.error(error)
        if request is not None and said:
            said = without_echoes(said, request)
            with suppress(TypeError):
                self._described.set(error, said or "")
        return said

    def name(self, value: str) -> str:
        """Return another library's text of an error, bounded and redacted."""
        return self.message(value, MAX_NAME)

    def json(self, encoded: str) -> str:
        """Return a JSON document, redacted; it remains one. A failure replaces it whole, or the values that fail."""
        try:
            redacted = self._document(encoded)
            if self._function is not None:
                redacted = _dump(_each(orjson.loads(redacted), self._own_or_failed))
            return redacted
        except Exception as error:
            internal_errors.report("redacting", error)
            return f'"{FAILED}"'

    def _document(self, encoded: str) -> str:
        redacted = self.built_in(encoded)
        if redacted == encoded or _is_json(redacted):
            return redacted
        # A number that is no part of a text was found: the label needs to be one.
        encoded = _dump(_each(orjson.loads(encoded), number=self._number))
        redacted = self.built_in(encoded)
        if _is_json(redacted):
            return redacted
        # What was found goes over the bounds of a value.
        return _dump(_each(orjson.loads(encoded), self.built_in, key=self.built_in))

    def built_in(self, value: str) -> str:
        """Return a text without what the patterns find; the application's own rule is not asked."""
        return replace(value, self._patterns)

    def _number(self, value: int) -> int | str:
        text = str(value)
        redacted = self.built_in(text)
        return value if redacted == text else redacted

    def _own(self, value: str) -> str:
        if self._function is None:
            return value
        kept = self._function(value)
        if not isinstance(kept, str):
            raise TypeError(f"the redactor must return a string, not {type(kept).__name__}")
        return kept

    def _own_or_failed(self, value: str) -> str:
        try:
            return self._own(value)
        except Exception as error:
            internal_errors.report("redacting", error)
            return FAILED


_ABOUT_REQUESTS = ("status_code", "request", "response", "code", "kind")


def _of_a_request(error: BaseException) -> bool:
    """Whether an exception is about a request or its connection: it has the one or the other, or is the system's."""
    if isinstance(error, (OSError, BudgetExceeded)):
        return True
    has = (*vars(error), *dir(type(error)))  # without asking its properties, which may raise
    return any(name in has for name in _ABOUT_REQUESTS)


def _same(value: Any) -> Any:
    return value


def _each(
    value: Any,
    text: Callable[[str], Any] = _same,
    *,
    key: Callable[[str], str] = _same,
    number: Callable[[int], Any] = _same,
) -> Any:
    """Return a JSON value with each of its texts, keys and whole numbers replaced by what a function makes of it."""
    if isinstance(value, str):
        return text(value)
    if isinstance(value, dict):
        return {key(name): _each(item, text, key=key, number=number) for name, item in value.items()}
    if isinstance(value, list):
        return [_each(item, text, key=key, number=number) for item in value]
    return number(value) if type(value) is int else value


def _dump(value: Any) -> str:
    return orjson.dumps(value).decode()


def _is_json(text: str) -> bool:
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    return True


_stage = Redactor()


def stage() -> Redactor:
    """Return the stage in force: that of the last `instrument()`, before it one with every pattern."""
    return _stage


def use(redactor: Redactor) -> None:
    """Make all texts pass another stage from now on."""
    global _stage
    _stage = redactor


internal_errors.describe_with(lambda error: _stage.error(error))
