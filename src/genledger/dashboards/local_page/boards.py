"""What the page has: an overview, the dashboards as far as the ledger has their numbers, and the reader's question."""

from __future__ import annotations

from collections.abc import Iterator

from genledger.dashboards.catalog import DASHBOARDS, MODELS, OUTCOMES, RELIABILITY, SPEND, TENANTS, UNPRICED
from genledger.dashboards.local_page.view import View
from genledger.dashboards.panels import Chart, Dashboard, Panel, words
from genledger.ledger.fields import FIELDS, METADATA, METRICS, OUTCOME_NAME

EXPLORE = "explore"

SUMS = frozenset(
    {
        "cost", "calls", "priced", "unpriced", "errors", "tokens", "input_tokens", "output_tokens", "cached_tokens",
        "cache_write_tokens", "reasoning_tokens", "attempts", "retries", "outcomes", "outcome_value", "cache_hits",
        "saved",
    }
)  # fmt: skip
"""Metrics that add up over groups, so that bars of them may be stacked."""

_SHOWN_FIRST = (
    (SPEND, "Cost"),
    (SPEND, "Calls"),
    (SPEND, "Tokens"),
    (SPEND, "Unpriced share"),
    (SPEND, "Cost by feature"),
    (TENANTS, "Top tenants, 24 hours and 7 days"),
    (TENANTS, "Cost by tenant and day"),
    (OUTCOMES, "Cost per outcome"),
    (OUTCOMES, "Tokens per outcome"),
    (MODELS, "Cost by model"),
    (MODELS, "Calls by model"),
    (RELIABILITY, "Error rate"),
    (RELIABILITY, "Cost of calls without success"),
    (RELIABILITY, "Retries"),
    (RELIABILITY, "Cost of retried calls"),
    (RELIABILITY, "Error rate by feature"),
    (RELIABILITY, "Time to first chunk by model"),
    (UNPRICED, "Which prices are missing"),
)


def boards(*, budgets: bool) -> tuple[Dashboard, ...]:
    """Return the dashboards that the page has, the overview first.

    Args:
        budgets: Whether the state of budgets is known.
    """
    shown = list(DASHBOARDS)
    found = [
        Dashboard(name=one.name, title=one.title, help=one.help, period=one.period, panels=panels)
        for one in (_overview(), *shown)
        if (panels := tuple(panel for panel in one.panels if _is_known(panel, budgets)))
    ]
    return tuple(found)


def explored(view: View) -> Panel:
    """Return the panel of a question that the reader asks."""
    metrics = view.metrics or ("cost",)
    chart: Chart = "ranking" if view.by and len(metrics) == 1 else "table"
    if view.every is not None:
        chart = "bars" if all(name in SUMS for name in metrics) else "lines"
    if len(view.by) == 0 and view.every is None and len(metrics) == 1:
        chart = "number"
    by = f" by {', '.join(map(words, view.by))}" if view.by else ""
    each = f", each {view.every}" if view.every else ""
    return Panel(
        title=f"{', '.join(map(words, metrics))}{by}{each}".capitalize(),
        help="As `genledger query` answers it.",
        chart=chart,
        metrics=metrics,
        by=view.by,
        every=view.every,
        top=0 if view.every else 50,
        width=24,
    )


def is_of_budgets(panel: Panel) -> bool:
    """Whether a panel shows how budgets stand now."""
    return panel.metrics == ("budget_used",) and panel.chart == "ranking"


def _overview() -> Dashboard:
    budgets = [panel for one in DASHBOARDS for panel in one.panels if is_of_budgets(panel)]
    return Dashboard(
        name="overview",
        title="Genledger: overview",
        help="What is spent, by whom and what for; what fails, and what is not known.",
        panels=(*_chosen(), *budgets),
    )


def _chosen() -> Iterator[Panel]:
    for dashboard, title in _SHOWN_FIRST:
        yield next(panel for panel in dashboard.panels if panel.title == title)


def _is_known(panel: Panel, budgets: bool) -> bool:
    """Whether the ledger, or the state of budgets, has what a panel shows."""
    if is_of_budgets(panel):
        return budgets
    fields = (*panel.by, *(one.field for one in panel.where))
    return all(name in METRICS for name in panel.metrics) and all(
        name in FIELDS or name == OUTCOME_NAME or name.startswith(METADATA) for name in fields
    )
