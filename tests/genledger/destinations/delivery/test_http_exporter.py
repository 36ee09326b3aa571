from __future__ import annotations

import email.utils
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from genledger.destinations.connections import SessionClosed, SessionWithDeadline
from genledger.destinations.delivery.http_exporter import LONGEST_PAUSE_S, HttpExporter, retry_after, secrets_of
from genledger.destinations.delivery.otlp_request import encode
from genledger.destinations.otlp import OtlpEndpoint
from standins.faults import DRIPS, Close, Hang, Late, Status

BODY = encode([])


def test_an_answer_of_200_is_delivery(collector) -> None:
    sender = HttpExporter(collector.url, {"X-Api-Key": "abc"}, compression="gzip")
    assert sender.send(BODY, 5).verdict == "delivered"
    headers = collector.requests[0].headers
    assert headers["content-type"] == "application/x-protobuf"
    assert headers["content-encoding"] == "gzip"
    assert headers["x-api-key"] == "abc"


@pytest.mark.parametrize("compression", ["gzip", "deflate", "none"])
def test_the_receiver_reads_each_compression(collector, compression) -> None:
    assert HttpExporter(collector.url, {}, compression=compression).send(BODY, 5).verdict == "delivered"
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
    answer = HttpExporter(collector.url, {}).send(BODY, 5)
    assert answer.verdict == verdict
    if verdict != "delivered":
        assert answer.reason == f"http_{status}"


def test_silence_is_a_timeout(collector) -> None:
    collector.next(Hang())
    answer = HttpExporter(collector.url, {}).send(BODY, 0.05)
    assert (answer.verdict, answer.reason) == ("retry", "timeout")


def test_a_connection_that_the_receiver_has_closed_meanwhile_is_no_failure(collector) -> None:
    sender = HttpExporter(collector.url, {})
    assert sender.send(BODY, 5).verdict == "delivered"
    collector.next(Close())
    assert sender.send(BODY, 5).verdict == "delivered"


def test_nobody_listening_is_said_in_the_systems_words(collector) -> None:
    collector.stop()
    answer = HttpExporter(collector.url, {}).send(BODY, 5)
    assert (answer.verdict, answer.reason, answer.detail) == ("retry", "connection", "connection refused")


def test_a_netrc_entry_does_not_replace_our_credentials(collector, tmp_path, monkeypatch) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login other password wrong\n")
    monkeypatch.setenv("NETRC", str(netrc))
    HttpExporter(collector.url, {"authorization": "Basic cGs6c2s="}).send(BODY, 5)
    assert collector.requests[0].headers["authorization"] == "Basic cGs6c2s="


def test_a_redirect_is_not_followed_with_our_credentials(collector, langfuse_server) -> None:
    collector.next(Status(status=302, headers={"location": f"{langfuse_server.base_url}/elsewhere"}))
    HttpExporter(collector.url, {"authorization": "Bearer secret-token"}).send(BODY, 5)
    assert langfuse_server.requests == []


def test_a_query_in_the_address_is_sent_but_not_shown(collector) -> None:
    sender = HttpExporter(f"{collector.url}?token=tell-nobody", {})
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
    assert max(0, seconds - 60) <= parsed <= max(0, seconds + 1)


@given(st.text() | st.sampled_from(["-5", "1e400", "nan", "inf", "٣", "99999999999999999999", "Wed, 99 Foo 2026"]))
def test_retry_after_is_never_absurd(value) -> None:
    parsed = retry_after(value)
    assert parsed is None or 0 <= parsed <= LONGEST_PAUSE_S


def test_the_secrets_of_headers_are_found_in_every_form() -> None:
    found = secrets_of({"authorization": "Basic cGstbGYtMTpzay1sZi0yMg==", "x-key": "abcdef123"})
    assert {"Basic cGstbGYtMTpzay1sZi0yMg==", "cGstbGYtMTpzay1sZi0yMg==", "pk-lf-1:sk-lf-22", "sk-lf-22"} <= set(found)
    assert "abcdef123" in found


@contextmanager
def dripping() -> Iterator[int]:
    """A port at which whatever connects is sent a byte now and then, and nothing is read from it."""
    stopping = threading.Event()

    def drip(connection: socket.socket) -> None:
        with suppress(OSError), connection:
            while not stopping.wait(0.05):
                connection.sendall(b"\x16")

    def accept() -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=drip, args=(server.accept()[0],), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=accept, daemon=True).start()
        yield server.getsockname()[1]
        stopping.set()


def no_attempt_is_left() -> bool:
    """Whether the threads of attempts end, soon."""
    end = time.monotonic() + 20
    while any(thread.name == "genledger-attempt" for thread in threading.enumerate()):
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


@pytest.mark.parametrize("drip", DRIPS.values(), ids=DRIPS.keys())
def test_a_timeout_is_the_end_of_an_attempt_however_the_receiver_stretches_its_answer(collector, drip) -> None:
    collector.always(drip)
    sender = HttpExporter(collector.url, {})
    started = time.monotonic()
    answer = sender.send(BODY, 0.5)
    # What drips goes on dripping: without a deadline this would not come back at all.
    assert time.monotonic() - started < 60
    assert (answer.verdict, answer.reason) == ("retry", "timeout")
    assert no_attempt_is_left()
    collector.always(None)
    assert sender.send(BODY, 20).verdict == "delivered"


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_timeout_is_the_end_of_an_attempt_that_does_not_get_as_far_as_an_answer(scheme) -> None:
    with dripping() as port:
        answer = HttpExporter(f"{scheme}://127.0.0.1:{port}/v1/traces", {}, compression="none").send(
            bytes(50_000_000), 1
        )
        assert answer.verdict == "retry"
        assert no_attempt_is_left()


def test_a_timeout_is_the_end_of_an_attempt_over_grpc_too() -> None:
    with dripping() as port:
        assert OtlpEndpoint(f"http://127.0.0.1:{port}", "grpc").sender().send(BODY, 0.5).verdict == "retry"
        assert no_attempt_is_left()


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_closing_a_sender_ends_the_attempt_under_way(protocol) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        sender = OtlpEndpoint(f"http://127.0.0.1:{server.getsockname()[1]}", protocol).sender()
        thread = threading.Thread(target=sender.send, args=(BODY, 300))
        thread.start()
        connection, _ = server.accept()
        connection.recv(1)
        sender.close()
        thread.join(20)
        connection.close()
        assert not thread.is_alive()
    assert no_attempt_is_left()


def test_whoever_waits_for_an_answer_can_do_something_meanwhile(collector) -> None:
    late = Late()
    collector.next(late)
    calls: list[int] = []

    def meanwhile() -> None:
        calls.append(len(collector.requests))
        late.go.set()

    assert HttpExporter(collector.url, {}).send(BODY, 60, meanwhile).verdict == "delivered"
    assert calls


def test_a_session_with_a_deadline_keeps_it_and_can_be_used_again(collector) -> None:
    session = SessionWithDeadline()
    collector.next(DRIPS["headers"])
    with pytest.raises(requests.Timeout):
        session.post(collector.url, data=BODY, timeout=0.5)
    assert session.post(collector.url, data=BODY, timeout=20).status_code == 200
    session.close()
    with pytest.raises(SessionClosed):
        session.post(collector.url, data=BODY, timeout=20)
    assert no_attempt_is_left()


def test_a_request_through_a_proxy_has_a_deadline_too(collector, monkeypatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", collector.base_url)
    monkeypatch.delenv("NO_PROXY", raising=False)
    collector.always(DRIPS["headers"])
    answer = HttpExporter("http://collector.invalid/v1/traces", {}).send(BODY, 0.5)
    assert (answer.verdict, answer.reason) == ("retry", "timeout")
    assert [request.path for request in collector.requests] == ["http://collector.invalid/v1/traces"]
    assert no_attempt_is_left()
