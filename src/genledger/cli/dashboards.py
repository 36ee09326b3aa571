"""`genledger dashboards`: list them, write their files, and create Langfuse's through its API."""

from __future__ import annotations

from json import loads
from pathlib import Path
from typing import Annotated, Literal

import typer

from genledger.cli.apps import new_app
from genledger.cli.output import JsonOption, console, fail, number_of, print_json, tell, write_files
from genledger.cli.tables import new_table
from genledger.dashboards.board_files import TARGETS, Target, files
from genledger.dashboards.catalog import DASHBOARDS

app = new_app()


@app.callback()
def _dashboards() -> None:
    """List dashboards, and write their files.

    There are files for Grafana, Datadog, Honeycomb and Langfuse.
    """


@app.command("list")
def list_dashboards(json: JsonOption = False) -> None:
    """List the dashboards, and for which targets there are files."""
    written = {target: files(target) for target in TARGETS}
    found = [
        {
            "name": one.name,
            "title": one.title,
            "answers": one.help,
            "panels": len(one.panels),
            "targets": [
                target for target in TARGETS if any(path.endswith(f"{one.name}.json") for path in written[target])
            ],
        }
        for one in DASHBOARDS
    ]
    if json:
        print_json(found)
        return
    table = new_table("name", "answers", "panels", "targets")
    for row in found:
        table.add_row(row["name"], row["answers"], str(row["panels"]), ", ".join(row["targets"]))  # type: ignore[arg-type]
    console().print(table)


@app.command()
def export(
    target: Annotated[Target, typer.Argument(help="Whose files.", show_default=False)],
    dir: Annotated[Path, typer.Option("--dir", help="Folder that they are written to.")] = Path("dashboards"),
) -> None:
    """Write the files of one target. They replace those of the same name."""
    found = files(target)
    write_files(dir / target, found)
    tell(f"Wrote {number_of(len(found), 'file')} to {dir / target}. docs/dashboards.md says how to import them.")


@app.command()
def push(
    target: Annotated[Literal["langfuse"], typer.Argument(help="Where they are created.", show_default=False)],
) -> None:
    """Create the dashboards in Langfuse, or bring those of the same title up to date.

    Its project is that of LANGFUSE_PUBLIC_KEY, LANGFUSE_SECRET_KEY and LANGFUSE_BASE_URL.
    """
    from genledger.dashboards.langfuse_push import PushError, connect, put

    try:
        made = put(connect(), map(loads, files(target).values()))
    except PushError as error:
        fail(error)
    tell(f"{number_of(made, 'dashboard')} in Langfuse.")
