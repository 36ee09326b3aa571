"""The documents keep up with the code: every option and metric is described, every link leads somewhere."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from genledger.setup.settings import Settings
from genledger_semconv import metrics as M

from .blocks import DOCUMENTS, FENCE, REPOSITORY

_ROW = re.compile(r"^\| `(\w+)` \|([^|]*)\| ([^|]*) \| ([^|]+) \|$", re.MULTILINE)
_LINK = re.compile(r"(?<!\!)\[[^\]]*\]\(([^)\s]+)\)")


def text(name: str) -> str:
    return (REPOSITORY / name).read_text(encoding="utf-8")


def written(default: Any) -> str | None:
    """A default as the page writes it; `None` where it says it in words."""
    if default is None or default == ():
        return None
    if isinstance(default, tuple):
        return f"`{','.join(default)}`"
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


def test_the_configuration_page_has_every_option_with_its_variables_and_default() -> None:
    rows = {name: (variables, default) for name, variables, default, _ in _ROW.findall(text("docs/configuration.md"))}
    assert set(rows) == {option.name for option in fields(Settings)}
    for option in fields(Settings):
        variables, default = rows[option.name]
        assert re.findall(r"`(\w+)`", variables) == list(option.metadata["env"]), option.name
        if written(option.default) is not None:
            assert default == written(option.default), option.name
        else:
            assert "`" not in default, option.name


@pytest.mark.parametrize(
    "name", [value for key, value in vars(M).items() if key.startswith("GENLEDGER_") and isinstance(value, str)]
)
def test_the_metrics_page_has_every_metric_of_ours(name: str) -> None:
    assert f"`{name}`" in text("docs/metrics.md")


def anchors(document: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", document.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_every_link_leads_somewhere(document: Path) -> None:
    for target in _LINK.findall(FENCE.sub("", document.read_text(encoding="utf-8"))):
        if "://" in target:
            continue
        file, _, anchor = target.partition("#")
        found = (document.parent / file).resolve() if file else document
        assert found.exists(), target
        assert not anchor or anchor in anchors(found), target
