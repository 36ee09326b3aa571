"""Installed client libraries, whether their calls are recorded, and what else records them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, entry_points, version

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from genledger.doctor.findings import Findings
from genledger.instrumentation.chosen import EXCLUDE, LIBRARIES, is_chosen, names
from genledger.instrumentation.patching import Patch
from genledger.setup.instrument import INSTRUMENTORS, available
from genledger.setup.settings import Settings

_IMPORT_TIMEOUT_S = 120.0
_SHOW = "import sys; from genledger.doctor.libraries import show_patches; show_patches(sys.argv[1])"
_OWN_SPANS = {
    "anthropic": Requirement("anthropic>=1.14"),
    "mistralai": Requirement("mistralai>=1.12"),
    "xai-sdk": Requirement("xai-sdk>=1.21"),
}
"""Client libraries that make a span of their own for each call; ours takes its place."""

_GROUPS = {
    INSTRUMENTORS: "under opentelemetry-instrument",
    "openinference_instrumentor": "after register(auto_instrument=True)",
}
"""The entry point groups of instrumentors, and when they are loaded."""

_WRAPPERS: dict[str, tuple[frozenset[str] | None, str]] = {
    "agentops": (None, "after agentops.init()"),
    "braintrust": (frozenset({"openai", "anthropic"}), "after braintrust.auto_instrument() or braintrust.wrap_…()"),
    "ddtrace": (None, "under ddtrace-run, or after ddtrace.patch()"),
    "lmnr": (None, "after Laminar.initialize()"),
    "logfire": (frozenset({"openai", "anthropic"}), "after logfire.instrument_…()"),
    "mlflow": (None, "after mlflow.….autolog()"),
    "openlit": (None, "after openlit.init()"),
    "traceloop-sdk": (None, "after Traceloop.init()"),
}
"""Distributions that trace client libraries without an entry point: which (`None`: many), and when.

Not Langfuse's wrapper of OpenAI's client: its span keeps nothing that a backend would price.
"""


@dataclass(slots=True, frozen=True)
class Tracer:
    """Another instrumentation that records the calls of a library; `when` is the condition."""

    distribution: str
    version: str
    when: str


@dataclass(slots=True, frozen=True)
class Library:
    """An installed client library.

    `recorded` says whether its calls would be; `excluded_by` is the option that says no. `own_spans`: the library
    makes spans itself, which Genledger's take the place of. `patched` and `missing` are attributes, and `None`
    unless the library was imported to see.
    """

    name: str
    distribution: str
    version: str
    supports: str
    supported: bool
    recorded: bool
    excluded_by: str | None
    own_spans: bool
    patched: list[str] | None
    missing: list[str] | None
    also_traced_by: list[Tracer]


def examine_libraries(settings: Settings, try_imports: bool, findings: Findings) -> tuple[list[Library], list[str]]:
    """Return the supported client libraries that are installed, and the names of those that are not."""
    points = available()
    for name in set(settings.libraries or ()) - set(points):
        known = ", ".join(sorted(points))
        findings.wrong("libraries", f"GENLEDGER_LIBRARIES names {name}, which is not supported; supported are: {known}")
    installed, absent = [], []
    for name, found_point in sorted(points.items()):
        described = found_point.point.load()
        found = installed_version(described.distribution)
        if found is None:
            absent.append(name)
            continue
        supported = Requirement(described.supports).specifier.contains(found, prereleases=True)
        excluded_by = _excluded_by(name, settings)
        patched, missing = _try(name) if try_imports and excluded_by is None else (None, None)
        others = [] if excluded_by else _others(name)
        own = _OWN_SPANS.get(name)
        recorded = excluded_by is None and not missing
        installed.append(
            Library(
                name, described.distribution, found, described.supports, supported, recorded, excluded_by,
                own is not None and own.specifier.contains(found, prereleases=True), patched, missing, others,
            )
        )  # fmt: skip
        if excluded_by is not None:
            continue
        if not supported:
            findings.wrong(name, f"version {found} is not supported ({described.supports}); its calls may be missed")
        for attribute in missing or ():
            findings.wrong(name, f"{attribute} could not be patched; calls through it are not recorded")
        if others:
            tracers = ", ".join(f"{other.distribution} ({other.when})" for other in others)
            findings.note(
                name,
                f"also recorded by {tracers}: two spans per call. Genledger prices the call once, but a backend that "
                "prices spans itself counts it twice. Remove the other instrumentation, or set "
                f"GENLEDGER_EXCLUDE={name}; Genledger then prices the other spans",
            )
    if not installed:
        findings.note("libraries", "no supported client library is installed in this environment")
    return installed, absent


def installed_version(distribution: str) -> str | None:
    """Return the version of a distribution without importing it; `None` if it is not installed."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def _excluded_by(name: str, settings: Settings) -> str | None:
    if settings.libraries is not None and name not in settings.libraries:
        return LIBRARIES
    if is_chosen(name, None, settings.exclude):
        return None
    return next(one for one in EXCLUDE if not is_chosen(name, None, names(os.environ.get(one, ""))))


def _others(name: str) -> list[Tracer]:
    """Return the other instrumentations of a library: by entry point, or on the application's request."""
    found: dict[str, Tracer] = {}
    for group, when in _GROUPS.items():
        for point in entry_points(group=group):
            if canonicalize_name(point.name) != canonicalize_name(name) or point.dist is None:
                continue
            distribution: str = canonicalize_name(point.dist.name)
            if distribution != "genledger":
                found.setdefault(distribution, Tracer(distribution, point.dist.version, when))
    for distribution, (libraries, when) in _WRAPPERS.items():
        installed = installed_version(distribution)
        if installed is not None and (libraries is None or name in libraries):
            found.setdefault(distribution, Tracer(distribution, installed, when))
    return list(found.values())


def _try(name: str) -> tuple[list[str], list[str]]:
    """Which attributes are patched, and which are not, when the library is imported in a process of its own."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", _SHOW, name],
            capture_output=True,
            text=True,
            check=False,
            timeout=_IMPORT_TIMEOUT_S,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
    except subprocess.TimeoutExpired:
        return [], [f"everything (its import took longer than {_IMPORT_TIMEOUT_S:.0f} s)"]
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        return [], [f"everything ({said[-1]})"]
    patched, missing = json.loads(done.stdout.rpartition("\n")[2])
    return patched, missing


def show_patches(name: str) -> None:
    """Patch a library, import it, and print a JSON list: what is patched, and what should be but is not."""
    instrumentor = available()[name].point.load()()
    instrumentor.instrument(skip_dep_check=True)
    patches = instrumentor.patches()
    needed = []
    for patch in patches:
        try:
            import_module(patch.module)
        except ModuleNotFoundError:
            pass
        if isinstance(patch, Patch) and not patch.optional and patch.unless is None:
            needed.append(patch.path if "." in patch.path else f"{patch.module}.{patch.path}")
    patched = instrumentor.patched
    sys.stdout.write("\n" + json.dumps([patched, [one for one in needed if one not in patched]]))
