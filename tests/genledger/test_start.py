"""`import genledger`: what it brings, and what it leaves for first use."""

from __future__ import annotations

import subprocess
import sys

import pytest

import genledger


def run(code: str) -> str:
    """Run code in a process of its own, and return what it prints."""
    script = f"import sys; sys.path[:0] = {sys.path!r}\n{code}"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_genledger_imports_no_library() -> None:
    code = "before = set(sys.modules); import genledger; print(*(set(sys.modules) - before))"
    libraries = {module.partition(".")[0] for module in run(code).split()}
    assert libraries - {*sys.stdlib_module_names, "genledger"} == set()


def test_attribution_needs_no_tracing_sdk() -> None:
    code = """
import genledger
with genledger.attribution(tenant="acme"):
    pass
print(*sys.modules)
"""
    assert not [module for module in run(code).split() if module.startswith("opentelemetry.sdk.trace")]


@pytest.mark.parametrize("name", genledger.__all__)
def test_every_public_name_is_there_when_it_is_used_first(name: str) -> None:
    assert name in dir(genledger)
    run(f"import genledger; assert genledger.{name} is genledger.{name}")


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'genledger' has no attribute 'atribution'"):
        genledger.atribution  # noqa: B018
