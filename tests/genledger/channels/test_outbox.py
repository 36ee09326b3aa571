"""Messages reach real servers, each channel once, and a channel that is down loses nothing."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator

import pytest

from genledger.budgets import Store, open_store
from genledger.channels.message import SCHEMA, Notice
from genledger.channels.outbox import Outbox, Targets
from genledger.channels.webhook import SIGNATURE, sign

from ...standins.alert_receiver import AlertReceiver
from ...standins.mail_server import MailServer


@pytest.fixture
def store() -> Store:
    return open_store("memory")


@pytest.fixture
def receiver() -> Iterator[AlertReceiver]:
    server = AlertReceiver()
    yield server
    server.close()


@pytest.fixture
def mail() -> Iterator[MailServer]:
    pytest.importorskip("apprise")
    server = MailServer()
    yield server
    server.close()


def notice(store: Store, number: int = 1, **keys: float) -> Notice:
    payload = {"schema": SCHEMA, "id": f"id{number}", "state": "firing", "scope": {"tenant": "acme"}}
    return Notice(f"Alert spike: tenant=acme {number}", f"line one of {number}\nline two <b>", payload, number, **keys)


def owe(store: Store, *numbers: int) -> None:
    for number in numbers:
        store.owe(f"alert|{number}", 3600.0, notice(store, number).dump())


def webhook(receiver: AlertReceiver, path: str = "/hook") -> tuple[str, str | None]:
    return f"http://{receiver.address}{path}", "ALERT_SECRET"


def test_a_mail_is_received(store: Store, mail: MailServer) -> None:
    owe(store, 1)
    assert Outbox(store, Targets((mail.url,))).deliver()
    message = mail.messages.get(timeout=60)
    assert message["subject"] == "Alert spike: tenant=acme 1"
    assert message["to"] == "ops@loopback.example"
    body = message.get_body(("plain", "html"))
    assert body is not None
    assert "line one of 1" in body.get_content()
    assert store.owed() == {}


def test_a_webhook_is_signed(store: Store, receiver: AlertReceiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALERT_SECRET", "s3cret")
    owe(store, 1)
    assert Outbox(store, Targets(webhooks=(webhook(receiver),))).deliver()
    (post,) = receiver.taken()
    assert post.json == notice(store).payload
    parts = dict(part.split("=", 1) for part in post.headers[SIGNATURE].split(","))
    expected = hmac.new(b"s3cret", f"{parts['t']}.".encode() + post.body, hashlib.sha256).hexdigest()
    assert hmac.compare_digest(parts["v1"], expected)


def test_the_signature_is_that_of_time_and_body() -> None:
    body = b'{"id":"1"}'
    assert sign("key", body, 1790000000) == (
        "t=1790000000,v1=" + hmac.new(b"key", b'1790000000.{"id":"1"}', hashlib.sha256).hexdigest()
    )


def test_what_is_to_be_signed_waits_for_its_secret(
    store: Store, receiver: AlertReceiver, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("ALERT_SECRET", raising=False)
    owe(store, 1)
    outbox = Outbox(store, Targets(webhooks=(webhook(receiver),)))
    assert outbox.deliver()  # nothing that this process could do
    assert "ALERT_SECRET" in caplog.text
    assert receiver.tried == 0
    monkeypatch.setenv("ALERT_SECRET", "s3cret")
    assert outbox.deliver()
    assert len(receiver.taken()) == 1


@pytest.mark.parametrize("status", [500, 404, 307])
def test_a_channel_that_is_down_loses_nothing_and_holds_up_no_other(
    store: Store, receiver: AlertReceiver, mail: MailServer, status: int
) -> None:
    url = f"http://{receiver.address}/hook"
    outbox = Outbox(store, Targets((mail.url,), ((url, None),)))
    receiver.status = status
    owe(store, 1, 2)
    assert not outbox.deliver()
    assert not outbox.deliver()
    assert [mail.messages.get(timeout=60)["subject"][-1] for _ in range(2)] == ["1", "2"]
    assert receiver.tried == 2  # the second message waits behind the first
    receiver.status = 200
    assert outbox.deliver()
    assert [post.json["id"] for post in receiver.taken()] == ["id1", "id2"]
    assert mail.messages.empty()
    assert store.owed() == {}


def test_a_mail_server_that_refuses_for_now_is_asked_again(store: Store, mail: MailServer) -> None:
    mail.refuses = True
    owe(store, 1)
    outbox = Outbox(store, Targets((mail.url,)))
    assert not outbox.deliver()
    mail.refuses = False
    assert outbox.deliver()
    assert mail.messages.get(timeout=60)["subject"][-1] == "1"


def test_a_server_that_is_not_there_is_asked_again(store: Store, receiver: AlertReceiver) -> None:
    url = f"http://{receiver.address}/hook"
    receiver.close()
    owe(store, 1)
    assert not Outbox(store, Targets(webhooks=((url, None),))).deliver()
    assert len(store.owed()) == 1


def test_messages_come_in_the_order_in_which_they_were_made(store: Store, receiver: AlertReceiver) -> None:
    owe(store, 3, 1, 2)
    assert Outbox(store, Targets(webhooks=((f"http://{receiver.address}/", None),))).deliver()
    assert [post.json["id"] for post in receiver.taken()] == ["id1", "id2", "id3"]


def test_what_is_too_old_and_what_is_no_message_harms_nothing(store: Store, receiver: AlertReceiver) -> None:
    store.owe("old", 3600.0, notice(store, 1, until=5.0).dump())
    store.owe("other", 3600.0, '{"of": "another version"}')
    owe(store, 2)
    assert Outbox(store, Targets(webhooks=((f"http://{receiver.address}/", None),))).deliver()
    assert [post.json["id"] for post in receiver.taken()] == ["id2"]
    assert set(store.owed()) == {"other"}


def test_a_process_without_channels_leaves_the_messages_to_others(store: Store) -> None:
    owe(store, 1)
    assert Outbox(store, Targets(), lambda notice: False).deliver()
    assert len(store.owed()) == 1
