"""The oldest version of each framework that is supported is one that is tested."""

from __future__ import annotations

import re
from importlib.metadata import EntryPoint, entry_points

import pytest
from packaging.requirements import Requirement
from packaging.version import Version
from tests.genledger.applications import REPOSITORY

LOCKED = "\n".join(path.read_text() for path in (REPOSITORY / "tests" / "frameworks").glob("*.lock"))

FRAMEWORKS = [one for one in entry_points(group="opentelemetry_instrumentor") if ".frameworks." in one.value]


@pytest.mark.parametrize("framework", FRAMEWORKS, ids=lambda one: one.name)
def test_the_oldest_supported_version_of_a_framework_is_tested(framework: EntryPoint) -> None:
    supported = Requirement(framework.load().supports)
    (oldest,) = (Version(one.version) for one in supported.specifier if one.operator == ">=")
    locked = re.findall(rf"^{re.escape(supported.name)}==(\S+)", LOCKED, re.MULTILINE)
    assert min(supported.specifier.filter(map(Version, locked))) == oldest
