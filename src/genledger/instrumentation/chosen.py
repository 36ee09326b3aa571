"""Which libraries are instrumented: those that are named, without those that are excluded."""

from __future__ import annotations

from collections.abc import Collection, Mapping

LIBRARIES = "GENLEDGER_LIBRARIES"
"""Names the only libraries to instrument."""

EXCLUDE = ("GENLEDGER_EXCLUDE", "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS")
"""Name libraries not to instrument; `*` means all."""


def is_chosen(library: str, libraries: Collection[str] | None, exclude: Collection[str]) -> bool:
    """Return whether to instrument a library; `libraries` is `None` where none is named."""
    return not {library, "*"} & set(exclude) and (libraries is None or library in libraries)


def is_chosen_by(environ: Mapping[str, str], library: str) -> bool:
    """Return whether the variables say to instrument a library."""
    libraries = names(environ[LIBRARIES]) if environ.get(LIBRARIES) else None
    return is_chosen(library, libraries, names(",".join(environ.get(variable, "") for variable in EXCLUDE)))


def names(text: str) -> tuple[str, ...]:
    """Return the names in a list with commas."""
    return tuple(name.strip() for name in text.split(",") if name.strip())
