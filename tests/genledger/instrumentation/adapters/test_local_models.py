"""Models that run in this process: what is one call, what is counted, and whose the device's time is."""

from __future__ import annotations

import gc
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest
from opentelemetry.context import get_current
from tests.instrumentors.telemetry import Telemetry, attributes_of, instrumented

import genledger
from genledger import pricing
from genledger.instrumentation.adapters.local_models import (
    Items,
    LocalMethod,
    LocalModels,
    in_process,
    item_count,
    short_name,
)
from genledger.instrumentation.patching import Patcher
from genledger_instrumentors.formats.cohere_documents import RERANK
from genledger_instrumentors.formats.openai_chat import COMPLETIONS
from genledger_instrumentors.formats.openai_embeddings import EMBEDDINGS
from genledger_semconv.checker import assert_clean

MODULE = "tinymodels"
GENERATES = in_process(COMPLETIONS._replace(accumulate=None, limit=("max_new_tokens",)))


class Model:
    """A library's model: every method that the application calls does its work by `cut`."""

    path = "/models/org/tiny"
    device = "cuda:0"

    def cut(self, text: str) -> list[str]:
        return text.split()

    def embed(self, texts: list[str], meeting: Callable[[], object] = lambda: None) -> list[int]:
        meeting()
        return [len(self.cut(text)) for text in texts]

    def rank(self, query: str, documents: list[str]) -> list[int]:
        return self.embed([f"{query} {document}" for document in documents])

    def embed_lazily(self, texts: Iterator[str]) -> Iterator[int]:
        for text in texts:
            yield len(self.cut(text))

    def generate(self, prompt: str, max_new_tokens: int = 3, streamer: Any = None) -> str:
        words = self.cut(prompt)
        if streamer is not None:
            streamer.put(words)
        for _ in range(max_new_tokens):
            if streamer is not None:
                streamer.put("word")
        return "word " * max_new_tokens

    def pipe(self, prompts: list[str]) -> list[str]:
        return [self.generate(prompt) for prompt in prompts]


def generated(model: Any, given: Any, result: str) -> dict[str, Any]:
    return {"usage": {"prompt_tokens": len(given["prompt"].split()), "completion_tokens": len(result.split())}}


METHODS = {
    "embed": LocalMethod(in_process(EMBEDDINGS), answer=lambda model, given, result: item_count(len(result))),
    "rank": LocalMethod(in_process(RERANK), answer=lambda model, given, result: item_count(len(result))),
    "embed_lazily": LocalMethod(in_process(EMBEDDINGS._replace(accumulate=Items))),
    "generate": LocalMethod(GENERATES, answer=generated, streamer="streamer", part=True),
    "pipe": LocalMethod(GENERATES, body=lambda model, given: {"prompt": given["prompts"]}),
}


@pytest.fixture(params=[True, False], ids=["with a device", "without a device"])
def model(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Model]:
    module = ModuleType(MODULE)
    kind = type("Model", (), dict(vars(Model)))
    monkeypatch.setattr(module, "Model", kind, raising=False)
    monkeypatch.setitem(sys.modules, MODULE, module)
    adapter = LocalModels(
        library="tinymodels",
        provider="tiny_models",
        methods={(MODULE, f"Model.{name}"): method for name, method in METHODS.items()},
        parts={(MODULE, "Model.cut"): lambda given, result: {"prompt_tokens": len(result)}},
        model=lambda model: model.path,
        device=lambda model: model.device if request.param else None,
    )
    patcher = Patcher(adapter.patches())
    patcher.apply()
    yield kind()
    patcher.restore()


@pytest.fixture
def telemetry() -> Iterator[Telemetry]:
    with instrumented() as telemetry:
        yield telemetry
        assert_clean(telemetry.spans, telemetry.metrics, telemetry.logs)
        assert not telemetry.open.spans
        assert not telemetry.complaints.other


@pytest.fixture
def price() -> Iterator[Callable[..., None]]:
    removals = []

    def add(**fields: Any) -> None:
        removals.append(pricing.override(provider="tiny_models", **fields))

    yield add
    for remove in removals:
        remove()


def test_an_operation_is_one_span_with_its_items_and_the_tokens_that_its_parts_counted(
    model: Model, telemetry: Telemetry
) -> None:
    before = get_current()
    with genledger.attribution(tenant="acme"):
        assert model.embed(["a cat", "the mat"]) == [2, 2]
    assert get_current() is before
    attributes = telemetry.attributes
    assert telemetry.span.name == "embeddings tiny"
    assert attributes["gen_ai.provider.name"] == "tiny_models"
    assert attributes["gen_ai.usage.input_tokens"] == 4
    assert attributes["genledger.usage.item"] == 2
    assert attributes["genledger.usage.device_second"] >= 0
    assert attributes["genledger.tenant.id"] == "acme"
    assert attributes["genledger.cost.unpriced"] == "unknown_provider"
    assert "server.address" not in attributes


def test_the_librarys_own_methods_within_an_operation_are_parts_of_it(model: Model, telemetry: Telemetry) -> None:
    model.rank("cat", ["a mat", "the hat"])
    assert telemetry.span.name == "rerank tiny"
    assert telemetry.attributes["gen_ai.usage.input_tokens"] == 6
    assert telemetry.attributes["genledger.usage.item"] == 2


def test_what_the_generations_within_an_operation_count_is_its_usage(model: Model, telemetry: Telemetry) -> None:
    model.pipe(["a cat", "the mat"])
    assert telemetry.span.name == "text_completion tiny"
    assert telemetry.attributes["gen_ai.usage.output_tokens"] == 6


def test_an_answer_that_counts_its_tokens_goes_before_what_its_parts_counted(
    model: Model, telemetry: Telemetry
) -> None:
    model.generate("a cat")
    assert telemetry.attributes["gen_ai.usage.input_tokens"] == 2
    assert telemetry.attributes["gen_ai.usage.output_tokens"] == 3


def test_a_lazy_result_is_counted_to_its_end(model: Model, telemetry: Telemetry) -> None:
    with genledger.attribution(tenant="maker"):
        lazy = model.embed_lazily(iter(["a cat", "the mat", "a hat"]))
    assert not telemetry.spans
    assert list(lazy) == [2, 2, 2]
    assert telemetry.attributes["genledger.usage.item"] == 3
    assert telemetry.attributes["gen_ai.usage.input_tokens"] == 6
    assert telemetry.attributes["genledger.tenant.id"] == "maker"


def test_a_lazy_result_that_is_dropped_ends_with_what_was_read(model: Model, telemetry: Telemetry) -> None:
    before = get_current()
    lazy = iter(model.embed_lazily(iter(["a cat", "the mat", "a hat"])))
    assert next(lazy) == 2
    assert get_current() is before
    del lazy
    gc.collect()
    assert telemetry.attributes["genledger.outcome"] == "cancelled"
    assert telemetry.attributes["genledger.usage.item"] == 1


def test_the_time_between_the_items_of_a_lazy_result_is_not_the_devices(model: Model, telemetry: Telemetry) -> None:
    for _ in model.embed_lazily(iter(["a cat", "the mat"])):
        time.sleep(0.2)
    (span,) = telemetry.spans
    assert span.start_time is not None
    assert span.end_time is not None
    assert attributes_of(span)["genledger.usage.device_second"] < (span.end_time - span.start_time) / 1e9 - 0.3


def test_calls_that_share_a_device_have_its_time_together(model: Model, telemetry: Telemetry) -> None:
    barrier = threading.Barrier(4)

    def meet() -> None:
        barrier.wait(30)
        time.sleep(0.1)

    threads = [threading.Thread(target=model.embed, args=(["a cat"], meet)) for _ in range(4)]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    elapsed = time.perf_counter() - started
    shares = [attributes_of(span)["genledger.usage.device_second"] for span in telemetry.spans]
    assert len(shares) == 4
    assert 0.1 <= sum(shares) <= elapsed


def test_a_call_that_fails_leaves_the_device(model: Model, telemetry: Telemetry) -> None:
    def fail() -> None:
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        model.embed(["a cat"], fail)
    model.embed(["a cat"])
    failed, after = telemetry.spans
    assert attributes_of(failed)["genledger.outcome"] == "error"
    assert after.start_time is not None
    assert after.end_time is not None
    alone = attributes_of(after)["genledger.usage.device_second"]
    assert 0 < alone <= (after.end_time - after.start_time) / 1e9


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_child_process_does_not_share_the_device_with_a_call_of_its_parent(
    model: Model, telemetry: Telemetry
) -> None:
    runs, ends = threading.Event(), threading.Event()

    def meet() -> None:
        runs.set()
        ends.wait(60)

    thread = threading.Thread(target=model.embed, args=(["a cat"], meet))
    thread.start()
    assert runs.wait(60)
    child = os.fork()
    if child == 0:
        failed = True
        try:
            model.embed(["a cat"], lambda: time.sleep(0.1))
            failed = telemetry.attributes["genledger.usage.device_second"] < 0.1
        finally:
            os._exit(failed)
    status = os.waitpid(child, 0)[1]
    ends.set()
    thread.join(60)
    assert status == 0


@pytest.mark.parametrize(
    ("rates", "expected"),
    [
        ({"per_million": {"input": 1.0}}, 4e-6),
        ({"per_unit": {"item": 0.001}}, 0.002),
        ({"free": True}, 0.0),
        ({"per_hour": 0.0}, 0.0),
    ],
    ids=["by the token", "by the item", "free on purpose", "an hour that costs nothing"],
)
def test_a_price_goes_by_any_of_the_measures_alone(
    model: Model, telemetry: Telemetry, price: Callable[..., None], rates: dict[str, Any], expected: float
) -> None:
    price(**rates)
    model.embed(["a cat", "the mat"])
    assert telemetry.attributes["genledger.cost.amount"] == pytest.approx(expected)
    assert "genledger.cost.unpriced" not in telemetry.attributes
    assert "genledger.cost.notes" not in telemetry.attributes


def test_a_price_per_hour_is_that_of_the_devices_time(
    model: Model, telemetry: Telemetry, price: Callable[..., None]
) -> None:
    price(model="tiny", per_hour=3600.0)
    model.generate("a cat")
    attributes = telemetry.attributes
    assert attributes["genledger.cost.amount"] == pytest.approx(attributes["genledger.usage.device_second"])
    assert attributes["genledger.cost.source"] == "override"


def test_a_streamer_is_given_the_same_and_its_tokens_are_timed(model: Model, telemetry: Telemetry) -> None:
    class Streamer:
        def __init__(self) -> None:
            self.given: list[Any] = []

        def put(self, value: Any) -> None:
            self.given.append(value)

    streamer = Streamer()
    model.generate("a cat", 2, streamer)
    assert streamer.given == [["a", "cat"], "word", "word"]
    attributes = telemetry.attributes
    assert attributes["gen_ai.request.stream"] is True
    assert attributes["gen_ai.response.time_to_first_chunk"] > 0
    assert attributes["gen_ai.usage.output_tokens"] == 2


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("org/tiny", "org/tiny"),
        ("/data/models/tiny", "tiny"),
        ("./tiny", "tiny"),
        ("/data/tiny.Q4_0.gguf", "tiny.Q4_0"),
        ("", None),
        (None, None),
    ],
)
def test_a_model_in_a_folder_has_the_folders_name(given: Any, name: str | None) -> None:
    assert short_name(given) == name
