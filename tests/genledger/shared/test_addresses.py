"""Addresses that are shown: without whatever opens them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genledger.shared.addresses import redacted, without_credentials
from genledger.shared.text import message

SECRET = st.text(st.characters(codec="utf-8", exclude_categories=("Zs", "Cc"), exclude_characters="&\"'<>"), min_size=1)


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("redis://host:6379/0", "redis://host:6379/0"),
        ("redis://user:pw@host:6379/0?db=1", "redis://host:6379/0?db=1"),
        ("redis://host/0?password=pw&db=1", "redis://host/0?password=***&db=1"),
        ("redis://host/0?db=1&PassWord=pw#x", "redis://host/0?db=1&PassWord=***"),
        ("redis://host/0?pass%77ord=pw", "redis://host/0?pass%77ord=***"),
        ("rediss://:pa@ss/w?rd@host:1/0", "rediss://host:1/0"),
        ("redis://:p#w@host", "redis://host"),
        ("unix:///run/redis.sock?password=pw", "unix:///run/redis.sock?password=***"),
        ("https://otlp.example:4318/v1/traces?api_key=k&x=1;sig=s", "https://otlp.example:4318/v1/traces?api_key=***&x=1;sig=***"),
        ("https://h/?access_token=t&X-Amz-Signature=s&auth=a&secret=b", "https://h/?access_token=***&X-Amz-Signature=***&auth=***&secret=***"),
        ("https://h/cb#access_token=t", "https://h/cb#access_token=***"),
        ("postgresql://u:p@[::1]:5432,h2:5432/db?sslmode=require", "postgresql://[::1]:5432,h2:5432/db?sslmode=require"),
        ("https://h/@scope/x?mail=a@b", "https://h/@scope/x?mail=a@b"),
        ("memory:", "memory:"),
        ("/var/lib/budgets.db", "/var/lib/budgets.db"),
        ("sqlite:///x.db?key=k", "sqlite:///x.db?key=***"),
    ],
)  # fmt: skip
def test_an_address_keeps_what_says_where_and_loses_what_opens(address: str, shown: str) -> None:
    assert without_credentials(address) == shown
    assert redacted(f"cannot reach '{address}', sorry") == f"cannot reach '{shown}', sorry"


@given(SECRET, st.sampled_from(["redis://:{}@host/0", "redis://u:{}@host/0", "https://u:{}@h.example/x?y=1"]))
@settings(deadline=None)
def test_no_password_before_the_host_is_ever_shown(secret: str, form: str) -> None:
    secret = f"<{secret}>".replace("<", "s3cr3t").replace(">", "t3rc3s")
    for said in (without_credentials(form.format(secret)), message(f"failed: {form.format(secret)}")):
        assert "s3cr3t" not in said
        assert "t3rc3s" not in said


@given(
    SECRET,
    st.sampled_from(["password", "token", "api_key", "apikey", "key", "secret", "client_secret", "auth", "sig", "pwd"]),
    st.sampled_from(["https://h/x?{}={}", "https://h/x?a=b&{}={}", "redis://h?{}={}&c=d", "h/x?a=1;{}={}"]),
)
@settings(deadline=None)
def test_no_secret_parameter_is_ever_shown(secret: str, name: str, form: str) -> None:
    assert "s3cr3t" not in without_credentials(form.format(name, f"{secret}s3cr3t"))


def test_a_long_text_without_addresses_is_read_once() -> None:
    text = "a" * 1_000_000 + "://"
    assert redacted(text) == text
