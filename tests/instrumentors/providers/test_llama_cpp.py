"""llama-cpp-python on a tiny model with random weights, in a file that the tests write."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import genledger
from genledger import pricing
from genledger.budgets import BudgetExceeded
from genledger_semconv.checker import assert_clean

from ..telemetry import Telemetry, attributes_of, instrumented

llama_cpp = pytest.importorskip("llama_cpp")

PROMPT = "the cat"
MESSAGES = [{"role": "user", "content": PROMPT}]
TEMPLATE = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
SIZE = 32


@pytest.fixture
def telemetry() -> Iterator[Telemetry]:
    with instrumented(libraries=["llama-cpp-python"]) as telemetry:
        yield telemetry
        assert_clean(telemetry.spans, telemetry.metrics, telemetry.logs)
        assert not telemetry.open.spans
        assert not telemetry.complaints.other


@pytest.fixture
def capturing() -> Iterator[Telemetry]:
    with instrumented(libraries=["llama-cpp-python"], capture_content="span") as telemetry:
        yield telemetry
        assert_clean(telemetry.spans, telemetry.metrics, telemetry.logs, capture_content=True)
        assert not telemetry.complaints.other


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of one layer, whose tokens are bytes and the letters of the alphabet."""
    import numpy
    from gguf import GGUFWriter, TokenType

    path = tmp_path_factory.mktemp("models") / "tiny.gguf"
    letters = [*map(chr, range(ord("a"), ord("z") + 1)), "▁"]
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *letters]
    types = [TokenType.UNKNOWN, TokenType.CONTROL, TokenType.CONTROL, *[TokenType.BYTE] * 256]
    types += [TokenType.NORMAL] * len(letters)
    writer = GGUFWriter(path, "llama")
    writer.add_context_length(256)
    writer.add_embedding_length(SIZE)
    writer.add_block_count(1)
    writer.add_feed_forward_length(SIZE)
    writer.add_head_count(2)
    writer.add_head_count_kv(2)
    writer.add_rope_dimension_count(SIZE // 2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores([0.0] * len(tokens))
    writer.add_token_types(types)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_chat_template(TEMPLATE)
    random = numpy.random.default_rng(1)

    def tensor(name: str, *shape: int) -> None:
        writer.add_tensor(name, random.normal(0, 0.1, shape).astype(numpy.float32))

    tensor("token_embd.weight", len(tokens), SIZE)
    tensor("output.weight", len(tokens), SIZE)
    for name in ("output_norm", "blk.0.attn_norm", "blk.0.ffn_norm"):
        writer.add_tensor(f"{name}.weight", numpy.ones(SIZE, dtype=numpy.float32))
    for name in ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"):
        tensor(f"blk.0.{name}.weight", SIZE, SIZE)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture(scope="module")
def model(path: Path) -> Iterator[Any]:
    model = llama_cpp.Llama(str(path), n_ctx=256, n_threads=1, verbose=False, seed=1)
    yield model
    model.close()


OPTIONS: dict[str, Any] = {"max_tokens": 5, "logit_bias": dict.fromkeys(range(259), -100.0)}
"""Five letters: neither the token that ends a text, nor bytes, of which several make a character."""


@pytest.mark.parametrize("name", ["create_completion", "__call__"])
def test_a_completion_is_one_span_with_its_usage(model: Any, telemetry: Telemetry, name: str) -> None:
    with genledger.attribution(tenant="acme"):
        found = getattr(model, name)(PROMPT, **OPTIONS)
    assert type(found) is dict
    assert found["model"].endswith("/tiny.gguf")
    attributes = telemetry.attributes
    assert telemetry.span.name == "text_completion tiny"
    assert telemetry.span.kind.name == "INTERNAL"
    assert attributes["gen_ai.provider.name"] == "llama_cpp"
    assert attributes["gen_ai.response.model"] == "tiny"
    assert attributes["gen_ai.usage.input_tokens"] == found["usage"]["prompt_tokens"]
    assert attributes["gen_ai.usage.output_tokens"] == found["usage"]["completion_tokens"] == 5
    assert attributes["gen_ai.response.finish_reasons"] == ("length",)
    assert attributes["genledger.cost.unpriced"] == "unknown_provider"
    assert attributes["genledger.tenant.id"] == "acme"


def test_a_chat_is_one_span_with_its_content_when_asked_for(model: Any, capturing: Telemetry) -> None:
    model.create_chat_completion(MESSAGES, **OPTIONS)
    assert capturing.span.name == "chat tiny"
    assert PROMPT in capturing.attributes["gen_ai.input.messages"]
    assert capturing.attributes["gen_ai.usage.output_tokens"] == 5


def test_a_stream_counts_what_was_read_and_generated(model: Any, telemetry: Telemetry) -> None:
    whole = model.create_chat_completion(MESSAGES, **OPTIONS)
    stream = model.create_chat_completion(MESSAGES, stream=True, **OPTIONS)
    assert type(stream).__name__ == "generator"
    list(stream)
    first, second = map(attributes_of, telemetry.spans)
    assert second["gen_ai.usage.input_tokens"] == first["gen_ai.usage.input_tokens"] == whole["usage"]["prompt_tokens"]
    assert second["gen_ai.usage.output_tokens"] == 5
    assert second["gen_ai.response.time_to_first_chunk"] > 0
    assert second["gen_ai.response.model"] == "tiny"
    assert "genledger.usage.estimated" not in second


def test_a_stream_that_is_dropped_counts_what_came(model: Any, telemetry: Telemetry) -> None:
    stream = model.create_completion(PROMPT, stream=True, **{**OPTIONS, "max_tokens": 50})
    next(stream)
    del stream
    gc.collect()
    attributes = telemetry.attributes
    assert attributes["genledger.outcome"] == "cancelled"
    assert 0 < attributes["gen_ai.usage.output_tokens"] < 50


def test_embeddings_are_one_span(path: Path, telemetry: Telemetry) -> None:
    model = llama_cpp.Llama(str(path), n_ctx=256, n_threads=1, verbose=False, embedding=True)
    found = model.create_embedding(["the", "cat"])
    model.embed("the")
    model.close()
    first, second = map(attributes_of, telemetry.spans)
    assert {span.name for span in telemetry.spans} == {"embeddings tiny"}
    assert first["gen_ai.usage.input_tokens"] == found["usage"]["prompt_tokens"]
    assert (first["genledger.usage.item"], second["genledger.usage.item"]) == (2, 1)


def test_prices_by_the_token_and_by_the_hour(model: Any, telemetry: Telemetry) -> None:
    for rates in ({"per_million": {"input": 1.0, "output": 2.0}}, {"per_hour": 36.0}):
        remove = pricing.override(provider="llama-cpp-python", model="tiny", **rates)
        try:
            model.create_completion(PROMPT, **OPTIONS)
        finally:
            remove()
    tokens, hours = map(attributes_of, telemetry.spans)
    assert tokens["genledger.cost.amount"] == pytest.approx(tokens["gen_ai.usage.input_tokens"] * 1e-6 + 5 * 2e-6)
    assert hours["genledger.cost.amount"] == pytest.approx(hours["genledger.usage.device_second"] * 0.01)


def test_an_error_is_the_librarys_own(model: Any, telemetry: Telemetry) -> None:
    with pytest.raises(ValueError, match="exceed context window"):
        model.create_completion("cat " * 400)
    assert telemetry.attributes["genledger.outcome"] == "error"


def test_budgets_refuse_and_limit(model: Any, tmp_path: Path) -> None:
    prices, rules = tmp_path / "prices.toml", tmp_path / "rules.toml"
    prices.write_text('[[price]]\nprovider="llama_cpp"\nper_million={input=1, output=1}\n')
    limit = '[[budget]]\nname="small"\nusd=0.00000001\nper="day"\n'
    rules.write_text(limit)
    given: dict[str, Any] = {
        "libraries": ["llama-cpp-python"],
        "budgets": str(rules),
        "budget_store": "memory:",
        "prices": str(prices),
    }
    with instrumented(**given), pytest.raises(BudgetExceeded):
        model.create_completion(PROMPT, **OPTIONS)
    rules.write_text(limit + 'at_limit="degrade"\ndegrade = { max_output_tokens = 2 }\n')
    with instrumented(**given) as telemetry:
        assert model.create_completion(PROMPT, **OPTIONS)["usage"]["completion_tokens"] == 2
        assert telemetry.attributes["gen_ai.request.max_tokens"] == 2
