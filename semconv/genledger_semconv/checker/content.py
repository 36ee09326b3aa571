"""Content against the conventions' message schemas (GenAI conventions, `model/gen-ai/*.json`).

Written as predicates rather than as JSON schemas: the rules are few, and a finding should say what is wrong
at which place instead of listing the eleven kinds of part that did not match.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .. import attributes as A
from .deviation import Report

_Problem = str | None
_Check = Callable[[Any, str], _Problem]


def _first(problems: Sequence[_Problem]) -> _Problem:
    return next((problem for problem in problems if problem is not None), None)


def _string(value: Any, where: str) -> _Problem:
    return None if isinstance(value, str) else f"{where} must be a string"


def _number(value: Any, where: str) -> _Problem:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return None if is_number else f"{where} must be a number"


def _anything(value: Any, where: str) -> _Problem:
    return None


def _object(
    required: Mapping[str, _Check] | None = None, optional: Mapping[str, _Check] | None = None
) -> Callable[[Any, str], _Problem]:
    """A check for objects; optional fields may be null, and fields not named may be anything."""

    def check(value: Any, where: str) -> _Problem:
        if not isinstance(value, Mapping):
            return f"{where} must be an object"
        for key, field in (required or {}).items():
            if key not in value:
                return f"{where} has no {key!r}"
            problem = field(value[key], f"{where}.{key}")
            if problem is not None:
                return problem
        return _first(
            [
                field(value[key], f"{where}.{key}")
                for key, field in (optional or {}).items()
                if value.get(key) is not None
            ]
        )

    return check


def _array(item: _Check) -> _Check:
    def check(value: Any, where: str) -> _Problem:
        if not isinstance(value, (list, tuple)):
            return f"{where} must be an array"
        return _first([item(element, f"{where}[{index}]") for index, element in enumerate(value)])

    return check


_TYPED = {"type": _string}
_MEDIA = {"mime_type": _string}

_PARTS: Mapping[str, _Check] = {
    "text": _object({"content": _string}),
    "tool_call": _object({"name": _string}, {"id": _string}),
    "tool_call_response": _object({"response": _anything}, {"id": _string}),
    "server_tool_call": _object({"name": _string, "server_tool_call": _object(_TYPED)}, {"id": _string}),
    "server_tool_call_response": _object({"server_tool_call_response": _object(_TYPED)}, {"id": _string}),
    "blob": _object({"modality": _string, "content": _string}, _MEDIA),
    "file": _object({"modality": _string, "file_id": _string}, _MEDIA),
    "uri": _object({"modality": _string, "uri": _string}, _MEDIA),
    "reasoning": _object({"content": _string}),
    "compaction": _object({}, {"id": _string, "content": _string}),
}


def _part(value: Any, where: str) -> _Problem:
    problem = _object(_TYPED)(value, where)
    # A part of any other type is a generic one, and may have any field.
    return problem if problem is not None else _PARTS.get(value["type"], _anything)(value, where)


def _instruction(value: Any, where: str) -> _Problem:
    problem = _part(value, where)
    if problem is None and value["type"] in _PARTS and value["type"] != "text":
        return f"{where} must be a text or generic part, not {value['type']!r}"
    return problem


def _tool(value: Any, where: str) -> _Problem:
    problem = _object({"type": _string, "name": _string})(value, where)
    if problem is None and value["type"] == "function":
        return _object({}, {"description": _string, "parameters": _object()})(value, where)
    return problem


_MESSAGE = {"role": _string, "parts": _array(_part)}

_SCHEMAS: Mapping[str, _Check] = {
    A.GEN_AI_SYSTEM_INSTRUCTIONS: _array(_instruction),
    A.GEN_AI_INPUT_MESSAGES: _array(_object(_MESSAGE, {"name": _string})),
    A.GEN_AI_OUTPUT_MESSAGES: _array(_object(_MESSAGE, {"name": _string, "finish_reason": _string})),
    A.GEN_AI_TOOL_DEFINITIONS: _array(_tool),
    A.GEN_AI_TOOL_CALL_ARGUMENTS: _object(),
    A.GEN_AI_TOOL_CALL_RESULT: _object(),
    A.GENLEDGER_TASK_ARGUMENTS: _object(),
    A.GENLEDGER_TASK_RESULT: _object(),
    A.GEN_AI_RETRIEVAL_DOCUMENTS: _array(_object({}, {"id": _string, "score": _number})),
    A.GEN_AI_MEMORY_RECORDS: _array(
        _object({"content": _anything}, {"id": _string, "metadata": _object(), "score": _number})
    ),
}


def check_content(name: str, value: Any, structured: bool, report: Report) -> None:
    """Check one structured attribute against its schema.

    Args:
        name: The attribute.
        value: Its value: structured, or JSON in a string.
        structured: Whether JSON in a string is not good enough, as on events.
        report: Where deviations go.
    """
    if isinstance(value, str):
        if structured:
            report("content-schema", "must be structured here, not JSON in a string", name)
            return
        try:
            value = json.loads(value)
        except ValueError as error:
            report("content-schema", f"is not JSON: {error}", name)
            return
    problem = _SCHEMAS[name](value, "it")
    if problem is not None:
        report("content-schema", problem, name)
