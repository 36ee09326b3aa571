"""Which release of the application this is."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from genledger.shared.text import bounded

_VARIABLES = (
    "LANGFUSE_RELEASE",
    "RENDER_GIT_COMMIT", "CI_COMMIT_SHA", "CIRCLE_SHA1", "SOURCE_VERSION", "TRAVIS_COMMIT", "GIT_COMMIT",
    "GITHUB_SHA", "BITBUCKET_COMMIT", "BUILD_SOURCEVERSION", "DRONE_COMMIT_SHA",
)  # fmt: skip
"""Where Langfuse's SDK looks for a release, in its order."""


def build_release(environ: Mapping[str, str] = os.environ) -> str | None:
    """Return `LANGFUSE_RELEASE`, else the commit that the build system names, else `None`."""
    return next((environ[name] for name in _VARIABLES if environ.get(name)), None)


def version_of(resource: Any) -> str | None:
    """Return the `service.version` of an OpenTelemetry resource, `None` where it has none."""
    version = getattr(resource, "attributes", {}).get("service.version")
    return bounded(str(version)) if version else None


def release_of(resource: Any, environ: Mapping[str, str] = os.environ) -> str | None:
    """Return the release of the application that a resource is of: its version, else that of the build."""
    version = version_of(resource)
    if version is not None:
        return version
    build = build_release(environ)
    return bounded(build) if build is not None else None
