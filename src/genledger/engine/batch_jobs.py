"""Batch jobs: paid for when their results are read, by those for whom they were created.

The application's thread only hands over what it receives: keeping the books, and pricing results of which there
may be a hundred thousand in one file, is the work of another.
"""

from __future__ import annotations

import functools
import hashlib
import io
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import orjson

from genledger import pricing
from genledger.context.attribution import Attribution
from genledger.engine import internal_errors
from genledger.engine.background import Worker
from genledger.engine.content.redaction import stage
from genledger.engine.priced_usage import cost_of
from genledger.engine.record import CallRecord, Outcome
from genledger.pricing.getters import field
from genledger.shared.text import bounded
from genledger_semconv import attributes as A
from genledger_semconv import spans as S

if TYPE_CHECKING:
    from genledger.engine.call import Call
    from genledger.engine.operation import Body

T = TypeVar("T")

MAX_REMEMBERED = 10_000
"""BatchJobs and files that a process remembers by itself; the oldest are forgotten first."""

_BYTES_AT_ONCE = 256 * 1024
_LINES_AT_ONCE = 500


class BatchRegistry(Protocol):
    """Where batches are kept from their creation until their results are read, perhaps by another process.

    Any method may raise; the process then goes by what it remembers itself.
    """

    def remember_batch(self, provider: str, batch_id: str, attribution: Attribution) -> None:
        """Keep for whom a batch was created."""
        ...

    def batch_attribution(self, provider: str, batch_id: str) -> Attribution | None:
        """For whom a batch was created; `None` for one that is not known."""
        ...

    def claim_results(self, provider: str, batch_id: str, custom_ids: Iterable[str]) -> set[str]:
        """Those of a batch's results that nobody has counted yet; each is handed out once."""
        ...


@dataclass(slots=True, frozen=True)
class Job:
    """A batch job that a response tells of, and the files that have its results."""

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
    """What an instrumentor says about an endpoint of batches.

    Args:
        jobs: Reads the jobs that a response tells of.
        creates: Whether the call creates the job.
        requests: The requests that the job will make, where the call that creates it has them.
        results: Names what is read, when the response is results: the batch, or the file that has them.
        line: Reads one line of the results; `None` for a line that is none.
        shared: Whether the endpoint serves other things too: then only what a job has told of is results.
    """

    jobs: Callable[[Any], Iterable[Job]] | None = None
    creates: bool = False
    requests: Callable[[Body], Iterable[Mapping[str, Any]]] | None = None
    results: Callable[[Body], str] | None = None
    line: Callable[[Any], Line | None] | None = None
    shared: bool = False


class Memory:
    """A book for one process, of so many batches and ten times as many results."""

    def __init__(self, limit: int = MAX_REMEMBERED) -> None:
        self._limit = limit
        self._lock = threading.RLock()
        self._batches: OrderedDict[tuple[str, str], Attribution] = OrderedDict()
        self._claimed: OrderedDict[tuple[str, str, str], None] = OrderedDict()

    def remember_batch(self, provider: str, batch_id: str, attribution: Attribution) -> None:
        """Keep for whom a batch was created."""
        with self._lock:
            _bounded(self._batches, self._limit)[provider, batch_id] = attribution

    def batch_attribution(self, provider: str, batch_id: str) -> Attribution | None:
        """For whom a batch was created; `None` for one that is not known."""
        return self._batches.get((provider, batch_id))

    def claim_results(self, provider: str, batch_id: str, custom_ids: Iterable[str]) -> set[str]:
        """Those of a batch's results that this process has not counted yet."""
        with self._lock:
            fresh = [one for one in custom_ids if (provider, batch_id, one) not in self._claimed]
            for one in fresh:
                _bounded(self._claimed, 10 * self._limit)[provider, batch_id, one] = None
        return set(fresh)


def _bounded(kept: OrderedDict[Any, Any], limit: int) -> OrderedDict[Any, Any]:
    while len(kept) >= limit:
        kept.popitem(last=False)
    return kept


class BatchJobs:
    """The batch jobs of the application.

    Args:
        book: Opens the book that outlives the process; without `create`, only if there is one already.
    """

    def __init__(self, book: Callable[[bool], BatchRegistry | None] | None = None) -> None:
        self._open = book
        self._book: BatchRegistry | None = None
        self._memory = Memory()
        self._jobs_of: OrderedDict[tuple[str, str], str] = OrderedDict()
        self._work = Worker()

    def expects(self, batch: Batch, provider: str, body: Body) -> bool:
        """Whether a call to an endpoint of batches is one: a file may have other things than results."""
        if batch.results is None or not batch.shared:
            return True
        name = bounded(batch.results(body))
        return (provider, name) in self._jobs_of or self.attribution(provider, name) is not None

    def notice(self, call: Call, batch: Batch, response: Any) -> None:
        """Take in what a response says about jobs."""
        provider, attribution = call.endpoint.provider, call.attribution
        for job in batch.jobs(response) if batch.jobs is not None else ():
            if batch.creates:
                self._remember(provider, job.id, attribution)
            for file in job.files:
                if (provider, file) not in self._jobs_of:
                    _bounded(self._jobs_of, MAX_REMEMBERED)[provider, file] = job.id
                    self._work.do(functools.partial(self._adopt, provider, job.id, file, attribution))

    def results(self, call: Call) -> Results | None:
        """What reads the response of a call, when it is the results of a batch."""
        batch = call.operation.batch
        if batch is None or batch.results is None or batch.line is None:
            return None
        name = bounded(batch.results(call.body))
        job = self._jobs_of.get((call.endpoint.provider, name)) if batch.shared else name
        if job is not None:
            call.span.set_attribute(A.GENLEDGER_BATCH_ID, job)
        return Results(self, call, batch.line, name, job)

    def flush(self, timeout: float) -> bool:
        """Finish what has been handed over, within so many seconds."""
        return self._work.wait(timeout)

    def do(self, task: Callable[[], None]) -> None:
        """Have something done after everything that was handed over before."""
        self._work.do(task)

    def attribution(self, provider: str, *names: str | None) -> Attribution | None:
        """For whom a batch was created, by the first of its names that is known."""
        for name in names:
            if name is not None:
                found = self._memory.batch_attribution(provider, name)
                if found is None:
                    ask = functools.partial(_attribution, provider, name)
                    found = self._ask(ask, create=False)
                if found is not None:
                    return found
        return None

    def claim(self, provider: str, name: str, custom_ids: Iterable[str]) -> set[str]:
        """Those of the results that are to be counted now."""
        wanted = list(custom_ids)
        return self._ask(lambda book: book.claim_results(provider, name, wanted))

    def _remember(self, provider: str, name: str, attribution: Attribution) -> None:
        self._memory.remember_batch(provider, name, attribution)
        if self._open is not None:
            self._work.do(lambda: self._ask(lambda book: book.remember_batch(provider, name, attribution)))

    def _adopt(self, provider: str, job: str, file: str, otherwise: Attribution) -> None:
        """Let a file of results belong to whom its job belongs to."""
        self._remember(provider, file, self.attribution(provider, job) or otherwise)

    def _ask(self, question: Callable[[BatchRegistry], T], *, create: bool = True) -> T:
        try:
            if self._book is None and self._open is not None:
                self._book = self._open(create)
            if self._book is not None:
                return question(self._book)
        except Exception as error:
            internal_errors.report("keeping the books of batches", error)
        return question(self._memory)


class Results:
    """The results of one batch, as they pass on their way to the application."""

    def __init__(
        self, batches: BatchJobs, call: Call, read: Callable[[Any], Line | None], name: str, job: str | None
    ) -> None:
        self._batches = batches
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
        if self._size >= _BYTES_AT_ONCE:
            self._hand_over()

    def end(self) -> None:
        """No more bytes will come."""
        if not self._ended:
            self._ended = True
            self._hand_over()

    def _hand_over(self) -> None:
        kept, self._kept, self._size = self._kept, [], 0
        self._batches.do(functools.partial(self._take, kept, self._ended))

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
        fresh = self._batches.claim(provider, self._name, by_id)
        if not fresh:
            return
        attribution = self._batches.attribution(provider, self._job, self._name) or call.attribution
        for custom_id, (line, payload) in by_id.items():
            if custom_id in fresh:
                generates = line.operation in (S.CHAT, S.TEXT_COMPLETION)
                try:
                    entry = self._entry(line, payload, attribution)
                    family = "inference" if generates else "operation"
                    call.recorder.book(entry, family, None, call.spend, call.span.get_span_context())
                except Exception as error:
                    internal_errors.report("booking the result of a batch", error)

    def _entry(self, line: Line, payload: dict[str, Any], attribution: Attribution) -> CallRecord:
        call, endpoint = self._call, self._call.endpoint
        now = time.time_ns()
        made = int(line.created_s * 1e9) if isinstance(line.created_s, (int, float)) else now
        started = made if 0 < made <= now else now
        usage = cost = unpriced = None
        model = field(line.answer, "model")
        if line.answer is not None:
            reading = pricing.read_usage(endpoint.provider, "batch", payload, base_url=endpoint.base_url)
            if reading is None:
                unpriced = "no_usage"
            else:
                usage = reading.usage
                cost, unpriced = cost_of(reading, usage, endpoint, reading.model, started)
        answer_id = field(line.answer, "id")
        # Always the same for the same result: whoever writes it again replaces it.
        trace = hashlib.blake2b(f"{endpoint.provider}\0{self._name}".encode(), digest_size=16).digest()
        span = hashlib.blake2b(line.custom_id.encode(), key=trace, digest_size=8).digest()
        return CallRecord(
            trace_id=int.from_bytes(trace) or 1,
            span_id=int.from_bytes(span) or 1,
            parent_span_id=None,
            library=call.library,
            provider=endpoint.provider,
            operation=line.operation,
            request_model=None,
            response_model=model if isinstance(model, str) else None,
            response_id=answer_id if isinstance(answer_id, str) else None,
            started_ns=started,
            duration_s=0.0,
            time_to_first_chunk_s=None,
            stream=False,
            outcome=line.outcome,
            error_type=stage().name(line.error) if line.error is not None else None,
            attempts=1,
            retry_causes=(),
            attribution=attribution,
            usage=usage,
            usage_estimated=False,
            cost=cost,
            unpriced=unpriced,
            server_address=endpoint.host,
            server_port=endpoint.port,
            tier="batch",
        )


def _attribution(provider: str, name: str, book: BatchRegistry) -> Attribution | None:
    return book.batch_attribution(provider, name)
