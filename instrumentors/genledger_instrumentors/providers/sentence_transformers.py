"""Sentence Transformers, 4.1 to 6.x: embeddings and reranks by models in this process.

Library: https://github.com/huggingface/sentence-transformers. `encode_query` and `encode_document` call `encode`, and
`rank` calls `predict`. Tokens are counted where the library cuts texts into them; the cross-encoders of versions
before 6 do that by themselves.
"""

from __future__ import annotations

from typing import Any

from genledger.engine.operation import integer
from genledger.instrumentation.adapters.local_models import Given, LocalMethod, LocalModels, in_process, item_count
from genledger.instrumentation.instrumentor import Instrumentor
from genledger.pricing.getters import field
from genledger_semconv import attributes as A

from ..formats.cohere_documents import RERANK
from ..formats.openai_embeddings import EMBEDDINGS

_PACKAGE = "sentence_transformers"
_EMBED = in_process(
    EMBEDDINGS._replace(fields={**EMBEDDINGS.fields, "truncate_dim": (A.GEN_AI_EMBEDDINGS_DIMENSION_COUNT, integer)})
)
_RERANK = in_process(RERANK._replace(fields={**RERANK.fields, "top_k": (A.GEN_AI_RETRIEVAL_TOP_K, integer)}))


def inputs(given: Given) -> Any:
    """Return what is embedded or scored, by whichever name the version has."""
    return next((given[name] for name in ("inputs", "sentences", "documents") if name in given), None)


def number(asked: Any) -> int:
    """Return how many inputs there are; a text, or a picture's fields, is one."""
    return 1 if isinstance(asked, (str, dict)) or not hasattr(asked, "__len__") else len(asked)


def embedded(model: Any, given: Given, result: Any) -> Any:
    """Return how many inputs were embedded."""
    return item_count(number(inputs(given)))


def scored(model: Any, given: Given, result: Any) -> Any:
    """Return how many pairs were scored: as many as there are scores."""
    return item_count(number(result) if getattr(result, "ndim", 1) else 1)


def tokens(given: Given, features: Any) -> dict[str, int]:
    """Return how many tokens texts were cut into, after truncation and without padding."""
    mask = features.get("attention_mask")
    if mask is not None:
        return {"prompt_tokens": int(mask.sum())}
    found = features.get("input_ids")
    return {} if found is None else {"prompt_tokens": int(found.numel())}


def name(model: Any) -> Any:
    """Return the name of a model: where its weights are from."""
    inner = getattr(model, "config", None)
    if inner is None:
        try:
            inner = model[0].auto_model.config
        except Exception:
            inner = None
    return field(inner, "_name_or_path") or field(field(model, "model_card_data"), "base_model")


def device(model: Any) -> str:
    """Return the device of a model."""
    return str(model.device)


_METHODS = {
    **{
        f"{kind}.encode": LocalMethod(_EMBED, answer=embedded)
        for kind in ("SentenceTransformer", "SparseEncoder", "MultiVectorEncoder")
    },
    "CrossEncoder.predict": LocalMethod(_RERANK, answer=scored),
    "CrossEncoder.rank": LocalMethod(_RERANK, answer=embedded),
}
_CUT = (
    *("SentenceTransformer.preprocess", "SparseEncoder.preprocess", "MultiVectorEncoder.preprocess"),
    *("CrossEncoder.preprocess", "SentenceTransformer.tokenize"),
)


class SentenceTransformersInstrumentor(Instrumentor):
    """Records the calls of the `sentence-transformers` package."""

    library = "sentence-transformers"
    distribution = "sentence-transformers"
    supports = "sentence-transformers >= 4.1, < 7"
    client = LocalModels(
        library="sentence-transformers",
        provider=_PACKAGE,
        methods={(_PACKAGE, path): method for path, method in _METHODS.items()},
        parts={(_PACKAGE, path): tokens for path in _CUT},
        model=name,
        device=device,
    )
