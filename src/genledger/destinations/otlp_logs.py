"""Log records over OTLP while we are switched on, from a provider that stays."""

from __future__ import annotations

from weakref import WeakKeyDictionary, ref

from opentelemetry.sdk._logs import LoggerProvider, LogRecordProcessor, ReadWriteLogRecord
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor, LogRecordExporter

from genledger.destinations.delivery.exports import Exports
from genledger.destinations.otlp import endpoint_of, others_send, otlp_log_exporter
from genledger.shared.private_attributes import log_exporters


class _LogRelay(LogRecordProcessor):
    """Pass log records on while a destination takes them; a provider never drops its processors.

    Those that an exporter of the application sends to the same address are left to it.
    """

    to: LogRecordProcessor | None = None
    exporter: LogRecordExporter | None = None

    def __init__(self, provider: LoggerProvider) -> None:
        self._provider = ref(provider)

    def on_emit(self, log_record: ReadWriteLogRecord) -> None:
        if self.to is not None and not others_send(self.exporter, log_exporters(self._provider()), "logs"):
            self.to.on_emit(log_record)

    def shutdown(self) -> None:
        if self.to is not None:
            self.to.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self.to is None or self.to.force_flush(timeout_millis)


_relays: WeakKeyDictionary[LoggerProvider, _LogRelay] = WeakKeyDictionary()


def export_logs(provider: LoggerProvider) -> Exports:
    """Export what a provider of ours is given, until the end of what is returned.

    Raises:
        ConfigurationError: The `OTEL_EXPORTER_OTLP_*` variables are wrong.
    """
    relay = _relays.get(provider)
    if relay is None:
        relay = _relays[provider] = _LogRelay(provider)
        provider.add_log_record_processor(relay)
    exporter = relay.exporter = otlp_log_exporter()
    processor = relay.to = BatchLogRecordProcessor(exporter)

    def stop() -> None:
        if relay.to is processor:
            relay.to = None
        processor.shutdown()  # type: ignore[no-untyped-call]

    return Exports("log records", exporter, processor.force_flush, stop, endpoint=endpoint_of("LOGS"))
