"""Tell a model's name from that of another product with the same beginning.

The price table matches by beginnings and parts of names. A date, a version or `-latest` behind them names the same
model; `-lite`, `-nano` or a further version number names another one, whose price is not known.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo

_SAME_MODEL = re.compile(
    r"""(?x)
    (?: [-_@:/.\ ]? (?:
        \d{4}-\d{2}-\d{2} | \d{2}-\d{4} | \d{2}-\d{2}
        | \d{8} | \d{6} | \d{3,4}                               # dates and three-digit revisions
        | v[01] (?:\.\d+)* | (?<=\d{8}-)v\d+ | (?<=:)\d          # Bedrock's and Vertex's versions
        | latest | preview | exp | experimental | default | stable
    ) )* $""",
    re.IGNORECASE,
)

_DATE = (3, 4, 6, 8)
"""How many digits a date or a revision has."""


def is_name_of(model: ModelInfo, name: str) -> bool:
    """Return whether a name that the table matches to a model is that model's own."""
    name = name.lower()
    behind = _behind(model.match, name)
    identity = model.id.lower()
    if name.startswith(identity):
        behind = _shorter(behind, name[len(identity) :])
    if behind is not None and name.startswith("ft:"):
        behind = behind.partition(":")[0]  # what follows is the owner's name for it
    return behind is None or _SAME_MODEL.match(behind) is not None or _is_sized(model, behind)


def _is_sized(model: ModelInfo, behind: str) -> bool:
    """Whether a name is that of a family with one of its sizes, all of which are free: `gemma-3-27b-it`."""
    free = not isinstance(model.prices, list) and not any(vars(model.prices).values())
    return free and re.match(r"-?\d+b\b", behind) is not None


def _behind(clause: Any, name: str) -> str | None:
    """Return the rest of a name after the part that a clause of the table matches; `None` without a match."""
    for kind in ("or_", "and_"):
        if (clauses := getattr(clause, kind, None)) is not None:
            found: str | None = None
            for one in clauses:
                found = _shorter(found, _behind(one, name))
            return found
    if not clause.is_match(name):
        return None
    for kind in ("starts_with", "contains"):
        if (part := getattr(clause, kind, None)) is not None:
            behind = name.rpartition(part.lower())[2] if kind == "contains" else name[len(part) :]
            within = re.search(r"\d*$", part)
            date = behind.isdigit() and within is not None and within[0] != "" and len(within[0] + behind) in _DATE
            return "" if date else behind  # the part ends within a date
    if (pattern := getattr(clause, "regex", None)) is not None:
        match = re.search(pattern, name)
        return name[match.end() :] if match is not None else ""
    return ""


def _shorter(one: str | None, other: str | None) -> str | None:
    if one is None or other is None:
        return one if other is None else other
    return min(one, other, key=len)
