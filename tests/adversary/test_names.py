"""Names are text: whatever a caller or a provider calls things, no output takes it for anything else."""

from __future__ import annotations

import json
import logging
import os
import random
import re
import sqlite3
import subprocess
import sys
import unicodedata
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import Tracer

import genledger
from genledger.budgets import BudgetEvent, BudgetExceeded, BudgetRequest, Guard, budget, open_store
from genledger.context.attribution import Attribution
from genledger.integrations import web

from ..instrumentors import openai_format as wire
from ..instrumentors.provider import Provider, answer, events
from ..instrumentors.telemetry import instrumented
from .conftest import Scale

HOSTILE = [
    "x\nfeature=billing\ttenant=victim\tcost_usd=999",
    "x\r\nWARNING all is well",
    "x feature=billing tenant=victim",
    "x\u00a0tenant=victim",
    'x" tenant="victim',
    "\x1b]0;owned\x07\x1b[2J\x1b[31m",
    "\x1b]8;;http://evil.example\x1b\\click\x1b]8;;\x1b\\",
    "\x9b31mred\x85next",
    "nul\x00 del\x7f back\x08\x08\x08",
    "a\u2028b\u2029c",
    "invoice\u202egnp.exe",
    "\u2066isolated\u2069\u061c\u200e\u200f",
    "\ufeffhidden\u200b",
    "half \ud83d emoji",
    "\udfff",
    "[red]x[/red] [/] [link=http://evil.example]x[/link] :warning:",
    '=HYPERLINK("http://evil.example")',
    "\t=1+1",
    "<script>alert(1)</script>",
    "a|b`c`*d*",
    "back\\slash\\n",
    "%s %d %(name)s {0} {name}",
    "株式会社 Müller 👩‍👩‍👧",
    "x" * 1_000_000,
    "x" * 999_999 + "y",
    "\n" * 1_000_000,
    "\U0001f600" * 300_000,
]
ALPHABET = "\x00\x07\x08\t\n\r\x1b\x7f\x85\x9b\u2028\u202e\u2066\ud800\udc00\ufeff =\"'[]\\/;,|:<>%{}$aZ0é漢👍"
BIDI = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
STYLES = re.compile(r"\x1b\[[0-9;]*m")
LONGEST_NAME = 512
LONGEST_LINE = 20_000


def unseen(text: str, allowed: str = "\n") -> set[str]:
    """The characters of a text that do something instead of being seen."""
    characters = set(text) - set(allowed)
    return {one for one in characters if unicodedata.category(one) in ("Cc", "Cs", "Zl", "Zp") or one in BIDI}


def texts(value: Any) -> Iterator[str]:
    """Every text in JSON data, keys included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from texts(key)
            yield from texts(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from texts(item)


class Log(logging.Handler):
    """What is logged, as it stands in a log file."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.calls: list[str] = []
        self.other: list[str] = []
        self.setFormatter(logging.Formatter())

    def emit(self, record: logging.LogRecord) -> None:
        (self.calls if record.name == "genledger.calls" else self.other).append(self.format(record))


@dataclass
class Scene:
    """One application that met all names, and what it left behind."""

    names: list[str]
    ledger: Path
    log: Log = field(default_factory=Log)
    spans: tuple[ReadableSpan, ...] = ()
    metrics: dict[str, Any] = field(default_factory=dict)


def meet(name: str, provider: Provider, theirs: Tracer) -> None:
    """Let a name come in wherever a caller or a provider can put one."""
    client, chat = provider.openai(), {"model": "gpt-4o", "messages": wire.USER}
    named = {"model": name, "id": name, "service_tier": name}
    wrong = {"error": {"message": name, "type": name, "code": name}}
    for asked, reply in (
        ({**chat, "model": name}, answer(wrong, 404)),
        (chat, answer(wire.chat(**named))),
        ({**chat, "stream": True}, events([wire.chunk({"content": "x"}, **named), wrong], done=False)),
    ):
        provider.will(reply)
        with suppress(Exception):  # what the provider refuses, and what the client cannot even send
            for _ in client.chat.completions.create(**asked):
                pass
    with suppress(ValueError), genledger.attribution(tenant=name, feature=name, tags=[name]):
        client.chat.completions.create(**chat)
    # Another instrumentation checks nothing.
    with theirs.start_as_current_span(name) as span:
        span.set_attributes(
            {"gen_ai.operation.name": "chat", "gen_ai.usage.input_tokens": 10}
            | dict.fromkeys(
                ("gen_ai.provider.name", "gen_ai.request.model", "genledger.tenant.id", "genledger.feature", "user.id",
                 "session.id", "gen_ai.prompt.name", "error.type", "server.address", "genledger.outcome"), name,
            )
        )  # fmt: skip
    genledger.record_outcome(f"{name:.127}!")
    with genledger.observe(name, kind="agent"), genledger.observe(name, kind="tool"):
        pass


def played(names: list[str], directory: Path, log: str) -> Scene:
    """Let an application meet all names, with its calls logged in one format or the other."""
    scene = Scene(names, directory / "ledger.db")
    logger = logging.getLogger("genledger")
    logger.addHandler(scene.log)
    before, _ = logger.level, logger.setLevel(logging.DEBUG)
    try:
        options = {"ledger": scene.ledger, "destinations": ["ledger"], "budget_store": "memory:"}
        with instrumented(log=log, max_label_values=10**6, **options) as telemetry:
            provider = Provider(asynchronous=False)
            for name in scene.names:
                meet(name, provider, telemetry.tracer_provider.get_tracer("theirs"))
            assert genledger.flush(60)
            assert telemetry.metrics is not None
            scene.metrics = json.loads(telemetry.metrics.to_json())
            scene.spans = telemetry.spans
    finally:
        logger.setLevel(before)
        logger.removeHandler(scene.log)
    return scene


@pytest.fixture(scope="module")
def names(scale: Scale) -> list[str]:
    rng = random.Random(37)
    made = ["".join(rng.choices(ALPHABET, k=rng.randrange(1, 40))) for _ in range(scale(20, 300))]
    return list(dict.fromkeys((*HOSTILE, *made)))


@pytest.fixture(scope="module")
def scene(names: list[str], tmp_path_factory: pytest.TempPathFactory) -> Scene:
    return played(names, tmp_path_factory.mktemp("names"), "plain")


def command(scene: Scene, *arguments: str, status: int = 0, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run `genledger` as a process of its own; what it prints must be text."""
    done = subprocess.run(
        [sys.executable, "-c", "from genledger.cli import main; main()", *arguments],
        env={
            **{name: value for name, value in os.environ.items() if not name.startswith(("GENLEDGER_", "OTEL_"))},
            "HOME": str(scene.ledger.parent),
            "GENLEDGER_LEDGER": str(scene.ledger),
            "COLUMNS": "1000",
            "PYTHONIOENCODING": "utf-8",
            **variables,
        },
        capture_output=True,
        encoding="utf-8",
        errors="surrogateescape",
        timeout=300,
    )
    assert done.returncode == status, done.stderr
    for output in (done.stdout, done.stderr):
        printed = STYLES.sub("", output) if "FORCE_COLOR" in variables else output
        assert not unseen(printed), output[:2000]
        assert max(map(len, printed.splitlines()), default=0) <= LONGEST_LINE
    return done


def rows(scene: Scene, query: str) -> list[tuple[Any, ...]]:
    with sqlite3.connect(scene.ledger) as connection:
        return connection.execute(query).fetchall()


@pytest.mark.parametrize("log", ["plain", "json"])
def test_every_call_is_one_line_that_says_nothing_else(
    log: str, names: list[str], scene: Scene, tmp_path: Path
) -> None:
    if log == "json":
        scene = played(names, tmp_path, log)
    (calls,) = rows(scene, "SELECT count(*) FROM calls")[0]
    assert len(scene.log.calls) == calls >= 4 * len(scene.names)
    for line in scene.log.calls:
        assert not unseen(line, allowed="")
        assert len(line) <= LONGEST_LINE
        if log == "json":
            assert json.loads(line) == orjson.loads(line)
            said = list(orjson.loads(line))
        else:
            said = re.findall(r'(?:^| )(\w+)=(?:"(?:[^"\\]|\\.)*"|[^\s"=]+)(?= |$)', line)
            assert re.fullmatch(r'(?:(?:^| )\w+=(?:"(?:[^"\\]|\\.)*"|[^\s"=]+))+', line), line
        assert len(said) == len(set(said))
        assert {"provider", "outcome", "latency_ms", "trace_id"} <= set(said)


def test_every_other_message_is_one_line(scene: Scene) -> None:
    for line in scene.log.other:
        message, *trace = line.split("\n")
        assert not unseen(line)
        assert not trace or trace[0] == "Traceback (most recent call last):"
        assert len(message) <= LONGEST_LINE


def test_spans_are_called_by_short_names_that_can_be_seen(scene: Scene) -> None:
    for span in scene.spans:
        if span.instrumentation_scope is not None and span.instrumentation_scope.name != "theirs":
            assert not unseen(span.name, allowed="")
            assert len(span.name) <= LONGEST_NAME + 40


def test_labels_of_metrics_are_short(scene: Scene) -> None:
    assert max(map(len, texts(scene.metrics))) <= LONGEST_NAME


def test_the_ledger_has_every_call_and_no_absurdly_long_name(scene: Scene) -> None:
    for table in ("calls", "outcomes", "steps"):
        for row in rows(scene, f"SELECT * FROM {table}"):
            assert max(len(value) for value in row if isinstance(value, str)) <= 3 * LONGEST_NAME
    assert not [line for line in scene.log.other if "does not fit" in line]


def test_a_report_has_one_row_for_each_name(scene: Scene) -> None:
    known = {key for (key,) in rows(scene, "SELECT DISTINCT ifnull(response_model, request_model) FROM calls")}
    assert len(known) >= len(scene.names)
    table = command(scene, "report", "--by", "model", "--since", "all", "--top", "0").stdout
    # The title, the header and a rule below each; the total, a rule above it, and what is unpriced.
    spend = table.partition("Cost per outcome")[0].rstrip("\n").split("\n")
    assert len([line for line in spend if line.strip()]) == len(known) + 6


@pytest.mark.parametrize("by", ["feature", "tenant", "model", "user", "session", "prompt_version", "provider", "day"])
def test_reports_are_text(scene: Scene, by: str) -> None:
    command(scene, "report", "--by", by, "--since", "all", "--top", "0")
    found = command(scene, "report", "--by", by, "--since", "all", "--json").stdout
    assert json.loads(found) == orjson.loads(found)


def test_a_terminal_gets_only_our_own_styles(scene: Scene) -> None:
    shown = command(scene, "report", "--by", "model", "--since", "all", FORCE_COLOR="1", COLUMNS="100").stdout
    assert STYLES.search(shown)
    narrow = command(scene, "report", "--by", "model", "--since", "all", PYTHONIOENCODING="ascii", COLUMNS="60")
    assert narrow.stdout.isascii()


def test_traces_are_text(scene: Scene) -> None:
    found = rows(scene, "SELECT DISTINCT trace_id FROM calls")
    for (trace_id,) in random.Random(1).sample(found, 3):
        command(scene, "trace", trace_id)
        assert orjson.loads(command(scene, "trace", trace_id, "--json").stdout)
    command(scene, "trace", "last", FORCE_COLOR="1")


def test_the_other_commands_are_text(scene: Scene) -> None:
    command(scene, "prices", "backfill", "--dry-run")
    assert orjson.loads(command(scene, "prices", "backfill", "--dry-run", "--json").stdout)
    command(scene, "doctor", "--timeout", "1")
    assert orjson.loads(command(scene, "doctor", "--json").stdout)


def test_what_is_asked_for_is_repeated_as_text(scene: Scene, tmp_path: Path) -> None:
    name = "\udcff x\n\x1b[31m\u202e[red]=\x9b"
    store = str(tmp_path / "budgets.db")
    for arguments, status in (
        (("report", "--tenant", name), 0),
        (("report", "--json", "--feature", name), 0),
        (("report", "--since", name), 2),
        (("report", "--by", name), 2),
        (("report", f"--{name}"), 2),
        (("report", name), 2),
        ((name,), 2),
        (("report", "--ledger", f"/nowhere/{name}"), 1),
        (("trace", name), 1),
        (("prices", "show", name), 1),
        (("prices", "show", name, "--json"), 1),
        (("prices", "check", f"/nowhere/{name}"), 1),
        (("budgets", "--file", f"/nowhere/{name}"), 1),
        (("budgets", "--store", store, "set", f"name={name}", "tenant=each", "usd=5/day"), 0),
        (("budgets", "--store", store, "set", f"tenant={name}", f"tier={name}"), 0),
        (("kill", "--store", store, f"tenant={name}", "--why", name, "--who", name), 0),
        (("budgets", "--store", store), 0),
        (("budgets", "--store", store, "--json"), 0),
        (("budgets", "--store", store, "log"), 0),
        (("budgets", "--store", store, "log", "--json"), 0),
        (("budgets", "--store", store, "unset", f"{name}?"), 1),
        (("revive", "--store", store, f"feature={name}"), 1),
    ):
        sent = tuple(os.fsdecode(one.encode("utf-8", "surrogateescape")) for one in arguments)
        printed = command(scene, *sent, status=status).stdout
        if "--json" in arguments:
            assert orjson.loads(printed) is not None


def test_budgets_say_no_and_warn_in_text(tmp_path: Path, scale: Scale) -> None:
    told: list[BudgetEvent] = []
    rules = [budget(name="b", model="each", requests=1, per="month"), budget(name="r\n\x1b", run="each", repeats=1)]
    guard = Guard(rules, open_store(tmp_path / "budgets.db"), on_event=told.append)
    refused: list[BudgetExceeded] = []
    for name in HOSTILE:
        for tools in ((), (), (name, name)):
            demand = BudgetRequest("openai", "chat", name, run="1", tool_calls=tools)
            try:
                guard.admit(demand).settle(0.0, 1)
            except BudgetExceeded as error:
                refused.append(error)
    guard.kill(why=HOSTILE[0], who=HOSTILE[5], tenant=HOSTILE[8])
    with pytest.raises(BudgetExceeded) as stopped:
        guard.admit(BudgetRequest("openai", "chat", "m", Attribution(tenant=HOSTILE[8])))
    refused.append(stopped.value)
    assert guard.flush(30)
    states, blocks = guard.states(), guard.blocks()
    guard.close(30)
    assert len({error.scope for error in refused}) >= len(HOSTILE)
    for error in refused:
        body = json.dumps(web.body(error), ensure_ascii=False)
        for text in (str(error), error.scope, error.rule, body, *web.headers(error).values()):
            assert not unseen(text, allowed="")
            assert len(text) <= 5 * LONGEST_NAME
        body.encode()
    assert told
    for event in told:
        for text in (event.text, event.rule, event.scope):
            assert not unseen(text, allowed="")
            assert len(text) <= 4 * LONGEST_NAME
    for labels in (*(one[0] for one in states), *(one[0] for one in blocks)):
        assert max(map(len, labels.values())) <= LONGEST_NAME
        assert not unseen("".join(labels.values()), allowed="")
