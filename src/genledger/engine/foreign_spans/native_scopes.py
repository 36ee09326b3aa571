"""The scopes of libraries that record their own work: what their spans are in the conventions' words.

The rows are data and come from where the libraries are known: an entry point of the group `genledger_native_scopes`
names a sequence of them. They are read with the first span of another instrumentation.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache, lru_cache
from importlib.metadata import PackageNotFoundError, distribution
from types import MappingProxyType
from typing import Literal, NamedTuple

from genledger.engine.recorder import recorded_libraries
from genledger.engine.steps import Kind
from genledger.shared import internal_errors

GROUP = "genledger_native_scopes"
"""The entry point group of tables of native scopes."""

Role = Kind | Literal["hidden"]
"""What a span is: a step, or plumbing that our destinations do not show."""

_NONE: Mapping[str, str] = MappingProxyType({})


class Neighbour(NamedTuple):
    """What an instrumentation records that Genledger may record, too. While it does, our destinations have it once.

    Attributes:
        library: The library, by its name for users.
        spans: `calls`: of a client, around our calls, or made after one and dated back to before it. Any other is
            shown and priced. `steps`: of a framework, around our steps and calls. One that turns out to be a call of
            no client of ours is shown and priced. `copies`: made of what a library tells its callbacks, and not around
            anything. Never priced: what the library tells, our module prices where no client does.
    """

    library: str
    spans: Literal["calls", "steps", "copies"]


class NativeScope(NamedTuple):
    """One row: an instrumentation scope, and what to make of its spans.

    Attributes:
        scope: Its name. One that ends in `.*` stands for every scope below.
        roles: What spans are, by their names; `*` stands for the name of the agent, tool, workflow or task. The first
            that fits counts. A span that is not named stays as it is. Beside calls of ours, `hidden` spans are copies.
        attributes: Attributes in the library's words, and what the conventions call them.
        not_providers: What it gives as the provider though it is none: its own name.
        payloads: What the names of attributes begin with that hold content: not shown unless content is captured.
        payload_events: Names of events that do.
        meters: Its meters with `gen_ai.client.token.usage` and the like, which count the same calls and steps as ours.
        beside: What it records that Genledger may record, too.
    """

    scope: str
    roles: Mapping[str, Role] = _NONE  # type: ignore[assignment]
    attributes: Mapping[str, str] = _NONE
    not_providers: tuple[str, ...] = ()
    payloads: tuple[str, ...] = ()
    payload_events: tuple[str, ...] = ()
    meters: tuple[str, ...] = ()
    beside: Neighbour | None = None


class Named(NamedTuple):
    """What the name of a span says: its role, and the name of what runs."""

    role: Role
    name: str


def rows() -> Iterator[NativeScope]:
    """Yield every row of the installed tables; a table that cannot be read is reported, and left out."""
    try:
        points = distribution("genledger").entry_points.select(group=GROUP)
    except PackageNotFoundError:
        return
    for point in points:
        table: Sequence[NativeScope] = ()
        try:
            table = point.load()
        except Exception as error:
            internal_errors.report("reading a table of native scopes", error)
        yield from table


@cache
def _by_scope() -> Mapping[str, NativeScope]:
    return {row.scope: row for row in rows()}


@lru_cache(maxsize=1024)
def row_of(scope: str) -> NativeScope | None:
    """Return the row of a scope; `None` for one that no table has."""
    table = _by_scope()
    found = table.get(scope)
    while found is None and "." in scope:
        scope = scope.rpartition(".")[0]
        found = table.get(f"{scope}.*")
    return found


def neighbour_of(scope: str) -> Neighbour | None:
    """Return what a scope records that Genledger does as well, at the moment; `None` if nothing."""
    row = row_of(scope)
    beside = row.beside if row is not None else None
    return beside if beside is not None and beside.library in recorded_libraries else None


@lru_cache(maxsize=1024)
def named(scope: str, span: str) -> Named | None:
    """Return what a span of a scope is by its name; `None` when no row says."""
    row = row_of(scope)
    for pattern, role in row.roles.items() if row is not None else ():
        match = re.fullmatch(re.escape(pattern).replace(r"\*", "(.*)"), span)
        if match is not None:
            return Named(role, match[1] if match.groups() else "")
    return None
