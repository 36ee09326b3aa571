"""Log messages: what they quote stays text."""

from __future__ import annotations

import importlib
import logging
import pkgutil

import pytest

import genledger
import genledger_instrumentors
from genledger.shared.loggers import logger_of
from genledger.shared.text import MAX_MESSAGE

NAME = "x\nWARNING all is well\x1b[31m"


class Broken:
    def __str__(self) -> str:
        raise ZeroDivisionError

    __repr__ = __str__


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> logging.Logger:
    caplog.handler.setFormatter(logging.Formatter())
    return logger_of("genledger.test")


def test_a_quoted_name_or_error_stays_on_its_line(log: logging.Logger, caplog: pytest.LogCaptureFixture) -> None:
    log.warning("%s and %r and %.5s and %d: %s", NAME, NAME, NAME, 3, ValueError(NAME))
    escaped = r"x\nWARNING all is well\x1b[31m"
    assert caplog.text == f"{escaped} and {NAME!r} and {escaped[:5]} and 3: {escaped}\n"


def test_every_logger_of_ours_writes_text(caplog: pytest.LogCaptureFixture) -> None:
    for package in (genledger, genledger_instrumentors):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)
    made = {name: one for name, one in logging.root.manager.loggerDict.items() if isinstance(one, logging.Logger)}
    # The line per call is made as a whole, and is longer than one quoted value may be.
    ours = [one for name, one in made.items() if f"{name}.".startswith("genledger.") and name != "genledger.calls"]
    assert len(ours) >= 3
    for logger in ours:
        caplog.clear()
        logger.error("%s", NAME)
        assert len(caplog.messages[0].splitlines()) == 1, logger.name


def test_a_quoted_value_is_bounded_and_its_addresses_have_no_credentials(
    log: logging.Logger, caplog: pytest.LogCaptureFixture
) -> None:
    log.warning("%s %s", "x" * 1_000_000, ConnectionError("redis://u:pw@host/0?token=t refused"))
    assert len(caplog.text) <= MAX_MESSAGE + 100
    assert caplog.text.endswith(" redis://host/0?token=*** refused\n")


def test_a_traceback_has_its_lines_and_no_others(log: logging.Logger, caplog: pytest.LogCaptureFixture) -> None:
    try:
        try:
            raise KeyError(NAME)
        except KeyError as error:
            raise RuntimeError(f"{NAME} redis://u:pw@host") from error
    except RuntimeError:
        log.exception("It failed.")
    lines = caplog.text.splitlines()
    assert lines[0] == "It failed."
    assert lines.count("Traceback (most recent call last):") == 2
    assert lines[-1] == r"RuntimeError: x\nWARNING all is well\x1b[31m redis://host"
    assert all(line.startswith(("It", "Traceback", " ", "KeyError: ", "RuntimeError: ")) for line in lines if line)


def test_a_value_that_cannot_be_quoted_loses_no_message(log: logging.Logger, caplog: pytest.LogCaptureFixture) -> None:
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    log.warning("%s %r %r", Broken(), Broken(), deep)
    assert caplog.text == "<Broken> <Broken> <list>\n"
