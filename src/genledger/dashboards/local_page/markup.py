"""The page in HTML: forms and links that work without a script, tables, and data that the script draws as charts.

Names are text: everything that comes from the ledger or the address passes through `_text`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from html import escape
from zoneinfo import ZoneInfo, available_timezones

from genledger.dashboards.local_page.answers import Cell, Shown
from genledger.dashboards.local_page.boards import EXPLORE
from genledger.dashboards.local_page.view import (
    FILTERS,
    View,
    address,
    both,
    condition_text,
    conditions,
    narrowed,
    within,
    without,
)
from genledger.dashboards.panels import Dashboard, Panel, words
from genledger.ledger.fields import FIELDS, METRICS
from genledger.ledger.grains import GRAINS
from genledger.ledger.trace_tree import Branch, Part, left_out
from genledger.reports.periods import NAMED
from genledger.shared.text import as_json, shown

_PERIODS = ("24h", "7d", "30d", "90d", *NAMED, "all")
_BAR = 22
"""Pixels that a bar of a ranking takes."""
_OPERATORS = {"=": "is", "!=": "is not", "~": "matches"}


def head(title: str, styles: str, scripts: str = "") -> str:
    """Return the beginning of the document.

    Args:
        title: Of the window.
        styles: Elements that bring the style sheet.
        scripts: Elements that bring the scripts.
    """
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="no-referrer">
<title>{_text(title)}</title>
<link rel="icon" href="data:,">
{styles}
{scripts}
</head>
<body>
<a class="skip" href="#main">Skip to the panels</a>
"""


FOOT = "</body>\n</html>\n"


def banner(found: Iterable[Dashboard], view: View, *, linked: bool) -> str:
    """Return the name and the list of dashboards, as links to their pages or to places in this one."""
    items = []
    for one in found:
        to = address(replace(view, board=one.name, metrics=(), by=(), every=None, traces="", trace=""))
        here = ' aria-current="page"' if linked and one.name == view.board and not view.trace else ""
        items.append(f'<li><a href="{escape(to if linked else "#" + one.name)}"{here}>{_title(one)}</a></li>')
    return f"""<header>
<p class="brand">Genledger</p>
<nav aria-label="Dashboards"><ul>{"".join(items)}</ul></nav>
</header>
"""


def controls(view: View, usual: str, *, asks: bool) -> str:
    """Return the form that changes what is shown, and the conditions that hold.

    Args:
        view: What is shown.
        usual: The period of a view that does not name one.
        asks: Whether the question itself can be changed.
    """
    hidden = [("board", view.board)]
    hidden += [("where", condition_text(one)) for one in conditions(view)]
    parts = [f'<input type="hidden" name="{name}" value="{_text(value)}">' for name, value in hidden]
    parts.append(_input("since", "Period", view.since, usual, "periods"))
    parts.append(_input("until", "Until", view.until, "now", "periods"))
    parts.append(_input("tz", "Time zone", view.zone, "UTC", "zones"))
    if asks:
        parts.append(_choice("metric", "Metric", [""], list(METRICS), view.metrics[:1] or ("cost",)))
        for number in range(2):
            parts.append(_choice("by", "By" if number == 0 else "and by", [""], list(FIELDS), view.by[number:][:1]))
        parts.append(_choice("every", "Each", [""], list(GRAINS), [view.every] if view.every else []))
    for name in FILTERS:
        parts.append(_input(name, words(name).capitalize(), "", "any", f"{name}s"))
    parts.append(_input("where", "Other condition", "", "user=ann, tag!=test", "", wide=True))
    return f"""<form class="controls" method="get" action="" aria-label="What is shown">
{"".join(parts)}<button type="submit">Show</button>
</form>
{_chips(view)}"""


def proposals(values: Mapping[str, Sequence[str]]) -> str:
    """Return what the inputs of the form propose: periods, time zones, and values of fields.

    It stands at the end of the page, as it takes time to find.
    """
    lists = {"periods": _PERIODS, "zones": sorted(available_timezones())}
    lists |= {f"{name}s": tuple(found) for name, found in values.items()}
    return "".join(
        f'<datalist id="{name}">{"".join(f"<option>{_text(value)}</option>" for value in found)}</datalist>\n'
        for name, found in lists.items()
    )


def period(since_ns: int, until_ns: int, zone: str) -> str:
    """Return the period that is shown, in words."""
    begin, end = (datetime.fromtimestamp(ns // 1_000_000_000, ZoneInfo(zone)) for ns in (since_ns, until_ns))
    return f"{begin:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M}, {zone}"


def opening(dashboard: Dashboard, said: str) -> str:
    """Return the beginning of a dashboard's part of the page."""
    return f"""<section class="board" id="{dashboard.name}" aria-labelledby="{dashboard.name}-title">
<div class="about"><h1 id="{dashboard.name}-title">{_title(dashboard)}</h1>
<p>{_prose(dashboard.help)}</p><p class="period">{_text(said)}</p></div>
<div class="panels">
"""


CLOSING = "</div>\n</section>\n"


def panel_markup(panel: Panel, found: Shown, view: View, name: str, *, linked: bool) -> str:
    """Return a panel.

    Args:
        panel: What it asks.
        found: The answer.
        view: What is shown.
        name: An identifier of its own on the page.
        linked: Whether there is a server to follow links to.
    """
    of_budgets = any(metric not in METRICS for metric in panel.metrics)
    return "".join(
        [
            f'<section class="panel w{panel.width}" aria-labelledby="{name}">',
            f'<h2 id="{name}">{_text(panel.title)}</h2>',
            *_content(panel, found, view, linked),
            f'<p class="help">{_prose(panel.help)}</p>',
            *(f'<p class="note">{_text(note)}</p>' for note in found.notes),
            _change(panel, view) if linked and view.board != EXPLORE and not view.traces and not of_budgets else "",
            "</section>\n",
        ]
    )


def problem(title: str, reason: object, name: str = "problem") -> str:
    """Return what stands where something cannot be shown."""
    return (
        f'<section class="panel w24 problem" role="alert" aria-labelledby="{name}"><h2 id="{name}">{_text(title)}</h2>'
        f"<p>{_text(str(reason), 2_000)}</p></section>\n"
    )


def tree_markup(root: Branch) -> str:
    """Return a trace as nested lists."""
    return (
        f'<section class="trace" aria-label="Trace"><h1 class="line">{_line(root.parts)}</h1>{_branches(root)}'
        "</section>\n"
    )


def footer(ledger: str, now: datetime) -> str:
    """Return the end of what is shown."""
    return f"<footer><p>Read at {now:%Y-%m-%d %H:%M} UTC from {_text(ledger)}.</p></footer>\n"


def login(wrong: bool) -> str:
    """Return the form that asks for the token."""
    said = "<p role=alert>This is not the token.</p>" if wrong else ""
    return f"""<main id="main" class="login"><h1>Genledger</h1>{said}
<form method="get" action=""><label>Token <input type="password" name="token" autocomplete="current-password" autofocus
></label><button type="submit">Open</button></form>
<p>It is the one that <code>genledger dashboard --token</code> was given.</p></main>
"""


def _content(panel: Panel, found: Shown, view: View, linked: bool) -> Iterator[str]:
    if found.number is not None:
        yield f'<p class="figure">{_opened(found.number, view, linked)}</p>'
        return
    if not found.rows:
        yield '<p class="empty">Nothing in this period.</p>'
        return
    yield '<div class="both">' if found.chart else "<div>"
    if found.chart:
        described = f"Chart of {panel.title}. The table beside it has the same numbers."
        tall = f' style="height: {_BAR * len(found.places) + 50}px"' if found.chart == "ranking" else ""
        yield f'<div class="chart" role="img" aria-label="{_text(described)}"{tall}>'
        yield f'<script type="application/json">{_data(found, view, linked)}</script></div>'
    yield f'<div class="table" role="region" tabindex="0" aria-label="Table of {_text(panel.title)}"><table><thead><tr>'
    for heading, cell in zip(found.headings, found.rows[0], strict=True):
        yield f'<th scope="col" class="{cell.kind}">{_text(heading)}</th>'
    yield "</tr></thead><tbody>"
    for row in found.rows:
        yield "<tr>"
        for at, cell in enumerate(row):
            text = _opened(cell, view, linked)
            yield (
                f'<th scope="row" class="{cell.kind}">{text}</th>'
                if at == 0
                else f'<td class="{cell.kind}">{text}</td>'
            )
        yield "</tr>"
    yield "</tbody></table></div></div>"


def _opened(cell: Cell, view: View, linked: bool) -> str:
    if not linked or cell.keys is None:
        return _text(cell.text)
    if cell.span is None:  # a trace
        to = address(replace(view, traces="", trace=cell.keys["trace"] or ""))
    else:
        to = address(narrowed(view, cell.keys, cell.metric)) + within(cell.span)
    return f'<a href="{escape(to)}">{_text(cell.text)}</a>'


def _data(found: Shown, view: View, linked: bool) -> str:
    """Return what the script draws, in JSON that ends no element."""
    spans = [within(span) for span in found.spans] if linked else []
    series = [
        {
            "name": shown(one.name),
            "values": one.values,
            "other": one.other,
            "to": address(narrowed(view, one.keys, one.metric)) if linked and one.keys is not None else None,
        }
        for one in found.series
    ]
    drawn = {
        "chart": found.chart,
        "unit": found.unit,
        "places": [shown(place) for place in found.places],
        "spans": spans,
        "series": series,
    }
    return as_json(drawn).replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _change(panel: Panel, view: View) -> str:
    asked = replace(
        view,
        board=EXPLORE,
        metrics=panel.metrics,
        by=panel.by,
        every=(panel.every or "day") if panel.over_time else None,
        where=both(panel.where, view.where),
        traces="",
        trace="",
    )
    said = f'<span class="hidden"> of {_text(panel.title)}</span>'
    return f'<p class="change"><a href="{escape(address(asked))}">Change the question{said}</a></p>'


def _chips(view: View) -> str:
    found = conditions(view)
    if not found:
        return ""
    items = []
    for one in found:
        text = f"{words(one.field)} {_OPERATORS[one.operator]} {one.values[0] or '(none)'}"
        to = escape(address(without(view, one)))
        items.append(f'<li><a href="{to}" aria-label="Remove the condition: {_text(text)}">{_text(text)} ✕</a></li>')
    return f'<ul class="chips" aria-label="Conditions">{"".join(items)}</ul>\n'


def _input(name: str, label: str, value: str, placeholder: str, proposals: str, *, wide: bool = False) -> str:
    listed = f' list="{proposals}"' if proposals else ""
    return (
        f'<label{" class=wide" if wide else ""}>{_text(label)} <input name="{name}" value="{_text(value)}" '
        f'placeholder="{_text(placeholder)}"{listed} autocomplete="off" spellcheck="false"></label>'
    )


def _choice(name: str, label: str, nothing: Sequence[str], names: Sequence[str], chosen: Sequence[str | None]) -> str:
    offered = [*nothing, *names, *(one for one in chosen if one and one not in names)]
    options = "".join(
        f'<option value="{_text(one)}"{" selected" if one in chosen else ""}>{_text(words(one)) or "–"}</option>'
        for one in offered
    )
    return f'<label>{_text(label)} <select name="{name}">{options}</select></label>'


def _branches(branch: Branch) -> str:
    items = [f"<li>{_text(left_out(branch.deeper))}</li>"] if branch.deeper else []
    items += [f'<li><span class="line">{_line(one.parts)}</span>{_branches(one)}</li>' for one in branch.branches]
    return f'<ul class="tree">{"".join(items)}</ul>' if items else ""


def _line(parts: Sequence[Part]) -> str:
    return " ".join(
        "<span>" + "".join(f'<span class="{word.style}">{_text(word.text)}</span>' for word in part) + "</span>"
        for part in parts
        if part
    )


def _title(dashboard: Dashboard) -> str:
    return _text(dashboard.title.removeprefix("Genledger: ").capitalize())


def _prose(text: str) -> str:
    """Return a sentence of ours, in which commands are between backquotes."""
    return re.sub("`([^`]+)`", r"<code>\1</code>", _text(text))


def _text(text: str, limit: int = 512) -> str:
    return escape(shown(text, limit))
