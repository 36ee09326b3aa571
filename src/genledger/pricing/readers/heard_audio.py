"""Audio that was transcribed, and what was asked for beside, in the units that each provider bills."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from genledger.pricing.getters import Counts, duration, field, items
from genledger.pricing.usage import NO_UNITS, Usage

_DEEPGRAM_INFO = ("summary_info", "topics_info", "intents_info", "sentiment_info")

_BY_THE_SECOND = {
    "deepgram": ("diarize", "diarize_model", "redact", "keyterm", "detect_entities"),
    "assemblyai": (
        *("speaker_labels", "entity_detection", "sentiment_analysis", "content_safety", "iab_categories"),
        *("redact_pii", "redact_pii_audio", "auto_chapters", "auto_highlights", "summarization", "keyterms_prompt"),
    ),
}
"""Fields of a request for what is charged beside a transcript, for each of its seconds.

https://deepgram.com/pricing, https://www.assemblyai.com/pricing
"""


_OFF: tuple[Any, ...] = (None, False, "false", "", [], ())


def heard(provider: str, request: object, seconds: float, unit: str = "second") -> Mapping[str, float]:
    """Return the seconds that were transcribed, and those of each feature that was asked for beside."""
    if not seconds:
        return NO_UNITS
    asked = (name for name in _BY_THE_SECOND.get(provider, ()) if field(request, name) not in _OFF)
    return {unit: seconds, **{f"{name}_second": seconds for name in asked}}


def deepgram(counts: Counts, body: object, request: object) -> Usage | None:
    """Deepgram: seconds of each channel that was transcribed, and the tokens of what analyzed the text.

    https://developers.deepgram.com/reference/speech-to-text/listen-pre-recorded
    """
    metadata = field(body, "metadata")
    analyses = [info for name in _DEEPGRAM_INFO if (info := field(metadata, name)) is not None]
    channels = sum(1 for _ in items(field(body, "results"), "channels")) or counts(metadata, "channels")
    seconds = (duration(field(metadata, "duration")) or 0.0) * max(channels, 1)
    if not (seconds or analyses):
        return None
    unit = "multilingual_second" if field(request, "language") == "multi" else "second"
    return Usage(
        input=sum(counts(info, "input_tokens") for info in analyses),
        output=sum(counts(info, "output_tokens") for info in analyses),
        units=heard("deepgram", request, seconds, unit),
    )
