"""Every option: from a keyword or from the environment, and one line for what cannot be used."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genledger.setup.pipeline import names_wanted
from genledger.setup.settings import Settings, read_settings

from ..applications import REPOSITORY


def test_nothing_given_is_the_defaults_and_no_problem() -> None:
    assert read_settings({}, {}) == (Settings(), [])


def test_a_keyword_wins_over_the_environment_and_none_gives_way_to_it() -> None:
    environ = {"GENLEDGER_MAX_LABEL_VALUES": "5"}
    assert read_settings({"max_label_values": 7}, environ)[0].max_label_values == 7
    assert read_settings({"max_label_values": None}, environ)[0].max_label_values == 5


@pytest.mark.parametrize(
    ("variable", "value", "option", "expected"),
    [
        ("GENLEDGER_LIBRARIES", "openai, anthropic,", "libraries", ("openai", "anthropic")),
        ("GENLEDGER_DESTINATIONS", "otlp,ledger", "destinations", ("otlp", "ledger")),
        ("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "true", "capture_content", "span"),
        ("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "SPAN_AND_EVENT", "capture_content", "both"),
        ("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "NO_CONTENT", "capture_content", "off"),
        ("GENLEDGER_LOG_HASH_USERS", "Yes", "log_hash_users", True),
        ("GENLEDGER_TRUST_BAGGAGE", "0", "trust_baggage", False),
        ("GENLEDGER_LANGFUSE_TAGS", "0", "langfuse_tags", False),
        ("GENLEDGER_LANGFUSE_TRACE_NAME", "feature", "langfuse_trace_name", "feature"),
        ("GENLEDGER_REDACT", "none", "redact", ()),
        ("GENLEDGER_REDACT", "email,card", "redact", ("email", "card")),
        ("GENLEDGER_METRIC_NAMES", "v1.41", "metric_names", "v1.41"),
        ("GENLEDGER_LEDGER", "/tmp/x.db", "ledger", "/tmp/x.db"),
    ],
)
def test_variables_are_read_as_what_they_mean(variable: str, value: str, option: str, expected: Any) -> None:
    settings, problems = read_settings({}, {variable: value})
    assert getattr(settings, option) == expected
    assert problems == []


def test_a_path_can_be_a_path(tmp_path: Path) -> None:
    assert read_settings({"ledger": tmp_path}, {})[0].ledger == str(tmp_path)


def test_both_variables_that_leave_libraries_out_add_up() -> None:
    environ = {"GENLEDGER_EXCLUDE": "openai", "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "requests"}
    assert set(read_settings({}, environ)[0].exclude) == {"openai", "requests"}


NAMES = st.sampled_from([option.name for option in fields(Settings)])
VALUES = st.one_of(st.none(), st.integers(), st.text(), st.lists(st.text()), st.binary())


@given(st.dictionaries(NAMES, VALUES, max_size=5))
def test_no_value_breaks_anything_and_each_bad_one_is_named(options: dict[str, Any]) -> None:
    settings, problems = read_settings(options, {})
    assert isinstance(settings, Settings)
    for problem in problems:
        assert "\n" not in problem
        name = re.match(r"instrument\((\w+)=…\) must be ", problem)
        assert name is not None
        assert name[1] in options
        assert getattr(settings, name[1]) == getattr(Settings(), name[1])


def test_every_variable_that_the_sources_speak_of_is_known() -> None:
    known = {variable for option in fields(Settings) for variable in option.metadata["env"]}
    spoken = {
        name
        for directory in ("src", "instrumentors")
        for path in (REPOSITORY / directory).rglob("*.py")
        for name in re.findall(r"\bGENLEDGER_[A-Z][A-Z_]+\b(?! =)", path.read_text())
        if f'environ.get("{name}"' in path.read_text() or f'environ["{name}"' in path.read_text()
    }
    assert spoken <= known


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, ("ledger",)),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x"}, ("otlp",)),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://x"}, ("otlp",)),
        ({"LANGFUSE_PUBLIC_KEY": "a", "LANGFUSE_SECRET_KEY": "b"}, ("langfuse",)),
        ({"LANGFUSE_PUBLIC_KEY": "a"}, ("langfuse",)),
        ({"LANGFUSE_SECRET_KEY": "b", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://x"}, ("langfuse", "otlp")),
        ({"OTEL_TRACES_EXPORTER": "otlp, langfuse"}, ("otlp", "langfuse")),
        ({"OTEL_TRACES_EXPORTER": "none"}, ()),
        ({"OTEL_TRACES_EXPORTER": "console"}, ("console",)),
    ],
)
def test_destinations_follow_from_the_variables(environ: dict[str, str], expected: tuple[str, ...]) -> None:
    assert names_wanted(Settings(), environ) == expected


def test_named_destinations_are_the_only_ones() -> None:
    environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x"}
    assert names_wanted(Settings(destinations=("ledger",)), environ) == ("ledger",)


@pytest.mark.parametrize("option", ["ledger", "prices", "budgets", "budget_store", "spool"])
def test_a_tilde_in_a_path_is_the_users_home_in_a_keyword_and_in_a_variable(
    option: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    monkeypatch.setenv("USERPROFILE", "/home/ada")
    for settings, problems in (
        read_settings({option: "~/own/file"}, {}),
        read_settings({}, {f"GENLEDGER_{option.upper()}": "~/own/file"}),
    ):
        assert (getattr(settings, option), problems) == ("/home/ada/own/file", [])


@pytest.mark.parametrize("durable", [True, "fsync"])
def test_durable_without_a_spool_is_named(durable: object) -> None:
    _, (problem,) = read_settings({"durable": durable, "spool": "off"}, {})
    assert "durable has no effect, because spool is off" in problem
