"""The page as one file, for mail: with its style sheet, scripts and charts, and without a server."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterator
from datetime import datetime
from hashlib import sha256

from genledger.dashboards.local_page.assets import SCRIPT, STYLES
from genledger.dashboards.local_page.chart_library import chart_library
from genledger.dashboards.local_page.markup import FOOT, head
from genledger.dashboards.local_page.page import Source, whole
from genledger.dashboards.local_page.view import View


def one_file(view: View, source: Source, now: datetime) -> Iterator[str]:
    """Write all dashboards as one document, which loads nothing.

    Raises:
        LibraryMissing: The chart library is not installed.
    """
    scripts = [_inline(chart_library()), _inline(SCRIPT)]
    allowed = " ".join(f"'sha256-{b64encode(sha256(one.encode()).digest()).decode()}'" for one in scripts)
    policy = f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data: blob:"
    yield head(
        f"Genledger, {now:%Y-%m-%d}",
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n<style>\n{STYLES}</style>',
    )
    yield from whole(view, source, now)
    # At the end: the numbers can be read before a large script is.
    yield from (f"<script>{one}</script>\n" for one in scripts)
    yield FOOT


def _inline(script: str) -> str:
    """Return a script that does not end its element: in a string or pattern, the escaped slash is the same."""
    return re.sub(r"<(/script|!--)", lambda found: "<\\" + found[1], script, flags=re.IGNORECASE)
