"""Tables of files that people write, as models: every mistake in them at once, and what to do about it.

Only this package's models import pydantic, and only a file, or a rule or a price in code, imports the models.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Iterator, Mapping
from operator import itemgetter
from typing import Any, NamedTuple, Self, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ModelWrapValidatorHandler, ValidationError, model_validator
from pydantic.fields import FieldInfo
from pydantic_core import InitErrorDetails

from genledger.shared.text import quoted
from genledger.shared.toml_file import Mistake, Path, TomlFileError, lines_of, read_toml

T = TypeVar("T", bound="Table")

MAX_LISTED = 20
"""Mistakes that are listed."""

MAX_MISTAKES = 10_000
"""Mistakes that are looked at one by one; a file that has more is not the one that was meant."""


class Table(BaseModel):
    """One table; its keys are the fields.

    A field's `description` completes "expected …". The value of a field with `repr=False` is never quoted. A
    validator raises `ValueError` with what is wrong, or without a text where the description says it.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    @classmethod
    def relations(cls, given: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        """Yield what is wrong between the keys given: the key to look at (none: the table), and what is wrong."""
        return iter(())

    @model_validator(mode="wrap")
    @classmethod
    def _validate(cls, given: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        """Report together what is wrong with single keys and between them."""
        if not isinstance(given, Mapping):
            return handler(given)
        mistakes: list[InitErrorDetails] = []
        made = None
        known = given.keys() <= cls.model_fields.keys()  # else what is missing may be there, misspelt
        try:
            made = handler(given)
        except ValidationError as error:
            if error.error_count() > MAX_MISTAKES:
                raise
            mistakes = [
                InitErrorDetails(type=one["type"], loc=one["loc"], input=one["input"], ctx=one.get("ctx", {}))
                for one in error.errors(include_url=False)
                if known or one["type"] != "missing"
            ]
        relations = ((key, text) for key, text in cls.relations(given) if known or key in given)
        mistakes += (_mistake((key,) if key else (), text) for key, text in relations)
        mistakes += (_mistake((key,)) for key in cls.model_fields if key in given and given[key] is None)
        if made is None or mistakes:
            raise ValidationError.from_exception_data(cls.__name__, mistakes)
        return made


def refusal(mistakes: Mapping[Path, str]) -> ValidationError:
    """Return what a validator raises to name several mistakes: what is wrong, by its place below the field."""
    return ValidationError.from_exception_data("refusal", [_mistake(path, text) for path, text in mistakes.items()])


def _mistake(path: Path, text: str = "") -> InitErrorDetails:
    return InitErrorDetails(type="value_error", loc=path, input=None, ctx={"error": ValueError(text)})


class Explained(NamedTuple):
    """A mistake in a table: the key, and what is wrong with it."""

    key: str
    text: str

    def __str__(self) -> str:
        return f"{self.key}: {self.text}" if self.key else self.text


def make(model: type[T], given: Mapping[str, Any], failure: Callable[[list[Explained]], Exception]) -> T:
    """Return the model of a table that was written in code.

    Raises:
        failure: Something is wrong; it is given every mistake.
    """
    try:
        return model.model_validate(given)
    except ValidationError as error:
        raise failure([_explain(model, one) for one in _mistakes_of(error)]) from None


def read_table(
    path: str | os.PathLike[str],
    model: type[T],
    failure: type[TomlFileError] = TomlFileError,
    parse_float: Callable[[str], Any] = float,
) -> T:
    """Return the model of a whole file.

    Raises:
        failure: It cannot be read, or something in it is wrong; with every mistake and its line.
    """
    text, document = read_toml(path, parse_float, failure)
    try:
        return model.model_validate(document)
    except ValidationError as error:
        if error.error_count() > MAX_MISTAKES:
            raise failure(
                path, Mistake(f"not usable: {error.error_count():,} mistakes; check that it is the right file")
            ) from None
        lines = lines_of(text)
        found = sorted(((_line(lines, one["loc"]), one) for one in _mistakes_of(error)), key=itemgetter(0))
        mistakes = [Mistake(str(_explain(model, one)), line) for line, one in found[:MAX_LISTED]]
        if len(found) > MAX_LISTED:
            mistakes.append(Mistake(f"and {len(found) - MAX_LISTED:,} more mistakes"))
        raise failure(path, *mistakes, document=document) from None
    except Exception as error:  # such as too little memory
        raise failure(path, Mistake(f"not usable: {type(error).__name__}: {error}"), document=document) from error


def _mistakes_of(error: ValidationError) -> list[Any]:
    """Return what is wrong, once: before pydantic 2.12, a list whose items are wrong is also too short."""
    found = error.errors(include_url=False)
    around = {one["loc"][:length] for one in found for length in range(len(one["loc"]))}
    return [one for one in found if one["type"] != "too_short" or one["loc"] not in around]


def _line(lines: Mapping[Path, int], path: Path) -> int:
    """Return the line of a key; of one that is missing, the line of its table."""
    while path and path not in lines:
        path = path[:-1]
    return lines.get(path, 1)


def _explain(model: type[Table], error: Any) -> Explained:
    path: Path = tuple(part for part in error["loc"] if part not in ("", "[key]"))
    return Explained(_key(path), _text(model, path, error))


def _key(path: Path) -> str:
    while path and isinstance(path[-1], int):
        path = path[:-1]
    if len(path) > 1 and isinstance(path[1], int):
        path = path[2:]  # the line tells which of [[tables]] it is
    return ".".join(map(str, path))


def _text(model: type[Table], path: Path, error: Any) -> str:
    table, field = _field(model, path)
    if error["type"] == "extra_forbidden":
        key, known = str(path[-1]), list(table.model_fields)
        close = difflib.get_close_matches(key, known, 1)
        advice = f"did you mean {close[0]!r}?" if close else f"expected one of {', '.join(known)}"
        return f"is not a known key; {advice}"
    if error["type"] == "value_error" and str(error["ctx"]["error"]):
        return str(error["ctx"]["error"])
    expected = error["ctx"]["expected"] if error["type"] == "literal_error" else field and field.description
    if error["type"] == "missing":
        return f"is missing; expected {expected}"
    secret = field is not None and not field.repr
    return f"expected {expected or 'a table'}" + ("" if secret else f", got {quoted(error['input'])}")


def _field(model: type[Table], path: Path) -> tuple[type[Table], FieldInfo | None]:
    """Return the innermost table on the way to a key, and the innermost field."""
    field = None
    for part in path:
        if isinstance(part, str):
            field = model.model_fields.get(part)
            inner = _table_in(field.annotation) if field is not None else None
            if inner is None:
                break
            model = inner
    return model, field


def _table_in(annotation: Any) -> type[Table] | None:
    if isinstance(annotation, type) and issubclass(annotation, Table):
        return annotation
    return next((table for one in get_args(annotation) if (table := _table_in(one)) is not None), None)
