"""Langfuse as a destination: its own vocabulary over OTLP/HTTP, GenAI spans only.

Settings mean what Langfuse's SDK says: `LANGFUSE_PUBLIC_KEY`, `LANGFUSE_SECRET_KEY`, `LANGFUSE_BASE_URL`
(`LANGFUSE_HOST` before), `LANGFUSE_TRACING_ENVIRONMENT`, `LANGFUSE_RELEASE`, `LANGFUSE_SAMPLE_RATE`,
`LANGFUSE_TIMEOUT`, `LANGFUSE_FLUSH_AT`, `LANGFUSE_FLUSH_INTERVAL`, `LANGFUSE_OTEL_TRACES_EXPORT_PATH`,
`LANGFUSE_OTEL_COMPRESSION`, `LANGFUSE_OTEL_MAX_BATCH_SIZE_BYTES`, `LANGFUSE_TRACING_ENABLED`.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Literal, Unpack

from genledger.destinations.delivery.delivery_stats import Limits, positive
from genledger.destinations.delivery.errors import ConfigurationError
from genledger.destinations.delivery.export_worker import ExportWorker
from genledger.destinations.delivery.http_exporter import Compression, HttpExporter
from genledger.destinations.delivery.remote_destination import (
    DeliveryOptions,
    Destination,
    OneReceiver,
    Receivers,
    open_delivery,
)
from genledger.destinations.delivery.time_source import SYSTEM_CLOCK
from genledger.destinations.delivery.validate_url import check_http_url
from genledger.destinations.export_target import ExportTarget
from genledger.destinations.langfuse.beside_sdk import BesideSdkProcessor
from genledger.destinations.langfuse.outcome_scores import OutcomeScores
from genledger.destinations.langfuse.vocabulary import Project, environment_name, translate
from genledger.destinations.selection.open_spans import TRACE_CLAIM
from genledger.destinations.selection.sampling import Keep, SamplingOptions
from genledger.destinations.selection.span_processor import SelectingSpanProcessor
from genledger.shared.release import build_release

if TYPE_CHECKING:
    from genledger.destinations.selection.tenant_routing import Unknown
    from genledger.engine.record import ProductEvent

DEFAULT_BASE_URL = "https://cloud.langfuse.com"
TRACES_PATH = "/api/public/otel/v1/traces"


@dataclass(slots=True, frozen=True)
class LangfuseProject:
    """The keys of one Langfuse project. The secret shows in no representation.

    Raises:
        ConfigurationError: A key is missing or swapped, or the address is invalid.
    """

    public_key: str
    secret_key: str = field(repr=False)
    base_url: str = DEFAULT_BASE_URL

    def __post_init__(self) -> None:
        if not self.public_key or not self.secret_key:
            missing = "LANGFUSE_PUBLIC_KEY" if not self.public_key else "LANGFUSE_SECRET_KEY"
            raise ConfigurationError(f"Langfuse: {missing} is not set, but the other key is; set both, or neither")
        if self.public_key.startswith("sk-lf-") or self.secret_key.startswith("pk-lf-"):
            raise ConfigurationError("Langfuse: LANGFUSE_PUBLIC_KEY and LANGFUSE_SECRET_KEY are swapped")
        check_http_url(self.base_url, "Langfuse: LANGFUSE_BASE_URL")

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> LangfuseProject | None:
        """Return the project that the `LANGFUSE_*` variables name; `None` when neither key is set.

        Raises:
            ConfigurationError: Only one key is set, or the address is not one.
        """
        public_key, secret_key = environ.get("LANGFUSE_PUBLIC_KEY", ""), environ.get("LANGFUSE_SECRET_KEY", "")
        if not public_key and not secret_key:
            return None
        base_url = environ.get("LANGFUSE_BASE_URL") or environ.get("LANGFUSE_HOST") or DEFAULT_BASE_URL
        return cls(public_key, secret_key, base_url)

    @property
    def identity(self) -> str:
        """Says which project it is; not a secret."""
        return f"{self.base_url}|{self.public_key}"

    @property
    def _authorization(self) -> dict[str, str]:
        token = base64.b64encode(f"{self.public_key}:{self.secret_key}".encode()).decode()
        return {"authorization": f"Basic {token}"}

    def _url(self, path: str) -> str:
        return f"{self.base_url.rstrip('/')}/{path.lstrip('/')}"

    def export_target(self, path: str = TRACES_PATH) -> ExportTarget:
        """Return this project's OTLP endpoint in a form that can be compared."""
        return ExportTarget.of(self._url(path), "http/protobuf", self._authorization)

    def sender(self, path: str = TRACES_PATH, compression: Compression = "gzip") -> HttpExporter:
        """Return the sender for this project's OTLP endpoint."""
        return HttpExporter(
            self._url(path),
            # Version 4 is the observations-first ingestion: without it, spans can take minutes to appear.
            {**self._authorization, "x-langfuse-ingestion-version": "4"},
            compression=compression,
            reads_partial_success=False,
        )


def is_configured(environ: Mapping[str, str] = os.environ) -> bool:
    """Return whether the environment names a Langfuse project and does not turn it off."""
    off = environ.get("LANGFUSE_TRACING_ENABLED", "").strip().lower() in ("false", "0")
    return not off and bool(environ.get("LANGFUSE_PUBLIC_KEY") or environ.get("LANGFUSE_SECRET_KEY"))


class LangfuseDestination(Destination):
    """A Langfuse project, or one per tenant.

    Attributes:
        target: Where it sends to; `None` with `routes`, each of which is a receiver of its own.

    Args:
        project: Keys and address; default: those of the `LANGFUSE_*` variables.
        environment: Langfuse's environment, on every span (`LANGFUSE_TRACING_ENVIRONMENT`; else the
            resource's `deployment.environment.name`).
        release: On every span (`LANGFUSE_RELEASE`, else the commit that the build system names).
        version: On every span; else the resource's `service.version`.
        tags: Tag observations with `feature:<name>`, `tenant:<id>`, and `unpriced` where the cost is not known:
            Langfuse groups by tags, and not by metadata.
        trace_name: What a trace is called: by its topmost `span`, or by the `feature` of each observation, so that
            Langfuse's dashboards group by it.
        everything: Send web, database and queue spans, too, not only GenAI spans and the ancestors they need.
        sample_rate: The share of ordinary traces that is sent (`LANGFUSE_SAMPLE_RATE`).
        keep: Traces that are sent anyway.
        units_per_month: Units (traces, observations) that each project may use in a month: as they
            are used up, ordinary traces are thinned out, then only those of `keep` are sent, then none.
        routes: The project of a tenant: a mapping, or a function that gives `None` for a tenant without one.
        unknown: Where spans of no tenant, of several, or of one without a route go: to `project`
            (`default`), or nowhere (`drop`).
        operator_copy: With `routes`: `project` also gets a copy, without content, of what goes to a tenant.
        pool: Projects that are open at most with `routes`; each has a thread of its own.
        options: How to deliver.

    Attributes:
        trace_claim: The baggage entry by which the next service learns that the trace is shown in the project; `None`
            with `routes`, as the next service may send it to another.

    Raises:
        ConfigurationError: There is no project, or something about it cannot work.
    """

    trace_claim: str | None

    def __init__(
        self,
        project: LangfuseProject | None = None,
        *,
        environment: str | None = None,
        release: str | None = None,
        version: str | None = None,
        tags: bool = True,
        trace_name: Literal["span", "feature"] = "span",
        everything: bool = False,
        sample_rate: float | None = None,
        keep: Keep | None = None,
        units_per_month: int | None = None,
        routes: Mapping[str, LangfuseProject] | Callable[[str], LangfuseProject | None] | None = None,
        unknown: Unknown = "default",
        operator_copy: bool = False,
        pool: int = 32,
        **options: Unpack[DeliveryOptions],
    ) -> None:
        environ = os.environ
        project = project or LangfuseProject.from_environment()
        if project is None and routes is None:
            raise ConfigurationError("Langfuse: LANGFUSE_PUBLIC_KEY and LANGFUSE_SECRET_KEY are not set")
        environment = environment or environ.get("LANGFUSE_TRACING_ENVIRONMENT")
        environment = environment_name(environment) if environment else None
        common = Project(environment, release or build_release(environ), version, tags, trace_name)
        sampling = SamplingOptions(_sample_rate(environ, sample_rate), keep or Keep(), units_per_month)
        path = environ.get("LANGFUSE_OTEL_TRACES_EXPORT_PATH") or TRACES_PATH
        compression = _compression(environ)
        options.setdefault("limits", _limits(environ))

        def open_project(project: LangfuseProject) -> ExportWorker:
            return open_delivery(
                "langfuse",
                project.identity,
                project.sender(path, compression),
                lambda item: translate(item, common),
                sampling,
                **options,
            )

        default = open_project(project) if project is not None and (routes is None or unknown == "default") else None
        receivers: Receivers
        if routes is None:
            assert default is not None
            receivers = OneReceiver(default)
        else:
            from genledger.destinations.selection.tenant_routing import TenantReceivers

            receivers = TenantReceivers(
                routes,
                lambda tenant, route: (route.identity, lambda: open_project(route)),
                default=default,
                operator_copy=operator_copy,
                pool=pool,
                clock=options.get("clock", SYSTEM_CLOCK),
            )

        def project_of(tenant: str | None) -> LangfuseProject | None:
            route = routes if routes is None or callable(routes) else routes.get
            found = route(tenant) if route is not None and tenant is not None else None
            return found or (project if routes is None or unknown == "default" else None)

        self._exit_s = options["limits"].exit_s
        self._scores = OutcomeScores(project_of, common.environment, options["limits"].timeout_s)
        self.trace_claim = TRACE_CLAIM if routes is None else None
        make_processor: Callable[..., SelectingSpanProcessor] = SelectingSpanProcessor
        if project is not None and routes is None:
            make_processor = partial(BesideSdkProcessor, public_key=project.public_key, project=common)
        self.target = project.export_target(path) if project is not None and routes is None else None
        super().__init__(
            "langfuse",
            receivers,
            select=not everything,
            tells_ends=sampling.holds or routes is not None,
            lineage=True,
            make_processor=make_processor,
        )

    def score(self, event: ProductEvent) -> None:
        """Send a product outcome as a score of its trace, else of its session. Never blocks."""
        self._scores.take(event)

    def flush(self, timeout: float = 5.0) -> bool:
        """Deliver spans and scores accepted so far within `timeout` seconds; whether that was done."""
        deadline = SYSTEM_CLOCK.now() + timeout
        done = super().flush(timeout)
        return self._scores.flush(max(0.0, deadline - SYSTEM_CLOCK.now())) and done

    def shutdown(self, timeout: float | None = None) -> bool:
        """Deliver what can be delivered within `timeout` seconds (default: the limit's), spool spans, and stop."""
        started = SYSTEM_CLOCK.now()
        done = super().shutdown(timeout)
        left = (self._exit_s if timeout is None else timeout) - (SYSTEM_CLOCK.now() - started)
        return self._scores.shutdown(max(0.0, left)) and done


def _limits(environ: Mapping[str, str]) -> Limits:
    default = Limits.from_environment(environ)
    return default._replace(
        batch_spans=max(1, int(positive(environ, "LANGFUSE_FLUSH_AT", default.batch_spans))),
        batch_bytes=int(positive(environ, "LANGFUSE_OTEL_MAX_BATCH_SIZE_BYTES", default.batch_bytes)),
        delay_s=positive(environ, "LANGFUSE_FLUSH_INTERVAL", default.delay_s),
        timeout_s=positive(environ, "LANGFUSE_TIMEOUT", default.timeout_s),
    )


def _sample_rate(environ: Mapping[str, str], given: float | None) -> float:
    value = environ.get("LANGFUSE_SAMPLE_RATE") if given is None else given
    try:
        rate = 1.0 if value is None or value == "" else float(value)
    except ValueError:
        rate = -1.0
    if not 0.0 <= rate <= 1.0:
        raise ConfigurationError(f"Langfuse: the sample rate (LANGFUSE_SAMPLE_RATE) must be from 0 to 1, not {value!r}")
    return rate


def _compression(environ: Mapping[str, str]) -> Compression:
    value = (environ.get("LANGFUSE_OTEL_COMPRESSION") or "gzip").strip().lower()
    if value == "none":
        return "none"
    if value == "gzip":
        return "gzip"
    raise ConfigurationError(f"Langfuse: LANGFUSE_OTEL_COMPRESSION={value!r} is not supported; use gzip or none")
