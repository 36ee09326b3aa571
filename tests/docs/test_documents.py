"""The documents keep up with the code: every option and metric is described, every link leads somewhere."""

from __future__ import annotations

import ast
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from genledger.setup.settings import Settings
from genledger_semconv import metrics as M

from ..genledger.applications import run

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])

_ROW = re.compile(r"^\| `(\w+)` \|([^|]*)\| ([^|]*) \| ([^|]+) \|$", re.MULTILINE)
_LINK = re.compile(r"(?<!\!)\[[^\]]*\]\(([^)\s]+)\)")
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


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
    headings = re.findall(r"^#+ (.+)$", _FENCE.sub("", document.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_every_link_leads_somewhere(document: Path) -> None:
    for target in _LINK.findall(_FENCE.sub("", document.read_text(encoding="utf-8"))):
        if "://" in target:
            continue
        file, _, anchor = target.partition("#")
        found = (document.parent / file).resolve() if file else document
        assert found.exists(), target
        assert not anchor or anchor in anchors(found), target


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_python_in_documents_is_python(document: Path) -> None:
    for language, code in _FENCE.findall(document.read_text(encoding="utf-8")):
        if language == "python":
            ast.parse(re.sub(r", (…|\.{3})\)", ")", code).replace("…", "..."))


IN_FORCE = """
from genledger.setup.instrument import pipeline
print([rule.name for rule in pipeline().recorder.budget_hook.guard.rules])
"""


def test_the_rules_in_code_on_the_budgets_page_are_in_force(tmp_path: Path) -> None:
    code, client_of_their_own = (
        code
        for language, code in _FENCE.findall(text("docs/budgets.md"))
        if language == "python" and "genledger.instrument(" in code
    )
    # Nobody answers at the addresses of the page: rules hold by their `on_store_down`.
    done = run(tmp_path, code + IN_FORCE, GENLEDGER_DESTINATIONS="ledger")
    assert done.stdout == "['tenant=each usd/day', 'run=each steps/run']\n"
    assert not done.stderr
    (tmp_path / "budgets.toml").write_text('[[budget]]\nname = "daily"\nusd = 5\nper = "day"\n')
    done = run(tmp_path, client_of_their_own + IN_FORCE, GENLEDGER_DESTINATIONS="ledger")
    assert done.stdout == "['daily']\n"
    assert not done.stderr
