"""Recorded provider traffic through the real SDKs, with and without Genledger."""

from __future__ import annotations

import zlib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import StatusCode

from genledger_semconv.checker import check

from ..instrumentors.telemetry import Telemetry, attributes_of, instrumented, surroundings
from . import recordings
from .observation import difference, failed
from .planning import OTHER_PROTOCOLS, Plan, plan
from .playing import Playback, Player, ways
from .truth import used

pytestmark = [
    pytest.mark.recordings,
    pytest.mark.skipif(not recordings.available(), reason=recordings.ABSENT),
]

GENERATING = {
    "chat.completions.create",
    "completions.create",
    "responses.create",
    "responses.compact",
    "messages.create",
}
PAID = GENERATING | {
    "embeddings.create",
    "moderations.create",
    "images.generate",
    "images.edit",
    "audio.speech.create",
    "audio.transcriptions.create",
    "audio.translations.create",
}
WITHOUT_USAGE = {
    "responses.retrieve",
    "batches.list",
    "batches.cancel",
    "messages.count_tokens",
    "messages.batches.results",
}
"""Methods that cost nothing, though some speak of tokens that another call has used or will use."""

CALLS = PAID | WITHOUT_USAGE
"""The methods whose every call has a span. Of the other methods (files, models, …) a call has at most one."""

GROUPS: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
for _row in recordings.index():
    if _row["provider"] not in OTHER_PROTOCOLS:
        GROUPS[_row["provider"], _row["operation"]].append(_row)

UNSENDABLE = {
    "another protocol",
    "no method of the SDK sends GET /",
    "no method of the SDK sends GET /available-models",
    "no method of the SDK sends GET /props",
    "no method of the SDK sends GET /v1/responses",
    "no method of the SDK sends GET /v1/videos/…",
    "no method of the SDK sends POST /",
    "no method of the SDK sends POST /api/chat",
    "no method of the SDK sends POST /api/generate",
    "no method of the SDK sends POST /api/v1/image/generate",
    "no method of the SDK sends POST /api/v1/images",
    "no method of the SDK sends POST /pipeline/…",
    "no method of the SDK sends POST /router/v2/google/…",
    "no method of the SDK sends POST /v1/chat",
    "no method of the SDK sends POST /v1/complete",
    "no method of the SDK sends POST /v1/realtime/calls",
    "no method of the SDK sends POST /v1/rerank",
    "no method of the SDK sends POST /v1/stt",
    "no method of the SDK sends POST /v1/tts",
    "no method of the SDK sends POST /v1/videos/…",
}
"""Why some recordings are not replayed here."""


@dataclass(frozen=True)
class Job:
    """One call to make, in one way, with one kind of client."""

    plan: Plan
    way: str
    asynchronous: bool

    @property
    def method(self) -> str:
        """The method, whether beta or not."""
        return self.plan.method.removeprefix("beta.")

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
    return Player()


def jobs(plan: Plan) -> Iterator[Job]:
    """Sync and async, and one of the other ways: always the same one for the same recording."""
    yield Job(plan, "create", asynchronous=False)
    yield Job(plan, "create", asynchronous=True)
    others = [way for way in ways(plan) if way != "create"]
    seed = zlib.crc32(plan.recording.file.encode())
    yield Job(plan, others[seed % len(others)], asynchronous=bool(seed & 64))


async def perform(player: Player, job: Job) -> Playback:
    return await player.aplay(job.plan, job.way) if job.asynchronous else player.play(job.plan, job.way)


async def watch(player: Player, job: Job, telemetry: Telemetry) -> Watched:
    telemetry.clear()
    before = surroundings()
    playback = await perform(player, job)
    return Watched(
        playback,
        telemetry.spans,
        telemetry.logs,
        telemetry.complaints.other,
        list(telemetry.open.spans.values()),
        surroundings() != before,
    )


@pytest.mark.parametrize("group", GROUPS, ids="-".join)
async def test_replay(group: tuple[str, str], player: Player) -> None:
    planned = [plan(recordings.load(row)) for row in GROUPS[group]]
    assert {p for p in planned if isinstance(p, str)} <= UNSENDABLE
    plans = [p for p in planned if not isinstance(p, str)]
    todo = [job for plan in plans for job in jobs(plan)]
    bare = [await perform(player, job) for job in todo]
    faults = [f"{job}: {fault}" for job, seen in zip(todo, bare, strict=True) for fault in unfaithful(job, seen)]
    with instrumented(capture_content="both") as telemetry:
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
        added = {"encoding_format", "model"}  # what the SDK adds of its own accord
        sent = {k: v for k, v in seen.requests[-1].body.items() if k in recorded or k not in added}
        if sent != recorded:
            yield "the request is not the recorded one"


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
    must = 1 if job.method in CALLS and without.requests else 0
    if not must <= len(with_it.spans) <= max(1, len(without.requests)):
        yield f"{len(with_it.spans)} spans: {[span.name for span in with_it.spans]}"
    if must and len(with_it.spans) == 1:
        attributes = attributes_of(with_it.spans[0])
        yield from badly_ended(job, without, with_it.spans[0], attributes)
        yield from badly_counted(job, without, attributes)


def badly_ended(job: Job, without: Playback, span: ReadableSpan, attributes: dict[str, Any]) -> Iterator[str]:
    """Status, error type and outcome that do not fit what the application got."""
    outcome = attributes.get("genledger.outcome")
    if job.way == "helper" and job.plan.recording.status < 400:
        return  # a helper may raise over an answer that the provider has given in full
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
    if job.method in WITHOUT_USAGE:
        if counts or "genledger.cost.amount" in attributes:
            yield f"speaks of another call's usage: {counts}"
        return
    said = used(job.plan.recording)
    total = counts.get("gen_ai.usage.input_tokens", 0) + counts.get("gen_ai.usage.output_tokens", 0)
    if said is not None:
        if total != said.total:
            yield f"{total} tokens, but the provider said {said.total}"
        if said.output is not None and counts.get("gen_ai.usage.output_tokens", 0) != said.output:
            yield f"{counts.get('gen_ai.usage.output_tokens')} output tokens, the provider said {said.output}"
        if estimated:
            yield "marked as estimated, but the provider said what it used"
    elif job.method in GENERATING and job.plan.streams and not (failed(without.result) or (total and estimated)):
        yield f"the stream has no usage; {total} tokens, estimated: {estimated}"
    amount, unpriced = (attributes.get(f"genledger.cost.{name}") for name in ("amount", "unpriced"))
    rejected = job.plan.recording.status >= 400  # a request that was rejected costs nothing
    if job.method in PAID and not rejected and (amount is None) == (unpriced is None):
        yield f"amount {amount}, unpriced {unpriced}"
