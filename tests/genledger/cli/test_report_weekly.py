"""`genledger report weekly`: on 80 columns, as Markdown, HTML and JSON; hostile names are text; errors are one line."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.version import Version
from rich.cells import cell_len
from typer.testing import CliRunner, Result

from genledger.cli import app
from genledger.context.attribution import Attribution
from genledger.engine.record import ProductEvent
from genledger.ledger import Ledger

from ...standins.alert_receiver import AlertReceiver
from ...standins.mail_server import MailServer
from ..samples import a_call

HOSTILE = "<script>x</script> ```<!channel> **b** [a](http://x) @everyone\u202e"
MONDAY = datetime(2026, 10, 12, tzinfo=UTC)
WEEK = ("--week", "2026-W42")

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs `genledger` on the test's ledger, in a directory of its own, on a terminal of 80 columns."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GENLEDGER_LEDGER", str(tmp_path / "ledger.db"))

    def invoke(*arguments: str) -> Result:
        words = ["report", "weekly", *arguments]
        return CliRunner().invoke(app, words, env={"COLUMNS": "80"}, prog_name="genledger")

    return invoke


@pytest.fixture
def filled(tmp_path: Path) -> None:
    """Two weeks, the second twice as dear, of an ordinary and a hostile feature."""
    calls, events = [], []
    for week in (-1, 0):
        for number in range(140):
            at = int((MONDAY + timedelta(days=7 * week + number % 7, hours=number % 24)).timestamp()) * 10**9
            who = Attribution(tenant="acme", feature=HOSTILE if number % 10 == 0 else "copilot")
            calls.append(a_call(1.0 + week * 0.5, started_ns=at, attribution=who))
            if number % 3:
                events.append(ProductEvent("accepted", at, who, calls[-1].trace_id, None, 1.0))
    paid = ProductEvent("paid", at, Attribution(tenant="acme", feature="copilot"), None, None, 200.0, "USD")
    Ledger(tmp_path / "ledger.db", max_age_days=None).write(calls, [*events, paid])


@pytest.fixture
def receiver() -> Iterator[AlertReceiver]:
    server = AlertReceiver()
    yield server
    server.close()


@pytest.fixture
def mail() -> Iterator[MailServer]:
    server = MailServer()
    yield server
    server.close()


@pytest.mark.usefixtures("filled")
def test_on_80_columns_every_section_is_whole(run: Run) -> None:
    done = run(*WEEK)
    assert done.exit_code == 0
    assert max(map(cell_len, done.stdout.splitlines())) <= 80
    for heading in ("By feature", "By tenant", "Growth over 20%", "Dearest features", "Cost per accepted by feature",
                    "Wasted spend", "Margin by tenant", "Errors and retries"):  # fmt: skip
        assert f"\n{heading}\n" in done.stdout
    assert "Week 2026-W42: Mon 2026-10-12 to Sun 2026-10-18 (UTC)" in done.stdout.replace("\n", " ")
    assert re.search(r"acme +\$140\.00 +▲ \+100%", done.stdout)
    assert "▲ tenant acme: cost +100%" in done.stdout
    assert "+$70.00: price +$70.00" in done.stdout
    assert "95% interval" in done.stdout


@pytest.mark.usefixtures("filled")
def test_ratios_are_beside_numerator_and_denominator(run: Run) -> None:
    shown = " ".join(run(*WEEK).stdout.split())
    assert "from $0.7500 ($63.00 / 84) to $1.5000 ($126.00 / 84)" in shown
    assert re.search(r"copilot \$200\.00 \$126\.00 \+\$74\.00 37\.0%", shown)
    assert re.search(r"copilot \$126\.00 84 \$1\.5000", shown)


@pytest.mark.usefixtures("filled")
def test_in_markdown_names_are_in_code_and_cannot_end_it(run: Run) -> None:
    done = run(*WEEK, "--markdown")
    assert done.exit_code == 0
    outside, inside = [], []
    for place, block in enumerate(re.split(r"^```$", done.stdout, flags=re.MULTILINE)):
        (inside if place % 2 else outside).append(block)
    assert not any("script" in block or "everyone" in block for block in outside)
    assert any("script" in block for block in inside)
    assert not any(character in block for block in inside for character in "`<>\u202e")
    assert max(map(cell_len, done.stdout.splitlines())) <= 80 or "**Week" in done.stdout


@pytest.mark.usefixtures("filled")
def test_html_is_one_file_in_which_names_are_text(run: Run, tmp_path: Path) -> None:
    done = run(*WEEK, "--html", "week.html")
    assert (done.exit_code, done.stdout) == (0, "Wrote week.html.\n")
    page = (tmp_path / "week.html").read_text(encoding="utf-8")
    assert "<script" not in page
    assert "&lt;script&gt;x&lt;/script&gt;" in page
    assert "\u202e" not in page
    assert "prefers-color-scheme: dark" in page
    assert not re.search(r"(src|href)=|url\(|@import", page)


@pytest.mark.usefixtures("filled")
def test_json_has_every_number(run: Run) -> None:
    found = json.loads(run(*WEEK, "--json").stdout)
    assert (found["week"]["name"], found["zone"]) == ("2026-W42", "UTC")
    assert found["whole"]["cost"] == pytest.approx(
        {"now": 140.0, "before": 70.0, "growth": 1.0, "low": found["whole"]["cost"]["low"], "n": 140, "state": "grown"}
    )
    assert sum(found["whole"]["split"]["causes"].values()) == found["whole"]["split"]["change"] == 70.0
    assert found["features"][1]["key"] == HOSTILE
    assert found["wasted"]["spend"] == 140.0


@pytest.mark.usefixtures("filled")
def test_the_report_is_sent_to_a_webhook_and_by_mail(run: Run, receiver: AlertReceiver, mail: MailServer) -> None:
    done = run(*WEEK, "--to", f"json://{receiver.address}/hook", "--to", mail.url)
    assert (done.exit_code, done.stdout) == (0, "Sent the report to 2 receivers.\n")
    (posted,) = receiver.taken()
    assert posted.json["title"].startswith("Week 2026-W42: Mon 2026-10-12")
    assert "▲ tenant acme: cost +100%" in posted.json["message"]
    message = mail.messages.get(timeout=60)
    assert message["Subject"].startswith("Week 2026-W42")
    body = message.get_body(("html",))
    assert body is not None
    page = body.get_content()
    if Version(version("apprise")) >= Version("2.3"):  # before, tables are in lines of a paragraph
        assert "<pre><code>" in page
    assert "<script" not in page
    assert "copilot" in page


@pytest.mark.usefixtures("filled")
def test_a_receiver_that_is_down_is_an_error_and_the_others_are_told(run: Run, receiver: AlertReceiver) -> None:
    done = run(*WEEK, "--to", "json://user:secret@127.0.0.1:1/hook", "--to", f"json://{receiver.address}/hook")
    assert done.exit_code == 1
    assert "not sent to the URL that begins with 'json'" in done.stderr
    assert "secret" not in done.output
    assert len(receiver.taken()) == 1


@pytest.mark.usefixtures("filled")
def test_an_unknown_kind_of_url_is_an_error(run: Run) -> None:
    done = run(*WEEK, "--to", "nonsense://secret")
    assert done.exit_code == 1
    assert "'nonsense'" in done.stderr
    assert "secret" not in done.output


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--week", "soon"), "'soon' is no week"),
        (("--week", "9998-W01"), "has not begun"),
        (("--tz", "Mars"), "there is no time zone 'Mars'"),
        (("--json", "--markdown"), "two formats"),
    ],
)
def test_a_wrong_option_is_one_line(run: Run, arguments: tuple[str, ...], reason: str) -> None:
    done = run(*arguments)
    assert done.exit_code == 2
    assert reason in done.stderr
    assert "Traceback" not in done.output


@pytest.mark.usefixtures("filled")
def test_a_file_that_cannot_be_written_is_one_line(run: Run) -> None:
    done = run(*WEEK, "--html", "no/such/place.html")
    assert done.exit_code == 1
    assert done.stderr.count("\n") == 1
    assert "cannot write no/such/place.html" in done.stderr


@pytest.mark.usefixtures("filled")
def test_a_week_without_calls_is_no_error_and_one_line(run: Run) -> None:
    done = run("--week", "2026-W20")
    assert done.exit_code == 0
    assert done.stdout.startswith("Week 2026-W20 and the week before have no calls. The last call in ")
    assert "2026-10-18" in done.stdout
    assert done.stdout.count("\n") == 1


def test_an_empty_ledger_or_a_foreign_file_is_one_line(run: Run, tmp_path: Path) -> None:
    Ledger(tmp_path / "ledger.db").open()
    (tmp_path / "foreign.db").write_text("hello" * 1000)
    for arguments, reason in (
        ((), "has no calls yet"),
        (("--ledger", "foreign.db"), "not a ledger"),
        (("--ledger", "none.db"), "no ledger at none.db"),
    ):
        done = run(*arguments)
        assert done.exit_code == 1
        assert reason in done.stderr
        assert done.stderr.count("\n") == 1


@pytest.mark.usefixtures("filled")
def test_an_option_before_weekly_is_refused_and_not_ignored() -> None:
    done = CliRunner().invoke(app, ["report", "--tenant", "acme", "weekly"], prog_name="genledger")
    assert done.exit_code == 2
    assert "after `weekly`" in done.stderr
