"""Tables of the endpoints that the methods of an SDK send requests to."""

from __future__ import annotations

import re
from functools import cache
from typing import NamedTuple
from urllib.parse import unquote

from .plan import Kind
from .recordings import Recording


class Route(NamedTuple):
    """The method for one recorded request, what the path has before the endpoint, and the arguments in the path."""

    method: str
    kind: Kind
    prefix: str
    arguments: dict[str, str]


def find(table: str, recording: Recording) -> Route | str:
    """The route of a recorded request, or why there is none.

    Each line of `table` has the verb, the path, the method, and the method's kind where it is not `other`.
    """
    for verb, pattern, method, kind in _lines(table):
        match = pattern.fullmatch(recording.url.path)
        if verb == recording.method and match is not None:
            arguments = {name: unquote(value) for name, value in match.groupdict().items()}
            return Route(method, kind, match["prefix"], {k: v for k, v in arguments.items() if k != "prefix"})
    path = recording.url.path
    for family in ("/v1/videos/", "/pipeline/", "/router/v2/google/"):
        path = family + "…" if path.startswith(family) else path
    return f"no method of the SDK sends {recording.method} {path}"


@cache
def _lines(table: str) -> list[tuple[str, re.Pattern[str], str, Kind]]:
    lines = []
    for line in table.strip().splitlines():
        verb, path, method, *kind = line.split()
        pattern = "(?P<prefix>.*?)" + re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", path)
        lines.append((verb, re.compile(pattern), method, kind[0] if kind else "other"))
    return lines  # type: ignore[return-value]
