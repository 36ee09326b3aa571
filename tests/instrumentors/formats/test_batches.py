"""BatchJobs of OpenAI and Anthropic: paid for when the results are read, by those for whom they were created."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

import genledger
from genledger.engine.record import CallRecord
from genledger_semconv.checker import assert_clean

from ...replay.transport import Reply
from .. import anthropic_format, openai_format
from ..provider import Provider, Within, answer, items, now
from ..telemetry import Telemetry, instrumented

BATCH = {
    "id": "batch_1",
    "object": "batch",
    "endpoint": "/v1/chat/completions",
    "input_file_id": "file-in",
    "completion_window": "24h",
    "status": "validating",
    "created_at": 1790000000,
    "request_counts": {"total": 0, "completed": 0, "failed": 0},
}
DONE = BATCH | {"status": "completed", "output_file_id": "file-out", "error_file_id": "file-err"}
MESSAGES = anthropic_format.batch(
    "ended", succeeded=2, results_url="https://api.anthropic.com/v1/messages/batches/msgbatch_1/results"
)
CHAT = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1790000000,
    "model": "gpt-4.1-mini-2025-04-14",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Paris."}}],
    "usage": {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100},
}
PAID = 1000 * 0.20e-6 + 100 * 0.80e-6
"""What `CHAT` costs: OpenAI's batch rates for gpt-4.1-mini are 0.20 and 0.80 USD per million."""


class Entries:
    """A destination that keeps the entries."""

    def __init__(self) -> None:
        self.all: list[CallRecord] = []

    def accept(self, record: Any) -> None:
        """Keep an entry."""
        self.all.append(record)

    def flush(self, timeout: float) -> bool:
        """Nothing waits."""
        return True

    def shutdown(self, timeout: float) -> bool:
        """Nothing waits."""
        return True

    @property
    def results(self) -> list[CallRecord]:
        """The results of batches, once all of them are booked."""
        assert genledger.flush(30)
        return [entry for entry in self.all if entry.operation != "batch"]


def line(custom_id: str, body: Any = None, status: int = 200, error: Any = None) -> dict[str, Any]:
    """One line of OpenAI's output file, or of its error file."""
    response = {"status_code": status, "request_id": "req", "body": body} if body is not None else None
    return {"id": f"batch_req_{custom_id}", "custom_id": custom_id, "response": response, "error": error}


def message(custom_id: str, **result: Any) -> dict[str, Any]:
    """One line of Anthropic's results."""
    return {
        "custom_id": custom_id,
        "result": result or {"type": "succeeded", "message": anthropic_format.message()},
    }


def lines(*values: dict[str, Any], kind: str = "application/octet-stream", pieces: int = 3) -> Reply:
    """A response of JSON lines, in pieces that do not end where the lines do."""
    payload = b"".join(json.dumps(value).encode() + b"\n" for value in values)
    size = max(1, len(payload) // pieces)
    return Reply(200, {"content-type": kind}, [payload[at : at + size] for at in range(0, len(payload), size)])


async def create_openai(provider: Provider, *, tenant: str) -> None:
    """Create a batch for a tenant."""
    provider.will(answer(BATCH))
    with genledger.attribution(tenant=tenant, tags=["nightly"]):
        batches = provider.client("openai").batches
        await now(batches.create(input_file_id="file-in", endpoint="/v1/chat/completions", completion_window="24h"))


async def retrieve(provider: Provider) -> None:
    """Poll a batch that is done."""
    provider.will(answer(DONE))
    await now(provider.client("openai").batches.retrieve("batch_1"))


async def read_anthropic(provider: Provider, *values: dict[str, Any], limit: int | None = None) -> list[Any]:
    """Read the results of a message batch; only some, when there is a limit."""
    provider.will(answer(MESSAGES), lines(*values, kind="application/x-jsonl"))
    batches = provider.client("anthropic").messages.batches
    return await items(await now(batches.results("msgbatch_1")), limit)


async def test_openai_results_cost_the_batch_rate_for_whom_the_batch_was_created(provider: Provider) -> None:
    entries = Entries()
    with instrumented(destinations=[entries]) as telemetry:
        await create_openai(provider, tenant="acme")
        await retrieve(provider)
        provider.will(lines(line("a", CHAT), line("b", CHAT | {"id": "chatcmpl-2"})))
        with genledger.attribution(tenant="the-worker") as _:
            content = await now(provider.client("openai").files.content("file-out"))
        assert [json.loads(one)["custom_id"] for one in content.text.splitlines()] == ["a", "b"]
        first, second = entries.results
        assert first.attribution.tenant == second.attribution.tenant == "acme"
        assert first.attribution.tags == ("nightly",)
        for entry in (first, second):
            assert entry.operation == "chat"
            assert entry.response_model == "gpt-4.1-mini-2025-04-14"
            assert entry.outcome == "success"
            assert entry.cost is not None
            assert entry.cost.amount == pytest.approx(PAID)
            assert entry.started_ns == 1790000000 * 10**9
        assert second.response_id == "chatcmpl-2"
        assert (first.trace_id, first.span_id) != (second.trace_id, second.span_id)
        assert [span.name for span in telemetry.spans] == ["batch"] * 3
        for span in telemetry.spans:
            assert (span.attributes or {})["genledger.batch.id"] == "batch_1"
            assert not any(name.startswith(("gen_ai.usage", "genledger.cost")) for name in span.attributes or ())
        assert_clean(telemetry.spans, telemetry.metrics, telemetry.logs)
        assert not telemetry.complaints.texts


async def test_results_count_once_however_often_and_however_they_are_read(provider: Provider) -> None:
    entries = Entries()
    reply = lines(line("a", CHAT))
    with instrumented(destinations=[entries]):
        await create_openai(provider, tenant="acme")
        await retrieve(provider)
        files = provider.client("openai").files
        provider.will(reply)
        await now(files.content("file-out"))
        with pytest.deprecated_call():
            assert "chatcmpl-1" in await now(files.retrieve_content("file-out"))
        raw = await now(files.with_raw_response.content("file-out"))
        assert b"chatcmpl-1" in raw.content
        async with Within(files.with_streaming_response.content("file-out")) as streamed:
            assert b"chatcmpl-1" in await now(streamed.read())
        assert len(entries.results) == 1


@pytest.mark.parametrize("way", ["retrieve_content", "raw", "streaming"])
async def test_every_way_of_reading_a_file_counts(provider: Provider, way: str) -> None:
    entries = Entries()
    with instrumented(destinations=[entries]):
        await create_openai(provider, tenant="acme")
        await retrieve(provider)
        files = provider.client("openai").files
        provider.will(lines(line("a", CHAT), line("b", CHAT)))
        if way == "retrieve_content":
            with pytest.deprecated_call():
                await now(files.retrieve_content("file-out"))
        elif way == "raw":
            await now(files.with_raw_response.content("file-out"))
        else:
            async with Within(files.with_streaming_response.content("file-out")) as streamed:
                await items(streamed.iter_lines())
        assert [entry.attribution.tenant for entry in entries.results] == ["acme", "acme"]


async def test_another_process_knows_for_whom_and_what_has_been_counted(provider: Provider, ledger: Path) -> None:
    with instrumented():
        await create_openai(provider, tenant="acme")
        await retrieve(provider)
    entries = Entries()
    with instrumented(destinations=[entries]):
        provider.will(lines(line("a", CHAT)))
        await now(provider.client("openai").files.content("file-out"))
        assert [entry.attribution.tenant for entry in entries.results] == ["acme"]
    again = Entries()
    with instrumented(destinations=[again]):
        await now(provider.client("openai").files.content("file-out"))
        assert again.results == []


async def test_requests_that_failed_cost_nothing_and_say_why(provider: Provider) -> None:
    entries = Entries()
    failed = {"error": {"code": "model_not_found", "message": "No such model."}}
    with instrumented(destinations=[entries]):
        await create_openai(provider, tenant="acme")
        await retrieve(provider)
        provider.will(
            lines(
                line("a", failed, 404),
                line("b", {"error": {"code": None, "message": "Slow down."}}, 429),
                line("c", error={"code": "batch_expired", "message": "Too late."}),
            )
        )
        await now(provider.client("openai").files.content("file-err"))
        found = [(entry.outcome, entry.error_type) for entry in entries.results]
        assert found == [("error", "model_not_found"), ("rate_limited", "429"), ("timeout", "batch_expired")]
        assert {(entry.cost, entry.unpriced) for entry in entries.results} == {(None, None)}


async def test_embeddings_and_responses_are_what_they_are(provider: Provider) -> None:
    entries = Entries()
    embedded = {
        "object": "list",
        "model": "text-embedding-3-small",
        "data": [{"object": "embedding", "index": 0, "embedding": [0.5]}],
        "usage": {"prompt_tokens": 1_000_000, "total_tokens": 1_000_000},
    }
    responded = openai_format.response() | {"model": "gpt-4.1-mini-2025-04-14"}
    with instrumented(destinations=[entries]):
        await create_openai(provider, tenant="acme")
        await retrieve(provider)
        provider.will(lines(line("a", embedded), line("b", responded)))
        await now(provider.client("openai").files.content("file-out"))
        vectors, response = entries.results
        assert vectors.operation == "embeddings"
        assert vectors.cost is not None
        assert vectors.cost.amount == pytest.approx(0.01)  # OpenAI: 0.01 USD per million in batches
        assert response.operation == "chat"
        assert response.cost is not None


async def test_other_files_are_no_results(provider: Provider, telemetry: Telemetry) -> None:
    provider.will(lines(line("a", CHAT)))
    content = await now(provider.client("openai").files.content("file-else"))
    assert b"chatcmpl-1" in content.content
    assert genledger.flush(30)
    assert not telemetry.spans


async def test_a_batch_of_unknown_origin_belongs_to_who_deals_with_it(provider: Provider) -> None:
    entries = Entries()
    with instrumented(destinations=[entries]), genledger.attribution(tenant="reader"):
        await retrieve(provider)
        provider.will(lines(line("a", CHAT)))
        await now(provider.client("openai").files.content("file-out"))
        assert [entry.attribution.tenant for entry in entries.results] == ["reader"]


async def test_anthropic_results_cost_half_for_whom_the_batch_was_created(provider: Provider) -> None:
    entries = Entries()
    with instrumented(destinations=[entries]) as telemetry:
        provider.will(answer(MESSAGES))
        with genledger.attribution(tenant="acme"):
            batches = provider.client("anthropic").messages.batches
            await now(batches.create(requests=[{"custom_id": "a", "params": anthropic_format.ASK}]))
        found = await read_anthropic(provider, message("a"), message("b"))
        assert [one.custom_id for one in found] == ["a", "b"]
        provider.will(answer(anthropic_format.message()))
        await now(provider.client("anthropic").messages.create(**anthropic_format.ASK))
        live, *results = sorted(entries.results, key=lambda entry: entry.duration_s == 0)
        assert live.cost is not None
        for entry in results:
            assert entry.attribution.tenant == "acme"
            assert entry.cost is not None
            # Anthropic's price list: batches are half the price.
            assert entry.cost.amount == pytest.approx(live.cost.amount / 2)
        ids = {(span.attributes or {}).get("genledger.batch.id") for span in telemetry.spans if span.name == "batch"}
        assert ids == {"msgbatch_1"}
        assert_clean(telemetry.spans, telemetry.metrics, telemetry.logs)


async def test_anthropic_results_that_did_not_succeed_are_not_billed(provider: Provider) -> None:
    entries = Entries()
    error = {"type": "error", "error": {"type": "invalid_request_error", "message": "No."}}
    with instrumented(destinations=[entries]):
        await read_anthropic(
            provider, message("a", type="errored", error=error), message("b", type="canceled"),
            message("c", type="expired"),
        )  # fmt: skip
        found = [(entry.outcome, entry.error_type, entry.cost, entry.unpriced) for entry in entries.results]
    assert found == [
        ("error", "invalid_request_error", None, None),
        ("cancelled", "canceled", None, None),
        ("timeout", "expired", None, None),
    ]


async def test_results_stay_lazy_and_what_was_left_unread_counts_when_it_is_read(provider: Provider) -> None:
    entries = Entries()
    held = asyncio.Event() if provider.asynchronous else RuntimeError("read too early")
    both = b"".join(json.dumps(message(name)).encode() + b"\n" for name in "ab")
    with instrumented(destinations=[entries]) as telemetry:
        batches = provider.client("anthropic").messages.batches
        provider.will(
            answer(MESSAGES), Reply(200, {"content-type": "application/x-jsonl"}, [both[:-9], held, both[-9:]])
        )
        results = await now(batches.results("msgbatch_1"))
        assert [found.custom_id for found in await items(results, 1)] == ["a"]
        await now(results.close())
        assert [entry.operation for entry in entries.results] == ["chat"]
        outcomes = [(span.attributes or {})["genledger.outcome"] for span in telemetry.spans]
        assert outcomes == ["success", "cancelled"]
        assert len(await read_anthropic(provider, message("a"), message("b"))) == 2
        assert len(entries.results) == 2


async def test_without_a_ledger_file_the_process_remembers(provider: Provider, tmp_path: Path) -> None:
    entries = Entries()
    (tmp_path / "in the way").touch()
    with instrumented(destinations=[entries], ledger=str(tmp_path / "in the way" / "ledger.db")):
        await create_openai(provider, tenant="acme")
        await retrieve(provider)
        provider.will(lines(line("a", CHAT)))
        for _ in range(2):
            await now(provider.client("openai").files.content("file-out"))
        assert [entry.attribution.tenant for entry in entries.results] == ["acme"]


async def test_lines_that_are_none_are_passed_over(provider: Provider) -> None:
    entries = Entries()
    garbage = b'{"custom_id": 7}\n[]\nnull\n{"custom_id": "x", "response": 3}\n{"custom_id": "a"\n\xff\n'
    with instrumented(destinations=[entries]):
        await create_openai(provider, tenant="acme")
        await retrieve(provider)
        payload = garbage + json.dumps(line("a", CHAT)).encode()
        provider.will(Reply(200, {"content-type": "application/octet-stream"}, [payload]))
        content = await now(provider.client("openai").files.content("file-out"))
        assert content.content == payload
        assert [entry.outcome for entry in entries.results if entry.cost is not None] == ["success"]
