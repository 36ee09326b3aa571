"""FastEmbed, 0.7 to 0.x: embeddings and reranks by ONNX models in this process. https://github.com/qdrant/fastembed

Every method is a generator: nothing is done before its first item is read. Tokens are counted where the library cuts
texts into them; models that run in worker processes (`parallel`) are counted by their items alone.
"""

from __future__ import annotations

from typing import Any

from genledger.instrumentation.adapters.local_models import Given, Items, LocalMethod, LocalModels, in_process
from genledger.instrumentation.instrumentor import Instrumentor

from ..formats.cohere_documents import RERANK
from ..formats.openai_embeddings import EMBEDDINGS

_EMBED = LocalMethod(in_process(EMBEDDINGS._replace(accumulate=Items)))
_RERANK = LocalMethod(in_process(RERANK._replace(accumulate=Items)))
_TEXTS = ("embed", "query_embed", "passage_embed")
_METHODS = {
    ("fastembed.text.text_embedding", "TextEmbedding"): dict.fromkeys(_TEXTS, _EMBED),
    ("fastembed.sparse.sparse_text_embedding", "SparseTextEmbedding"): dict.fromkeys(_TEXTS, _EMBED),
    (
        "fastembed.late_interaction.late_interaction_text_embedding",
        "LateInteractionTextEmbedding",
    ): dict.fromkeys(_TEXTS, _EMBED),
    ("fastembed.image.image_embedding", "ImageEmbedding"): {"embed": _EMBED},
    (
        "fastembed.late_interaction_multimodal.late_interaction_multimodal_embedding",
        "LateInteractionMultimodalEmbedding",
    ): dict.fromkeys(("embed_text", "embed_image"), _EMBED),
    (
        "fastembed.rerank.cross_encoder.text_cross_encoder",
        "TextCrossEncoder",
    ): dict.fromkeys(("rerank", "rerank_pairs"), _RERANK),
}
_CUT = (
    ("fastembed.text.onnx_text_model", "OnnxTextModel.tokenize"),
    ("fastembed.rerank.cross_encoder.onnx_text_model", "OnnxCrossEncoderModel.tokenize"),
)


def tokens(given: Given, encodings: Any) -> dict[str, int]:
    """Return how many tokens texts were cut into, without padding."""
    return {"prompt_tokens": sum(sum(one.attention_mask) for one in encodings)}


class FastembedInstrumentor(Instrumentor):
    """Records the calls of the `fastembed` package."""

    library = "fastembed"
    distribution = "fastembed"
    supports = "fastembed >= 0.7, < 1"
    client = LocalModels(
        library="fastembed",
        provider="fastembed",
        methods={
            (module, f"{kind}.{name}"): method
            for (module, kind), methods in _METHODS.items()
            for name, method in methods.items()
        },
        parts=dict.fromkeys(_CUT, tokens),
        model=lambda model: model.model_name,
    )
