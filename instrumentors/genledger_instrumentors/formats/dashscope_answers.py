"""Answers of Alibaba's Model Studio in its own format: an `output` with choices or a text, beside a `usage`.

https://www.alibabacloud.com/help/en/model-studio/qwen-api-via-dashscope
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from genledger.engine.ceiling import length_of
from genledger.engine.content.capture import text_part
from genledger.engine.operation import Body, Content, Operation, listed, text
from genledger.engine.outcome import ErrorEvent
from genledger.pricing.getters import field
from genledger_semconv import attributes as A

from .audio import asked
from .cohere_documents import RERANK as COHERE_RERANK
from .openai_chat import CHAT as OPENAI_CHAT
from .openai_embeddings import EMBEDDINGS as OPENAI_EMBEDDINGS
from .openai_media import COUNTED_IMAGES, TRANSCRIPTIONS
from .openai_media import SPEECH as OPENAI_SPEECH
from .polled_jobs import JobState, creating, fetching, job_in
from .videos import VIDEO


class _Choice:
    def __init__(self) -> None:
        self.texts = {"content": "", "reasoning_content": ""}
        self.tool_calls: Any = None
        self.finish_reason: str | None = None


def _said(content: Any) -> str:
    """Return the text of a message, whose content may be a list of parts."""
    if isinstance(content, str):
        return content
    return "".join(part for one in listed(content) if isinstance(part := field(one, "text"), str))


class Generated:
    """Puts answers together: each has all that was generated, unless the request asks for what is new only."""

    def __init__(self, body: Body, keep: bool) -> None:
        self._incremental = body.get("incremental_output") is True
        self._choices: dict[int, _Choice] = {}
        self._usage: Any = None
        self._id: Any = None

    def fold(self, chunks: Sequence[Any]) -> None:
        """Take in more answers."""
        for answer in chunks:
            self._id = field(answer, "request_id") or self._id
            self._usage = field(answer, "usage") or self._usage
            output = field(answer, "output")
            choices = listed(field(output, "choices"))
            for place, choice in enumerate(choices):
                index = field(choice, "index")
                self._take(index if isinstance(index, int) else place, choice, field(choice, "message"))
            if not choices and isinstance(said := field(output, "text"), str):
                self._take(0, output, {"content": said})

    def _take(self, index: int, choice: Any, message: Any) -> None:
        known = self._choices.setdefault(index, _Choice())
        for name, before in known.texts.items():
            said = _said(field(message, name))
            known.texts[name] = before + said if self._incremental else said or before
        known.tool_calls = field(message, "tool_calls") or known.tool_calls
        reason = field(choice, "finish_reason")
        if isinstance(reason, str) and reason != "null":
            known.finish_reason = reason

    def response(self) -> Mapping[str, Any]:
        """Return what was received, shaped like a chat completion."""
        return {
            "id": self._id,
            "usage": self._usage,
            "choices": [
                {"finish_reason": one.finish_reason, "message": {**one.texts, "tool_calls": one.tool_calls}}
                for _, one in sorted(self._choices.items())
            ],
        }

    def text_length(self) -> int:
        """Return bytes generated so far."""
        return sum(length_of(said) for one in self._choices.values() for said in one.texts.values())

    @property
    def counted(self) -> bool:
        """Return whether the usage is that of the whole answer: it comes with each part, as it is then."""
        return self._usage is not None and (self.complete or not self._choices)

    @property
    def complete(self) -> bool:
        """Return whether every choice that began has ended."""
        return all(one.finish_reason for one in self._choices.values())


class AppGenerated(Generated):
    """Puts the answers of an application together, which say what each of its models consumed."""

    def response(self) -> Mapping[str, Any]:
        """Return what was received, shaped like a chat completion with the usage of an agent."""
        said = super().response()
        invocations = [
            {
                "model": field(one, "model_id"),
                "inputTokens": field(one, "input_tokens"),
                "outputTokens": field(one, "output_tokens"),
            }
            for one in listed(field(said["usage"], "models"))
        ]
        first = invocations[0] if invocations else {}
        return {**said, "model": first.get("model"), "usage": {"invocations": invocations} if invocations else None}


def whole(operation: Operation, answer: Any) -> Any:
    """Return a whole answer as its operation reads it: like a stream of one part, where it has Alibaba's own format.

    Raises:
        ErrorEvent: The answer is a refusal, which has a `code`, although its HTTP status is 200.
    """
    if field(answer, "code"):
        raise ErrorEvent(answer)
    if not isinstance(operation.accumulate, type) or not issubclass(operation.accumulate, Generated):
        return answer
    answers = operation.accumulate({}, True)
    answers.fold([answer])
    return answers.response()


def read_app_input(body: Body) -> Content:
    """Return the messages or the prompt that an application is asked."""
    prompt = text(body.get("prompt"))
    return asked([text_part(prompt)]) if prompt is not None else OPENAI_CHAT.input(body) if OPENAI_CHAT.input else {}


CHAT = OPENAI_CHAT._replace(accumulate=Generated, limit=("max_tokens",))
EMBEDDINGS = OPENAI_EMBEDDINGS._replace(
    fields={**OPENAI_EMBEDDINGS.fields, "dimension": OPENAI_EMBEDDINGS.fields["dimensions"]}, accumulate=Generated
)
RERANK = COHERE_RERANK._replace(accumulate=Generated, response=None, largest=None)
SPEECH = OPENAI_SPEECH._replace(accumulate=None)
TRANSCRIPTION = TRANSCRIPTIONS._replace(accumulate=None, largest=None)
APP = OPENAI_CHAT._replace(
    api="invoke_agent",
    fields={"session_id": (A.GEN_AI_CONVERSATION_ID, text)},
    accumulate=AppGenerated,
    input=read_app_input,
    limit=(),
    choices=(),
    fixed_model=True,
    hidden_prompt=True,
)
"""An application that Alibaba hosts: of its own models, and its own prompts."""


def read_job(body: Body, answer: Any) -> JobState | None:
    """Return the job in an answer, and what it has been billed for."""
    output = field(answer, "output")
    result = {"id": field(output, "task_id"), "usage": field(answer, "usage"), "outputs": output}
    job = job_in({}, output, result, name="task_id", status="task_status")
    return job._replace(error=text(field(output, "code"))) if job is not None else None


JOBS: Mapping[str, Operation] = {
    "image-synthesis": creating(COUNTED_IMAGES, read_job),
    "image-generation": creating(COUNTED_IMAGES, read_job),
    "video-synthesis": creating(VIDEO, read_job),
    "transcription": creating(TRANSCRIPTION, read_job),
    "text-embedding": creating(EMBEDDINGS._replace(accumulate=None), read_job),
}
"""Operations of jobs, by the function that they ask for, else by their task."""

FETCHED_JOB = fetching("jobs", read_job)
