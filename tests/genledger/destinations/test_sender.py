from __future__ import annotations

import email.utils
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genledger.destinations.batches import encode
from genledger.destinations.sender import LONGEST_PAUSE_S, HttpSender, retry_after, secrets_of
from standins.faults import Close, Hang, Status

BODY = encode([])


def test_an_answer_of_200_is_delivery(collector) -> None:
    sender = HttpSender(collector.url, {"X-Api-Key": "abc"}, compression="gzip")
    assert sender.send(BODY, 5).verdict == "delivered"
    headers = collector.requests[0].headers
    assert headers["content-type"] == "application/x-protobuf"
    assert headers["content-encoding"] == "gzip"
    assert headers["x-api-key"] == "abc"


@pytest.mark.parametrize("compression", ["gzip", "deflate", "none"])
def test_the_receiver_reads_each_compression(collector, compression) -> None:
    assert HttpSender(collector.url, {}, compression=compression).send(BODY, 5).verdict == "delivered"
    assert collector.requests[0].content == BODY


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        *((status, "retry") for status in (408, 429, 500, 501, 502, 503, 504, 529)),
        *((status, "refused") for status in (301, 302, 400, 401, 402, 403, 404, 405, 415, 422)),
        (413, "too_large"),
        *((status, "delivered") for status in (200, 202, 204)),
    ],
)
def test_what_a_status_means(collector, status, verdict) -> None:
    collector.next(Status(status=status))
    answer = HttpSender(collector.url, {}).send(BODY, 5)
    assert answer.verdict == verdict
    if verdict != "delivered":
        assert answer.reason == f"http_{status}"


def test_silence_is_a_timeout(collector) -> None:
    collector.next(Hang())
    answer = HttpSender(collector.url, {}).send(BODY, 0.05)
    assert (answer.verdict, answer.reason) == ("retry", "timeout")


def test_a_connection_that_the_receiver_has_closed_meanwhile_is_no_failure(collector) -> None:
    sender = HttpSender(collector.url, {})
    assert sender.send(BODY, 5).verdict == "delivered"
    collector.next(Close())
    assert sender.send(BODY, 5).verdict == "delivered"


def test_nobody_listening_is_said_in_the_systems_words(collector) -> None:
    collector.stop()
    answer = HttpSender(collector.url, {}).send(BODY, 5)
    assert (answer.verdict, answer.reason, answer.detail) == ("retry", "connection", "connection refused")


def test_a_netrc_entry_does_not_replace_our_credentials(collector, tmp_path, monkeypatch) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login other password wrong\n")
    monkeypatch.setenv("NETRC", str(netrc))
    HttpSender(collector.url, {"authorization": "Basic cGs6c2s="}).send(BODY, 5)
    assert collector.requests[0].headers["authorization"] == "Basic cGs6c2s="


def test_a_redirect_is_not_followed_with_our_credentials(collector, langfuse_server) -> None:
    collector.next(Status(status=302, headers={"location": f"{langfuse_server.base_url}/elsewhere"}))
    HttpSender(collector.url, {"authorization": "Bearer secret-token"}).send(BODY, 5)
    assert langfuse_server.requests == []


def test_a_query_in_the_address_is_sent_but_not_shown(collector) -> None:
    sender = HttpSender(f"{collector.url}?token=tell-nobody", {})
    sender.send(BODY, 5)
    assert collector.requests[0].path == "/v1/traces?token=tell-nobody"
    assert "tell-nobody" not in sender.endpoint + repr(sender)


@given(st.integers(0, 3000))
def test_retry_after_in_seconds(seconds) -> None:
    assert retry_after(str(seconds)) == seconds


@given(st.integers(-3000, 3000))
def test_retry_after_as_a_date(seconds) -> None:
    parsed = retry_after(email.utils.formatdate(time.time() + seconds, usegmt=True))
    assert parsed is not None
    assert max(0, seconds - 2) <= parsed <= max(0, seconds + 2)


@given(st.text() | st.sampled_from(["-5", "1e400", "nan", "inf", "٣", "99999999999999999999", "Wed, 99 Foo 2026"]))
def test_retry_after_is_never_absurd(value) -> None:
    parsed = retry_after(value)
    assert parsed is None or 0 <= parsed <= LONGEST_PAUSE_S


def test_the_secrets_of_headers_are_found_in_every_form() -> None:
    found = secrets_of({"authorization": "Basic cGstbGYtMTpzay1sZi0yMg==", "x-key": "abcdef123"})
    assert {"Basic cGstbGYtMTpzay1sZi0yMg==", "cGstbGYtMTpzay1sZi0yMg==", "pk-lf-1:sk-lf-22", "sk-lf-22"} <= set(found)
    assert "abcdef123" in found
