"""Recorded provider traffic through the real SDKs, with and without Genledger."""

from __future__ import annotations

import asyncio
import gc
import json
import zlib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import StatusCode

from genledger.engine.streams import finish_open
from genledger_semconv.checker import check

from ..instrumentors.telemetry import Telemetry, attributes_of, instrumented, surroundings
from . import recordings
from .observation import Failure, difference, failed
from .plan import Plan
from .playing import Playback, Player
from .sdks import NAMES, installed
from .truth import used

pytestmark = [
    pytest.mark.recordings,
    pytest.mark.skipif(not recordings.available(), reason=recordings.ABSENT),
]

SDKS = installed()

GROUPS: dict[tuple[str, str, str], list[dict[str, Any]]] = defaultdict(list)
for _row in recordings.index():
    for _name, _sdk in SDKS.items():
        if _sdk.sends(_row["provider"], _row["operation"]):
            GROUPS[_name, _row["provider"], _row["operation"]].append(_row)


CASES = [pytest.param(group, id="-".join(group)) for group in GROUPS] + [
    pytest.param((name,), id=name, marks=pytest.mark.skip(reason=f"{name} is not installed"))
    for name in NAMES
    if name not in SDKS
]


@dataclass(frozen=True)
class Job:
    """One call to make, in one way, with one kind of client."""

    plan: Plan
    way: str
    asynchronous: bool

    def __str__(self) -> str:
        return f"{self.plan.recording.file} ({self.way}, {'async' if self.asynchronous else 'sync'})"


@dataclass(frozen=True)
class Watched:
    """What Genledger said about one call, and the current span and baggage around it."""

    playback: Playback
    spans: tuple[ReadableSpan, ...]
    logs: tuple[ReadableLogRecord, ...]
    complaints: list[str]
    open_spans: list[str]
    moved: bool


@pytest.fixture(scope="module")
def player() -> Player:
    return Player(SDKS)


def jobs(plan: Plan) -> Iterator[Job]:
    """Sync and async, and one of the other ways: always the same one for the same recording."""
    sdk = SDKS[plan.client.sdk]
    yield Job(plan, "plain", asynchronous=False)
    if sdk.asynchronous:
        yield Job(plan, "plain", asynchronous=True)
    others = [way for way in sdk.ways(plan) if way != "plain"]
    if others:
        seed = zlib.crc32(plan.recording.file.encode())
        yield Job(plan, others[seed % len(others)], asynchronous=sdk.asynchronous and bool(seed & 64))


async def perform(player: Player, job: Job) -> Playback:
    return await player.play(job.plan, job.way, asynchronous=job.asynchronous)


async def watch(player: Player, job: Job, telemetry: Telemetry) -> Watched:
    telemetry.clear()
    telemetry.open.spans.clear()
    before = surroundings()
    playback = await perform(player, job)
    if job.plan.kwargs.get("background"):
        finish_open()  # it is waited for until the process ends
    for _ in range(20):  # Groq's client leaves a stream that failed to the collector, generator after generator
        if not telemetry.open.spans:
            break
        gc.collect()
        await asyncio.sleep(0)
    return Watched(
        playback,
        telemetry.spans,
        telemetry.logs,
        telemetry.complaints.other,
        list(telemetry.open.spans.values()),
        surroundings() != before,
    )


@pytest.fixture(autouse=True)
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of its own for what is kept of batches and background responses."""
    monkeypatch.setenv("GENLEDGER_LEDGER", str(tmp_path / "ledger.db"))


@pytest.mark.parametrize("group", CASES)
async def test_replay(group: tuple[str, str, str], player: Player) -> None:
    sdk = SDKS[group[0]]
    planned = [sdk.plan(recordings.load(row)) for row in GROUPS[group]]
    assert {p for p in planned if isinstance(p, str)} <= sdk.unsendable
    plans = [p for p in planned if not isinstance(p, str)]
    todo = [job for plan in plans for job in jobs(plan)]
    bare = [await perform(player, job) for job in todo]
    faults = [f"{job}: {fault}" for job, seen in zip(todo, bare, strict=True) for fault in unfaithful(job, seen)]
    with instrumented(libraries=[sdk.library, *sdk.also], capture_content="both") as telemetry:
        watched = [await watch(player, job, telemetry) for job in todo]
        metrics = telemetry.metrics
    for job, without, with_it in zip(todo, bare, watched, strict=True):
        faults += [f"{job}: {fault}" for fault in (*visible(without, with_it), *wrong(job, without, with_it))]
    faults += map(str, check(metrics=metrics, capture_content=True))
    if faults:
        pytest.fail(f"{len(faults)} faults\n" + "\n".join(faults), pytrace=False)


def unfaithful(job: Job, seen: Playback) -> Iterator[str]:
    """Ways in which the replay itself did not send what was recorded."""
    recorded = job.plan.recording.request_body
    if job.way == "helper":
        return  # helpers leave out what their types say already
    if not seen.requests:
        yield f"nothing was sent: {seen.result!r:.300}"
    elif isinstance(recorded, dict) and isinstance(seen.requests[-1].body, dict):
        added = SDKS[job.plan.client.sdk].added
        if found := difference(_without(seen.requests[-1].body, added, recorded), recorded):
            yield f"the request is not the recorded one at {found}"


def _without(sent: Any, added: frozenset[str], recorded: Any) -> Any:
    """What was sent, without the fields that the SDK adds and that were not recorded."""
    if isinstance(sent, dict) and isinstance(recorded, dict):
        kept = [name for name in sent if name in recorded or name not in added]
        return {name: _without(sent[name], added, recorded.get(name)) for name in kept}
    if isinstance(sent, list) and isinstance(recorded, list) and len(sent) == len(recorded):
        return [_without(one, added, other) for one, other in zip(sent, recorded, strict=True)]
    return sent


def visible(without: Playback, with_it: Watched) -> Iterator[str]:
    """Ways in which the application or the provider could tell that Genledger is there."""
    playback = with_it.playback
    if found := difference(playback.result, without.result):
        yield f"the application sees a difference at {found}"
    if found := difference(playback.requests, without.requests, "request"):
        yield f"the provider sees a difference at {found}"
    if playback.left_open != without.left_open:
        yield f"{playback.left_open} response bodies are left open, not {without.left_open}"
    if with_it.moved:
        yield "the current span or baggage is another than before"


def wrong(job: Job, without: Playback, with_it: Watched) -> Iterator[str]:
    """Ways in which the telemetry is not what it should be."""
    yield from map(str, check(with_it.spans, logs=with_it.logs, capture_content=True))
    yield from (f"logged: {text}" for text in with_it.complaints)
    yield from (f"span {name!r} is still open" for name in with_it.open_spans)
    must = 1 if job.plan.kind != "other" and without.requests else 0
    if not must <= len(with_it.spans) <= max(1, len(without.requests)):
        yield f"{len(with_it.spans)} spans: {[span.name for span in with_it.spans]}"
    if must and len(with_it.spans) == 1:
        attributes = attributes_of(with_it.spans[0])
        yield from badly_ended(job, without, with_it.spans[0], attributes)
        yield from badly_counted(job, without, attributes)
        yield from badly_kept(job, without, attributes)


def badly_kept(job: Job, without: Playback, attributes: dict[str, Any]) -> Iterator[str]:
    """Content that was captured, and is not there."""
    messages = json.loads(attributes.get("gen_ai.output.messages", "[]"))
    said = used(job.plan.recording)
    # An answer of a few tokens may be empty.
    generated = job.plan.kind == "generates" and said is not None and (said.output or 0) - said.reasoning > 20
    if generated and not failed(without.result) and not any(message["parts"] for message in messages):
        yield "what was generated is not among its content"


def refuted(observation: Any) -> bool:
    """Whether a client raised because it does not take an answer for a valid one."""
    return isinstance(observation, Failure) and observation.kind.endswith("ResponseValidationError")


def badly_ended(job: Job, without: Playback, span: ReadableSpan, attributes: dict[str, Any]) -> Iterator[str]:
    """Status, error type and outcome that do not fit what the application got."""
    outcome = attributes.get("genledger.outcome")
    if job.plan.recording.status < 400 and (job.way == "helper" or refuted(without.result)):
        return  # the application got an error over an answer that the provider has given in full
    if failed(without.result):
        expected = {401: "error", 429: "rate_limited"}.get(job.plan.recording.status, "error")
        if outcome != expected or span.status.status_code is not StatusCode.ERROR:
            yield f"failed, but its outcome is {outcome!r} and its status {span.status.status_code.name}"
        if "error.type" not in attributes:
            yield "failed, but has no error.type"
    elif outcome != "success" or span.status.status_code is not StatusCode.UNSET:
        yield f"succeeded, but its outcome is {outcome!r} and its status {span.status.status_code.name}"


def badly_counted(job: Job, without: Playback, attributes: dict[str, Any]) -> Iterator[str]:
    """Usage that is not what the provider said, and cost that is neither known nor said to be unknown."""
    counts = {k: v for k, v in attributes.items() if k.startswith("gen_ai.usage.")}
    yield from (f"{name} is {count}" for name, count in counts.items() if count < 0)
    estimated = attributes.get("genledger.usage.estimated", False)
    if job.plan.kind == "unbilled":
        if counts or "genledger.cost.amount" in attributes:
            yield f"speaks of another call's usage: {counts}"
        return
    said = used(job.plan.recording)
    total = counts.get("gen_ai.usage.input_tokens", 0) + counts.get("gen_ai.usage.output_tokens", 0)
    if said is not None:
        if total != said.total:
            yield f"{total} tokens, but the provider said {said.total}"
        for name in ("cache_read.input", "cache_write.input", "reasoning.output"):
            count, right = counts.get(f"gen_ai.usage.{name}_tokens", 0), getattr(said, name.partition(".")[0])
            if count != right:
                yield f"{count} {name} tokens, but the provider said {right}"
        if said.output is not None and counts.get("gen_ai.usage.output_tokens", 0) != said.output:
            yield f"{counts.get('gen_ai.usage.output_tokens')} output tokens, the provider said {said.output}"
        if estimated:
            yield "marked as estimated, but the provider said what it used"
    elif job.plan.kind == "generates" and job.plan.streams and not (failed(without.result) or (total and estimated)):
        yield f"the stream has no usage; {total} tokens, estimated: {estimated}"
    amount, unpriced = (attributes.get(f"genledger.cost.{name}") for name in ("amount", "unpriced"))
    rejected = job.plan.recording.status >= 400  # a request that was rejected costs nothing
    if job.plan.kind in ("generates", "billed") and not rejected and (amount is None) == (unpriced is None):
        yield f"amount {amount}, unpriced {unpriced}"
