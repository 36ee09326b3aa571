"""What Python lacks on Windows, the spool does without: durable records are on disk before the call returns."""

from __future__ import annotations

from pathlib import Path

from ....standins.spools import on_disk
from ...applications import run

WITHOUT_POSIX = """
import os
import sys
import types

import requests  # what others do is not looked at
import wrapt
from opentelemetry.sdk.trace import TracerProvider

sys.modules["fcntl"] = None
for name in ("register_at_fork", "geteuid", "getuid", "chown", "fork"):
    delattr(os, name)
msvcrt = types.ModuleType("msvcrt")
msvcrt.LK_NBLCK, msvcrt.LK_UNLCK = 1, 0
msvcrt.locking = lambda descriptor, mode, size: None
sys.modules["msvcrt"] = msvcrt

import genledger

genledger.instrument(libraries=[], destinations=["otlp"], durable=True, spool=sys.argv[0] + "-spool")
with genledger.observe("work"):
    pass
os._exit(0)
"""


def test_a_durable_record_is_on_disk_before_the_process_is_killed(tmp_path: Path) -> None:
    done = run(
        tmp_path,
        WITHOUT_POSIX,
        OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9",
        OTEL_METRICS_EXPORTER="none",
        OTEL_LOGS_EXPORTER="none",
    )
    assert (done.stdout, done.stderr) == ("", "")
    assert on_disk(tmp_path / "application.py-spool") == 1
