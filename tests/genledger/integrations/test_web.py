from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from genledger.budgets import BudgetExceeded
from genledger.integrations.web import install_flask, install_starlette

ERROR = BudgetExceeded(
    "budget 'b' refused the call: tenant=acme has spent $9.00 of $10.00",
    scope="tenant=acme",
    rule="b",
    measure="usd",
    spent=9.0,
    reserved=0.0,
    limit=10.0,
    resets_at=datetime(2026, 12, 1, tzinfo=UTC),
    retry_after=41.2,
)


def check(status: int, headers: Any, body: Any) -> None:
    assert status == 429
    assert headers["Retry-After"] == "42"
    assert body == {
        "error": {
            "type": "budget_exceeded",
            "message": "The budget for this request is used up.",
            "rule": "b",
            "scope": "tenant=acme",
            "resets_at": "2026-12-01T00:00:00+00:00",
            "retry_after": 41.2,
        }
    }


def test_starlette_answers_429() -> None:
    starlette = pytest.importorskip("starlette.applications")
    routing = pytest.importorskip("starlette.routing")
    client_module = pytest.importorskip("starlette.testclient")

    async def view(request: Any) -> Any:
        raise ERROR

    app = starlette.Starlette(routes=[routing.Route("/", view)])
    install_starlette(app)
    response = client_module.TestClient(app).get("/")
    check(response.status_code, response.headers, response.json())


def test_a_refusal_is_text_whatever_it_names() -> None:
    starlette = pytest.importorskip("starlette.applications")
    routing = pytest.importorskip("starlette.routing")
    client_module = pytest.importorskip("starlette.testclient")
    name = "x\r\nSet-Cookie: a=b\x1b[2J\u202e\ud800" + "y" * 1_000_000
    error = BudgetExceeded(
        f"budget {name} refused the call of redis://u:pw@host", scope=f"model={name}", rule=name, measure="usd",
        spent=9.0, reserved=0.0, limit=10.0, resets_at=None, retry_after=41.2,
    )  # fmt: skip

    async def view(request: Any) -> Any:
        raise error

    app = starlette.Starlette(routes=[routing.Route("/", view)])
    install_starlette(app)
    response = client_module.TestClient(app).get("/")
    assert response.status_code == 429
    assert set(response.headers) == {"retry-after", "content-length", "content-type"}
    for text in (str(error), error.rule, error.scope, response.text):
        assert text.isprintable()
        assert len(text) < 2100
    assert "pw@" not in str(error)


def test_flask_answers_429() -> None:
    flask = pytest.importorskip("flask")
    app = flask.Flask("test")
    install_flask(app)

    def view() -> Any:
        raise ERROR

    app.add_url_rule("/", view_func=view)
    response = app.test_client().get("/")
    check(response.status_code, response.headers, response.get_json())


@pytest.fixture
def django() -> Any:
    django = pytest.importorskip("django")
    conf = pytest.importorskip("django.conf")
    if not conf.settings.configured:
        conf.settings.configure(
            ROOT_URLCONF=__name__,
            ALLOWED_HOSTS=["*"],
            MIDDLEWARE=["genledger.integrations.web.BudgetMiddleware"],
            SECRET_KEY="test",
        )
        django.setup()
    return django


class _Urls(list[Any]):
    """Django reads `urlpatterns` when the first request comes; Django may not be installed before that."""

    def __iter__(self) -> Any:
        from django.urls import path

        def blocked(request: Any) -> Any:
            raise ERROR

        async def blocked_async(request: Any) -> Any:
            raise ERROR

        def broken(request: Any) -> Any:
            raise KeyError("unrelated")

        return iter([path("blocked", blocked), path("blocked_async", blocked_async), path("broken", broken)])

    def __reversed__(self) -> Any:
        return reversed(list(iter(self)))


urlpatterns = _Urls()


def test_django_answers_429(django: Any) -> None:
    from django.test import Client

    for path in ("/blocked", "/blocked_async"):
        response = Client().get(path)
        check(response.status_code, response.headers, response.json())
    with pytest.raises(KeyError):
        Client().get("/broken")


async def test_django_answers_429_in_async_servers(django: Any) -> None:
    from django.test import AsyncClient

    for path in ("/blocked", "/blocked_async"):
        response = await AsyncClient().get(path)
        check(response.status_code, response.headers, response.json())
