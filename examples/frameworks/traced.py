"""What every program of this folder runs in: a model on loopback, a ledger of its own, and its trace at the end."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import genledger

from ..demo.provider import DemoProvider

QUESTION = "What is the weather in Paris-75?"
"""The model calls the first tool that it is offered, with the word of the question that has a digit."""

REPLIES: Mapping[str, str] = {QUESTION: "It is sunny in Paris."}


@contextmanager
def traced(
    replies: Mapping[str, str] = REPLIES, arguments: Mapping[str, Mapping[str, Any]] | None = None
) -> Iterator[DemoProvider]:
    """Instrument everything, serve a model, and print the trace of what ran inside.

    Args:
        replies: What the model says to a question that contains the key.
        arguments: What it calls a tool with, by the tool's name, where words of the question do not do.
    """
    served = DemoProvider(replies=replies, arguments=arguments)
    with TemporaryDirectory(prefix="genledger-example-") as directory, served as provider:
        ledger = str(Path(directory) / "ledger.db")
        os.environ |= {"GENLEDGER_LEDGER": ledger, "GENLEDGER_DESTINATIONS": "ledger", "OPENAI_API_KEY": "demo"}
        genledger.instrument()
        try:
            with genledger.attribution(tenant="acme", feature="weather"):
                yield provider
        finally:
            genledger.flush(30)
            genledger.uninstrument()
            subprocess.run(
                [Path(sys.executable).with_name("genledger"), "trace", "last", "--ledger", ledger], check=False
            )
