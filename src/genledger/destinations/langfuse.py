"""Langfuse as a destination: its own vocabulary over OTLP/HTTP, GenAI spans only.

Settings mean what Langfuse's SDK says: `LANGFUSE_PUBLIC_KEY`, `LANGFUSE_SECRET_KEY`, `LANGFUSE_BASE_URL`
(`LANGFUSE_HOST` before), `LANGFUSE_TRACING_ENVIRONMENT`, `LANGFUSE_RELEASE`, `LANGFUSE_SAMPLE_RATE`,
`LANGFUSE_TIMEOUT`, `LANGFUSE_FLUSH_AT`, `LANGFUSE_FLUSH_INTERVAL`, `LANGFUSE_OTEL_TRACES_EXPORT_PATH`.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from .addresses import check_http_url
from .clock import SYSTEM_CLOCK, Clock
from .destination import Destination, OneReceiver, Storage
from .errors import ConfigurationError
from .langfuse_vocabulary import Project, environment_name, translate
from .pipeline import Delivery, Limits
from .sender import HttpSender

DEFAULT_BASE_URL = "https://cloud.langfuse.com"
TRACES_PATH = "/api/public/otel/v1/traces"

_CI_RELEASES = (
    "RENDER_GIT_COMMIT", "CI_COMMIT_SHA", "CIRCLE_SHA1", "SOURCE_VERSION", "TRAVIS_COMMIT", "GIT_COMMIT",
    "GITHUB_SHA", "BITBUCKET_COMMIT", "BUILD_SOURCEVERSION", "DRONE_COMMIT_SHA",
)  # fmt: skip
"""Where Langfuse's SDK looks for a release when none is given."""


@dataclass(slots=True, frozen=True)
class LangfuseProject:
    """The keys of one Langfuse project. The secret shows in no representation.

    Raises:
        ConfigurationError: A key is missing or the wrong way round, or the address is not one.
    """

    public_key: str
    secret_key: str = field(repr=False)
    base_url: str = DEFAULT_BASE_URL

    def __post_init__(self) -> None:
        if not self.public_key or not self.secret_key:
            missing = "LANGFUSE_PUBLIC_KEY" if not self.public_key else "LANGFUSE_SECRET_KEY"
            raise ConfigurationError(f"Langfuse: {missing} is not set though the other key is; set both, or neither")
        if self.public_key.startswith("sk-lf-") or self.secret_key.startswith("pk-lf-"):
            raise ConfigurationError("Langfuse: LANGFUSE_PUBLIC_KEY and LANGFUSE_SECRET_KEY are the wrong way round")
        check_http_url(self.base_url, "Langfuse: LANGFUSE_BASE_URL")

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> LangfuseProject | None:
        """The project that the `LANGFUSE_*` variables name; `None` when neither key is set.

        Raises:
            ConfigurationError: Only one key is set, or the address is not one.
        """
        public_key, secret_key = environ.get("LANGFUSE_PUBLIC_KEY", ""), environ.get("LANGFUSE_SECRET_KEY", "")
        if not public_key and not secret_key:
            return None
        base_url = environ.get("LANGFUSE_BASE_URL") or environ.get("LANGFUSE_HOST") or DEFAULT_BASE_URL
        return cls(public_key, secret_key, base_url)

    def sender(self, path: str = TRACES_PATH) -> HttpSender:
        """The sender for this project's OTLP endpoint."""
        token = base64.b64encode(f"{self.public_key}:{self.secret_key}".encode()).decode()
        return HttpSender(
            f"{self.base_url.rstrip('/')}/{path.lstrip('/')}",
            # Version 4 is the observations-first ingestion: without it, spans can take minutes to appear.
            {"authorization": f"Basic {token}", "x-langfuse-ingestion-version": "4"},
            reads_partial_success=False,
        )


class LangfuseDestination(Destination):
    """One Langfuse project.

    Args:
        project: Its keys and address.
        environment: Langfuse's environment, on every span (`LANGFUSE_TRACING_ENVIRONMENT`; else the
            resource's `deployment.environment.name`).
        release: On every span (`LANGFUSE_RELEASE`).
        version: On every span (else the resource's `service.version`).
        all_spans: Send web, database and queue spans, too.
        limits: Bounds of queue, batches and time.
        storage: Where undelivered batches wait.
    """

    def __init__(
        self,
        project: LangfuseProject,
        *,
        environment: str | None = None,
        release: str | None = None,
        version: str | None = None,
        all_spans: bool = False,
        limits: Limits | None = None,
        storage: Storage | None = None,
        traces_path: str = TRACES_PATH,
        clock: Clock = SYSTEM_CLOCK,
        threaded: bool = True,
    ) -> None:
        common = Project(environment_name(environment) if environment else None, release, version)
        storage = storage or Storage()

        def deliver() -> Delivery:
            spool, journal = storage.open("langfuse", f"{project.base_url}|{project.public_key}", clock)
            return Delivery(
                "langfuse",
                project.sender(traces_path),
                lambda item: translate(item, common),
                limits=limits,
                spool=spool,
                journal=journal,
                clock=clock,
                threaded=threaded,
            )

        super().__init__("langfuse", OneReceiver(deliver()), select=not all_spans, tells_ends=False, lineage=True)

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> LangfuseDestination | None:
        """The destination that the `LANGFUSE_*` variables describe; `None` when neither key is set.

        Raises:
            ConfigurationError: A variable has a value that means nothing, or only one key is set.
        """
        project = LangfuseProject.from_environment(environ)
        if project is None:
            return None
        limits = Limits()
        return cls(
            project,
            environment=environ.get("LANGFUSE_TRACING_ENVIRONMENT"),
            release=release_of(environ),
            limits=Limits(
                batch_spans=int(_number(environ, "LANGFUSE_FLUSH_AT", limits.batch_spans)),
                delay_s=_number(environ, "LANGFUSE_FLUSH_INTERVAL", limits.delay_s),
                timeout_s=_number(environ, "LANGFUSE_TIMEOUT", limits.timeout_s),
            ),
            traces_path=environ.get("LANGFUSE_OTEL_TRACES_EXPORT_PATH") or TRACES_PATH,
        )


def release_of(environ: Mapping[str, str]) -> str | None:
    """`LANGFUSE_RELEASE`, else the commit that the build system names."""
    return next((environ[name] for name in ("LANGFUSE_RELEASE", *_CI_RELEASES) if environ.get(name)), None)


def _number(environ: Mapping[str, str], name: str, default: float) -> float:
    value = environ.get(name)
    if not value:
        return default
    try:
        number = float(value)
    except ValueError:
        number = -1.0
    if not 0 < number < float("inf"):
        raise ConfigurationError(f"Langfuse: {name}={value!r} is not a positive number")
    return number


def __getattr__(name: str) -> type:
    if name == "LangfuseSpanExporter":
        from .langfuse_exporter import LangfuseSpanExporter

        return LangfuseSpanExporter
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
