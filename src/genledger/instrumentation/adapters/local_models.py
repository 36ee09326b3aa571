"""Models that run in this process: nothing is sent anywhere, and what costs money is the machine.

One call is one operation that the application asks for, whichever methods of the library it is done by: inside a call,
the library's other methods are parts of it, and what they count is its usage. A lazy result ends when it has been
read, closed or dropped; only the steps in which the model works count as the device's time.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from threading import RLock
from time import perf_counter
from typing import Any, NamedTuple

import wrapt
from opentelemetry.context import Context, attach, get_current
from opentelemetry.trace import SpanKind

from genledger.engine.call import Call, running_call
from genledger.engine.driver import Arguments, follow
from genledger.engine.operation import Body, Endpoint, Operation, StreamAccumulator, text
from genledger.engine.recorder import Recorder
from genledger.instrumentation.adapters.methods import MethodExchange, Write, driven, kind_of, named_arguments, update
from genledger.instrumentation.patching import Patch, Patches
from genledger.pricing.readers.reading import MEASURED
from genledger.pricing.usage import DEVICE_SECONDS
from genledger.shared import internal_errors
from genledger.shared.after_fork import run_after_fork
from genledger_semconv import attributes as A

Given = Mapping[str, Any]
"""The arguments of a method, by name."""

Count = Callable[[Given, Any], Mapping[str, int]]
"""`count(given, result)`: return the tokens that a part of a call counted, as fields of OpenAI's usage."""


def in_process(operation: Operation) -> Operation:
    """Return an operation as a model in this process does it: its model is given, and it has a device.

    The conventions know internal spans of inference only.
    """
    fields = {**operation.fields, "device": (A.GENLEDGER_DEVICE, text)}
    kind = SpanKind.INTERNAL if operation.inference else operation.kind
    return operation._replace(kind=kind, fixed_model=True, fields=fields, largest=None)


def short_name(model: Any) -> str | None:
    """Return the name of a model; of a file or folder, its last part without the suffix of a model's file."""
    if not isinstance(model, str) or not model:
        return None
    if os.path.isabs(model) or model.startswith(".") or model.endswith(".gguf"):
        return PurePath(model).name.removesuffix(".gguf") or None
    return model


class DeviceClock:
    """Divides the time of one device among the calls that run on it at once: together they have all of it."""

    def __init__(self) -> None:
        self._lock = RLock()  # a call that is dropped leaves when it is collected, which may be anywhere
        self._running = 0
        self._turned = 0.0
        self._share = 0.0

    def turn(self, entering: int) -> float:
        """Let a call enter (1) or leave (-1); return the seconds that one call would have had by now."""
        with self._lock:
            now = perf_counter()
            if self._running:
                self._share += (now - self._turned) / self._running
            self._turned = now
            self._running += entering
            return self._share


class DeviceClocks:
    """The clock of each device, by its name.

    A child process begins anew: what runs in the parent does not run there.
    """

    def __init__(self) -> None:
        self._clocks: dict[str, DeviceClock] = {}
        run_after_fork(self.forget)

    def of(self, device: str) -> DeviceClock:
        """Return the clock of a device."""
        return self._clocks.setdefault(device, DeviceClock())

    def forget(self) -> None:
        """Forget who runs."""
        self._clocks = {}


_clocks = DeviceClocks()


class Measurement:
    """What was measured of one call: the tokens that its parts counted, and its share of its device's time.

    Args:
        device: The device.
        number: How many of them the model is spread over.
    """

    __slots__ = ("_clock", "_entered", "_number", "_seconds", "counts")

    def __init__(self, device: str, number: int) -> None:
        self._clock = _clocks.of(device)
        self._number = number
        self._entered: float | None = None
        self._seconds = 0.0
        self.counts: dict[str, int] = {}

    def add(self, counts: Mapping[str, int]) -> None:
        """Add what a part counted."""
        for name, count in counts.items():
            self.counts[name] = self.counts.get(name, 0) + count

    def start(self) -> None:
        """Begin to count the device's time."""
        if self._entered is None:
            self._entered = self._clock.turn(1)

    def stop(self) -> None:
        """Stop counting it."""
        if self._entered is not None:
            self._seconds += self._clock.turn(-1) - self._entered
            self._entered = None

    def __del__(self) -> None:
        self.stop()

    def within(self, answer: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return an answer with what was measured; tokens that the answer itself counts go first."""
        self.stop()
        usage = {**self.counts, **(answer.get("usage") or {})}
        units = {**answer.get(MEASURED, {}), DEVICE_SECONDS: self._seconds * self._number}
        return {**answer, **({"usage": usage} if usage else {}), MEASURED: units}


class LocalMethod(NamedTuple):
    """One method that the application calls.

    Args:
        operation: What it does, or what finds that from the model and the arguments; `None` for what is no call.
        body: Makes the request, by the names of the operation's format, from the model and the arguments.
        answer: Makes an answer, likewise, from the model, the arguments and the result.
        streamer: The argument with the object that is given each token, if it has one.
        part: Whether its answer counts tokens within another call, too.
        write: Writes changed fields of the request into the arguments; those have the same names by default.
    """

    operation: Operation | Callable[[Any, Given], Operation | None]
    body: Callable[[Any, Given], Body] = lambda model, given: given
    answer: Callable[[Any, Given, Any], Mapping[str, Any]] = lambda model, given, result: {}
    streamer: str | None = None
    part: bool = False
    write: Write = update


@dataclass(frozen=True, slots=True)
class LocalModels:
    """A library that runs models.

    Args:
        library: The library's name for users.
        provider: Its name as a provider.
        methods: The methods that the application calls, by module and path.
        parts: What counts tokens within them, by module and path.
        model: Finds the name of a model.
        device: Finds the device that it runs on; `None` if the library does not tell.
        devices: Finds how many of them.
    """

    library: str
    provider: str
    methods: Mapping[tuple[str, str], LocalMethod]
    parts: Mapping[tuple[str, str], Count] = field(default_factory=dict)
    model: Callable[[Any], Any] = lambda model: None
    device: Callable[[Any], str | None] = lambda model: None
    devices: Callable[[Any], int] = lambda model: 1

    def patches(self) -> Patches:
        """Return what to patch, and with what."""
        return [
            *(Patch(*place, self._method(method), optional=True) for place, method in self.methods.items()),
            *(Patch(*place, self._part(count), optional=True) for place, count in self.parts.items()),
        ]

    def _method(self, method: LocalMethod) -> Callable[..., Any]:
        def open_call(
            recorder: Recorder, wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
        ) -> LocalExchange | None:
            given = named_arguments(wrapped, args, kwargs)
            described = method.operation
            operation = described if isinstance(described, Operation) else described(instance, given)
            if operation is None:
                return None
            device = text(given.get("device")) or self.device(instance)
            body = {**method.body(instance, given), "model": short_name(self.model(instance)), "device": device}
            handed = method.streamer is not None and given.get(method.streamer) is not None
            streamed = handed or (operation.accumulate is not None and bool(body.get("stream")))
            call = recorder.open(operation, self.library, Endpoint(self.provider), body, streamed=streamed)
            if call is None:
                return None
            measurement = Measurement(device or self.library, self.devices(instance))
            return LocalExchange(call, wrapped, method, instance, given, measurement)

        drive = driven(open_call)

        def wrapper(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            outer = self._running()
            if outer is None:
                return drive(wrapped, instance, args, kwargs)
            result = wrapped(*args, **kwargs)
            if method.part:
                self._count(outer, lambda: method.answer(instance, named_arguments(wrapped, args, kwargs), result))
            return result

        return wrapper

    def _part(self, count: Count) -> Callable[..., Any]:
        def wrapper(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            result = wrapped(*args, **kwargs)
            outer = self._running()
            if outer is not None:
                self._count(outer, lambda: {"usage": count(named_arguments(wrapped, args, kwargs), result)})
            return result

        return wrapper

    def _running(self) -> Measurement | None:
        call = running_call(self.library)
        return call.request if call is not None and isinstance(call.request, Measurement) else None

    def _count(self, outer: Measurement, answer: Callable[[], Mapping[str, Any]]) -> None:
        try:
            outer.add(answer().get("usage") or {})
        except Exception as fault:
            internal_errors.report("counting tokens", fault)


class LocalExchange(MethodExchange):
    """One call of a model in this process."""

    __slots__ = ("_given", "_instance", "_lazy", "_measurement", "_method")

    def __init__(
        self,
        call: Call,
        function: Any,
        method: LocalMethod,
        instance: Any,
        given: Given,
        measurement: Measurement,
    ) -> None:
        super().__init__(call, function, method.write, lambda received: received)
        call.request = self._measurement = measurement
        self._method = method
        self._instance = instance
        self._given = given
        self._lazy = kind_of(function) == "generator"

    def send(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Arguments:
        """Return the arguments with the changes written into them, and start the clock."""
        args, kwargs = super().send(args, kwargs)
        name = self._method.streamer
        if name is not None and self._given.get(name) is not None:
            arguments = named_arguments(self._function, args, kwargs)
            args, kwargs = (), {**arguments, name: TimedStreamer(arguments[name], self.call)}
        if not self._lazy:
            self._measurement.start()
        return args, kwargs

    def answer(self, error: BaseException) -> Any:
        """Return nothing, and stop the clock."""
        self._measurement.stop()
        return None

    def receive(self, result: Any) -> Any:
        """Settle the call with the result, or follow the iterator that it is."""
        call, measurement = self.call, self._measurement
        accumulate = call.operation.accumulate
        if accumulate is not None and (hasattr(result, "__next__") or hasattr(result, "__anext__")):
            inner = accumulate(call.body, call.recorder.capture is not None)
            if hasattr(result, "__anext__"):  # its engine works on, whether or not the application reads
                measurement.start()
            else:
                measurement.stop()
                result = _steps(result, call.inside(), measurement)
            return follow(call, result, Measured(inner, measurement))
        measurement.stop()
        call.settle(measurement.within(self._method.answer(self._instance, self._given, result)))
        return result


def _steps(source: Iterator[Any], inside: Context, measurement: Measurement) -> Generator[Any, None, None]:
    """The items of a lazy result. While one is made, its call is the current one, and the clock runs."""
    try:
        while True:
            before = get_current()
            attach(inside)
            measurement.start()
            try:
                item = next(source)
            except StopIteration:
                return
            finally:
                measurement.stop()
                attach(before)
            yield item
    finally:
        close = getattr(source, "close", None)
        if close is not None:
            close()


class Measured:
    """Puts a lazy result together, with what was measured."""

    def __init__(self, inner: StreamAccumulator, measurement: Measurement) -> None:
        self._inner = inner
        self._measurement = measurement
        self.fold = inner.fold
        self.text_length = inner.text_length

    def response(self) -> Mapping[str, Any]:
        """Return what was received, and what was measured."""
        return self._measurement.within(self._inner.response())

    @property
    def counted(self) -> bool:
        """Return whether what was generated has been counted, by the parts of the call or in its chunks."""
        return "completion_tokens" in self._measurement.counts or self._inner.counted

    @property
    def complete(self) -> bool | None:
        """Return whether the last chunk has come."""
        return self._inner.complete


class Items:
    """Counts the items of a lazy result."""

    counted = True
    complete = None

    def __init__(self, body: Body, keep: bool) -> None:
        self._number = 0

    def fold(self, chunks: Sequence[Any]) -> None:
        """Take in more items."""
        self._number += len(chunks)

    def response(self) -> Mapping[str, Any]:
        """Return how many came."""
        return item_count(self._number)

    def text_length(self) -> int:
        """Return nothing: no text is generated."""
        return 0


def item_count(number: int) -> Mapping[str, Any]:
    """Return an answer that says only how many items there were."""
    return {MEASURED: {"item": number}}


class TimedStreamer(wrapt.ObjectProxy):  # type: ignore[misc,type-arg,unused-ignore]
    """A streamer, and when each token came; the first thing that it is given is the prompt."""

    def __init__(self, streamer: Any, call: Call) -> None:
        super().__init__(streamer)
        self._self_call = call
        self._self_asked = False

    def put(self, value: Any) -> Any:
        """Pass tokens on."""
        call = self._self_call
        if not self._self_asked:
            self._self_asked = True
            call.stamps = []
        elif call.stamps is not None:
            call.stamps.append(perf_counter())
            call.first_chunk = call.stamps[0]
        return self.__wrapped__.put(value)
