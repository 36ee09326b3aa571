"""The instrumentor that CONTRIBUTING shows passes the contract suite with the row that CONTRIBUTING shows."""

from __future__ import annotations

import shutil
import tomllib
from pathlib import Path

from ..genledger.applications import REPOSITORY
from .blocks import BIN, block, blocks, commands, run

CONTRIBUTING = REPOSITORY / "CONTRIBUTING.md"
PACKAGE = Path("instrumentors", "genledger_instrumentors")


def test_the_shown_instrumentor_passes_the_contract_suite_with_the_shown_row(tmp_path: Path) -> None:
    for part in (PACKAGE, Path("tests")):
        shutil.copytree(REPOSITORY / part, tmp_path / part, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(REPOSITORY / "pyproject.toml", tmp_path)
    (tmp_path / PACKAGE / "providers" / "mistralai.py").write_text(block(CONTRIBUTING, "class MistralInstr").text)
    (tmp_path / "tests" / "contract" / "rows" / "mistralai.py").write_text(block(CONTRIBUTING, "ROW = Row(").text)
    (command,) = commands(block(CONTRIBUTING, "-k mistralai").text)
    program, *arguments = command.split()
    assert program == ".venv/bin/python"
    done = run([str(BIN / "python"), *arguments], tmp_path, PYTHONPATH=f"{tmp_path / 'instrumentors'}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout


def test_the_shown_entry_points_are_those_of_the_project() -> None:
    (shown,) = [tomllib.loads(one.text) for one in blocks(CONTRIBUTING) if one.language == "toml"]
    groups = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["entry-points"]
    for group, points in shown["project"]["entry-points"].items():
        assert points.items() <= groups[group].items()


def test_the_shown_operation_reads_an_answer() -> None:
    namespace: dict[str, object] = {}
    exec(block(CONTRIBUTING, "EMBEDDINGS = Operation(").text, namespace)
    read = namespace["EMBEDDINGS"].response  # type: ignore[attr-defined]
    attributes: dict[str, str] = {}
    read({"model": "text-embedding-3-small"}, attributes)
    assert attributes == {"gen_ai.response.model": "text-embedding-3-small"}
