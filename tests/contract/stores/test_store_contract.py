"""What every instrumentor of a vector store promises, over its real engine in this process."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import Any

import numpy
import pytest
from opentelemetry.context import get_current
from opentelemetry.trace import SpanKind, StatusCode
from tests.contract.conftest import call, calls, recording
from tests.contract.stores.conftest import StoreCase
from tests.contract.stores.row import COLLECTION, FILTERED, TEXTS
from tests.instrumentors.provider import now
from tests.instrumentors.telemetry import Telemetry

import genledger


def everything(telemetry: Telemetry) -> str:
    """All that was recorded, as text."""
    return repr([(span.name, dict(span.attributes or {}), span.events) for span in telemetry.spans])


async def test_a_search_is_one_span_with_what_was_found(store_case: StoreCase) -> None:
    row, store = store_case.row, await store_case.filled()
    before = get_current()
    with recording(row) as telemetry:
        await store_case.search(store)
        (span,) = telemetry.spans
        assert span.name == f"retrieval {COLLECTION}"
        assert span.kind is SpanKind.CLIENT
        attributes = call(telemetry)
        assert attributes["gen_ai.operation.name"] == "retrieval"
        assert attributes["gen_ai.provider.name"] == attributes["db.system.name"] == row.system
        assert attributes["db.operation.name"] == row.search_name
        assert attributes["db.collection.name"] == attributes["gen_ai.data_source.id"] == COLLECTION
        assert attributes["gen_ai.retrieval.top_k"] == 2
        assert attributes["genledger.retrieval.results"] == 2
        assert attributes["genledger.outcome"] == "success"
        assert "genledger.retrieval.filtered" not in attributes
        assert "server.address" not in attributes
    assert get_current() is before


async def test_a_search_says_how_near_its_results_are(store_case: StoreCase) -> None:
    row, store = store_case.row, await store_case.filled()
    least, middle, greatest = row.distances
    with recording(row) as telemetry:
        await store_case.search(store, limit=3)
        attributes = call(telemetry)
        found = [attributes[f"{row.spread}.{name}"] for name in ("min", "max", "mean")]
        assert found == pytest.approx([least, greatest, (least + middle + greatest) / 3])


async def test_a_search_that_finds_nothing_says_so(store_case: StoreCase) -> None:
    row, store = store_case.row, await store_case.open()
    with recording(row) as telemetry:
        await store_case.search(store)
        attributes = call(telemetry)
        assert attributes["genledger.retrieval.results"] == 0
        assert f"{row.spread}.min" not in attributes


async def test_a_filter_is_noted_and_its_text_is_not(store_case: StoreCase) -> None:
    row, store = store_case.row, await store_case.filled()
    with recording(row) as telemetry:
        await store_case.search(store, filtered=True)
        attributes = call(telemetry)
        assert attributes["genledger.retrieval.filtered"] is True
        assert attributes["genledger.retrieval.results"] == 1
        assert FILTERED not in everything(telemetry)


async def test_a_write_is_one_span_with_how_much_is_written(store_case: StoreCase) -> None:
    row, store = store_case.row, await store_case.open()
    with recording(row) as telemetry:
        await store_case.write(store)
        (span,) = telemetry.spans
        assert span.name == f"{row.write_name} {COLLECTION}"
        attributes = call(telemetry)
        assert attributes["db.system.name"] == row.system
        assert attributes["db.operation.name"] == row.write_name
        assert attributes["db.collection.name"] == COLLECTION
        assert attributes["db.operation.batch.size"] == len(TEXTS)
        assert "gen_ai.operation.name" not in attributes


async def test_nothing_is_priced_or_counted_as_spend(store_case: StoreCase) -> None:
    with recording(store_case.row) as telemetry, genledger.attribution(tenant="acme"):
        await store_case.search(await store_case.filled())
        assert genledger.spend() == (0.0, 0, 0, 0)
        assert {attributes["genledger.tenant.id"] for attributes in calls(telemetry)} == {"acme"}
        assert "cost" not in everything(telemetry)
        assert "usage" not in everything(telemetry)


async def test_results_are_what_they_are_without_genledger(store_case: StoreCase) -> None:
    store = await store_case.filled()
    vector = numpy.zeros(2, dtype=numpy.float32)

    async def results() -> list[str]:
        return [
            repr(await store_case.search(store)),
            repr(await store_case.search(store, filtered=True)),
            repr(await store_case.search(store, vector=vector)),
        ]

    without = await results()
    with recording(store_case.row):
        assert await results() == without
    assert await results() == without


async def test_a_numpy_query_is_recorded_as_any_other(store_case: StoreCase) -> None:
    store = await store_case.filled()
    with recording(store_case.row, content=True) as telemetry:
        await store_case.search(store, vector=numpy.zeros(2, dtype=numpy.float32))
        attributes = call(telemetry)
        assert attributes["genledger.retrieval.results"] == 2
        assert "db.operation.batch.size" not in attributes


async def test_content_is_off_unless_asked_for(store_case: StoreCase) -> None:
    row = store_case.row
    with recording(row) as telemetry:
        store = await store_case.filled()
        await store_case.search(store)
        if row.ask is not None:
            await now(row.ask(store, "a question"))
        seen = everything(telemetry)
        assert not [text for text in (*TEXTS, "a question") if text in seen]


async def test_documents_are_recorded_when_asked_for(store_case: StoreCase) -> None:
    store = await store_case.filled()
    with recording(store_case.row, content=True) as telemetry:
        await store_case.search(store)
        found = call(telemetry)["gen_ai.retrieval.documents"]
        assert TEXTS[0] in found
        assert TEXTS[1] in found
        assert TEXTS[2] not in found


async def test_the_text_of_a_query_is_recorded_when_asked_for(store_case: StoreCase) -> None:
    row = store_case.row
    if row.ask is None:
        pytest.skip("embeds no text without a model")
    store = await store_case.filled()
    with recording(row, content=True) as telemetry:
        await now(row.ask(store, "a question"))
        assert call(telemetry)["gen_ai.retrieval.query.text"] == "a question"


async def test_an_error_is_the_applications_own_and_named_on_the_span(store_case: StoreCase) -> None:
    async def failure() -> tuple[type[BaseException], str]:
        store = await store_case.filled()
        with pytest.raises(Exception, match=r".") as raised:
            await store_case.search(store, gone=True)
        return type(raised.value), str(raised.value)[:30]  # an identifier may follow

    without = await failure()
    with recording(store_case.row) as telemetry:
        assert await failure() == without
        span = telemetry.spans[-1]
        attributes = calls(telemetry)[-1]
        assert attributes["genledger.outcome"] == "error"
        assert attributes["error.type"].endswith(without[0].__name__)
        assert span.status.status_code is StatusCode.ERROR


async def test_wrong_arguments_fail_as_they_do_without_genledger(store_case: StoreCase) -> None:
    store = await store_case.filled()

    async def failure() -> str:
        with pytest.raises(Exception, match=r".") as raised:
            await store_case.search(store, limit="many")  # type: ignore[arg-type]
        return type(raised.value).__name__

    without = await failure()
    with recording(store_case.row):
        assert await failure() == without


async def test_concurrent_searches_keep_their_own_attribution(store_case: StoreCase) -> None:
    store = await store_case.filled()
    with recording(store_case.row) as telemetry:

        async def one(number: int) -> None:
            with genledger.attribution(tenant=f"t{number}"):
                await store_case.search(store, limit=number + 1)

        await asyncio.gather(*(one(number) for number in range(3)))
        found = {(one["genledger.tenant.id"], one["gen_ai.retrieval.top_k"]) for one in calls(telemetry)}
        assert found == {("t0", 1), ("t1", 2), ("t2", 3)}


async def test_nothing_is_recorded_after_uninstrument(store_case: StoreCase) -> None:
    store = await store_case.filled()
    with recording(store_case.row) as telemetry:
        await store_case.search(store)
    await store_case.search(store)
    assert len(calls(telemetry)) == 1


def test_instrument_imports_no_store(store_case: StoreCase) -> None:
    module: Any = store_case.row.module
    program = f"import sys, genledger; genledger.instrument(destinations=[]); print({module!r} in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
