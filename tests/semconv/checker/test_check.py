from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest
from opentelemetry.sdk.trace import ReadableSpan

from genledger_semconv.checker import Deviation, Rule, assert_clean, check

MakeSpan = Callable[..., ReadableSpan]

CHAT = {"gen_ai.operation.name": "chat", "gen_ai.provider.name": "anthropic", "gen_ai.request.model": "opus"}


def test_nothing_has_no_deviations() -> None:
    assert check() == []
    assert_clean()


def test_every_deviation_of_every_span_is_reported_in_order(make_span: MakeSpan) -> None:
    first = make_span("chat", CHAT)
    second = make_span("chat opus", {**CHAT, "gen_ai.system": "anthropic", "gen_ai.prompt": "Hi"})
    assert check([first, second]) == [
        Deviation("span", "chat", "span-name", "should be 'chat opus'"),
        Deviation("span", "chat opus", "unknown-attribute", "is not in the registry", "gen_ai.system"),
        Deviation("span", "chat opus", "unknown-attribute", "is not in the registry", "gen_ai.prompt"),
    ]


def test_a_clean_assertion_fails_with_one_line_for_each_different_deviation(make_span: MakeSpan) -> None:
    spans = [
        make_span("chat", CHAT),
        make_span("chat", CHAT),
        make_span("chat opus", {**CHAT, "gen_ai.system": "x"}),
    ]
    with pytest.raises(AssertionError) as failure:
        assert_clean(spans)
    assert str(failure.value).splitlines() == [
        "3 deviations from the registry:",
        "  span 'chat': [span-name] should be 'chat opus' (× 2)",
        "  span 'chat opus': [unknown-attribute] gen_ai.system: is not in the registry",
    ]


def test_a_clean_assertion_passes_on_options_too(make_span: MakeSpan) -> None:
    span = make_span("chat opus", {**CHAT, "gen_ai.input.messages": "[]", "x": 1})
    assert_clean([span], capture_content=True, allow=["x"])


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"metric_names": "old"}, ValueError, "newest, v1.41 or both, not 'old'"),
        ({"allow": "gen_ai.x"}, TypeError, "must be a list of names, not the string 'gen_ai.x'"),
    ],
)
def test_a_bad_option_is_named(options: dict[str, Any], error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        check(**options)


def test_the_constants_read_no_file_and_import_no_sdk() -> None:
    program = (
        "import __future__, sys, collections.abc, types, typing\n"
        "before = set(sys.modules)\n"
        "from genledger_semconv import attributes, events, metrics, spans\n"
        "print(*sorted(set(sys.modules) - before))"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment)
    package = "genledger_semconv"
    modules = [package, *(f"{package}.{name}" for name in ("attributes", "events", "metrics", "spans"))]
    assert done.stdout.split() == modules


def test_every_rule_is_documented() -> None:
    guide = (Path(__file__).parents[3] / "docs" / "semconv.md").read_text()
    assert [rule for rule in get_args(Rule) if f"`{rule}`" not in guide] == []
