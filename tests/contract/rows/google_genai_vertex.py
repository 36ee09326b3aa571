"""Google's client, with Vertex AI."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tests.contract.rows import google_genai


def make(url: str, asynchronous: bool, retries: int) -> Any:
    """Make the models of a client."""
    from google.oauth2.credentials import Credentials

    # An address that is not Google's takes a project with each model, or an API key.
    credentials = Credentials(token="t")  # type: ignore[no-untyped-call]
    return google_genai.make(
        url, asynchronous, retries, vertexai=True, project="p", location="global", credentials=credentials
    )


ROW = replace(google_genai.ROW, client=make, provider="gcp.vertex_ai")
