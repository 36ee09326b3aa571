"""Instrumentors: those that are installed, and those that are loaded, each once its library is imported."""

from __future__ import annotations

import functools
import sys
from importlib.metadata import EntryPoint, PackageNotFoundError, distribution
from typing import NamedTuple

import wrapt

from genledger.engine.content.redaction import stage
from genledger.instrumentation.chosen import is_chosen
from genledger.instrumentation.instrumentor import Instrumentor
from genledger.setup import threads
from genledger.setup.settings import Settings
from genledger.shared.loggers import logger_of

logger = logger_of("genledger")

INSTRUMENTORS = "opentelemetry_instrumentor"
"""The entry point group of instrumentors, by the library's name for users."""

MODULES = "genledger_instrumented_modules"
"""The entry point group of modules that load an instrumentor which is not named like an import package."""

_instrumentors: dict[str, Instrumentor] = {}
_wanted: set[str] = set()
_waiting: set[tuple[str, str]] = set()


class Available(NamedTuple):
    """An instrumentor that is installed.

    Attributes:
        point: Its entry point, by the library's name for users.
        modules: The modules that it is loaded with: any of them, as soon as the application imports it.
    """

    point: EntryPoint
    modules: tuple[str, ...]


def available() -> dict[str, Available]:
    """Return Genledger's own instrumentors, by the library's name for users.

    An instrumentor is loaded with the import package of its library's name, unless the entry point group
    `genledger_instrumented_modules` names modules for it.
    """
    try:
        points = distribution("genledger").entry_points
    except PackageNotFoundError:
        return {}
    modules: dict[str, list[str]] = {}
    for point in points:
        if point.group == MODULES:
            modules.setdefault(point.value, []).append(point.name)
    return {
        point.name: Available(point, tuple(modules.get(point.value, (point.name,))))
        for point in points
        if point.group == INSTRUMENTORS
    }


def load(settings: Settings) -> None:
    """Load the instrumentors of the chosen libraries, each with the first of its modules that is imported.

    Those that are no longer chosen are taken back. Threads carry contexts from now on.
    """
    found = available()
    if not found:
        logger.error(
            "genledger: no call is recorded: the package's metadata (genledger-*.dist-info) is missing; "
            "keep it when you bundle the application"
        )
    for name in settings.libraries or ():
        if name not in found:
            logger.error("genledger: no instrumentor for %s; supported are: %s", name, ", ".join(sorted(found)))
    _wanted.clear()
    _wanted.update(name for name in found if is_chosen(name, settings.libraries, settings.exclude))
    for name in found.keys() - _wanted:
        _instrumentors.pop(name, None)
        if found[name].point.module in sys.modules:
            # A launcher may have applied it.
            found[name].point.load()().uninstrument()
    for name in _wanted:
        # An instrumentor is loaded when the application has use for it.
        if any(module in sys.modules for module in found[name].modules):
            _load(name)
        for module in found[name].modules:
            if (name, module) not in _waiting:
                _waiting.add((name, module))
                wrapt.register_post_import_hook(functools.partial(_load, name), module)
    threads.PATCHER.apply()


def _load(name: str, module: object = None) -> None:
    if name not in _wanted:
        return
    try:
        instrumentor = _instrumentors.get(name) or available()[name].point.load()()
        instrumentor.apply()
        _instrumentors[name] = instrumentor
    except Exception as error:
        logger.error(
            "genledger: calls of %s are not recorded: %s: %s", name, type(error).__name__, stage().error(error)
        )


def unload() -> None:
    """Restore what instrumentors, and we in threads, have patched."""
    for instrumentor in _instrumentors.values():
        instrumentor.uninstrument()
    _instrumentors.clear()
    _wanted.clear()
    threads.PATCHER.restore()


def patched() -> dict[str, list[str]]:
    """Return the currently patched attributes of each library."""
    return {name: instrumentor.patched for name, instrumentor in _instrumentors.items()}
