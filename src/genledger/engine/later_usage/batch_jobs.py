"""Batch jobs: priced when their results are read, with the attribution of their creation.

The application's thread only hands over what it receives: keeping the books, and pricing results of which there
may be a hundred thousand in one file, is the work of another.
"""

from __future__ import annotations

import functools
import hashlib
import io
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import orjson

from genledger.context.attribution import Attribution
from genledger.engine.later_usage.job_book import MAX_REMEMBERED, CallStart, JobBook, Origin, bounded_to
from genledger.engine.later_usage.late_record import late_record
from genledger.engine.record import CallRecord, Outcome
from genledger.shared import internal_errors
from genledger.shared.text import bounded
from genledger_semconv import attributes as A
from genledger_semconv import spans as S

if TYPE_CHECKING:
    from genledger.engine.call import Call
    from genledger.engine.operation import Body, Family

BYTES_AT_ONCE = 256 * 1024
_LINES_AT_ONCE = 500


@dataclass(slots=True, frozen=True)
class Job:
    """A batch job in a response, and the files with its results."""

    id: str
    files: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "id", bounded(self.id))
        object.__setattr__(self, "files", tuple(map(bounded, self.files)))


@dataclass(slots=True, frozen=True)
class Line:
    """One result of a batch.

    `answer` is the provider's answer, `None` when the request failed and is not billed; `error` says why.
    `created_s` is when it was made, in seconds since the epoch, where it says so.
    """

    custom_id: str
    operation: str
    answer: Any
    outcome: Outcome = "success"
    error: str | None = None
    created_s: Any = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "custom_id", bounded(self.custom_id))


@dataclass(slots=True, frozen=True)
class Batch:
    """Description of a batch endpoint by an instrumentor.

    Args:
        jobs: Reads the jobs that a response tells of.
        creates: Whether the call creates the job.
        requests: The requests that the job will make, where the call that creates it has them.
        results: Names what is read, when the response is results: the batch, or the file that has them.
        line: Reads one line of the results; `None` for a line that is none.
        shared: Whether the endpoint serves other things too: then only what a job has told of is results.
        carried: Reads the results that a response about a job has in itself.
    """

    jobs: Callable[[Any], Iterable[Job]] | None = None
    creates: bool = False
    requests: Callable[[Body], Iterable[Mapping[str, Any]]] | None = None
    results: Callable[[Body], str] | None = None
    line: Callable[[Any], Line | None] | None = None
    shared: bool = False
    carried: Callable[[Any], Iterable[Mapping[str, Any]]] | None = None


class BatchJobs:
    """The batch jobs of the application.

    Args:
        book: Keeps whose they are.
    """

    def __init__(self, book: JobBook) -> None:
        self._book = book
        self._jobs_of: OrderedDict[tuple[str, str], str] = OrderedDict()

    def expects(self, batch: Batch, provider: str, body: Body) -> bool:
        """Return whether a call fetches results of a batch: a file may contain something else."""
        if batch.results is None or not batch.shared:
            return True
        name = bounded(batch.results(body))
        return (provider, name) in self._jobs_of or self._book.origin(provider, name) is not None

    def notice(self, call: Call, batch: Batch, response: Any) -> None:
        """Take in what a response says about jobs."""
        provider, attribution = call.endpoint.provider, call.attribution
        for job in batch.jobs(response) if batch.jobs is not None else ():
            if batch.creates:
                self._book.remember(provider, job.id, Origin(attribution))
            for file in job.files:
                if (provider, file) not in self._jobs_of:
                    bounded_to(self._jobs_of, MAX_REMEMBERED)[provider, file] = job.id
                    self._book.do(functools.partial(self._adopt, provider, job.id, file, attribution))
        lines = list(batch.carried(response)) if batch.carried is not None else []
        if lines and (results := self.results(call)) is not None:
            for line in lines:
                results.feed(orjson.dumps(line) + b"\n")
            results.end()

    def results(self, call: Call) -> Results | None:
        """Return the reader of a response with results of a batch, or `None`."""
        batch = call.operation.batch
        if batch is None or batch.results is None or batch.line is None:
            return None
        name = bounded(batch.results(call.body))
        job = self._jobs_of.get((call.endpoint.provider, name)) if batch.shared else name
        if job is not None:
            call.span.set_attribute(A.GENLEDGER_BATCH_ID, job)
        return Results(self._book, call, batch.line, name, job)

    def _adopt(self, provider: str, job: str, file: str, otherwise: Attribution) -> None:
        """Give a file of results the attribution of its job."""
        self._book.remember(provider, file, Origin(_attribution(self._book, provider, job) or otherwise))


def _attribution(book: JobBook, provider: str, *names: str | None) -> Attribution | None:
    origin = book.origin(provider, *names)
    return origin.attribution if origin is not None else None


class Results:
    """The results of one batch, as they pass on their way to the application."""

    def __init__(
        self, book: JobBook, call: Call, read: Callable[[Any], Line | None], name: str, job: str | None
    ) -> None:
        self._book = book
        self._call = call
        self._read = read
        self._name = name
        self._job = job
        self._kept: list[bytes] = []
        self._size = 0
        self._rest = b""
        self._ended = False

    def feed(self, data: bytes) -> None:
        """Take in bytes of the response."""
        self._kept.append(data)
        self._size += len(data)
        if self._size >= BYTES_AT_ONCE:
            self._hand_over()

    def end(self) -> None:
        """No more bytes will come."""
        if not self._ended:
            self._ended = True
            self._hand_over()

    def _hand_over(self) -> None:
        kept, self._kept, self._size = self._kept, [], 0
        self._book.do(functools.partial(self._take, kept, self._ended))

    def _take(self, kept: list[bytes], last: bool) -> None:
        lines = self._lines(kept, last)
        while some := list(islice(lines, _LINES_AT_ONCE)):
            self._count(some)

    def _lines(self, kept: list[bytes], last: bool) -> Iterator[tuple[Line, dict[str, Any]]]:
        for text in io.BytesIO(self._rest + b"".join(kept)):
            if not last and not text.endswith(b"\n"):
                self._rest = text
                return
            try:
                payload = orjson.loads(text)
                line = self._read(payload) if isinstance(payload, dict) else None
            except orjson.JSONDecodeError:
                continue  # the line at which the application stopped reading
            except Exception as error:
                internal_errors.report("reading the results of a batch", error)
                continue
            if line is not None:
                yield line, payload
        self._rest = b""

    def _count(self, lines: Iterable[tuple[Line, dict[str, Any]]]) -> None:
        call, provider = self._call, self._call.endpoint.provider
        by_id = {line.custom_id: (line, payload) for line, payload in lines}
        fresh = self._book.claim(provider, self._name, by_id)
        if not fresh:
            return
        attribution = _attribution(self._book, provider, self._job, self._name) or call.attribution
        for custom_id, (line, payload) in by_id.items():
            if custom_id in fresh:
                try:
                    entry = self._entry(line, payload, attribution)
                    call.recorder.book(entry, _family(line), None, call.spend, call.span.get_span_context())
                except Exception as error:
                    internal_errors.report("booking the result of a batch", error)

    def _entry(self, line: Line, payload: dict[str, Any], attribution: Attribution) -> CallRecord:
        call, endpoint = self._call, self._call.endpoint
        now = time.time_ns()
        made = int(line.created_s * 1e9) if isinstance(line.created_s, (int, float)) else now
        # Always the same for the same result: whoever writes it again replaces it.
        trace = hashlib.blake2b(f"{endpoint.provider}\0{self._name}".encode(), digest_size=16).digest()
        span = hashlib.blake2b(line.custom_id.encode(), key=trace, digest_size=8).digest()
        start = CallStart(
            trace_id=int.from_bytes(trace) or 1,
            span_id=int.from_bytes(span) or 1,
            parent_span_id=None,
            library=call.library,
            operation=line.operation,
            api="batch",
            family=_family(line),
            request_model=None,
            started_ns=made if 0 < made <= now else now,
            stream=False,
        )
        return late_record(
            start,
            attribution,
            endpoint,
            line.answer,
            payload=payload,
            outcome=line.outcome,
            error=line.error,
            tier="batch",
        )


def _family(line: Line) -> Family:
    return "inference" if line.operation in S.INFERENCE_OPERATIONS else "operation"
