"""The JavaScript that draws the charts: plotly.js, as the package `plotly` brings it."""

from __future__ import annotations


class LibraryMissing(Exception):
    """There is no chart library. The message names the command that installs it."""


def chart_library() -> str:
    """Return the source of the chart library.

    Raises:
        LibraryMissing: It is not installed.
    """
    try:
        from plotly.offline import get_plotlyjs
    except ImportError:
        raise LibraryMissing(
            "the page needs the package plotly, which has its charts; install it with `pip install 'genledger[page]'`"
        ) from None
    return get_plotlyjs()
