"""Start and command the processes that contenders are measured in."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

from benchmarks.contenders import Contender
from benchmarks.environments import ROOT, Environment
from benchmarks.telemetry import SETTINGS


class ProcessFailed(Exception):
    """A contender's process ended; the message has the last lines of what it said."""


class Process:
    """One worker process of a contender; a context manager."""

    def __init__(
        self,
        contender: Contender,
        setting: str,
        *,
        program: str = "benchmarks.worker",
        environment: str | None = None,
        under: Sequence[str] = (),
        variables: dict[str, str] | None = None,
    ) -> None:
        self.contender, self.setting = contender, setting
        home = Environment(environment or contender.environment)
        own = contender.variables(SETTINGS[setting])
        sdk_spans = {} if contender.sdk_spans else {"ANTHROPIC_OPEN_TELEMETRY": "false"}
        self._complaints = tempfile.TemporaryFile("w+")  # noqa: SIM115  (closed in __exit__)
        self._process = subprocess.Popen(
            [*under, str(home.python), "-m", program, contender.key, setting],
            cwd=ROOT,
            env=home.variables({**sdk_spans, **own, **(variables or {})}),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._complaints,
            text=True,
        )
        self._answer()

    @property
    def pid(self) -> int:
        return self._process.pid

    def ask(self, do: str, **arguments: Any) -> Any:
        """Give one command and wait for its answer.

        Raises:
            ProcessFailed: The process ended instead of answering.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass
        return self._answer()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._process.wait()
            self._complaints.seek(0)
            said = "\n".join(self._complaints.read().strip().splitlines()[-8:])
            raise ProcessFailed(f"{self.contender.title} ({self.setting}):\n{said}")
        return json.loads(line)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.close()
        except BrokenPipeError:
            pass
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._complaints.close()
