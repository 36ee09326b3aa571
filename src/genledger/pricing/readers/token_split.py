"""Totals of tokens that include everything, split into exclusive buckets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from genledger.pricing.getters import Counts
from genledger.pricing.usage import NO_UNITS, Usage


class Media(NamedTuple):
    """Tokens that are no text; `audio` and `image` include their cached part."""

    audio: int = 0
    image: int = 0
    cached_audio: int = 0
    cached_image: int = 0
    audio_out: int = 0
    image_out: int = 0


TEXT_ONLY = Media()


def split(
    counts: Counts,
    given: int,
    generated: int,
    *,
    cache_read: int = 0,
    cache_write: int = 0,
    cache_write_1h: int = 0,
    reasoning: int = 0,
    media: Media = TEXT_ONLY,
    units: Mapping[str, float] = NO_UNITS,
) -> Usage:
    """Split two totals that include everything: cached tokens, reasoning, and every modality."""
    plain = media is TEXT_ONLY and not (cache_write or cache_write_1h or units)
    if plain and cache_read <= given and reasoning <= generated:  # what almost every answer is
        return Usage(given - cache_read, 0, 0, cache_read, 0, 0, 0, 0, generated - reasoning, reasoning, 0, 0, NO_UNITS)
    audio, image, cached_audio, cached_image, audio_out, image_out = media
    cache_read = counts.clamp(cache_read, given)
    cache_write_1h = counts.clamp(cache_write_1h, given - cache_read)
    cache_write = counts.clamp(cache_write, given - cache_read - cache_write_1h)
    audio = counts.clamp(audio, given)
    image = counts.clamp(image, given - audio)
    cached_audio = min(cached_audio, audio, cache_read)
    cached_image = min(cached_image, image, cache_read - cached_audio)
    audio -= cached_audio
    image -= cached_image
    # Where the provider does not say which modality was cached, tokens counted twice are cached media.
    twice = cache_read + cache_write + cache_write_1h + audio + image - given
    if twice > 0:
        moved = min(twice, audio, cache_read - cached_audio - cached_image)
        audio, cached_audio, twice = audio - moved, cached_audio + moved, twice - moved
        moved = min(twice, image, cache_read - cached_audio - cached_image)
        image, cached_image, twice = image - moved, cached_image + moved, twice - moved
        moved = min(twice, audio)
        audio, twice = audio - moved, twice - moved
        image -= min(twice, image)
    audio_out = counts.clamp(audio_out, generated)
    image_out = counts.clamp(image_out, generated - audio_out)
    reasoning = counts.clamp(reasoning, generated - audio_out - image_out)
    return Usage(
        input=given - cache_read - cache_write - cache_write_1h - audio - image,
        input_audio=audio,
        input_image=image,
        cache_read=cache_read - cached_audio - cached_image,
        cache_read_audio=cached_audio,
        cache_read_image=cached_image,
        cache_write=cache_write,
        cache_write_1h=cache_write_1h,
        output=generated - reasoning - audio_out - image_out,
        reasoning=reasoning,
        output_audio=audio_out,
        output_image=image_out,
        units=units,
    )
