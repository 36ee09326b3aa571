"""Names of Google's models: resources such as `models/gemini-3.8-flash`.

https://ai.google.dev/api/models and https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/inference
"""

from __future__ import annotations

_MODELS = "models/"
_GOOGLES = "publishers/google/models/"
_PUBLISHER = "publishers/"


def model_name(resource: str) -> str:
    """Return the model that a resource is: another publisher's as `publisher/model`.

    Tuned models and endpoints are the customer's own, and keep their path.
    """
    if resource.startswith("projects/") and f"/{_PUBLISHER}" in resource:
        resource = resource[resource.index(f"/{_PUBLISHER}") + 1 :]
    if resource.startswith(_PUBLISHER):
        publisher, _, model = resource.removeprefix(_PUBLISHER).partition(f"/{_MODELS}")
        return model if publisher == "google" else f"{publisher}/{model}"
    return resource.removeprefix(_MODELS)


def renamed(resource: str, model: str) -> str:
    """Return a resource as that of another model."""
    if model.startswith((_MODELS, _PUBLISHER, "projects/", "tunedModels/", "endpoints/")):
        return model
    before, found, _ = resource.rpartition(_PUBLISHER)
    if found or resource.startswith("endpoints/") or "/endpoints/" in resource:
        project = before if found else resource.partition("endpoints/")[0]
        publisher, _, name = model.rpartition("/")
        return f"{project}{_PUBLISHER}{publisher or 'google'}/{_MODELS}{name}"
    return f"{_MODELS}{model}"
