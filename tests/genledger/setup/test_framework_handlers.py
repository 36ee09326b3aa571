"""Handlers for those who pass a framework its callbacks themselves."""

from __future__ import annotations

import importlib.util

import pytest

import genledger


@pytest.mark.skipif(importlib.util.find_spec("langchain_core") is not None, reason="langchain-core is installed")
def test_without_langchain_the_handler_says_what_to_install() -> None:
    with pytest.raises(ImportError, match="Install it: pip install langchain-core"):
        genledger.langchain_handler()
