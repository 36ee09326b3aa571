"""Requests to the API of the configured Langfuse project, by the client of its SDK, version 5."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from genledger.destinations.langfuse.destination import LangfuseProject
from genledger.destinations.langfuse.outcome_scores import api_client
from genledger.engine.content.redaction import stage


class LangfuseApiError(Exception):
    """Langfuse cannot be asked, or refuses. The message says why, and what to do."""


def configured_client(timeout_s: float) -> tuple[str, Any]:
    """Return the address of the project that the `LANGFUSE_*` variables name, and a client for it.

    Raises:
        LangfuseApiError: There is none, its settings are wrong, or the SDK is not installed.
    """
    try:
        project = LangfuseProject.from_environment()
        if project is None:
            raise LangfuseApiError(
                "no Langfuse project is configured; set LANGFUSE_PUBLIC_KEY, LANGFUSE_SECRET_KEY and, unless it is "
                "https://cloud.langfuse.com, LANGFUSE_BASE_URL"
            )
        return project.base_url, api_client(project, timeout_s)
    except ImportError:
        raise LangfuseApiError(
            "the package langfuse (version 5) is not installed; install genledger[langfuse]"
        ) from None
    except ValueError as error:
        raise LangfuseApiError(str(error)) from None


@contextmanager
def asking(base_url: str) -> Iterator[None]:
    """Say in one line what goes wrong in a request.

    Raises:
        LangfuseApiError: The server refused it, or did not answer.
    """
    from langfuse.api.core import ApiError  # type: ignore[import-not-found, unused-ignore]

    try:
        yield
    except ApiError as error:
        said = error.body.get("message") if isinstance(error.body, Mapping) else None
        advice = "; check LANGFUSE_PUBLIC_KEY and LANGFUSE_SECRET_KEY" if error.status_code in (401, 403) else ""
        raise LangfuseApiError(
            f"Langfuse at {base_url} answers {error.status_code}{f': {said}' if said else ''}{advice}"
        ) from None
    except Exception as error:
        raise LangfuseApiError(
            f"Langfuse at {base_url} does not answer: {type(error).__name__}: {stage().error(error)}"
        ) from None
