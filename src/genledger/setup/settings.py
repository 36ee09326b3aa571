"""Every option of Genledger: typed, from a keyword of `instrument()` or from the environment, in one place.

A keyword wins over the environment. A value that cannot be used is named in one line, and its default stands.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from genledger.instrumentation.chosen import EXCLUDE, LIBRARIES, names
from genledger.shared.text import quoted

if TYPE_CHECKING:
    from opentelemetry._logs import LoggerProvider
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider

    from genledger.budgets import BudgetEvent, Guard, Rule, Rulebook, Store

CaptureMode = Literal["off", "span", "event", "both"]
FilePath = str | os.PathLike[str]
RedactionPattern = Literal["keys", "email", "card", "phone"]
AttributionField = Literal["tenant", "feature", "user", "session", "prompt_name", "prompt_version"]

_CAPTURE: dict[str, CaptureMode] = {
    "no_content": "off",
    "span_only": "span",
    "event_only": "event",
    "span_and_event": "both",
    "off": "off",
    "span": "span",
    "event": "event",
    "both": "both",
    "true": "span",
    "1": "span",
    "false": "off",
    "0": "off",
    "": "off",
}

PREFIX = "GENLEDGER_"


class Unusable(ValueError):
    """An invalid value of an option; the message names the valid ones."""


def _flag(value: object) -> bool:
    if isinstance(value, bool):
        return value
    text = str(value).strip().lower()
    if text in ("1", "true", "yes", "on"):
        return True
    if text in ("0", "false", "no", "off", ""):
        return False
    raise Unusable("true or false")


def _names(value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        return names(value)
    if isinstance(value, Sequence) and all(isinstance(name, str) for name in value):
        return tuple(value)
    raise Unusable("a list of names")


def _number(value: object) -> int:
    try:
        number = int(str(value))
    except ValueError:
        raise Unusable("a whole number") from None
    if number < 0:
        raise Unusable("a number that is not negative")
    return number


def _text(value: object) -> str:
    if isinstance(value, (str, os.PathLike)):
        return os.fspath(value)
    raise Unusable("a string")


def _path(value: object) -> str:
    """A path; `~` is the user's home, because variables of services and containers pass no shell."""
    return os.path.expanduser(_text(value))


def _capture(value: object) -> CaptureMode:
    mode = _CAPTURE.get(str(value).strip().lower())
    if mode is None:
        raise Unusable("true, false, span, event, both, or one of " + ", ".join(k.upper() for k in list(_CAPTURE)[:4]))
    return mode


def _one_of(*choices: str) -> Callable[[object], str]:
    def parse(value: object) -> str:
        if value in choices:
            return str(value)
        raise Unusable("one of " + ", ".join(choices))

    return parse


def _budgets(value: object) -> Any:
    if isinstance(value, (str, os.PathLike)):
        return _path(value)
    from genledger.budgets import Guard, Rule, Rulebook, RuleError

    if isinstance(value, (Guard, Rulebook)):
        return value
    if isinstance(value, Sequence) and all(isinstance(rule, Rule) for rule in value):
        try:
            return Rulebook(tuple(value))
        except RuleError as error:
            raise Unusable(f"rules with different names ({error})") from None
    raise Unusable("the path of a rule file, a list of `budget(...)`, or a Guard")


def _store(value: object) -> Any:
    return value if callable(getattr(value, "exchange", None)) else _path(value)


def _some_of(*choices: str) -> Callable[[object], tuple[str, ...]]:
    def parse(value: object) -> tuple[str, ...]:
        names = () if value in (None, False, "none", "off") else choices if value is True else _names(value)
        unknown = [name for name in names if name not in choices]
        if unknown:
            raise Unusable("any of " + ", ".join(choices) + ", or none")
        return tuple(names)

    return parse


def _destinations(value: object) -> tuple[Any, ...]:
    if isinstance(value, str):
        return _names(value)
    if isinstance(value, Sequence):
        return tuple(value)
    raise Unusable("a list of names or destinations")


def _callable(value: object) -> Callable[[str], str]:
    if callable(value):
        return value
    raise Unusable("a function")


def _durability(value: object) -> bool | Literal["fsync"]:
    return "fsync" if value == "fsync" else _flag(value)


def _with(method: str) -> Callable[[object], Any]:
    def parse(value: object) -> Any:
        if callable(getattr(value, method, None)):
            return value
        raise Unusable(f"a provider: something with `{method}`")

    return parse


def _option(default: Any, parse: Callable[[object], Any], *env: str) -> Any:
    return field(default=default, metadata={"parse": parse, "env": env})


@dataclass(slots=True, frozen=True)
class Settings:
    """Options in force. Each is a keyword of `instrument()`; its environment variable is in parentheses.

    Attributes:
        libraries: Instrument only these client libraries (`GENLEDGER_LIBRARIES`).
        exclude: Do not instrument these (`GENLEDGER_EXCLUDE`, `OTEL_PYTHON_DISABLED_INSTRUMENTATIONS`).
        destinations: `langfuse`, `otlp`, `ledger`, `console`, or destination objects (`GENLEDGER_DESTINATIONS`).
            Default: Langfuse and OTLP if their own variables are set, else the ledger.
        capture_content: Where content goes (`OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT`).
        emit_event: Emit the details event of each call (`OTEL_INSTRUMENTATION_GENAI_EMIT_EVENT`). Default: if
            content goes on it.
        tracer_provider: Used unchanged.
        meter_provider: Used unchanged.
        logger_provider: Used unchanged.
        content_max_bytes: Maximum bytes of one content attribute (`GENLEDGER_CONTENT_MAX_BYTES`).
        span_content_max_bytes: Bytes of all content of a span (`GENLEDGER_SPAN_CONTENT_MAX_BYTES`).
        keep_media: Keep media in content instead of type, size and digest (`GENLEDGER_KEEP_MEDIA`).
        redact: Patterns to redact: keys, email, card, phone, or none (`GENLEDGER_REDACT`).
        redactor: The application's own redaction, text to text.
        request_stream_usage: Request usage from the provider on streams that lack it
            (`GENLEDGER_REQUEST_STREAM_USAGE`).
        metric_names: Generation of the conventions' metric names (`GENLEDGER_METRIC_NAMES`).
        max_label_values: Maximum different values of one metric label (`GENLEDGER_MAX_LABEL_VALUES`).
        log: Format of the line per call: `plain` or `json` (`GENLEDGER_LOG`).
        log_calls: Write the line per call even if the application configures no logging, then to stderr
            (`GENLEDGER_LOG_CALLS`).
        log_hash_users: Log a digest instead of the user (`GENLEDGER_LOG_HASH_USERS`).
        baggage: Attribution fields that travel to other services (`GENLEDGER_BAGGAGE`).
        trust_baggage: Accept the attribution of incoming requests, in the same fields (`GENLEDGER_TRUST_BAGGAGE`).
        ledger: The ledger file (`GENLEDGER_LEDGER`).
        ledger_max_days: Days to keep records in the ledger (`GENLEDGER_LEDGER_MAX_DAYS`).
        ledger_max_mb: Maximum megabytes of the ledger (`GENLEDGER_LEDGER_MAX_MB`).
        prices: A TOML file with the user's own prices (`GENLEDGER_PRICES`).
        budgets: A TOML file with budget rules (`GENLEDGER_BUDGETS`), or rules made by `budget()`, a `Rulebook`, or a
            `Guard`, whose own store and functions are then used.
        budget_store: Where budgets are kept: `memory:`, the path of a SQLite file, `redis://…`, a store object, or
            `off` (`GENLEDGER_BUDGET_STORE`).
        on_invalid_rules: What holds while the rule file has mistakes and no earlier rules are known: `open` (no budget)
            or `closed` (every call is refused) (`GENLEDGER_ON_INVALID_RULES`).
        tier_of: Returns the plan tier of a tenant, for budgets that differ by tier.
        on_budget_event: Called with each budget event that this process reports.
        alerts_every: Seconds between two evaluations of the alert rules in the file with the budget rules, by one of
            the processes that share the budget store; 0 for none (`GENLEDGER_ALERTS_EVERY`).
        langfuse_tags: Tag observations in Langfuse with `feature:<name>`, `tenant:<id>` and `unpriced`
            (`GENLEDGER_LANGFUSE_TAGS`).
        langfuse_trace_name: What traces are called in Langfuse: by their topmost `span`, or by the `feature` of each
            observation, so that its dashboards group by it (`GENLEDGER_LANGFUSE_TRACE_NAME`).
        langfuse_send_all_spans: Send all spans to Langfuse, not only GenAI ones (`GENLEDGER_LANGFUSE_SEND_ALL_SPANS`).
        langfuse_units_per_month: Maximum units per month; fewer traces are sent as they are used up
            (`GENLEDGER_LANGFUSE_UNITS_PER_MONTH`).
        spool: Directory for undelivered records; `off` for none (`GENLEDGER_SPOOL`).
        durable: Write each record to disk before the call returns; `fsync` also survives a loss of power
            (`GENLEDGER_DURABLE`).
    """

    libraries: tuple[str, ...] | None = _option(None, _names, LIBRARIES)
    exclude: tuple[str, ...] = _option((), _names, *EXCLUDE)
    destinations: tuple[Any, ...] | None = _option(None, _destinations, "GENLEDGER_DESTINATIONS")
    capture_content: CaptureMode = _option("off", _capture, "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT")
    emit_event: bool | None = _option(None, _flag, "OTEL_INSTRUMENTATION_GENAI_EMIT_EVENT")
    tracer_provider: TracerProvider | None = _option(None, _with("get_tracer"))
    meter_provider: MeterProvider | None = _option(None, _with("get_meter"))
    logger_provider: LoggerProvider | None = _option(None, _with("get_logger"))
    content_max_bytes: int = _option(64 * 1024, _number, "GENLEDGER_CONTENT_MAX_BYTES")
    span_content_max_bytes: int = _option(256 * 1024, _number, "GENLEDGER_SPAN_CONTENT_MAX_BYTES")
    keep_media: bool = _option(False, _flag, "GENLEDGER_KEEP_MEDIA")
    redact: tuple[str, ...] = _option(
        ("keys", "email", "card", "phone"), _some_of("keys", "email", "card", "phone"), "GENLEDGER_REDACT"
    )
    redactor: Callable[[str], str] | None = _option(None, _callable)
    request_stream_usage: bool = _option(False, _flag, "GENLEDGER_REQUEST_STREAM_USAGE")
    metric_names: str = _option("newest", _one_of("newest", "v1.41", "both"), "GENLEDGER_METRIC_NAMES")
    max_label_values: int = _option(1000, _number, "GENLEDGER_MAX_LABEL_VALUES")
    log: str = _option("plain", _one_of("plain", "json"), "GENLEDGER_LOG")
    log_calls: bool = _option(False, _flag, "GENLEDGER_LOG_CALLS")
    log_hash_users: bool = _option(False, _flag, "GENLEDGER_LOG_HASH_USERS")
    baggage: tuple[str, ...] = _option(
        ("tenant", "feature"),
        _some_of("tenant", "feature", "user", "session", "prompt_name", "prompt_version"),
        "GENLEDGER_BAGGAGE",
    )
    trust_baggage: bool = _option(False, _flag, "GENLEDGER_TRUST_BAGGAGE")
    ledger: str | None = _option(None, _path, "GENLEDGER_LEDGER")
    ledger_max_days: int = _option(90, _number, "GENLEDGER_LEDGER_MAX_DAYS")
    ledger_max_mb: int = _option(1024, _number, "GENLEDGER_LEDGER_MAX_MB")
    prices: str | None = _option(None, _path, "GENLEDGER_PRICES")
    budgets: str | Rulebook | Guard | None = _option(None, _budgets, "GENLEDGER_BUDGETS")
    budget_store: str | Store | None = _option(None, _store, "GENLEDGER_BUDGET_STORE")
    on_invalid_rules: Literal["open", "closed"] = _option(
        "open", _one_of("open", "closed"), "GENLEDGER_ON_INVALID_RULES"
    )
    tier_of: Callable[[str], str | None] | None = _option(None, _callable)
    on_budget_event: Callable[[Any], None] | None = _option(None, _callable)
    alerts_every: int = _option(60, _number, "GENLEDGER_ALERTS_EVERY")
    langfuse_tags: bool = _option(True, _flag, "GENLEDGER_LANGFUSE_TAGS")
    langfuse_trace_name: Literal["span", "feature"] = _option(
        "span", _one_of("span", "feature"), "GENLEDGER_LANGFUSE_TRACE_NAME"
    )
    langfuse_send_all_spans: bool = _option(False, _flag, "GENLEDGER_LANGFUSE_SEND_ALL_SPANS")
    langfuse_units_per_month: int | None = _option(None, _number, "GENLEDGER_LANGFUSE_UNITS_PER_MONTH")
    spool: str | None = _option(None, _path, "GENLEDGER_SPOOL")
    durable: bool | Literal["fsync"] = _option(False, _durability, "GENLEDGER_DURABLE")

    @property
    def emits_event(self) -> bool:
        """Return whether to emit the details event: as configured, else if content goes on it."""
        return self.capture_content in ("event", "both") if self.emit_event is None else self.emit_event


class Options(TypedDict, total=False):
    """The keywords of `instrument()`, each as an application may write it. `None` is the same as leaving it out."""

    libraries: Sequence[str] | str | None
    exclude: Sequence[str] | str | None
    destinations: Sequence[Any] | str | None
    capture_content: CaptureMode | Literal["NO_CONTENT", "SPAN_ONLY", "EVENT_ONLY", "SPAN_AND_EVENT"] | bool | None
    emit_event: bool | None
    tracer_provider: TracerProvider | None
    meter_provider: MeterProvider | None
    logger_provider: LoggerProvider | None
    content_max_bytes: int | None
    span_content_max_bytes: int | None
    keep_media: bool | None
    redact: Sequence[RedactionPattern] | RedactionPattern | Literal["none"] | bool | None
    redactor: Callable[[str], str] | None
    request_stream_usage: bool | None
    metric_names: Literal["newest", "v1.41", "both"] | None
    max_label_values: int | None
    log: Literal["plain", "json"] | None
    log_calls: bool | None
    log_hash_users: bool | None
    baggage: Sequence[AttributionField] | AttributionField | Literal["none"] | bool | None
    trust_baggage: bool | None
    ledger: FilePath | None
    ledger_max_days: int | None
    ledger_max_mb: int | None
    prices: FilePath | None
    budgets: FilePath | Sequence[Rule] | Rulebook | Guard | None
    budget_store: FilePath | Store | None
    on_invalid_rules: Literal["open", "closed"] | None
    tier_of: Callable[[str], str | None] | None
    on_budget_event: Callable[[BudgetEvent], None] | None
    alerts_every: int | None
    langfuse_tags: bool | None
    langfuse_trace_name: Literal["span", "feature"] | None
    langfuse_send_all_spans: bool | None
    langfuse_units_per_month: int | None
    spool: FilePath | None
    durable: bool | Literal["fsync"] | None


def read_settings(
    keywords: Mapping[str, object], environ: Mapping[str, str] | None = None
) -> tuple[Settings, list[str]]:
    """Return the settings from keywords and environment, and one line for each problem."""
    environ = os.environ if environ is None else environ
    values: dict[str, Any] = {}
    problems: list[str] = []
    known = {option.name: option for option in fields(Settings)}
    variables = {name for option in known.values() for name in option.metadata["env"]}
    for name, option in known.items():
        parse = option.metadata["parse"]
        given = keywords.get(name)
        sources = [(f"instrument({name}=…)", given)] if given is not None else []
        if not sources:
            sources = [(variable, environ[variable]) for variable in option.metadata["env"] if environ.get(variable)]
        for source, value in sources:
            try:
                parsed = parse(value)
            except Unusable as error:
                problems.append(f"{source} must be {error}, not {quoted(value)}; using the default")
                continue
            except Exception as error:
                problems.append(f"{source} cannot be read: {type(error).__name__}; using the default")
                continue
            both = isinstance(parsed, tuple) and name == "exclude" and name in values
            values[name] = (*values[name], *parsed) if both else parsed
    for name in keywords:
        if name not in known:
            problems.append(f"instrument({name}=…) is not an option{_nearest(name, known)}; it is ignored")
    for variable in environ:
        if variable.startswith(PREFIX) and variable not in variables:
            problems.append(f"{variable} is not a Genledger variable{_nearest(variable, variables)}; it is ignored")
    settings = Settings(**values)
    if settings.durable and settings.spool == "off":
        problems.append("durable has no effect, because spool is off: set spool to a directory, or leave out durable")
    return settings, problems


def _nearest(name: str, known: Sequence[str] | Mapping[str, Any] | set[str]) -> str:
    import difflib

    close = difflib.get_close_matches(name, list(known), n=1)
    return f" (did you mean {close[0]}?)" if close else ""
