"""Grafana's dashboards, their panels and options have the types that Grafana gives them, in strict TypeScript.

`make test-dashboards` installs the types and the compiler, and says where they are.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

COMMITTED = Path(__file__).parents[2] / "dashboards" / "grafana"
FILES = sorted(COMMITTED.rglob("*.json"))

PACKAGES = Path(os.environ.get("GENLEDGER_TEST_GRAFANA", "")) / "node_modules"
TYPES = PACKAGES / "@grafana" / "schema" / "dist" / "types"

PLAIN = """
// A value of an enumeration is its text in JSON.
type Plain<T> = unknown extends T ? T
  : T extends string ? `${T}`
  : T extends (infer U)[] ? Plain<U>[]
  : T extends object ? { [K in keyof T]: Plain<T[K]> }
  : T;
interface Source { type: string; uid: string }
interface Prometheus {
  refId: string; datasource: Source; expr: string; legendFormat: string; editorMode: 'code';
  range: boolean; instant: boolean; format: 'table' | 'time_series'; interval?: string; exemplar?: boolean;
}
interface SQLite {
  refId: string; datasource: Source; queryText: string; rawQueryText: string;
  queryType: 'table' | 'time series'; timeColumns: string[];
}
interface Link { title: string; url: string; targetBlank: boolean }
"""

needs_types = pytest.mark.skipif(not TYPES.is_dir(), reason="needs Grafana's types (make test-dashboards)")


def module(dashboard: dict[str, Any], target: str) -> Iterator[str]:
    """A module that has the dashboard, and each part of it that its type leaves open, as literals of their types."""
    yield f"import type {{ Dashboard }} from '{TYPES}/index';"
    for kind in ("timeseries", "table", "stat", "bargauge"):
        yield f"import type * as {kind} from '{TYPES}/raw/composable/{kind}/panelcfg/x/types.gen';"
    yield PLAIN
    yield f"export const dashboard: Plain<Dashboard> = {json.dumps(dashboard)};"
    for number, panel in enumerate(dashboard["panels"]):
        fields = panel["fieldConfig"]["defaults"]
        yield f"export const options{number}: Plain<{panel['type']}.Options> = {json.dumps(panel['options'])};"
        yield f"export const targets{number}: {target}[] = {json.dumps(panel['targets'])};"
        yield f"export const links{number}: Link[] = {json.dumps(fields.get('links', []))};"
        if "custom" in fields:
            yield f"export const drawn{number}: Plain<{panel['type']}.FieldConfig> = {json.dumps(fields['custom'])};"


def compile_strictly(directory: Path, modules: dict[str, str]) -> subprocess.CompletedProcess[str]:
    for name, text in modules.items():
        (directory / f"{name}.ts").write_text(text, "utf-8")
    settings = {
        "compilerOptions": {
            "strict": True,
            "noEmit": True,
            "skipLibCheck": True,
            "moduleResolution": "bundler",
            "module": "esnext",
            "types": [],
        },
        "files": [f"{name}.ts" for name in modules],
    }
    (directory / "tsconfig.json").write_text(json.dumps(settings))
    command = [PACKAGES / ".bin" / "tsc", "--project", directory]
    return subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)


def modules() -> dict[str, str]:
    kinds = {"prometheus": "Prometheus", "ledger": "SQLite"}
    return {
        f"{file.parent.name}_{file.stem}": "\n".join(
            module(json.loads(file.read_text("utf-8")), kinds[file.parent.name])
        )
        for file in FILES
    }


@needs_types
def test_the_dashboards_have_grafanas_types(tmp_path: Path) -> None:
    done = compile_strictly(tmp_path, modules())
    assert (done.returncode, done.stdout) == (0, "")


@needs_types
@pytest.mark.parametrize(
    "broken",
    [
        ('"includeAll"', '"includeEverything"'),
        ('"stacking": {"mode": "normal"', '"stacking": {"mode": "sum"'),
        ('"colorMode": "value"', '"colorMode": "bright"'),
        ('"showHeader"', '"header"'),
        ('"refId"', '"reference"'),
        ('"schemaVersion": 37', '"schemaVersion": "37"'),
    ],
)
def test_a_mistake_would_be_found(broken: tuple[str, str], tmp_path: Path) -> None:
    text = modules()["prometheus_spend"]
    assert broken[0] in text
    assert compile_strictly(tmp_path, {"spend": text.replace(*broken)}).returncode != 0


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}/{file.stem}")
def test_grafanas_sdk_keeps_every_field(file: Path) -> None:
    text = file.read_text("utf-8")
    written = json.loads(json.dumps(Dashboard.from_json(json.loads(text)), cls=JSONEncoder))
    assert list(lost(json.loads(text), written)) == []


def lost(given: Any, kept: Any, path: str = "") -> Iterator[str]:
    """Where something is not what it was."""
    if isinstance(given, dict) and isinstance(kept, dict):
        for name, value in given.items():
            yield from lost(value, kept.get(name), f"{path}.{name}")
    elif isinstance(given, list) and isinstance(kept, list) and len(given) == len(kept):
        for number, (one, other) in enumerate(zip(given, kept, strict=True)):
            yield from lost(one, other, f"{path}[{number}]")
    elif given != kept:
        yield path
