"""`instrument()`: settings → providers → destinations → instrumentors; `flush()` and `shutdown()`."""

from __future__ import annotations

import functools
import os
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, Unpack
from weakref import WeakKeyDictionary

from opentelemetry import metrics, trace
from opentelemetry._logs import get_logger

from genledger import pricing
from genledger.context.attribution import baggage_policy
from genledger.engine.budget_hook import BudgetHook
from genledger.engine.content.redaction import Redactor, stage, use
from genledger.engine.foreign_spans.delegating_processor import delegating_processor_of, disconnect
from genledger.engine.foreign_spans.processor import ForeignSpanProcessor
from genledger.engine.recorder import SCOPE, Recorder, activate
from genledger.engine.signals.call_log import CallLog, show_lines
from genledger.engine.signals.metrics import Metrics
from genledger.engine.streams import finish_open
from genledger.setup.load_instrumentors import load, unload
from genledger.setup.pipeline import (
    REMOTE,
    Pipeline,
    connect,
    logger_provider,
    meter_provider,
    names_wanted,
    tracer_provider,
)
from genledger.setup.settings import Options, Settings, read_settings
from genledger.shared.at_exit import run_at_exit
from genledger.shared.concurrency import run_all
from genledger.shared.loggers import logger_of
from genledger.shared.release import release_of
from genledger.version import __version__
from genledger_semconv import SCHEMA_URL

if TYPE_CHECKING:
    from genledger.budgets import Guard, Rulebook
    from genledger.budgets.rules.rule_file import WatchedRules
    from genledger.ledger import Ledger

    Rules = Rulebook | WatchedRules | Guard

logger = logger_of("genledger")

_lock = threading.RLock()
_pipeline: Pipeline | None = None
_metrics_of: WeakKeyDictionary[Any, Metrics] = WeakKeyDictionary()
_prices_given = False


def instrument(**options: Unpack[Options]) -> None:
    """Record, price and attribute every call of the client libraries that the application uses.

    Client libraries are patched when the application imports them, before or after this call; none is imported
    here. Genledger adds its processor to the application's TracerProvider. Another call replaces the options.

    Args:
        **options: The options of `genledger.setup.settings.Settings`, such as `libraries`, `exclude`, `destinations`,
            `capture_content`, `tracer_provider`, `meter_provider`, `logger_provider`. Omitted options come
            from the environment. An invalid option is logged in one line and keeps its default.
            Never raises: problems are logged, and the application runs without the failing part.
    """
    try:
        settings, problems = read_settings(options)
        with _lock:
            if configure(settings, problems):
                load(settings)
    except Exception as error:
        logger.exception("genledger: calls are not recorded: %s: %s", type(error).__name__, error)


def configure(settings: Settings, problems: list[str]) -> bool:
    """Connect destinations and providers, and direct calls to them; instrumentors are loaded afterwards.

    Returns:
        Whether anything is to be recorded; false with `OTEL_SDK_DISABLED=true`.
    """
    global _pipeline, _prices_given
    if os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    if _pipeline is not None:
        _take_down(5.0)
    given = settings.tracer_provider is not None
    wanted = () if given and settings.destinations is None else names_wanted(settings, os.environ)
    pipeline = connect(settings, wanted)
    provider = tracer_provider(settings, pipeline)
    meters = meter_provider(settings, pipeline)
    rules = _rules(settings, problems)
    recorder = _recorder(settings, pipeline, provider, meters, rules, problems)
    disconnect()  # what an instrumentor has connected, under another distribution
    delegating = delegating_processor_of(provider)
    if delegating is not None:
        delegating.connect(ForeignSpanProcessor(SCOPE), pipeline.processors)
    if any(name in REMOTE for name in pipeline.destinations):
        from genledger.destinations.delivery.delivery_metrics import observe_destinations

        observe_destinations(metrics.get_meter(SCOPE, __version__, meters, SCHEMA_URL), _remote)
    recorder.sinks.extend(pipeline.sinks)
    recorder.step_sinks.extend(pipeline.step_sinks)
    recorder.event_sinks.extend([*pipeline.sinks, *pipeline.event_sinks])
    baggage_policy.fields = frozenset(settings.baggage)
    baggage_policy.trust_inbound = settings.trust_baggage
    claims = (getattr(destination, "trace_claim", None) for destination in pipeline.destinations.values())
    baggage_policy.trace_claim = next(filter(None, claims), None)
    if settings.prices is not None or _prices_given:
        _prices_given = settings.prices is not None
        try:
            pricing.configure(settings.prices)
        except pricing.PriceFileError as error:
            problems.append(f"prices: {'; '.join(error.lines)}; only the price table is used")
    if settings.alerts_every and getattr(getattr(rules, "book", None), "has_alert_rules", False):
        _start_alerts(settings, pipeline)
    pipeline.recorder = recorder
    show_lines(settings.log_calls)
    activate(recorder)
    _pipeline = pipeline
    for problem in (*problems, *pipeline.problems):
        # A value that cannot be used, or an error about it, may hold a password.
        logger.error("genledger: %s", stage().message(problem))
    return True


def _attribute_limit() -> int:
    """Characters that OpenTelemetry's own variables allow an attribute: JSON that it cut would be none."""
    set_to = [os.environ.get(f"OTEL_{kind}ATTRIBUTE_VALUE_LENGTH_LIMIT", "") for kind in ("SPAN_", "")]
    return min((int(limit) for limit in set_to if limit.isdecimal()), default=sys.maxsize)


def _recorder(
    settings: Settings, pipeline: Pipeline, provider: Any, meters: Any, rules: Rules | None, problems: list[str]
) -> Recorder:
    content = settings.capture_content != "off"
    redactor = Redactor(settings.redact, settings.redactor, content=content)  # type: ignore[arg-type]
    use(redactor)
    capture = None
    if content:
        from genledger.engine.content.capture import Capture

        capture = Capture(
            spans=settings.capture_content in ("span", "both"),
            events=settings.capture_content in ("event", "both"),
            redactor=redactor,
            max_value=min(settings.content_max_bytes, _attribute_limit()),
            max_span=settings.span_content_max_bytes,
            keep_media=settings.keep_media,
        )
    logs = logger_provider(settings, pipeline)
    details = product_log = None
    if logs is not None:
        from genledger.engine.signals.product_log import ProductLog

        logger_of_events = get_logger(SCOPE, __version__, logs, SCHEMA_URL)
        product_log = ProductLog(logger_of_events)
        if settings.emits_event:
            from genledger.engine.signals.details_event import DetailsEvent

            details = DetailsEvent(logger_of_events)
    return Recorder(
        trace.get_tracer(SCOPE, __version__, provider, SCHEMA_URL),
        _metrics(settings, meters),
        capture=capture,
        lines=CallLog(json=settings.log == "json", hash_users=settings.log_hash_users),
        details=details,
        product_log=product_log,
        budget_hook=_budget_hook(settings, rules, meters, problems),
        registry=functools.partial(_registry, settings),
        request_stream_usage=settings.request_stream_usage,
        tracer_provider=provider,
        release=release_of(getattr(provider, "resource", None)),
    )


def _metrics(settings: Settings, meters: Any) -> Metrics:
    """Return the metrics of a meter provider. They stay: it keeps its instruments and their callbacks for ever."""
    counting = _metrics_of.get(meters)
    if counting is None:
        counting = _metrics_of[meters] = Metrics(metrics.get_meter(SCOPE, __version__, meters, SCHEMA_URL))
    counting.names = settings.metric_names  # type: ignore[assignment]
    counting.labels.max_values = settings.max_label_values
    return counting


def _rules(settings: Settings, problems: list[str]) -> Rules | None:
    """Return the rules of the file or the code. Mistakes in a file are reported; the file is reloaded on changes."""
    if not isinstance(settings.budgets, str):
        return settings.budgets
    from genledger.budgets.rules.rule_file import RuleFileError, WatchedRules

    rules = WatchedRules(settings.budgets, on_invalid=settings.on_invalid_rules)
    try:
        rules.read()
    except RuleFileError as error:
        problems.append(f"budgets: {'; '.join(error.lines)}; {rules.holds_instead}")
    return rules


def _budget_hook(settings: Settings, rules: Rules | None, meters: Any, problems: list[str]) -> BudgetHook | None:
    store = settings.budget_store
    if store == "off":
        return None
    named = store if store is not None else _store_of(rules)
    if isinstance(named, str):
        from genledger.budgets.stores import check_store

        try:
            check_store(named)
        except (ValueError, ModuleNotFoundError) as error:
            problems.append(f"{error}; no budget and no kill switch holds in this process")
            return None

    def make() -> Guard:
        from genledger.budgets import Guard
        from genledger.budgets.budget_metrics import observe_budgets

        observe_budgets(metrics.get_meter(SCOPE, __version__, meters, SCHEMA_URL), _guard)
        if isinstance(rules, Guard):
            return rules
        return Guard(rules or (), store, tier_of=settings.tier_of, on_event=settings.on_budget_event)

    if rules is None and (store is None or isinstance(store, str)):
        from genledger.budgets.enforcement.store_watch import StoreWatch

        return BudgetHook(make, StoreWatch(store).in_use)
    return BudgetHook(make)


def _start_alerts(settings: Settings, pipeline: Pipeline) -> None:
    """Evaluate the alert rules of the file in this process, too; those of a ledger that it writes."""
    if settings.budget_store == "off" or "ledger" not in pipeline.destinations:
        return
    from genledger.alerting.background import AlertThread

    def lost() -> int:
        stats = [one.stats() for one in pipeline.destinations.values() if hasattr(one, "stats")]
        dropped = (one["dropped"] if isinstance(one, dict) else one.dropped for one in stats)
        return sum(sum(each.values()) for each in dropped)

    alerts = AlertThread(
        str(settings.budgets), settings.ledger, settings.budget_store, every=settings.alerts_every, lost=lost
    )
    pipeline.alerts = alerts
    alerts.start()


def _store_of(rules: Rules | None) -> str | None:
    return getattr(getattr(rules, "book", rules), "store", None)


def _guard() -> Guard | None:
    connected = _pipeline
    budget_hook = connected.recorder.budget_hook if connected is not None else None
    return budget_hook.made if budget_hook is not None else None


def _registry(settings: Settings, create: bool) -> Ledger | None:
    """Return the ledger file, which stores the attribution of jobs even if it is not a destination."""
    from genledger.ledger import Ledger

    ledger = Ledger(
        settings.ledger,
        max_age_days=settings.ledger_max_days,
        max_bytes=settings.ledger_max_mb * 1024 * 1024,
        busy_timeout_s=0.5,
    )
    return ledger if create or ledger.path.exists() else None


def _remote() -> dict[str, Any]:
    """Return the destinations in use whose records travel."""
    connected = _pipeline
    return {name: one for name, one in connected.destinations.items() if name in REMOTE} if connected else {}


def uninstrument() -> None:
    """Restore every patched attribute, deliver waiting records, and stop recording.

    A TracerProvider created by Genledger stays the global one, because OpenTelemetry cannot replace it.
    """
    with _lock:
        unload()
        activate(None)
        _take_down(5.0)


def pipeline() -> Pipeline | None:
    """Return the connected pipeline, or `None`."""
    return _pipeline


def _take_down(timeout: float) -> None:
    """Stop the destinations and what else is exported. Providers of our own stay: nobody can replace a global one."""
    global _pipeline
    if _pipeline is not None:
        before, _pipeline = _pipeline, None
        baggage_policy.trace_claim = None
        disconnect()
        _all(before, timeout, shutdown=True)


def _all(connected: Pipeline, timeout: float, *, shutdown: bool = False) -> bool:
    """Flush everything, or shut it down, within one deadline for all."""
    recorder = connected.recorder
    began = time.monotonic()
    export = connected.metrics_export
    booked = recorder.flush(timeout, functools.partial(export.flush, timeout / 4) if export is not None else None)
    timeout = max(0.0, timeout - (time.monotonic() - began))
    parts: list[Any] = [*connected.destinations.values(), *connected.exports]
    parts += [one for one in (recorder.budget_hook, connected.alerts) if one is not None]
    if not shutdown:
        theirs = [left.flush_theirs for left in connected.left_to_others]
        return all(run_all([*(part.flush for part in parts), *theirs], timeout)) and booked
    # All at once, even where no threads can be started any more to do so.
    for part in parts:
        if hasattr(part, "begin_shutdown"):
            part.begin_shutdown(timeout)
    return all(run_all([part.shutdown for part in parts], timeout)) and booked


def flush(timeout: float = 5.0) -> bool:
    """Deliver all records so far to every destination, within `timeout` seconds in total.

    Returns:
        Whether everything was delivered (or safely written to the spool) in time.
    """
    connected = _pipeline
    return connected is None or _all(connected, timeout)


def shutdown(timeout: float = 5.0) -> bool:
    """Deliver waiting records and stop the destinations, within `timeout` seconds in total. Also runs at exit."""
    with _lock:
        before = _pipeline
        finish_open()
        done = before is None or _all(before, timeout, shutdown=True)
        globals()["_pipeline"] = None
        return done


def _at_exit() -> None:
    shutdown()


run_at_exit(_at_exit)
