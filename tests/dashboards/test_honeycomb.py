"""The models of Honeycomb's client read the boards, as the input that its builder makes boards and queries of."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from honeycomb.models.queries import QuerySpec
from honeycomb.models.tool_inputs import BoardToolInput, TriggerToolInput
from pydantic import ValidationError

from genledger.alerting.exports import export
from genledger.alerting.rules import KINDS, AlertFile, alert

FILES = sorted((Path(__file__).parents[2] / "dashboards" / "honeycomb").glob("*.json"))
OF_A_QUERY = set(QuerySpec.model_fields)
MOST_PRESET_FILTERS = 5


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_client_knows_all_of_a_board(file: Path) -> None:
    text = file.read_text("utf-8")
    board = BoardToolInput.model_validate_json(text)
    assert board.panels
    written = json.loads(board.model_dump_json(exclude_unset=True))
    assert written == json.loads(text)
    assert len(board.preset_filters or ()) <= MOST_PRESET_FILTERS


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_panel_is_a_query_that_can_be_saved(file: Path) -> None:
    for panel in json.loads(file.read_text("utf-8"))["panels"]:
        query = QuerySpec.model_validate({name: value for name, value in panel.items() if name in OF_A_QUERY})
        seconds = query.time_range or 0
        grain = query.granularity or seconds
        assert seconds / 1000 <= grain <= seconds
        terms = {*(query.breakdowns or ()), *((one.op, one.column) for one in query.calculations or ())}
        assert all((one.op, one.column) in terms or one.column in terms for one in query.orders or ())


@pytest.mark.parametrize("broken", [('"tsbar"', '"bars"'), ('"exists"', '"is there"'), ('"breakdowns"', '"by"')])
def test_a_mistake_would_be_found(broken: tuple[str, str]) -> None:
    text = next(file for file in FILES if file.stem == "spend").read_text("utf-8")
    assert broken[0] in text
    with pytest.raises(ValidationError):
        BoardToolInput.model_validate_json(text.replace(*broken))


EXPORTED = {"spike", "errors", "embeddings", "spend", "unpriced", "silence"}


@pytest.mark.parametrize("form", ["sound", "plain"])
def test_the_client_knows_all_of_a_trigger(form: str) -> None:
    hourly = {"spend": {"above": [10, 40], "per": "hour"}}
    file = AlertFile(alert=[alert(kind=kind, form=form, name=kind, **hourly.get(kind, {})) for kind in KINDS])
    exported = export("honeycomb", file)
    assert exported.left_out.keys() == KINDS.keys() - EXPORTED
    assert len(exported.files) == len(EXPORTED) + 1
    for text in exported.files.values():
        trigger = TriggerToolInput.model_validate_json(text)
        assert json.loads(trigger.model_dump_json(exclude_unset=True)) == json.loads(text)


@pytest.mark.parametrize(
    ("pattern", "filter_"),
    [
        ("acme", {"column": "genledger.tenant.id", "op": "=", "value": "acme"}),
        ("ac*", {"column": "genledger.tenant.id", "op": "starts-with", "value": "ac"}),
    ],
)
def test_a_scope_is_a_filter(pattern: str, filter_: dict[str, str]) -> None:
    (text,) = export("honeycomb", AlertFile(alert=[alert(kind="spike", tenant=pattern)])).files.values()
    assert filter_ in json.loads(text)["query"]["filters"]


def test_what_a_trigger_cannot_say_is_left_out_and_named() -> None:
    rules = [alert(kind="spend", above=10), alert(kind="spike", tenant="a?b")]
    assert [why.partition(";")[0] for why in export("honeycomb", AlertFile(alert=rules)).left_out.values()] == [
        "a trigger looks at an hour at most",
        "Honeycomb has no words for the pattern 'a?b'",
    ]
