"""Dashboards created in Langfuse, by its SDK's client of the API that it calls unstable."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

DEFAULT_BASE_URL = "https://cloud.langfuse.com"
TIMEOUT_S = 30.0


class PushError(Exception):
    """They cannot be created. The message says why, and what to do."""


def connect() -> Any:
    """Return the API client of the project that the environment names.

    Raises:
        PushError: A key or the SDK is missing.
    """
    try:
        from langfuse.api import LangfuseAPI  # type: ignore[import-not-found, unused-ignore]
    except ImportError:
        raise PushError("Langfuse's SDK is not installed; install genledger[langfuse]") from None
    keys = {name: os.environ.get(name, "") for name in ("LANGFUSE_PUBLIC_KEY", "LANGFUSE_SECRET_KEY")}
    if missing := [name for name, value in keys.items() if not value]:
        raise PushError(f"{' and '.join(missing)} not set; take the keys from the project's settings in Langfuse")
    url = os.environ.get("LANGFUSE_BASE_URL") or os.environ.get("LANGFUSE_HOST") or DEFAULT_BASE_URL
    public, secret = keys.values()
    return LangfuseAPI(base_url=url, username=public, password=secret, timeout=TIMEOUT_S)


def put(client: Any, dashboards: Iterable[Mapping[str, Any]]) -> int:
    """Create dashboards, or give those of the same name new widgets in place of their old ones.

    Args:
        client: From `connect`.
        dashboards: As `genledger.dashboards.langfuse_widgets.build` makes them.

    Returns:
        How many there are.

    Raises:
        PushError: The server refused something, or did not answer.
    """
    from langfuse.api.core import ApiError  # type: ignore[import-not-found, unused-ignore]

    try:
        return _put(client, dashboards)
    except ApiError as error:
        advice = "check the keys, and that this server has the API of dashboards"
        raise PushError(f"Langfuse answered {error.status_code}: {error.body}; {advice}") from error
    except Exception as error:  # of its HTTP client
        raise PushError(f"Langfuse did not answer: {error}; check LANGFUSE_BASE_URL") from error


def _put(client: Any, dashboards: Iterable[Mapping[str, Any]]) -> int:
    once = {"max_retries": 0}  # Creating is no request to repeat: the first may have come through.
    known = {one.name: one for one in _all(client.unstable.dashboards)}
    count = 0
    for dashboard in dashboards:
        made = [_widget(client, widget, once) for widget in dashboard["widgets"]]
        definition = {
            "widgets": [
                {
                    "type": "widget",
                    "id": str(uuid.uuid4()),
                    "widgetId": made[place["widget"]],
                    **{key: place[key] for key in ("x", "y", "width", "height")},
                }
                for place in dashboard["placements"]
            ]
        }
        old = known.get(dashboard["name"])
        if old is None:
            client.unstable.dashboards.create(
                name=dashboard["name"],
                description=dashboard["description"],
                definition=definition,
                request_options=once,
            )
        else:
            client.unstable.dashboards.update(
                old.id, description=dashboard["description"], definition=definition, request_options=once
            )
            for placement in old.definition.widgets:
                if placement.type == "widget":
                    client.unstable.dashboard_widgets.delete(placement.widget_id)
        count += 1
    return count


def _all(resource: Any) -> Iterator[Any]:
    page = 1
    while True:
        answer = resource.list(page=page, limit=50)
        yield from answer.data
        if page >= answer.meta.total_pages:
            return
        page += 1


def _widget(client: Any, widget: Mapping[str, Any], once: Any) -> str:
    created = client.unstable.dashboard_widgets.create(
        name=widget["name"],
        description=widget["description"],
        view=widget["view"],
        dimensions=widget["dimensions"],
        metrics=widget["metrics"],
        filters=widget["filters"],
        chart_type=widget["chartType"],
        chart_config=widget["chartConfig"],
        request_options=once,
    )
    return str(created.id)
