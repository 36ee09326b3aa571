"""Clients of jobs: one request creates a job, and others learn later what became of it.

A job is one call, of the request that created it: the request opens it, with its attribution, its parent and its
reservation, and whichever answer ends the job settles it. Requests that only ask how a job is doing are no calls.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from genledger.engine.call import Call
from genledger.engine.driver import asynchronous, follow, synchronous
from genledger.engine.operation import Body, Endpoint, Finished, Operation, StreamAccumulator
from genledger.engine.recorder import Recorder, active
from genledger.instrumentation.adapters.methods import MethodExchange, Write, is_stream, kind_of, named_arguments
from genledger.instrumentation.patching import Patch, Patches, Wrapper
from genledger.shared import internal_errors


class Job(NamedTuple):
    """State of a job in an answer.

    Args:
        id: Its identifier.
        ended: How it ended; `None` while it runs.
        answer: The answer, as the operation reads it.
        stream: The address of the stream of its output, where there is one.
    """

    id: str
    ended: Literal["finished", "cancelled"] | None
    answer: Mapping[str, Any]
    stream: str | None = None


@dataclass(frozen=True, slots=True)
class JobClient:
    """The functions or methods that every request passes through, and how jobs read.

    Args:
        library: The library's name for users.
        functions: Functions, or methods of classes, of each module; synchronous or not.
        operation: The operation of a request, from its named arguments; `None` for one that creates no job.
        endpoint: Finds the endpoint that an instance, or a function with these named arguments, talks to.
        body: Makes the request, by the provider's names, from the named arguments.
        write: Writes changed fields of the request back into the named arguments.
        job: Reads the job that an answer tells of, given the named arguments of its request as well.
        failed: Reads likewise the job that an exception tells of.
        accumulate: Puts a stream together that goes on with a job, as `Operation.accumulate` does for one that
            creates it: the job is settled by what that says in its end.
    """

    library: str
    functions: Mapping[str, tuple[str, ...]]
    operation: Callable[[dict[str, Any]], Operation | None]
    endpoint: Callable[[Any, dict[str, Any]], Endpoint]
    body: Callable[[dict[str, Any]], Body]
    write: Write
    job: Callable[[Any, dict[str, Any]], Job | None]
    failed: Callable[[BaseException, dict[str, Any]], Job | None] | None = None
    accumulate: Callable[[Body, bool], StreamAccumulator] | None = None

    def patches(self) -> Patches:
        """Return what to patch, and with what."""
        return [
            Patch(module, path, self._wrapper(module), optional=len(self.functions) > 1)
            for module, paths in self.functions.items()
            for path in paths
        ]

    def _wrapper(self, module: str) -> Wrapper:
        drive, drive_async = synchronous(self._open), asynchronous(self._open)

        async def wrapper_async(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            try:
                result = await drive_async(wrapped, instance, args, kwargs)
            except Exception as error:
                self._notice(wrapped, instance, args, kwargs, self.failed, error)
                raise
            return self._noticed(wrapped, instance, args, kwargs, result)

        def wrapper(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            if (
                instance is None and wrapped.__module__ != module
            ):  # it is imported here, and patched where it is defined
                return wrapped(*args, **kwargs)
            if kind_of(wrapped) == "coroutine":
                return wrapper_async(wrapped, instance, args, kwargs)
            try:
                result = drive(wrapped, instance, args, kwargs)
            except Exception as error:
                self._notice(wrapped, instance, args, kwargs, self.failed, error)
                raise
            return self._noticed(wrapped, instance, args, kwargs, result)

        return wrapper

    def _noticed(self, wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> Any:
        """Settle the job whose end a result tells of, a stream when it has been read; return what is to be read."""
        if self.accumulate is None or not is_stream(result):
            self._notice(wrapped, instance, args, kwargs, self.job, result)
            return result
        if self.operation(named_arguments(wrapped, args, kwargs)) is not None:
            return result
        stream = self.accumulate({}, False)

        def ended() -> None:
            self._notice(wrapped, instance, args, kwargs, self.job, stream.response())

        return _read_async(result, stream, ended) if hasattr(result, "__anext__") else _read(result, stream, ended)

    def _open(
        self, recorder: Recorder, wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> JobExchange | None:
        given = named_arguments(wrapped, args, kwargs)
        operation = self.operation(given)
        if operation is None:
            return None
        body = self.body(given)
        # An agent's events tell of its work.
        streamed = operation.accumulate is not None and operation.inference and bool(body.get("stream"))
        endpoint = self.endpoint(instance, given)
        call = recorder.open(operation, self.library, endpoint, body, streamed=streamed)
        if call is None:
            return None
        return JobExchange(call, wrapped, self.write, lambda result: self.job(result, given))

    def _notice(
        self,
        wrapped: Any,
        instance: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        read: Callable[[Any, dict[str, Any]], Job | None] | None,
        said: Any,
    ) -> None:
        """Settle the job whose end an answer or an exception tells of."""
        recorder = active()
        if recorder is None or read is None:
            return
        try:
            given = named_arguments(wrapped, args, kwargs)
            if self.operation(given) is None and (job := read(said, given)) is not None and job.ended is not None:
                finished = Finished(job.id, cancelled=job.ended == "cancelled")
                recorder.deferred.finish(self.endpoint(instance, given), finished, job.answer)
        except Exception as error:
            internal_errors.report("reading what became of a job", error)


class JobExchange(MethodExchange):
    """One request that creates a job."""

    __slots__ = ()

    def receive(self, result: Any) -> Any:
        """Settle the call when its job has ended already; wait for that otherwise, in a stream until that ends."""
        accumulate = self.call.operation.accumulate
        if accumulate is not None and is_stream(result):
            return follow(self.call, result, accumulate(self.call.body, self.call.recorder.capture is not None))
        job = self._read(result)
        if job is None:
            self.call.settle({})
        elif job.ended is not None:
            _settle(self.call, job)
        else:
            self.call.recorder.deferred.defer(self.call, job.id, alias=job.stream)
        return result


def _fold(stream: StreamAccumulator, chunk: Any) -> None:
    try:
        stream.fold((chunk,))
    except Exception as error:
        internal_errors.report("reading the stream of a job", error)


def _read(source: Iterator[Any], stream: StreamAccumulator, ended: Callable[[], None]) -> Iterator[Any]:
    """Pass on a stream; say when it has ended, or nobody reads on."""
    try:
        for chunk in source:
            _fold(stream, chunk)
            yield chunk
    finally:
        ended()


async def _read_async(
    source: AsyncIterator[Any], stream: StreamAccumulator, ended: Callable[[], None]
) -> AsyncIterator[Any]:
    """Do as `_read` does, asynchronously."""
    try:
        async for chunk in source:
            _fold(stream, chunk)
            yield chunk
    finally:
        ended()


def streams(module: str, path: str, provider: str, address: Callable[[Any], str]) -> Patch:
    """Return the patch of a generator function that reads the stream of a job: its end is the job's.

    Args:
        module: The module that it is in.
        path: The function; synchronous or not.
        provider: Who streams it.
        address: The address that the stream of an instance comes from.
    """

    def wrapper(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        source = wrapped(*args, **kwargs)
        try:
            recorder = active()
            found = recorder.deferred.take(provider, address(instance)) if recorder is not None else None
            if found is None:
                return source
            call = found.call
            accumulate = call.operation.accumulate
            if accumulate is None:
                return source
            call.streamed = True
            return follow(call, source, accumulate(call.body, call.recorder.capture is not None))
        except Exception as error:
            internal_errors.report("following the stream of a job", error)
            return source

    return Patch(module, path, wrapper)


def _settle(call: Call, job: Job) -> None:
    call.settle(job.answer, cut=job.ended == "cancelled", complete=job.ended == "finished")
