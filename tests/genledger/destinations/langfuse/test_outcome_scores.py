"""Outcomes reach Langfuse as scores of their traces."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Any

import pytest

import genledger
from genledger.destinations.langfuse import outcome_scores
from genledger.destinations.langfuse.destination import LangfuseDestination, LangfuseProject
from standins.faults import Status
from standins.receivers import Langfuse

from ....instrumentors.telemetry import Telemetry, instrumented
from ...applications import rows, run

pytest.importorskip("langfuse")


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outcome_scores, "DELAYS_S", (0.01, 0.01))


def accept_a_draft(*, delivered: bool = True, **options: Any) -> Telemetry:
    """Record an outcome inside an observed block, and deliver what there is."""
    with (
        instrumented(**{"destinations": ["langfuse"], "spool": "off", **options}) as telemetry,
        genledger.attribution(tenant="acme", feature="copilot", session="s1"),
        genledger.observe("review"),
    ):
        genledger.record_outcome("draft_accepted")
        genledger.record_outcome("minutes_saved", 12.5)
        assert genledger.flush(20) is delivered
    return telemetry


def test_an_outcome_is_a_score_of_its_trace(langfuse_server: Langfuse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANGFUSE_TRACING_ENVIRONMENT", "Staging")
    accept_a_draft()
    accepted, saved = langfuse_server.scores()
    (review,) = langfuse_server.spans()
    assert accepted.pop("id") != saved["id"]
    assert accepted.pop("timestamp")
    assert accepted == {
        "name": "draft_accepted",
        "value": 1.0,
        "dataType": "NUMERIC",
        "traceId": review.key[0],
        "environment": "staging",
        "metadata": {"tenantId": "acme", "feature": "copilot"},
    }
    assert saved["value"] == 12.5


def test_a_correction_replaces_the_score_by_its_id_at_its_time_and_place(langfuse_server: Langfuse) -> None:
    with instrumented(destinations=["langfuse"], spool="off"):
        with genledger.attribution(tenant="acme", feature="shop"), genledger.observe("checkout"):
            genledger.record_outcome("paid", 50, currency="EUR", key="o-1")
            genledger.record_outcome("paid", 70, currency="EUR", key="o-2")
        with genledger.observe("webhook"):
            genledger.record_outcome("paid", 40, key="o-1")
        genledger.record_outcome("paid", 30, key="o-1")
        assert genledger.flush(20)
    first, other, second, third = langfuse_server.scores()
    assert first["metadata"] == {"tenantId": "acme", "feature": "shop", "currency": "EUR", "key": "o-1"}
    assert [second, third] == [{**first, "value": 40.0}, {**first, "value": 30.0}]
    assert other["id"] != first["id"]


def test_another_process_gives_the_score_of_a_key_the_same_id(langfuse_server: Langfuse) -> None:
    for _ in range(2):
        with instrumented(destinations=["langfuse"], spool="off"):
            genledger.record_outcome("paid", key="o-1", at=1793520000, trace_id="0af7651916cd43dd8448eb211c80319c")
            genledger.record_outcome("paid", at=1793520000, trace_id="0af7651916cd43dd8448eb211c80319c")
            assert genledger.flush(20)
    first, free, second, other = langfuse_server.scores()
    assert first["id"] == second["id"]
    assert len({first["id"], free["id"], other["id"]}) == 3
    assert (first["traceId"], first["timestamp"][:19]) == ("0af7651916cd43dd8448eb211c80319c", "2026-11-01T08:00:00")


def test_outside_of_a_trace_it_is_one_of_the_session(
    langfuse_server: Langfuse, caplog: pytest.LogCaptureFixture
) -> None:
    with instrumented(destinations=["langfuse"], spool="off"):
        with genledger.attribution(session="s1"):
            genledger.record_outcome("kept")
        for _ in range(3):
            genledger.record_outcome("lost")
        assert genledger.flush(20)
    (score,) = langfuse_server.scores()
    assert (score["name"], score["sessionId"]) == ("kept", "s1")
    assert "traceId" not in score
    said = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert said == ["genledger: an outcome outside of any trace and session has no place in Langfuse"]


def test_a_server_that_is_down_for_a_moment_loses_nothing_and_gets_nothing_twice(langfuse_server: Langfuse) -> None:
    langfuse_server.next(Status(503), Status(429))
    accept_a_draft()
    assert sorted(score["name"] for score in langfuse_server.scores()) == ["draft_accepted", "minutes_saved"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"takes_lists": False}, "answers 400; a self-hosted server needs version 4.59 or newer"),
        ({"secret_key": "sk-lf-other"}, "answers 401"),
    ],
)
def test_what_langfuse_refuses_is_said_once(
    langfuse_server: Langfuse, caplog: pytest.LogCaptureFixture, change: dict[str, Any], said: str
) -> None:
    vars(langfuse_server).update(change)
    accept_a_draft(delivered=False)
    complaints = [record.getMessage() for record in caplog.records if "outcomes" in record.getMessage()]
    assert len(complaints) == 1
    assert said in complaints[0]
    assert langfuse_server.secret_key not in complaints[0]
    assert langfuse_server.scores() == []


def test_without_the_package_one_line_says_so_and_the_ledger_has_the_outcome(
    langfuse_server: Langfuse, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.setitem(sys.modules, "langfuse.api", None)  # type: ignore[arg-type]
    ledger = tmp_path / "ledger.db"
    accept_a_draft(destinations=["langfuse", "ledger"], ledger=str(ledger))
    said = [record.getMessage() for record in caplog.records if "not installed" in record.getMessage()]
    assert said == [
        "genledger: outcomes are not sent to Langfuse as scores: the package langfuse (version 5) is not installed; "
        "install genledger[langfuse]"
    ]
    names = {row["name"] for row in rows(ledger, "SELECT * FROM outcomes")}
    assert names == {"draft_accepted", "minutes_saved"}
    assert len(langfuse_server.spans()) == 1


def test_the_outcome_of_a_tenant_goes_to_its_own_project(langfuse_server: Langfuse) -> None:
    with Langfuse(public_key="pk-lf-acme", secret_key="sk-lf-acme-secret") as theirs:
        project = LangfuseProject(theirs.public_key, theirs.secret_key, theirs.base_url)
        accept_a_draft(destinations=[LangfuseDestination(routes={"acme": project}, unknown="drop", spool=None)])
        assert len(theirs.scores()) == 2
    assert langfuse_server.scores() == []


def test_no_client_of_the_sdk_is_left_that_would_send_spans(langfuse_server: Langfuse) -> None:
    accept_a_draft()
    assert set(langfuse_server.counts().values()) == {1}
    assert not any("x-langfuse-sdk-name" in request.headers for request in langfuse_server.requests)


def test_a_script_that_ends_at_once_has_sent_its_outcome(langfuse_server: Langfuse, tmp_path: Path) -> None:
    run(
        tmp_path,
        # The SDK is imported here: at the end of a process, a slow machine may have no time left for that.
        "import genledger, langfuse.api.core, langfuse.api.scores.types\n"
        "genledger.instrument()\n"
        "with genledger.observe('review'):\n"
        "    genledger.record_outcome('draft_accepted')\n",
        LANGFUSE_PUBLIC_KEY=langfuse_server.public_key,
        LANGFUSE_SECRET_KEY=langfuse_server.secret_key,
        LANGFUSE_BASE_URL=langfuse_server.base_url,
    )
    assert [score["name"] for score in langfuse_server.scores()] == ["draft_accepted"]
