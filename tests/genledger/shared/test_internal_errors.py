"""Internal errors: one warning each, and none about how a warning is written that would never end."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from genledger.engine.content.redaction import Redactor, stage, use
from genledger.shared import internal_errors


@pytest.fixture
def redactor_that_fails(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """A redactor of the application's that raises; gives the texts that it was asked to redact."""
    asked: list[str] = []

    def fail(text: str) -> str:
        asked.append(text)
        raise ValueError("no")

    monkeypatch.setattr(internal_errors, "INTERVAL_S", 0.0)
    before = stage()
    use(Redactor(function=fail))
    yield asked
    use(before)


def test_a_redactor_that_fails_is_asked_once_for_the_text_of_an_error(
    redactor_that_fails: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "genledger"):
        internal_errors.report("testing", RuntimeError("what went wrong"))
    assert redactor_that_fails == ["what went wrong"]
    assert [record.getMessage().partition(";")[0] for record in caplog.records] == [
        "genledger: internal error while redacting (ValueError: )",
        "genledger: internal error while testing (RuntimeError: [redaction failed])",
    ]
