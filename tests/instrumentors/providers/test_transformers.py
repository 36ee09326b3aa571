"""Transformers on tiny models."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import genledger
from genledger.budgets import BudgetExceeded
from genledger_semconv.checker import assert_clean

from ..telemetry import Telemetry, attributes_of, instrumented
from ..tiny_models import WORDS, save

transformers = pytest.importorskip("transformers")

PROMPT = "the cat sat"


@pytest.fixture
def telemetry() -> Iterator[Telemetry]:
    with instrumented(libraries=["transformers"]) as telemetry:
        yield telemetry
        assert_clean(telemetry.spans, telemetry.metrics, telemetry.logs)
        assert not telemetry.open.spans
        assert not telemetry.complaints.other


@pytest.fixture
def capturing() -> Iterator[Telemetry]:
    with instrumented(libraries=["transformers"], capture_content="span") as telemetry:
        yield telemetry
        assert_clean(telemetry.spans, telemetry.metrics, telemetry.logs, capture_content=True)
        assert not telemetry.complaints.other


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A decoder that never ends a text by itself, and does not generate the padding token."""
    sizes = {"n_embd": 8, "n_layer": 1, "n_head": 2, "n_positions": 64}
    config = transformers.GPT2Config(vocab_size=len(WORDS), bos_token_id=2, eos_token_id=None, pad_token_id=0, **sizes)
    model = transformers.GPT2LMHeadModel(config)
    model.generation_config.suppress_tokens = [0]
    return save(model, tmp_path_factory.mktemp("models") / "tiny-gpt")


@pytest.fixture(scope="module")
def model(folder: Path) -> Any:
    return transformers.AutoModelForCausalLM.from_pretrained(folder)


@pytest.fixture(scope="module")
def tokenizer(folder: Path) -> Any:
    return transformers.AutoTokenizer.from_pretrained(folder)


@pytest.fixture(scope="module")
def pipeline(folder: Path) -> Any:
    return transformers.pipeline("text-generation", str(folder), device="cpu")


def test_a_generation_counts_the_tokens_of_its_tensors(model: Any, tokenizer: Any, telemetry: Telemetry) -> None:
    asked = tokenizer([PROMPT, "the"], return_tensors="pt", padding=True, return_token_type_ids=False)
    with genledger.attribution(tenant="acme"):
        found = model.generate(**asked, max_new_tokens=5, do_sample=False)
    assert found.shape == (2, 8)
    attributes = telemetry.attributes
    assert telemetry.span.name == "text_completion tiny-gpt"
    assert telemetry.span.kind.name == "INTERNAL"
    assert attributes["gen_ai.provider.name"] == "transformers"
    assert attributes["genledger.device"] == "cpu"
    assert attributes["gen_ai.request.max_tokens"] == 5
    assert attributes["gen_ai.usage.input_tokens"] == 4
    assert attributes["gen_ai.usage.output_tokens"] == 10
    assert attributes["gen_ai.response.finish_reasons"] == ("length", "length")
    assert attributes["genledger.cost.unpriced"] == "unknown_provider"
    assert attributes["genledger.tenant.id"] == "acme"


def test_a_text_that_ends_early_is_counted_to_its_end(model: Any, tokenizer: Any, telemetry: Telemetry) -> None:
    asked = tokenizer(PROMPT, return_tensors="pt", return_token_type_ids=False)
    first = int(model.generate(**asked, max_new_tokens=1, do_sample=False)[0, -1])
    telemetry.clear()
    model.generate(**asked, max_new_tokens=5, do_sample=False, eos_token_id=first, pad_token_id=first)
    assert telemetry.attributes["gen_ai.usage.output_tokens"] == 1
    assert telemetry.attributes["gen_ai.response.finish_reasons"] == ("stop",)


def test_an_encoders_prompt_is_not_in_the_result(tmp_path: Path, telemetry: Telemetry) -> None:
    sizes = {"d_model": 8, "d_kv": 4, "d_ff": 8, "num_layers": 1, "num_heads": 2, "decoder_start_token_id": 0}
    config = transformers.T5Config(vocab_size=len(WORDS), eos_token_id=None, pad_token_id=0, **sizes)
    model = transformers.T5ForConditionalGeneration(config)
    found = model.generate(input_ids=model.dummy_inputs["input_ids"][:1] % 5 + 4, max_new_tokens=4, do_sample=False)
    assert found.shape == (1, 5)
    generated = found[0, 1:].tolist()
    while generated and generated[-1] == 0:  # what fills it up
        generated.pop()
    assert telemetry.attributes["gen_ai.usage.output_tokens"] == len(generated)
    assert telemetry.attributes["gen_ai.usage.input_tokens"] == model.dummy_inputs["input_ids"].shape[1]


def test_a_pipeline_is_one_span_with_what_its_generations_count(pipeline: Any, telemetry: Telemetry) -> None:
    found = pipeline([PROMPT, "the"], max_new_tokens=3, do_sample=False)
    assert len(found) == 2
    attributes = telemetry.attributes
    assert telemetry.span.name == "text_completion tiny-gpt"
    assert attributes["gen_ai.usage.input_tokens"] == 4
    assert attributes["gen_ai.usage.output_tokens"] == 6
    assert attributes["gen_ai.request.max_tokens"] == 3


def test_a_conversation_is_a_chat_with_its_content_when_asked_for(pipeline: Any, capturing: Telemetry) -> None:
    chat = [{"role": "user", "content": PROMPT}]
    found = pipeline(chat, max_new_tokens=2, do_sample=False)
    assert chat == [{"role": "user", "content": PROMPT}]
    attributes = capturing.attributes
    assert capturing.span.name == "chat tiny-gpt"
    assert PROMPT in attributes["gen_ai.input.messages"]
    assert found[0]["generated_text"][-1]["content"].strip() in attributes["gen_ai.output.messages"]


def test_a_pipeline_over_a_generator_stays_lazy_and_has_a_call_for_each_generation(
    pipeline: Any, telemetry: Telemetry
) -> None:
    lazy = pipeline((text for text in (PROMPT, "the")), max_new_tokens=2, do_sample=False)
    assert not telemetry.spans
    assert type(lazy).__name__ == "PipelineIterator"
    assert len(list(lazy)) == 2
    assert [attributes_of(span)["gen_ai.usage.input_tokens"] for span in telemetry.spans] == [3, 1]


def test_a_pipeline_that_embeds_counts_its_texts(folder: Path, telemetry: Telemetry) -> None:
    transformers.pipeline("feature-extraction", str(folder), device="cpu")([PROMPT, "the"])
    assert telemetry.span.name == "embeddings tiny-gpt"
    assert telemetry.attributes["genledger.usage.item"] == 2


def test_a_pipeline_that_classifies_is_no_call(tmp_path: Path, telemetry: Telemetry) -> None:
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    config = transformers.BertConfig(vocab_size=len(WORDS), **sizes)
    folder = save(transformers.BertForSequenceClassification(config), tmp_path / "tiny-bert")
    transformers.pipeline("text-classification", str(folder), device="cpu")(PROMPT)
    assert telemetry.spans == ()


def test_a_stream_in_a_thread_of_its_own_is_timed_and_belongs_to_who_started_it(
    model: Any, tokenizer: Any, telemetry: Telemetry
) -> None:
    asked = tokenizer(PROMPT, return_tensors="pt", return_token_type_ids=False)
    streamer = transformers.TextIteratorStreamer(tokenizer, skip_prompt=True, timeout=60)
    options = {**asked, "max_new_tokens": 4, "do_sample": False, "streamer": streamer}
    with genledger.attribution(tenant="acme"):
        thread = threading.Thread(target=model.generate, kwargs=options)
        thread.start()
    text = "".join(streamer)
    thread.join(60)
    assert len(text.split()) == 4
    attributes = telemetry.attributes
    assert attributes["gen_ai.request.stream"] is True
    assert attributes["gen_ai.response.time_to_first_chunk"] > 0
    assert attributes["gen_ai.usage.output_tokens"] == 4
    assert attributes["genledger.tenant.id"] == "acme"


def test_an_error_is_the_librarys_own(model: Any, telemetry: Telemetry) -> None:
    with pytest.raises(Exception, match="max_new_tokens"):
        model.generate(max_new_tokens=-1)
    assert telemetry.attributes["genledger.outcome"] == "error"


def test_budgets_refuse_and_limit(model: Any, tokenizer: Any, tmp_path: Path) -> None:
    prices, rules = tmp_path / "prices.toml", tmp_path / "rules.toml"
    prices.write_text('[[price]]\nprovider="transformers"\nper_million={input=1, output=1}\n')
    asked = tokenizer(PROMPT, return_tensors="pt", return_token_type_ids=False)
    limit = '[[budget]]\nname="small"\nusd=0.00000001\nper="day"\n'
    rules.write_text(limit)
    given = {"libraries": ["transformers"], "budgets": str(rules), "budget_store": "memory:", "prices": str(prices)}
    with instrumented(**given), pytest.raises(BudgetExceeded):
        model.generate(**asked, max_new_tokens=5)
    rules.write_text(limit + 'at_limit="degrade"\ndegrade = { max_output_tokens = 2 }\n')
    with instrumented(**given) as telemetry:
        assert model.generate(**asked, max_new_tokens=5, do_sample=False).shape == (1, 5)
        assert telemetry.attributes["gen_ai.request.max_tokens"] == 2
