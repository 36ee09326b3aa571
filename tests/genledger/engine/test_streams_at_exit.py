"""What becomes of streams that are open when a process forks, or ends."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

PROGRAM = """
import multiprocessing, os
from genledger.engine.streams import watch

class Stream:
    def __init__(self, name):
        self.name = name
        watch(self)

    def closed(self):
        print(self.name, "settled in the", "parent" if os.getpid() == parent else "child", flush=True)

parent = os.getpid()
kept = [Stream("the parent's")]
child = multiprocessing.get_context("fork").Process(target=lambda: kept.append(Stream("the child's")))
child.start()
child.join()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_each_process_settles_at_its_end_what_it_has_opened_itself() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=600, check=True)
    # `closed` may be called again; a stream settles once.
    assert list(dict.fromkeys(done.stdout.splitlines())) == [
        "the child's settled in the child",
        "the parent's settled in the parent",
    ]
