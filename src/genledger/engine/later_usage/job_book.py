"""Whose jobs are, and which of their results are already counted: in this process, and beyond its life."""

from __future__ import annotations

import functools
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, Protocol, TypeVar

from genledger.context.attribution import Attribution
from genledger.shared import internal_errors
from genledger.shared.task_queue import TaskQueue

T = TypeVar("T")

MAX_REMEMBERED = 10_000
"""Jobs and files that a process remembers by itself; the oldest are forgotten first."""


class CallStart(NamedTuple):
    """Facts about a call before its answer, so that another process can complete its record.

    The ids are the integers of the span context; `started_ns` is nanoseconds since the epoch.
    """

    trace_id: int
    span_id: int
    parent_span_id: int | None
    library: str
    operation: str
    api: str
    family: str
    request_model: str | None
    started_ns: int
    stream: bool


class Origin(NamedTuple):
    """Attribution of a job, and the call that created it, if that call is the priced one."""

    attribution: Attribution
    call: CallStart | None = None


class JobRegistry(Protocol):
    """Where jobs are kept from their creation until their results are read, perhaps by another process.

    Any method may raise; the process then goes by what it remembers itself.
    """

    def remember_job(self, provider: str, job_id: str, origin: Origin) -> None:
        """Store the attribution of a job."""
        ...

    def job_origin(self, provider: str, job_id: str) -> Origin | None:
        """Return the attribution of a job, or `None` if it is unknown."""
        ...

    def claim_results(self, provider: str, job_id: str, names: Iterable[str]) -> set[str]:
        """Return the results of a job that are not counted yet; each is returned once."""
        ...

    def unclaimed_results(self, provider: str, job_id: str, names: Iterable[str]) -> set[str]:
        """Return the results of a job that are not counted yet."""
        ...


class Memory:
    """A registry for one process, of so many jobs and ten times as many results."""

    def __init__(self, limit: int = MAX_REMEMBERED) -> None:
        self._limit = limit
        self._lock = threading.RLock()
        self._jobs: OrderedDict[tuple[str, str], Origin] = OrderedDict()
        self._claimed: OrderedDict[tuple[str, str, str], None] = OrderedDict()

    def remember_job(self, provider: str, job_id: str, origin: Origin) -> None:
        """Store the attribution of a job."""
        with self._lock:
            bounded_to(self._jobs, self._limit)[provider, job_id] = origin

    def job_origin(self, provider: str, job_id: str) -> Origin | None:
        """Return the attribution of a job, or `None` if it is unknown."""
        return self._jobs.get((provider, job_id))

    def claim_results(self, provider: str, job_id: str, names: Iterable[str]) -> set[str]:
        """Return the results of a job that this process has not counted yet."""
        with self._lock:
            fresh = [one for one in names if (provider, job_id, one) not in self._claimed]
            for one in fresh:
                bounded_to(self._claimed, 10 * self._limit)[provider, job_id, one] = None
        return set(fresh)

    def unclaimed_results(self, provider: str, job_id: str, names: Iterable[str]) -> set[str]:
        """Return the results of a job that this process has not counted yet."""
        return {one for one in names if (provider, job_id, one) not in self._claimed}


def bounded_to(kept: OrderedDict[Any, Any], limit: int) -> OrderedDict[Any, Any]:
    """Return a dictionary with room for one more: the oldest make it."""
    while len(kept) >= limit:
        kept.popitem(last=False)
    return kept


class JobBook:
    """The jobs of the application.

    Args:
        registry: Opens the registry that outlives the process; without `create`, only if there is one already.
    """

    def __init__(self, registry: Callable[[bool], JobRegistry | None] | None = None) -> None:
        self._open = registry
        self._registry: JobRegistry | None = None
        self._memory = Memory()
        self._work = TaskQueue("genledger-jobs")

    @property
    def outlives_the_process(self) -> bool:
        """Return whether another process can read the jobs."""
        return self._open is not None

    def remember(self, provider: str, name: str, origin: Origin) -> None:
        """Store the attribution of a job; on disk soon."""
        self._memory.remember_job(provider, name, origin)
        if self._open is not None:
            self._work.do(lambda: self._ask(lambda registry: registry.remember_job(provider, name, origin)))

    def origin(self, provider: str, *names: str | None) -> Origin | None:
        """Return the attribution of a job, by the first known of its names."""
        for name in names:
            if name is not None:
                found = self._memory.job_origin(provider, name)
                if found is None:
                    found = self._ask(functools.partial(_origin, provider, name), create=False)
                if found is not None:
                    return found
        return None

    def claim(self, provider: str, name: str, results: Iterable[str]) -> set[str]:
        """Return the results to count now."""
        wanted = list(results)
        return self._ask(lambda registry: registry.claim_results(provider, name, wanted))

    def unclaimed(self, provider: str, name: str, results: Iterable[str]) -> set[str]:
        """Return the results that are not counted yet."""
        wanted = list(results)
        return self._ask(lambda registry: registry.unclaimed_results(provider, name, wanted), create=False)

    def settled(self, provider: str, name: str, results: Iterable[str]) -> None:
        """Mark results as counted, soon."""

        def claim() -> None:
            self.claim(provider, name, results)

        self._work.do(claim)

    def do(self, task: Callable[[], None]) -> None:
        """Run something after all earlier tasks."""
        self._work.do(task)

    def flush(self, timeout: float) -> bool:
        """Finish all tasks within the given seconds."""
        return self._work.flush(timeout)

    def _ask(self, question: Callable[[JobRegistry], T], *, create: bool = True) -> T:
        try:
            if self._registry is None and self._open is not None:
                self._registry = self._open(create)
            if self._registry is not None:
                return question(self._registry)
        except Exception as error:
            internal_errors.report("keeping the book of jobs", error)
        return question(self._memory)


def _origin(provider: str, name: str, registry: JobRegistry) -> Origin | None:
    return registry.job_origin(provider, name)
