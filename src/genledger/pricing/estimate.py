"""Token estimates, without a tokenizer or a download.

The text is cut where byte-pair tokenizers cut it (words, up to three digits, a space before them, punctuation, line
breaks), and each piece counts what it usually counts. Against the public o200k, cl100k, Claude 2 and DeepSeek
vocabularies this is within 12 % on English, code and JSON and within 20 % on Chinese and Japanese; other scripts are
rougher.
"""

from __future__ import annotations

import re
from math import ceil

_CHARACTERS_PER_TOKEN = 3.6
"""English prose has 4.3, Markdown 3.6, code 3.9 to 4.5, JSON 2.8."""

_PIECES = re.compile(
    r"(?P<encoded>[A-Za-z0-9+/=_-]{64,})"
    r"|(?P<word>[A-Za-z\u00c0-\u024f]+)"
    r"|(?P<digits>\d{1,3})"
    r"|(?P<gap> (?=\d))"
    r"|(?P<lines>\n\s*)"
    r"|(?P<marks>[^\sA-Za-z\d\u00c0-\U0010ffff]+)"
    r"|(?P<script>[\u0250-\u2e7f]+)"
    r"|(?P<hangul>[\uac00-\ud7af])"
    r"|(?P<ideograph>[\u2e80-\U0010ffff])"
)
_SAMPLE = 1_024
_SAMPLES = 8

_IDEOGRAPH = {"anthropic": 1.0, "deepseek": 0.6, "moonshotai": 0.6, "zhipuai": 0.6, "zai": 0.6}
"""Tokens per Chinese or Japanese character; 0.8 elsewhere, as in o200k and Gemini's vocabulary."""

_DENSER = {"anthropic": 1.07}
"""How many more tokens a provider's vocabulary needs for the same text than o200k."""


def estimate_tokens(text: str | int, provider: str = "", model: str = "") -> int:
    """Estimate the number of tokens of a text; at least 1 for a non-empty text.

    Pass the text itself if you have it. A number is a length in characters of English, code or JSON.
    `provider` and `model` select the vocabulary. Texts of more than 8,192 characters
    are estimated from eight samples.
    """
    if "claude" in model:
        provider = "anthropic"
    elif "deepseek" in model:
        provider = "deepseek"
    else:
        from genledger.pricing.names import canonical_provider

        provider = canonical_provider(provider)
    denser = _DENSER.get(provider, 1.0)
    if isinstance(text, int):
        return ceil(text / _CHARACTERS_PER_TOKEN * denser) if text > 0 else 0
    if not text:
        return 0
    ideograph = _IDEOGRAPH.get(provider, 0.8)
    length = len(text)
    if length <= _SAMPLE * _SAMPLES:
        return max(1, round(_count(text, ideograph) * denser))
    stride = (length - _SAMPLE) // (_SAMPLES - 1)
    seen = sum(_count(text[start : start + _SAMPLE], ideograph) for start in range(0, stride * _SAMPLES, stride))
    return max(1, round(seen / (_SAMPLE * _SAMPLES) * length * denser))


def _count(text: str, ideograph: float) -> float:
    total = 0.0
    for piece in _PIECES.finditer(text):
        size = piece.end() - piece.start()
        kind = piece.lastgroup
        if kind == "word":
            total += 1.0 if size <= 7 else size / 7
        elif kind == "marks":
            total += 1.0 if size <= 2 else size / 2.2
        elif kind == "encoded":
            total += size / 1.5
        elif kind == "script":
            total += max(1.0, size / 3.2)
        elif kind == "hangul":
            total += 0.65
        elif kind == "ideograph":
            total += ideograph
        else:
            total += 1.0
    return total
