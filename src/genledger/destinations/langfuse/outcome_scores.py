"""Product outcomes as scores of their traces, through the API client of Langfuse's SDK, version 5.

https://langfuse.com/docs/evaluation/evaluation-methods/custom-scores
"""

from __future__ import annotations

import threading
import uuid
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from opentelemetry.trace import format_trace_id, get_tracer_provider

from genledger.destinations.langfuse.vocabulary import resource_environment
from genledger.engine.content.redaction import stage
from genledger.shared.after_fork import run_after_fork
from genledger.shared.loggers import logger_of
from genledger.shared.task_queue import TaskQueue

if TYPE_CHECKING:
    from genledger.destinations.langfuse.destination import LangfuseProject
    from genledger.engine.record import ProductEvent

log = logger_of("genledger")

MAX_WAITING = 10_000
"""Scores that wait in memory at most."""

BATCH = 100
"""Scores of one request at most: Langfuse takes a megabyte, and one has at most a few kilobytes."""

DELAYS_S = (0.5, 1.0, 2.0, 4.0, 8.0)
"""Seconds to wait before each further attempt."""

_AGAIN = frozenset({408, 429})

_SCORES = uuid.UUID("6f1c8a52-3c1d-4a64-9d3f-0f7f0c3f5b1e")
"""The namespace of the ids of scores that have a key."""


class OutcomeScores:
    """Sends outcomes as numeric scores, in the background. What cannot be sent is dropped, and said once.

    The ledger, where it is a destination, keeps outcomes whatever happens here.

    Args:
        project_of: Returns the project of a tenant; `None` where outcomes of this tenant go nowhere.
        environment: Langfuse's environment; else that of the application's resource, as on spans.
        timeout_s: Seconds that one request may take.
    """

    def __init__(
        self, project_of: Callable[[str | None], LangfuseProject | None], environment: str | None, timeout_s: float
    ) -> None:
        self._project_of = project_of
        self._environment = environment
        self._client = lru_cache(maxsize=32)(lambda project: _client(project, timeout_s))
        self._tasks = TaskQueue("genledger-outcomes")
        self._hurry = threading.Event()
        self._start_empty()
        run_after_fork(self._start_empty)
        self._lost = False
        self._said: set[str] = set()

    def _start_empty(self) -> None:
        self._waiting: deque[tuple[LangfuseProject, dict[str, Any]]] = deque()

    def take(self, event: ProductEvent) -> None:
        """Take an outcome, to be sent soon. Never blocks."""
        who = event.attribution
        project = self._project_of(who.tenant)
        if project is None:
            return
        if event.trace_id is None and who.session is None:
            self._complain("an outcome outside of any trace and session has no place in Langfuse")
            return
        if len(self._waiting) >= MAX_WAITING:
            self._complain(f"more than {MAX_WAITING} outcomes wait to be sent to Langfuse; further ones are dropped")
            return
        metadata = {
            "tenantId": who.tenant,
            "feature": who.feature,
            "promptVersion": who.prompt_version,
            "currency": event.currency,
            "key": event.key,
            "release": event.release,
        }
        score = {
            "id": _id_of(event),
            "name": event.name,
            "value": event.value,
            "data_type": "NUMERIC",
            "timestamp": datetime.fromtimestamp(event.at_ns / 1e9, UTC),
            "environment": self._environment or _application_environment(),
            "metadata": {key: value for key, value in metadata.items() if value is not None},
            # To one of them only. A trace is the nearer one.
            **(
                {"trace_id": format_trace_id(event.trace_id)}
                if event.trace_id is not None
                else {"session_id": who.session}
            ),
        }
        self._waiting.append((project, score))
        self._tasks.do(self._send)

    def flush(self, timeout: float) -> bool:
        """Send what waits, within so many seconds; whether all since the last time was sent."""
        done = self._tasks.flush(timeout)
        lost, self._lost = self._lost, False
        return done and not lost

    def shutdown(self, timeout: float) -> bool:
        """Send what waits, within so many seconds, and drop the rest."""
        self._hurry.set()
        done = self.flush(timeout)
        if self._waiting:
            self._complain(f"{len(self._waiting)} outcomes were not sent to Langfuse before the process ended")
            self._waiting.clear()
        return done

    def _send(self) -> None:
        """Send the next outcomes of one project."""
        if not self._waiting:
            return
        project, score = self._waiting.popleft()
        scores = [score]
        while self._waiting and len(scores) < BATCH and self._waiting[0][0] == project:
            scores.append(self._waiting.popleft()[1])
        try:
            problem = self._deliver(project, scores)
            self._lost = self._lost or problem is not None
        except ImportError:
            problem = "the package langfuse (version 5) is not installed; install genledger[langfuse]"
        if problem is not None:
            self._complain(f"outcomes are not sent to Langfuse as scores: {problem}")

    def _deliver(self, project: LangfuseProject, scores: list[dict[str, Any]]) -> str | None:
        """Send scores of one project. Return the problem, or `None`."""
        from langfuse.api import ScoreDataType  # type: ignore[import-not-found, unused-ignore]
        from langfuse.api.core import ApiError  # type: ignore[import-not-found, unused-ignore]
        from langfuse.api.scores.types import CreateScoreRequest  # type: ignore[import-not-found, unused-ignore]

        request = [CreateScoreRequest(**{**score, "data_type": ScoreDataType.NUMERIC}) for score in scores]
        for delay in (*DELAYS_S, None):
            try:
                answer = self._client(project).scores.create(request=request, request_options={"max_retries": 0})
            except ApiError as error:
                problem = f"{project.base_url} answers {error.status_code}"
                if error.status_code == 400:
                    problem += "; a self-hosted server needs version 4.59 or newer"
                if error.status_code is not None and error.status_code < 500 and error.status_code not in _AGAIN:
                    return problem
            except Exception as error:
                problem = f"{type(error).__name__}: {stage().error(error)}"
            else:
                rejected = getattr(answer, "rejected", 0)
                return f"{rejected} of {len(scores)} were rejected" if rejected else None
            if delay is None or self._hurry.is_set():
                return problem
            self._hurry.wait(delay)
        return None

    def _complain(self, problem: str) -> None:
        if problem not in self._said:
            self._said.add(problem)
            log.warning("genledger: %s", problem)


def _id_of(event: ProductEvent) -> str:
    """Return the id of a score: of outcomes with the same name and key always the same one, so that each replaces it.

    Langfuse replaces a score that has the same id, name and day.
    """
    return str(uuid.uuid4() if event.key is None else uuid.uuid5(_SCORES, f"{event.name}\0{event.key}"))


def _application_environment() -> str | None:
    resource = getattr(get_tracer_provider(), "resource", None)
    return resource_environment(resource.attributes) if resource is not None else None


def _client(project: LangfuseProject, timeout_s: float) -> Any:
    """Return an API client. Not `Langfuse()`: that puts a span processor on the application's provider."""
    from langfuse.api import LangfuseAPI  # type: ignore[import-not-found, unused-ignore]

    return LangfuseAPI(
        base_url=project.base_url,
        username=project.public_key,
        password=project.secret_key,
        timeout=timeout_s,
    )
