"""Sentence Transformers on tiny models."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import genledger
from genledger import pricing
from genledger_semconv.checker import assert_clean

from ..telemetry import Telemetry, instrumented
from ..tiny_models import WORDS, save

sentence_transformers = pytest.importorskip("sentence_transformers")

TEXTS = ["the cat", "a cat sat on the mat"]


@pytest.fixture
def telemetry() -> Iterator[Telemetry]:
    with instrumented(libraries=["sentence-transformers", "transformers"]) as telemetry:
        yield telemetry
        assert_clean(telemetry.spans, telemetry.metrics, telemetry.logs)
        assert not telemetry.open.spans
        assert not telemetry.complaints.other


def config(**options: Any) -> Any:
    from transformers import BertConfig

    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    return BertConfig(vocab_size=len(WORDS), **sizes, **options)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Any:
    from transformers import BertModel

    folder = save(BertModel(config()), tmp_path_factory.mktemp("models") / "tiny-bert")
    return sentence_transformers.SentenceTransformer(str(folder), device="cpu")


@pytest.fixture(scope="module")
def scorer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    from transformers import BertForSequenceClassification

    folder = save(BertForSequenceClassification(config(num_labels=1)), tmp_path_factory.mktemp("models") / "tiny-cross")
    return sentence_transformers.CrossEncoder(str(folder), device="cpu")


@pytest.mark.parametrize("name", ["encode", "encode_query", "encode_document"])
def test_embeddings_are_one_span_with_tokens_and_texts(encoder: Any, telemetry: Telemetry, name: str) -> None:
    if not hasattr(encoder, name):
        pytest.skip("not in this version")
    with genledger.attribution(tenant="acme"):
        vectors = getattr(encoder, name)(TEXTS)
    assert type(vectors).__name__ == "ndarray"
    assert vectors.shape == (2, 8)
    attributes = telemetry.attributes
    assert telemetry.span.name == "embeddings tiny-bert"
    assert attributes["gen_ai.provider.name"] == "sentence_transformers"
    assert attributes["genledger.device"] == "cpu"
    assert attributes["gen_ai.usage.input_tokens"] == 8
    assert attributes["genledger.usage.item"] == 2
    assert attributes["genledger.cost.unpriced"] == "unknown_provider"
    assert attributes["genledger.tenant.id"] == "acme"


def test_padding_is_not_counted_and_batches_are_one_call(encoder: Any, telemetry: Telemetry) -> None:
    encoder.encode([*TEXTS, "mat"], batch_size=2)
    assert telemetry.attributes["gen_ai.usage.input_tokens"] == 9
    assert telemetry.attributes["genledger.usage.item"] == 3


def test_one_text_is_one_item(encoder: Any, telemetry: Telemetry) -> None:
    assert encoder.encode("a cat sat on the mat", convert_to_tensor=True).shape == (8,)
    assert telemetry.attributes["genledger.usage.item"] == 1


def test_a_price_per_hour_is_applied_to_the_time_that_encoding_took(encoder: Any, telemetry: Telemetry) -> None:
    remove = pricing.override(provider="sentence-transformers", model="tiny-*", per_hour=7.2)
    try:
        encoder.encode(TEXTS)
    finally:
        remove()
    attributes = telemetry.attributes
    assert attributes["genledger.usage.device_second"] > 0
    assert attributes["genledger.cost.amount"] == pytest.approx(attributes["genledger.usage.device_second"] * 0.002)


def test_a_rerank_is_one_span_with_its_documents(scorer: Any, telemetry: Telemetry) -> None:
    found = scorer.rank("the cat", ["a mat", "sat on a mat"], top_k=1)
    assert len(found) == 1
    attributes = telemetry.attributes
    assert telemetry.span.name == "rerank tiny-cross"
    assert attributes["gen_ai.retrieval.top_k"] == 1
    assert attributes["genledger.usage.item"] == 2
    if hasattr(scorer, "preprocess"):  # from 6 on
        assert attributes["gen_ai.usage.input_tokens"] == 10


def test_scored_pairs_are_a_rerank(scorer: Any, telemetry: Telemetry) -> None:
    scorer.predict([("the cat", "a mat"), ("the mat", "a cat")])
    scorer.predict(("the cat", "a mat"))
    two, one = (dict(span.attributes or {}) for span in telemetry.spans)
    assert (two["genledger.usage.item"], one["genledger.usage.item"]) == (2, 1)


def test_a_sparse_encoder_embeds(tmp_path: Path, telemetry: Telemetry) -> None:
    from transformers import BertForMaskedLM

    if not hasattr(sentence_transformers, "SparseEncoder"):
        pytest.skip("not in this version")
    folder = save(BertForMaskedLM(config()), tmp_path / "tiny-splade")
    telemetry.clear()
    sentence_transformers.SparseEncoder(str(folder), device="cpu").encode(TEXTS)
    assert telemetry.span.name == "embeddings tiny-splade"
    assert telemetry.attributes["gen_ai.usage.input_tokens"] == 8


def test_an_error_is_the_librarys_own(encoder: Any, telemetry: Telemetry) -> None:
    with pytest.raises(ValueError, match=r"batch_size|must not be zero"):
        encoder.encode(TEXTS, batch_size=0)
    assert telemetry.attributes["genledger.outcome"] == "error"
    assert "genledger.cost.amount" not in telemetry.attributes


def test_without_genledger_the_methods_are_the_librarys_own(encoder: Any) -> None:
    kind = sentence_transformers.SentenceTransformer
    before = kind.encode, kind.tokenize
    with instrumented(libraries=["sentence-transformers"]):
        assert kind.encode is not before[0]
    assert (kind.encode, kind.tokenize) == before
