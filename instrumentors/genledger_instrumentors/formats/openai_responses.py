"""The Responses API: created, streamed, resumed, and fetched again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from genledger.engine.content.capture import generic_part, reasoning_part, text_part, tool_call_part, tool_response_part
from genledger.engine.operation import Attributes, Body, Content, Finished, Operation, integer, listed, text
from genledger.pricing.getters import field
from genledger_semconv import attributes as A
from genledger_semconv import spans as S

from .openai_chat import parts, read_tools
from .openai_fields import SAMPLING, output_type, read_answer, read_sampling
from .openai_responses_stream import ResponsesEvents


def read_request(body: Body, attributes: Attributes) -> None:
    """Read the request's other fields."""
    read_sampling(body, attributes)
    form = body.get("text")
    if isinstance(form, Mapping) and isinstance(form.get("format"), Mapping):
        output_type(form["format"].get("type"), attributes)
    reasoning = body.get("reasoning")
    if isinstance(reasoning, Mapping) and isinstance(reasoning.get("effort"), str):
        attributes[A.GEN_AI_REQUEST_REASONING_LEVEL] = reasoning["effort"]
    conversation = body.get("conversation")
    if isinstance(conversation, Mapping):
        conversation = conversation.get("id")
    if isinstance(conversation, str):
        attributes[A.GEN_AI_CONVERSATION_ID] = conversation
    if _compacted(body.get("input")):
        attributes[A.GEN_AI_CONVERSATION_COMPACTED] = True


_TOOL_CALLS = {
    "function_call",
    "custom_tool_call",
    "computer_call",
    "shell_call",
    "local_shell_call",
    "apply_patch_call",
    "mcp_approval_request",
}
"""Items that ask the application to act. https://platform.openai.com/docs/api-reference/responses/object"""


def _waits_for_a_tool(answer: Any) -> bool:
    """Return whether the answer has a tool call that it does not answer itself, as hosted tools do."""
    items = listed(field(answer, "output"))
    answered = {field(item, "call_id") for item in items if str(field(item, "type")).endswith("_output")} - {None}
    return any(field(item, "type") in _TOOL_CALLS and field(item, "call_id") not in answered for item in items)


def _compacted(items: Any) -> bool:
    """Return whether a compaction item stands for earlier items of the conversation."""
    return any(field(item, "type") in ("compaction", "compaction_summary") for item in listed(items))


def read_response(answer: Any, attributes: Attributes) -> None:
    """Read the answering model, the state, and why the response ended."""
    read_answer(answer, attributes)
    status = field(answer, "status")
    reason: str | None = None
    if status == "completed":
        reason = "tool_call" if _waits_for_a_tool(answer) else "stop"
    elif status == "incomplete":
        why = field(field(answer, "incomplete_details"), "reason")
        reason = "length" if why == "max_output_tokens" else why if isinstance(why, str) else "error"
    elif status in ("failed", "cancelled"):
        reason = "error"
    if reason is not None:
        attributes[A.GEN_AI_RESPONSE_FINISH_REASONS] = (reason,)
    if _compacted(field(answer, "output")):
        attributes[A.GEN_AI_CONVERSATION_COMPACTED] = True
    if status == "failed":
        code = field(field(answer, "error"), "code")
        attributes[A.ERROR_TYPE] = code if isinstance(code, str) else "failed"


def read_fetched(answer: Any, attributes: Attributes) -> None:
    """A response that was fetched: its state, but not its usage, which its creation pays for.

    To fetch a response that failed is no failure.
    """
    read_response(answer, attributes)
    attributes.pop(A.ERROR_TYPE, None)
    status = field(answer, "status")
    if isinstance(status, str):
        attributes[A.GEN_AI_RESPONSE_STATUS] = status


_FINAL = {"completed", "incomplete", "failed", "cancelled"}


def unfinished(body: Body, answer: Any) -> str | None:
    """The response that is made in the background: its usage comes when it is fetched, or streamed to its end."""
    if body.get("background") is not True or field(answer, "status") in _FINAL:
        return None
    return text(field(answer, "id"))


def finished(body: Body, answer: Any) -> Finished | None:
    """Return the response that an answer carries the usage of."""
    status, name = field(answer, "status"), text(field(answer, "id"))
    if status not in _FINAL or name is None:
        return None
    error = text(field(field(answer, "error"), "code")) or "failed" if status == "failed" else None
    return Finished(name, error, cancelled=status == "cancelled")


def _instructions(body: Body) -> list[Any] | None:
    instructions = body.get("instructions")
    return [text_part(instructions)] if isinstance(instructions, str) and instructions else None


def read_input(body: Body) -> Content:
    """Return the instructions, input items and tools of a request."""
    given = body.get("input")
    messages: list[Any] = []
    if isinstance(given, str):
        messages.append({"role": "user", "parts": [text_part(given)]})
    for item in listed(given):
        if not isinstance(item, Mapping):
            continue
        kind = item.get("type")
        if kind in (None, "message"):
            role = str(item.get("role", "user"))
            messages.append({"role": "system" if role == "developer" else role, "parts": parts(item.get("content"))})
        elif str(kind).endswith("_call_output"):
            messages.append({"role": "tool", "parts": [tool_response_part(item.get("output"), item.get("call_id"))]})
        elif kind in ("function_call", "custom_tool_call"):
            called = tool_call_part(item.get("name"), item.get("arguments", item.get("input")), item.get("call_id"))
            messages.append({"role": "assistant", "parts": [called]})
        elif kind == "reasoning":
            thoughts = [
                text(field(piece, "text")) for name in ("summary", "content") for piece in listed(item.get(name))
            ]
            messages.append({"role": "assistant", "parts": [reasoning_part("".join(filter(None, thoughts)))]})
        else:
            messages.append({"role": str(item.get("role", "assistant")), "parts": [generic_part(item)]})
    return {
        A.GEN_AI_SYSTEM_INSTRUCTIONS: _instructions(body),
        A.GEN_AI_INPUT_MESSAGES: messages,
        A.GEN_AI_TOOL_DEFINITIONS: read_tools(body),
    }


def read_output(answer: Any) -> Content:
    """One message of everything that was generated."""
    content: list[Any] = []
    for item in listed(field(answer, "output")):
        kind = field(item, "type")
        if kind == "message":
            for piece in listed(field(item, "content")):
                spoken = field(piece, "text") or field(piece, "refusal")
                content.append(text_part(spoken) if isinstance(spoken, str) else generic_part(piece))
        elif kind in ("function_call", "custom_tool_call"):
            arguments = field(item, "arguments") or field(item, "input")
            content.append(tool_call_part(field(item, "name"), arguments, field(item, "call_id")))
        elif kind == "reasoning":
            thoughts = [field(piece, "text") for piece in listed(field(item, "summary"))]
            content += [reasoning_part(thought) for thought in thoughts if isinstance(thought, str)]
        else:
            content.append(generic_part(item))
    return {A.GEN_AI_OUTPUT_MESSAGES: [{"role": "assistant", "parts": content}] if content else None}


_SEARCHES = ("web_search_preview", "web_search", "file_search")


def most_tool_calls(body: Body) -> Mapping[str, float]:
    """Return the billed calls of hosted tools that a request allows: of each, one where it sets no `max_tool_calls`."""
    most = body.get("max_tool_calls")
    most = float(most) if type(most) is int and most > 0 else 1.0
    units: dict[str, float] = {}
    for tool in listed(body.get("tools")):
        kind = str(field(tool, "type"))
        if kind == "code_interpreter" and text(field(tool, "container")) is None:
            units["code_session"] = 1.0
        search = next((name for name in _SEARCHES if kind.startswith(name)), None)
        if search is not None:
            units[search] = most
    return units


RESPONSES = Operation(
    name=S.CHAT,
    api="responses",
    fields={**SAMPLING, "previous_response_id": (A.GEN_AI_REQUEST_PREVIOUS_RESPONSE_ID, text)},
    request=read_request,
    response=read_response,
    accumulate=ResponsesEvents,
    input=read_input,
    output=read_output,
    family="inference",
    limit=("max_output_tokens",),
    tools=most_tool_calls,
    unfinished=unfinished,
)


def _cursor(value: Any) -> str | None:
    return str(value) if integer(value) is not None else None


def read_fetch(body: Body, attributes: Attributes) -> None:
    """Which response is fetched, from the path: `/responses/{id}`, `/responses/{id}/cancel`."""
    name = str(body.get("path", "")).partition("?")[0].partition("/responses/")[2]
    attributes[A.GEN_AI_RESPONSE_ID] = name.partition("/")[0]


RETRIEVED_RESPONSE = Operation(
    name=S.FETCH_RESPONSE,
    api="responses",
    fields={"starting_after": (A.GEN_AI_REQUEST_STREAM_CURSOR, _cursor)},
    request=read_fetch,
    response=read_fetched,
    accumulate=ResponsesEvents,
    output=read_output,
    priced=False,
    target=lambda attributes: None,
    finishes=finished,
)
