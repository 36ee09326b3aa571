"""What the libraries that Stainless generates have in common: `openai`, `anthropic` and `groq`."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from operator import attrgetter
from typing import Any

from ...instrumentors.provider import Within, now
from ..observation import drained, seen
from ..plan import ClientKey, Plan, Way
from ..routes import Route

_HELPED = ("chat.completions", "responses", "messages", "beta.messages")
"""The resources whose `create` has a helper beside it."""


@dataclass(frozen=True)
class Methods:
    """The methods of the installed version.

    Args:
        client: Any client.
        least: Some recordings have lost their request body or its files: the least that a method accepts instead.
    """

    client: Any
    least: Mapping[str, Mapping[str, Any]]

    def plan(self, recording: Any, key: ClientKey, route: Route, query: dict[str, str], **default: str) -> Plan | str:
        """The call of a method with the recorded fields, those that it does not name as what the SDK calls extra."""
        accepted = _parameters(self.client, route.method)
        if accepted is None:
            return f"this version of the {key.sdk} SDK has no {route.method}"
        body = {**default, **self.least.get(route.method, {}), **recording.fields()}
        if recording.stream and "stream" in accepted:
            body["stream"] = True  # some bodies were cut before they say so
        kwargs: dict[str, Any] = {}
        for extra, given in (("extra_body", body), ("extra_query", query)):
            kwargs |= {name: value for name, value in given.items() if name in accepted}
            unknown = {name: value for name, value in given.items() if name not in accepted}
            if unknown:
                kwargs[extra] = unknown
        if "anthropic-beta" in recording.request_headers and "betas" in accepted:
            kwargs["betas"] = recording.request_headers["anthropic-beta"].split(",")
        kwargs |= route.arguments
        return Plan(recording, key, route.method, kwargs, route.kind, streams=body.get("stream") is True)

    def ways(self, plan: Plan) -> Mapping[str, Way]:
        """The method itself, raw responses, streaming responses, and `.stream` or `.parse` where there is one."""
        found: dict[str, Way] = {"plain": _plain, "raw": _raw, "streaming": _streaming}
        helper = self._helper(plan)
        if helper is not None:

            async def help(client: Any, plan: Plan) -> Any:
                method = attrgetter(helper[0])(client)
                if not plan.streams:
                    return await drained(await now(method(**helper[1])))
                async with Within(method(**helper[1])) as stream:
                    final = _final(stream)
                    return (await drained(stream), seen(await now(final())) if final else None)

            found["helper"] = help
        return found

    def _helper(self, plan: Plan) -> tuple[str, dict[str, Any]] | None:
        resource, _, name = plan.method.rpartition(".")
        if name != "create" or resource not in _HELPED:
            return None
        helper = f"{resource}.{'stream' if plan.streams else 'parse'}"
        accepted = _parameters(self.client, helper)
        if accepted is None:
            return None
        kwargs: dict[str, Any] = {}
        extra = dict(plan.kwargs.get("extra_body", {}))
        for key, value in plan.kwargs.items():
            if key in ("stream", "extra_body"):
                continue
            if key in accepted and not (key == "tools" and not _strict(value)):
                kwargs[key] = value
            else:
                extra[key] = value
        if extra:
            kwargs["extra_body"] = extra
        return helper, kwargs


def options(wire: Any, *, asynchronous: bool) -> dict[str, Any]:
    """The arguments of a client on a wire."""
    http_client = wire.async_client if asynchronous else wire.client
    return {"api_key": "test", "max_retries": 0, "timeout": 60.0, "http_client": http_client}


@cache
def _parameters(client: Any, method: str) -> frozenset[str] | None:
    """The names of the arguments that `method` takes, or `None` when this version has no such method."""
    try:
        return frozenset(inspect.signature(attrgetter(method)(client)).parameters)
    except AttributeError:
        return None


def _strict(tools: Any) -> bool:
    """Whether OpenAI's helpers take these tools, which they do only when each is a strict function."""
    return all(isinstance(t, dict) and t.get("function", t).get("strict") is True for t in tools or ())


async def _plain(client: Any, plan: Plan) -> Any:
    return await drained(await now(attrgetter(plan.method)(client)(**plan.kwargs)))


async def _raw(client: Any, plan: Plan) -> Any:
    resource, _, name = plan.method.rpartition(".")
    raw = await now(getattr(attrgetter(resource)(client).with_raw_response, name)(**plan.kwargs))
    parsed = await now(raw.parse())
    return (seen(type(raw)), seen(raw.headers.multi_items()), raw.status_code, await drained(parsed))


async def _streaming(client: Any, plan: Plan) -> Any:
    resource, _, name = plan.method.rpartition(".")
    method = getattr(attrgetter(resource)(client).with_streaming_response, name)
    async with Within(method(**plan.kwargs)) as response:
        if len(plan.recording.file) % 2:
            pieces = response.iter_bytes(7)
            read = b"".join([piece async for piece in pieces] if hasattr(pieces, "__aiter__") else pieces)
        else:
            read = await now(response.read())
        return (seen(type(response)), response.status_code, read)


def _final(stream: Any) -> Any:
    for name in ("get_final_completion", "get_final_response", "get_final_message"):
        if hasattr(stream, name):
            return getattr(stream, name)
    return None
