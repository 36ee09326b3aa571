"""Zhipu's client, over real sockets: its jobs, which it asks for as the client of Z.ai does."""

from __future__ import annotations

from typing import Any

import pytest
from tests.contract.rows.zhipuai import make
from tests.contract.server import Server, json_reply

from genledger_semconv.checker import assert_clean

from ..telemetry import instrumented

pytest.importorskip("zhipuai")

JOB = {"id": "j1", "request_id": "r1", "model": "glm-4.7", "task_status": "PROCESSING", "video_result": []}
MESSAGE = {"role": "assistant", "content": "Paris."}
DONE = {
    **JOB,
    "task_status": "SUCCESS",
    "choices": [{"index": 0, "finish_reason": "stop", "message": MESSAGE}],
    "usage": {"prompt_tokens": 1000, "completion_tokens": 500, "total_tokens": 1500},
}
VIDEO = {**JOB, "task_status": "SUCCESS", "video_result": [{"url": "https://a/v.mp4", "cover_image_url": "https://a"}]}


def test_jobs_are_paid_for_when_they_are_fetched(server: Server) -> None:
    client: Any = make(server.url, False, 0)
    with instrumented(libraries=["zhipuai"]) as telemetry:
        server.will(json_reply(JOB), json_reply(DONE))
        client.chat.asyncCompletions.create(model="glm-4.7", messages=[{"role": "user", "content": "What?"}])
        client.chat.asyncCompletions.retrieve_completion_result("j1")
        server.will(json_reply({**JOB, "id": "j2"}), json_reply({**VIDEO, "id": "j2"}))
        client.videos.generations(model="cogvideox-3", prompt="Paris")
        client.videos.retrieve_videos_result("j2")
        chat = telemetry.attributes_of("chat glm-4.7")
        assert chat["gen_ai.provider.name"] == "zhipuai"
        assert chat["gen_ai.usage.output_tokens"] == 500
        assert chat["genledger.cost.amount"] > 0
        assert telemetry.attributes_of("generate_content cogvideox-3")["genledger.usage.video"] == 1
        assert_clean(telemetry.spans, telemetry.metrics, telemetry.logs)
