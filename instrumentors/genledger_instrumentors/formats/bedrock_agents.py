"""Bedrock's agents and flows, which answer in events.

https://docs.aws.amazon.com/bedrock/latest/APIReference/API_agent-runtime_InvokeAgent.html,
https://docs.aws.amazon.com/bedrock/latest/APIReference/API_agent-runtime_InvokeFlow.html

An agent says what its models consumed only in a trace, which a request has to ask for with `enableTrace`; a flow never.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Mapping, Sequence
from typing import Any

from genledger.engine.ceiling import length_of
from genledger.engine.content.capture import generic_part, text_part, tool_call_part
from genledger.engine.operation import Attributes, Body, Content, Operation, at_path, listed, text
from genledger.engine.to_json import plain
from genledger.pricing.getters import field, items
from genledger_semconv import attributes as A
from genledger_semconv import spans as S

_STEPS = ("preProcessingTrace", "orchestrationTrace", "routingClassifierTrace", "postProcessingTrace")
"""The parts of a trace in which a model is asked: those of an agent, and of all that it works with."""


def read_agent(answer: Any, attributes: Attributes) -> None:
    """Read which agent answered, with which model, and why it ended."""
    version, model, reason = text(field(answer, "version")), text(field(answer, "model")), field(answer, "stopReason")
    if version is not None:
        attributes[A.GEN_AI_AGENT_VERSION] = version
    if model is not None and len({field(one, "model") for one in items(field(answer, "usage"), "invocations")}) == 1:
        attributes[A.GEN_AI_REQUEST_MODEL] = model
    if isinstance(reason, str):
        attributes[A.GEN_AI_RESPONSE_FINISH_REASONS] = (reason,)


def read_input(body: Body) -> Content:
    """Return what an agent is asked."""
    asked, told = text(body.get("inputText")), text(body.get("instruction"))
    return {
        A.GEN_AI_SYSTEM_INSTRUCTIONS: [text_part(told)] if told is not None else None,
        A.GEN_AI_INPUT_MESSAGES: [{"role": "user", "parts": [text_part(asked)]}] if asked is not None else None,
    }


_FINISH = {"guardrail_intervened": "content_filter", "return_control": "tool_call"}


def read_output(answer: Any) -> Content:
    """Return what an agent said, and the tools that it has the application run."""
    said, reason = text(field(answer, "completion")), field(answer, "stopReason")
    parts = [] if said is None else [text_part(said)]
    parts += [part for control in items(answer, "returnControl") for part in _tools(control)]
    message = {"role": "assistant", "parts": parts, "finish_reason": _FINISH.get(reason, "stop")}
    return {A.GEN_AI_OUTPUT_MESSAGES: [message] if parts else None}


def _tools(control: Any) -> list[dict[str, Any]]:
    called = []
    for one in items(control, "invocationInputs"):
        function = field(one, "functionInvocationInput")
        given = {str(field(given, "name")): field(given, "value") for given in items(function, "parameters")}
        name = text(field(function, "function"))
        called.append(
            generic_part(one) if name is None else tool_call_part(name, given, text(field(control, "invocationId")))
        )
    return called


class AgentEvents:
    """Puts the events of an agent together; keeps the content only when it is captured."""

    def __init__(self, body: Body, keep: bool) -> None:
        self._asked = body.get("model")
        self._keep = keep
        self._pieces: list[str] = []
        self._controls: list[Any] = []
        self._models: dict[Any, str | None] = {}
        self._usages: list[tuple[Any, Mapping[str, Any]]] = []
        self._version: str | None = None
        self._reason: str | None = None
        self._length = 0

    def fold(self, chunks: Sequence[Any]) -> None:
        """Take in more events, each of which has a single member; one that is malformed is passed over."""
        for event in chunks:
            try:
                if "chunk" in event:
                    self._said(b64decode(event["chunk"]["bytes"]).decode("utf-8", "replace"))
                elif "trace" in event:
                    self._traced(event["trace"])
                elif "returnControl" in event:
                    self._reason = "return_control"
                    if self._keep:
                        self._controls.append(event["returnControl"])
            except (AttributeError, KeyError, TypeError, ValueError):
                continue

    def _said(self, piece: str) -> None:
        self._length += length_of(piece)
        if self._keep:
            self._pieces.append(piece)

    def _traced(self, part: Mapping[str, Any]) -> None:
        trace = part["trace"]
        self._version = self._version or text(part.get("agentVersion"))
        if at_path(trace, "guardrailTrace.action") == "INTERVENED":
            self._reason = "guardrail_intervened"
        for step in _STEPS:
            asked, answered = (
                at_path(trace, f"{step}.modelInvocationInput"),
                at_path(trace, f"{step}.modelInvocationOutput"),
            )
            if isinstance(asked, Mapping):
                self._models[asked.get("traceId")] = text(asked.get("foundationModel"))
            if isinstance(usage := at_path(answered, "metadata.usage"), Mapping):
                self._usages.append((field(answered, "traceId"), usage))

    def response(self) -> Mapping[str, Any]:
        """Return what was received, with the usage of each of the models' invocations."""
        invocations = [{**usage, "model": self._models.get(trace)} for trace, usage in self._usages]
        answer = {
            "completion": "".join(self._pieces),
            "returnControl": self._controls,
            "stopReason": self._reason,
            "version": self._version,
        }
        if not invocations:
            return answer
        return {**answer, "model": self._asked or invocations[0]["model"], "usage": {"invocations": invocations}}

    def text_length(self) -> int:
        """Return bytes generated so far."""
        return self._length

    @property
    def counted(self) -> bool:
        """Return whether a trace has said what was consumed."""
        return bool(self._usages)

    @property
    def complete(self) -> None:
        """Return `None`: no event marks the end."""
        return None


class FlowEvents:
    """Puts the events of a flow together; keeps the content only when it is captured."""

    def __init__(self, body: Body, keep: bool) -> None:
        self._keep = keep
        self._outputs: list[Any] = []
        self._reason: str | None = None

    def fold(self, chunks: Sequence[Any]) -> None:
        """Take in more events, each of which has a single member."""
        for event in chunks:
            if self._keep and (output := at_path(event, "flowOutputEvent.content.document")) is not None:
                self._outputs.append(output)
            self._reason = text(at_path(event, "flowCompletionEvent.completionReason")) or self._reason

    def response(self) -> Mapping[str, Any]:
        """Return what was received."""
        return {"outputs": self._outputs, "completionReason": self._reason}

    def text_length(self) -> int:
        """Return zero: what a flow generates is not what it outputs."""
        return 0

    @property
    def counted(self) -> bool:
        """Never: a flow does not say what it consumed."""
        return False

    @property
    def complete(self) -> bool:
        """Return whether the flow has ended."""
        return self._reason is not None


def _parts(documents: Sequence[Any]) -> list[Any]:
    return [text_part(one) if isinstance(one, str) else generic_part(plain(one)) for one in documents]


def read_flow_input(body: Body) -> Content:
    """Return the documents that a flow is given."""
    given = [
        document for one in listed(body.get("inputs")) if (document := at_path(one, "content.document")) is not None
    ]
    return {A.GEN_AI_INPUT_MESSAGES: [{"role": "user", "parts": _parts(given)}] if given else None}


def read_flow_output(answer: Any) -> Content:
    """Return the documents that a flow has output."""
    outputs = list(items(answer, "outputs"))
    reason = "stop" if field(answer, "completionReason") is not None else "error"
    message = {"role": "assistant", "parts": _parts(outputs), "finish_reason": reason}
    return {A.GEN_AI_OUTPUT_MESSAGES: [message] if outputs else None}


INVOKE_AGENT = Operation(
    name=S.INVOKE_AGENT,
    api="invoke_agent",
    fields={
        "model": (A.GEN_AI_REQUEST_MODEL, text),
        "agentId": (A.GEN_AI_AGENT_ID, text),
        "agentName": (A.GEN_AI_AGENT_NAME, text),
        "sessionId": (A.GEN_AI_CONVERSATION_ID, text),
    },
    response=read_agent,
    accumulate=AgentEvents,
    input=read_input,
    output=read_output,
    target=lambda attributes: text(attributes.get(A.GEN_AI_AGENT_NAME)),
    fixed_model=True,
    hidden_prompt=True,
)

INVOKE_INLINE_AGENT = INVOKE_AGENT._replace(fixed_model=False)

INVOKE_FLOW = Operation(
    name=S.INVOKE_WORKFLOW,
    api="invoke_flow",
    fields={"flowIdentifier": (A.GEN_AI_WORKFLOW_NAME, text), "executionId": (A.GEN_AI_CONVERSATION_ID, text)},
    accumulate=FlowEvents,
    input=read_flow_input,
    output=read_flow_output,
    target=lambda attributes: text(attributes.get(A.GEN_AI_WORKFLOW_NAME)),
    fixed_model=True,
    hidden_prompt=True,
)
