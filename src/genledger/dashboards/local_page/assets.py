"""The page's own style sheet and script."""

from __future__ import annotations

from importlib.resources import files

STYLES = files(__package__).joinpath("page.css").read_text(encoding="utf-8")
SCRIPT = files(__package__).joinpath("page.js").read_text(encoding="utf-8")
