"""Google's client, with Vertex AI."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tests.contract.rows import google_genai
from tests.contract.server import json_reply


def make(url: str, asynchronous: bool, retries: int) -> Any:
    """Make the models of a client."""
    from google.oauth2.credentials import Credentials

    # An address that is not Google's takes a project with each model, or an API key.
    credentials = Credentials(token="t")  # type: ignore[no-untyped-call]
    return google_genai.make(
        url, asynchronous, retries, vertexai=True, project="p", location="global", credentials=credentials
    )


ROW = replace(google_genai.ROW, client=make, provider="gcp.vertex_ai")

# https://cloud.google.com/vertex-ai/generative-ai/pricing
OPERATIONS = (
    ROW.another(
        "image_generation",
        call=lambda models, **_: models.generate_images(
            model="imagen-4.0-generate-001", prompt=ROW.prompt, config={"number_of_images": 2}
        ),
        whole=json_reply({"predictions": [{"mimeType": "image/png", "bytesBase64Encoded": "cGl4ZWxz"}] * 2}),
        model="imagen-4.0-generate-001",
        usage=(0, 0),
        cost=2 * 0.04,
        cheaper="imagen-4.0-fast-generate-001",
        content=False,
    ),
)
