"""What a package index shows, and which versions of libraries the package asks for."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import metadata

from packaging.requirements import Requirement
from packaging.version import Version

from .applications import REPOSITORY

PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
DEV = "dev"
CALENDAR = {"packaging"}
"""Versions that are dates: a new first number breaks nothing."""


def requirements() -> list[Requirement]:
    """What the package and its extras ask for."""
    extras = [one for extra, ones in PROJECT["optional-dependencies"].items() if extra != DEV for one in ones]
    return [Requirement(one) for one in (*PROJECT["dependencies"], *extras)]


def test_the_readme_leads_to_the_repository_from_wherever_it_is_shown() -> None:
    shown = metadata("genledger")
    targets = re.findall(r"\]\(([^)\s]+)\)", str(shown.get_payload()))
    assert len(targets) > 10
    assert [target for target in targets if not target.startswith(("https://", "#"))] == []


def test_the_package_names_its_pages() -> None:
    pages = dict(line.split(", ", 1) for line in metadata("genledger").get_all("Project-URL") or ())
    assert {"Source", "Documentation", "Changelog", "Issues"} <= pages.keys()


def test_every_library_has_a_lowest_version_and_ends_before_a_version_that_may_break_us() -> None:
    for one in requirements():
        operators = {specifier.operator for specifier in one.specifier}
        assert operators == ({">="} if one.name in CALENDAR else {">=", "<"}), one


def test_the_lowest_versions_are_those_that_are_tested() -> None:
    """`make test-lowest` installs the one file, `make test-frameworks` the other, with google-adk's OpenTelemetry."""
    tested: dict[str, set[Version]] = {}
    for file in ("lowest.txt", "frameworks/strands.lock"):
        for one in map(Requirement, (REPOSITORY / "tests" / file).read_text(encoding="utf-8").splitlines()):
            tested.setdefault(one.name, set()).update(Version(specifier.version) for specifier in one.specifier)
    for one in requirements():
        (lowest,) = (Version(specifier.version) for specifier in one.specifier if specifier.operator == ">=")
        assert lowest in tested[one.name], one.name
