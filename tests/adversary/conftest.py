"""Attacks on promises: a short form in every run, the long one with `make test-adversary`."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

Scale = Callable[[int, int], int]
"""Given a short and a long count, returns the one that this run uses."""


@pytest.fixture(scope="session")
def scale() -> Scale:
    """Choose the size of an attack: long when `GENLEDGER_TEST_ADVERSARY=long`, short otherwise."""
    long = os.environ.get("GENLEDGER_TEST_ADVERSARY") == "long"
    return lambda short, extended: extended if long else short
