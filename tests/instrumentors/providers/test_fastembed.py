"""FastEmbed on tiny models: an ONNX file that looks vectors or scores up."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import genledger
from genledger import pricing
from genledger_semconv.checker import assert_clean

from ..telemetry import Telemetry, attributes_of, instrumented
from ..tiny_models import WORDS, tokenizer

fastembed = pytest.importorskip("fastembed")

TEXTS = ["the cat", "a cat sat on the mat", "mat"]


@pytest.fixture
def telemetry() -> Iterator[Telemetry]:
    with instrumented(libraries=["fastembed"]) as telemetry:
        yield telemetry
        assert_clean(telemetry.spans, telemetry.metrics, telemetry.logs)
        assert not telemetry.open.spans
        assert not telemetry.complaints.other


def save(folder: Path, *, scores: bool) -> Path:
    """Save a model: a vector for each word, or the sum of a number for each word as a score."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    numpy = pytest.importorskip("numpy")
    table = numpy.linspace(-1, 1, len(WORDS) * 4, dtype=numpy.float32).reshape(len(WORDS), 4)
    if scores:
        table = table[:, :1]
    nodes = [helper.make_node("Gather", ["table", "input_ids"], ["vectors"])]
    out = helper.make_tensor_value_info("vectors", TensorProto.FLOAT, ["batch", "tokens", 4])
    if scores:
        nodes.append(helper.make_node("ReduceSum", ["vectors", "axes"], ["logits"], keepdims=0))
        out = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 1])
    given = [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "tokens"])
        for name in ("input_ids", "attention_mask")
    ]
    constants = [numpy_helper.from_array(table, "table")]
    if scores:
        constants.append(numpy_helper.from_array(numpy.array([1], dtype=numpy.int64), "axes"))
    graph = helper.make_graph(nodes, "tiny", given, [out], constants)
    opset = [helper.make_opsetid("", 17)]
    folder.mkdir()
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), folder / "model.onnx")
    tokenizer().save(str(folder / "tokenizer.json"))
    (folder / "config.json").write_text(json.dumps({"pad_token_id": 0}))
    (folder / "tokenizer_config.json").write_text(json.dumps({"model_max_length": 64, "pad_token": "[PAD]"}))
    (folder / "special_tokens_map.json").write_text(json.dumps({"pad_token": "[PAD]", "unk_token": "[UNK]"}))
    return folder


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Any:
    from fastembed.common.model_description import ModelSource, PoolingType

    folder = save(tmp_path_factory.mktemp("models") / "text", scores=False)
    source = ModelSource(hf="tests/tiny")
    fastembed.TextEmbedding.add_custom_model(
        "tests/tiny", PoolingType.MEAN, True, source, dim=4, model_file="model.onnx"
    )
    return fastembed.TextEmbedding("tests/tiny", specific_model_path=str(folder))


@pytest.fixture(scope="module")
def scorer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    from fastembed.common.model_description import ModelSource
    from fastembed.rerank.cross_encoder import TextCrossEncoder

    folder = save(tmp_path_factory.mktemp("models") / "cross", scores=True)
    TextCrossEncoder.add_custom_model("tests/cross", ModelSource(hf="tests/cross"), model_file="model.onnx")
    return TextCrossEncoder("tests/cross", specific_model_path=str(folder))


@pytest.mark.parametrize("name", ["embed", "query_embed", "passage_embed"])
def test_embeddings_are_one_span_when_they_have_been_read(encoder: Any, telemetry: Telemetry, name: str) -> None:
    with genledger.attribution(tenant="acme"):
        lazy = getattr(encoder, name)(TEXTS)
    assert not telemetry.spans
    assert [vector.shape for vector in lazy] == [(4,)] * 3
    attributes = telemetry.attributes
    assert telemetry.span.name == "embeddings tests/tiny"
    assert attributes["gen_ai.provider.name"] == "fastembed"
    assert attributes["gen_ai.usage.input_tokens"] == 9
    assert attributes["genledger.usage.item"] == 3
    assert attributes["genledger.cost.unpriced"] == "unknown_provider"
    assert attributes["genledger.tenant.id"] == "acme"


def test_documents_are_taken_one_batch_after_another_as_without(encoder: Any, telemetry: Telemetry) -> None:
    taken = []

    def documents() -> Iterator[str]:
        for text in TEXTS:
            taken.append(text)
            yield text

    lazy = iter(encoder.embed(documents(), batch_size=1))
    next(lazy)
    assert len(taken) == 1
    list(lazy)
    assert telemetry.attributes["genledger.usage.item"] == 3


def test_what_is_not_read_is_not_counted(encoder: Any, telemetry: Telemetry) -> None:
    lazy = iter(encoder.embed(TEXTS, batch_size=1))
    next(lazy)
    del lazy
    attributes = telemetry.attributes
    assert attributes["genledger.outcome"] == "cancelled"
    assert attributes["genledger.usage.item"] == 1
    assert attributes["gen_ai.usage.input_tokens"] == 2


def test_what_is_never_read_is_no_call(encoder: Any, telemetry: Telemetry) -> None:
    lazy = encoder.embed(TEXTS)
    del lazy
    assert telemetry.spans == ()


def test_a_rerank_is_one_span_with_its_documents(scorer: Any, telemetry: Telemetry) -> None:
    assert len(list(scorer.rerank("the cat", ["a mat", "sat on a mat"]))) == 2
    assert len(list(scorer.rerank_pairs([("the cat", "a mat")]))) == 1
    rerank, pairs = map(attributes_of, telemetry.spans)
    assert {span.name for span in telemetry.spans} == {"rerank tests/cross"}
    assert (rerank["genledger.usage.item"], pairs["genledger.usage.item"]) == (2, 1)
    assert rerank["gen_ai.usage.input_tokens"] == 10


def test_a_price_per_thousand_texts_is_a_price_per_item(encoder: Any, telemetry: Telemetry) -> None:
    remove = pricing.override(provider="fastembed", per_unit={"item": 0.02 / 1000})
    try:
        list(encoder.embed(TEXTS))
    finally:
        remove()
    assert telemetry.attributes["genledger.cost.amount"] == pytest.approx(3 * 0.02 / 1000)


def test_an_error_is_the_librarys_own(encoder: Any, telemetry: Telemetry) -> None:
    with pytest.raises(TypeError):
        list(encoder.embed([1]))
    assert telemetry.attributes["genledger.outcome"] == "error"
