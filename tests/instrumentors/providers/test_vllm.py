"""vLLM's engines: stand-ins with its methods, that return outputs of its documented shape. It needs a GPU to run.

https://docs.vllm.ai/en/latest/api/vllm/outputs.html
"""

from __future__ import annotations

import asyncio
import copy
import enum
import sys
from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

import genledger
from genledger import pricing
from genledger.budgets import BudgetExceeded
from genledger_semconv.checker import assert_clean

from ..telemetry import Telemetry, attributes_of, instrumented

MODEL = "org/tiny"


class Kind(enum.Enum):
    CUMULATIVE = 0
    DELTA = 1


@dataclass
class SamplingParams:
    max_tokens: int = 16
    temperature: float = 1.0
    n: int = 1
    output_kind: Kind = Kind.CUMULATIVE

    def clone(self) -> SamplingParams:
        return copy.copy(self)


@dataclass
class PoolingParams:
    task: str | None = None


@dataclass
class CompletionOutput:
    index: int
    text: str
    token_ids: list[int]
    finish_reason: str | None = None


@dataclass
class RequestOutput:
    prompt_token_ids: list[int] | None
    outputs: list[CompletionOutput]
    finished: bool = True
    num_cached_tokens: int | None = None


@dataclass
class PoolingRequestOutput:
    prompt_token_ids: list[int]
    outputs: Any = None
    finished: bool = True
    num_cached_tokens: int = 0


@dataclass
class Engine:
    vllm_config: Any = field(
        default_factory=lambda: SimpleNamespace(
            model_config=SimpleNamespace(model="/models/tiny", served_model_name=MODEL),
            device_config=SimpleNamespace(device_type="cuda"),
            parallel_config=SimpleNamespace(world_size=2),
        )
    )


class LLM:
    """As `vllm.LLM`: an offline call is a batch."""

    def __init__(self) -> None:
        self.llm_engine = Engine()
        self.sent: list[Any] = []

    def generate(self, prompts: Any, sampling_params: Any = None, *, use_tqdm: bool = True) -> list[RequestOutput]:
        self.sent.append(sampling_params)
        number = sampling_params.max_tokens if sampling_params is not None else 16
        return [
            RequestOutput([1, 2, 3], [CompletionOutput(0, "word " * number, [7] * number, "length")], True, 2)
            for _ in ([prompts] if isinstance(prompts, str) else prompts)
        ]

    def chat(self, messages: Any, sampling_params: Any = None, use_tqdm: bool = True) -> list[RequestOutput]:
        return self.generate(["prompt"], sampling_params, use_tqdm=use_tqdm)

    def encode(self, prompts: Any, *, pooling_task: str | None = None) -> list[PoolingRequestOutput]:
        return [PoolingRequestOutput([1, 2, 3]) for _ in prompts]

    def embed(self, prompts: Any) -> list[PoolingRequestOutput]:
        return self.encode(prompts, pooling_task="embed")

    def score(self, data_1: Any, data_2: Any, /) -> list[PoolingRequestOutput]:
        return [PoolingRequestOutput([1, 2]) for _ in data_2]


class AsyncLLM(Engine):
    """As `vllm.v1.engine.async_llm.AsyncLLM`: an output for each token, with all that came or with what is new."""

    async def generate(
        self, prompt: Any, sampling_params: SamplingParams, request_id: str
    ) -> AsyncGenerator[RequestOutput, None]:
        for number in range(1, sampling_params.max_tokens + 1):
            await asyncio.sleep(0)
            came = 1 if sampling_params.output_kind is Kind.DELTA else number
            last = number == sampling_params.max_tokens
            made = [
                CompletionOutput(at, "word " * came, [7] * came, "stop" if last else None)
                for at in range(sampling_params.n)
            ]
            yield RequestOutput([1, 2, 3], made, last, 1)

    async def encode(
        self, prompt: Any, pooling_params: PoolingParams, request_id: str
    ) -> AsyncGenerator[PoolingRequestOutput, None]:
        yield PoolingRequestOutput([1, 2, 3])


@pytest.fixture(autouse=True)
def vllm(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The package, with classes that no other test has patched."""
    package = ModuleType("vllm")
    for name, kind in (("vllm.entrypoints.llm", LLM), ("vllm.v1.engine.async_llm", AsyncLLM)):
        module = ModuleType(name)
        fresh = type(kind.__name__, kind.__bases__, dict(vars(kind)))
        setattr(module, kind.__name__, fresh)
        setattr(package, kind.__name__, fresh)
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setitem(sys.modules, "vllm", package)
    return package


@pytest.fixture
def telemetry(vllm: Any) -> Iterator[Telemetry]:
    with instrumented(libraries=["vllm"]) as telemetry:
        yield telemetry
        assert_clean(telemetry.spans, telemetry.metrics, telemetry.logs)
        assert not telemetry.open.spans
        assert not telemetry.complaints.other


@pytest.fixture
def capturing(vllm: Any) -> Iterator[Telemetry]:
    with instrumented(libraries=["vllm"], capture_content="span") as telemetry:
        yield telemetry
        assert_clean(telemetry.spans, telemetry.metrics, telemetry.logs, capture_content=True)
        assert not telemetry.complaints.other


def test_an_offline_batch_is_one_span_with_all_its_tokens(vllm: Any, telemetry: Telemetry) -> None:
    params = SamplingParams(max_tokens=5, temperature=0.0)
    with genledger.attribution(tenant="acme"):
        found = vllm.LLM().generate(["a", "b"], params)
    assert len(found) == 2
    attributes = telemetry.attributes
    assert telemetry.span.name == f"text_completion {MODEL}"
    assert attributes["gen_ai.provider.name"] == "vllm"
    assert attributes["genledger.device"] == "cuda"
    assert attributes["gen_ai.request.max_tokens"] == 5
    assert attributes["gen_ai.request.temperature"] == 0.0
    assert attributes["gen_ai.usage.input_tokens"] == 6
    assert attributes["gen_ai.usage.cache_read.input_tokens"] == 4
    assert attributes["gen_ai.usage.output_tokens"] == 10
    assert attributes["gen_ai.response.finish_reasons"] == ("length", "length")
    assert attributes["genledger.cost.unpriced"] == "unknown_provider"
    assert attributes["genledger.tenant.id"] == "acme"


def test_a_chat_that_generates_is_one_span_with_its_content(vllm: Any, capturing: Telemetry) -> None:
    vllm.LLM().chat([{"role": "user", "content": "Where?"}], SamplingParams(max_tokens=2))
    attributes = capturing.attributes
    assert capturing.span.name == f"chat {MODEL}"
    assert "Where?" in attributes["gen_ai.input.messages"]
    assert "word word" in attributes["gen_ai.output.messages"]
    assert attributes["gen_ai.usage.output_tokens"] == 2


def test_embeddings_and_scores(vllm: Any, telemetry: Telemetry) -> None:
    llm = vllm.LLM()
    llm.embed(["a", "b"])
    llm.score("Where?", ["London", "Paris"])
    llm.encode(["a"], pooling_task="classify")
    embed, score = telemetry.spans
    assert (embed.name, score.name) == (f"embeddings {MODEL}", f"rerank {MODEL}")
    assert attributes_of(embed)["gen_ai.usage.input_tokens"] == 6
    assert attributes_of(score)["genledger.usage.item"] == 2


@pytest.mark.parametrize("kind", list(Kind), ids=str)
async def test_a_stream_counts_its_tokens_once_whether_outputs_add_up_or_not(
    vllm: Any, capturing: Telemetry, kind: Kind
) -> None:
    params = SamplingParams(max_tokens=4, n=2, output_kind=kind)
    outputs = [output async for output in vllm.AsyncLLM().generate("a prompt", params, "1")]
    assert len(outputs) == 4
    attributes = capturing.attributes
    assert attributes["gen_ai.request.stream"] is True
    assert attributes["gen_ai.request.choice.count"] == 2
    assert attributes["gen_ai.usage.input_tokens"] == 3
    assert attributes["gen_ai.usage.output_tokens"] == 8
    assert attributes["gen_ai.response.finish_reasons"] == ("stop", "stop")
    assert attributes["gen_ai.response.time_to_first_chunk"] > 0
    assert attributes["gen_ai.output.messages"].count("word word word word ") == 2


async def test_a_stream_that_is_closed_counts_what_came(vllm: Any, telemetry: Telemetry) -> None:
    stream = vllm.AsyncLLM().generate("a prompt", SamplingParams(max_tokens=9), "1")
    await anext(stream)
    await stream.aclose()
    attributes = telemetry.attributes
    assert attributes["genledger.outcome"] == "cancelled"
    assert attributes["gen_ai.usage.output_tokens"] == 1


async def test_the_asynchronous_engine_embeds(vllm: Any, telemetry: Telemetry) -> None:
    engine = vllm.AsyncLLM()
    assert len([one async for one in engine.encode("a", PoolingParams("embed"), "1")]) == 1
    assert len([one async for one in engine.encode("a", PoolingParams("classify"), "2")]) == 1
    assert telemetry.span.name == f"embeddings {MODEL}"
    assert telemetry.attributes["gen_ai.usage.input_tokens"] == 3


def test_a_price_per_hour_counts_every_device_of_an_engine(vllm: Any, telemetry: Telemetry) -> None:
    remove = pricing.override(provider="vllm", per_hour=36.0)
    try:
        vllm.LLM().generate("a")
    finally:
        remove()
    attributes, span = telemetry.attributes, telemetry.span
    assert span.start_time is not None
    assert span.end_time is not None
    assert 0 < attributes["genledger.usage.device_second"] <= 2 * (span.end_time - span.start_time) / 1e9
    assert attributes["genledger.cost.amount"] == pytest.approx(attributes["genledger.usage.device_second"] * 0.01)


async def test_requests_that_an_engine_answers_together_share_its_time(vllm: Any, telemetry: Telemetry) -> None:
    async def ask(engine: Any, name: str) -> None:
        async for _ in engine.generate("a", SamplingParams(max_tokens=4), name):
            await asyncio.sleep(0.02)

    engine = vllm.AsyncLLM()
    await asyncio.gather(*(ask(engine, str(number)) for number in range(4)))
    began = min(span.start_time or 0 for span in telemetry.spans)
    ended = max(span.end_time or 0 for span in telemetry.spans)
    total = sum(attributes_of(span)["genledger.usage.device_second"] for span in telemetry.spans)
    assert 0 < total <= 2 * (ended - began) / 1e9


def test_budgets_refuse_and_limit_a_copy_of_the_options(vllm: Any, tmp_path: Path) -> None:
    prices, rules = tmp_path / "prices.toml", tmp_path / "rules.toml"
    prices.write_text('[[price]]\nprovider="vllm"\nper_million={input=1, output=1}\n')
    limit = '[[budget]]\nname="small"\nusd=0.00000001\nper="day"\n'
    given: dict[str, Any] = {
        "libraries": ["vllm"],
        "budgets": str(rules),
        "budget_store": "memory:",
        "prices": str(prices),
    }
    llm, params = vllm.LLM(), SamplingParams(max_tokens=9)
    rules.write_text(limit)
    with instrumented(**given), pytest.raises(BudgetExceeded):
        llm.generate("a", params)
    assert llm.sent == []
    rules.write_text(limit + 'at_limit="degrade"\ndegrade = { max_output_tokens = 2 }\n')
    with instrumented(**given) as telemetry:
        llm.generate("a", params)
        assert telemetry.attributes["gen_ai.request.max_tokens"] == 2
    assert llm.sent[0].max_tokens == 2
    assert params.max_tokens == 9
