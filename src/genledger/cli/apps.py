"""Apps of the sub-commands: plain help and errors, and no option given twice."""

from __future__ import annotations

from collections import Counter
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup


class _Once:
    """A command that refuses an option which is given twice, where the last one would win without a word."""

    def parse_args(self, ctx: Any, args: list[str]) -> Any:
        _, _, order = self.make_parser(ctx).parse_args(list(args))  # type: ignore[attr-defined]
        for param, times in Counter(order).items():
            if times > 1 and param.param_type_name == "option" and not param.multiple and not param.is_flag:
                ctx.fail(f"Option '{param.opts[0]}' is given {times} times; give it once.")
        return super().parse_args(ctx, args)  # type: ignore[misc]


class _Command(_Once, TyperCommand):
    pass


class _Group(_Once, TyperGroup):
    pass


class _App(typer.Typer):
    def command(self, *args: Any, **options: Any) -> Any:
        return super().command(*args, **{"cls": _Command, **options})


def new_app(*, invoke_without_command: bool = False) -> typer.Typer:
    """Return an app for one sub-command. Its help and errors are plain text: no value in them is folded or cut."""
    return _App(cls=_Group, add_completion=False, rich_markup_mode=None, invoke_without_command=invoke_without_command)
