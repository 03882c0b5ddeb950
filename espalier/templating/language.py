"""The language of wordings: Jinja in a sandbox, where nothing that is missing becomes an empty text.

A field that a row does not have is an error, and so is one that is printed and holds nothing, or a list or an
object, which Jinja would print as Python writes it. `{% if field is defined %}` asks for one that may be
missing. A row's own texts are never read as templates.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from jinja2 import StrictUndefined, TemplateError, Undefined
from jinja2.sandbox import ImmutableSandboxedEnvironment

from espalier.core.errors import DataError, nearest
from espalier.scorers.grids import grid
from espalier.tasks.raw_rows import is_blank

if TYPE_CHECKING:
    from jinja2 import Template

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
LONGEST = 1_000_000  # characters that multiplication may make of a text
# What a wording can raise over a row: a field that is missing, or that is of another kind than it thinks.
FAULTS = (TemplateError, TypeError, ValueError, ArithmeticError, LookupError, AttributeError, RecursionError)


class Blank(Exception):
    """What is printed is no text; the message says what it is."""


def _printed(value: object) -> object:
    match value:
        case Undefined():
            return str(value)  # raises, and names what is missing
        case None:
            raise Blank("a value that is printed is null")
        case str() if is_blank(value):
            raise Blank("a text that is printed is empty")
        case str() | int() | float():
            return value
        case _:
            kind = type(value).__name__
            raise Blank(
                f"{kind} is printed, and no text; take a part of it, or join it: {{{{ … | join(', ') }}}}"
            )


def _times(left: Any, right: Any) -> Any:
    """Return a product, where it multiplies no text beyond memory."""
    sides: tuple[Any, Any] = (left, right)
    sized = max((len(cast("str", side)) for side in sides if isinstance(side, str | list | tuple)), default=0)
    times = next((side for side in sides if isinstance(side, int)), 0)
    if sized * times > LONGEST:
        raise ValueError("a text is repeated too often")
    return left * right


def _power(left: Any, right: Any) -> Any:
    if abs(left) > LONGEST or abs(right) > len(LETTERS):
        raise ValueError("a power is too large")
    return left**right


def place(value: object, choices: Sequence[object]) -> int:
    """Return which choice is meant: its place from 0, its letter, or its text. Raises ValueError.

    A number is a place; a text of digits is one where no choice reads so, as a table's cells are texts.
    """
    if type(value) is int and 0 <= value < len(choices):
        return value
    texts = [str(choice).strip() for choice in choices]
    word = str(value).strip()
    if word in texts:
        return texts.index(word)
    folded = [text.casefold() for text in texts]
    if folded.count(word.casefold()) == 1:
        return folded.index(word.casefold())
    if word.isdecimal() and int(word) < len(texts):
        return int(word)
    if len(word) == 1 and word.upper() in LETTERS[: len(texts)]:
        return LETTERS.index(word.upper())
    raise ValueError(f"{word!r} is none of the choices {', '.join(texts)}")


def lettered(choices: Sequence[object]) -> str:
    """Return choices as lines under letters: A. …"""
    return "\n".join(f"{letter}. {choice}" for letter, choice in zip(LETTERS, choices, strict=False))


def bulleted(items: Sequence[object]) -> str:
    """Return a line with a dash for each."""
    return "\n".join(f"- {item}" for item in items)


def listed(items: Sequence[object], word: str = "or") -> str:
    """Return items as a sentence lists them: a, b or c."""
    texts = [str(item) for item in items]
    return f" {word} ".join([*([", ".join(texts[:-1])] if len(texts) > 1 else []), *texts[-1:]])


def to_json(value: object, indent: int | None = None) -> str:
    """Return a value as JSON, with the letters of every script as they are."""
    return json.dumps(value, ensure_ascii=False, indent=indent)


def markdown(rows: Sequence[object], columns: Sequence[str] = ()) -> str:
    """Return a table in Markdown."""
    cells = [[" ".join(cell.split()).replace("|", "\\|") for cell in row] for row in grid(rows, columns)]
    lines = [f"| {' | '.join(row)} |" for row in cells]
    return "\n".join([lines[0], f"|{' --- |' * len(cells[0])}", *lines[1:]])


def separated(rows: Sequence[object], columns: Sequence[str] = ()) -> str:
    """Return a table as CSV."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(grid(rows, columns))
    return text.getvalue().rstrip("\n")


def environment() -> ImmutableSandboxedEnvironment:
    """Return the environment in which wordings are compiled."""
    made = ImmutableSandboxedEnvironment(
        undefined=StrictUndefined, finalize=_printed, trim_blocks=True, lstrip_blocks=True, autoescape=False
    )
    made.intercepted_binops = frozenset({"*", "**"})
    made.binop_table = {**made.binop_table, "*": _times, "**": _power}
    filters = cast("dict[str, Callable[..., object]]", cast("Any", made).filters)
    filters |= {"place": place, "lettered": lettered, "bulleted": bulleted, "listed": listed}
    filters |= {"tojson": to_json, "markdown": markdown, "csv": separated}
    cast("Any", made).getattr = _fields_first(made.getattr)
    return made


def _fields_first(attribute: Callable[[Any, str], object]) -> Callable[[Any, str], object]:
    """Return what gets an attribute: an object's field goes before Python's method of that name, items."""

    def get(value: Any, name: str) -> object:
        if isinstance(value, Mapping) and name in value:
            return cast("Mapping[str, object]", value)[name]
        return attribute(value, name)

    return get


ENVIRONMENT = environment()


def compiled(text: str, where: str) -> Template:
    """Return a text with holes as a template. Raises DataError where it is none."""
    try:
        return ENVIRONMENT.from_string(text)
    except TemplateError as error:
        unknown = re.fullmatch(r"No (filter|test) named '(.*)'\.", str(error))
        known = cast("dict[str, object]", vars(ENVIRONMENT)[f"{unknown[1]}s"]) if unknown else {}
        hint = nearest(unknown[2], known) if unknown else ""
        raise DataError(f"This is no template: {_reason(error)}.", where=where, hint=hint) from None


def expression(text: str, where: str) -> Callable[[Mapping[str, Any]], object]:
    """Return an expression, such as 'answers.text', as a function of a row. Raises DataError."""
    try:
        found = ENVIRONMENT.compile_expression(text, undefined_to_none=False)
    except TemplateError as error:
        raise DataError(f"'{text}' is no expression: {_reason(error)}.", where=where) from None

    def of(row: Mapping[str, Any]) -> object:
        value: object = found(row)
        if isinstance(value, Undefined):
            return str(value)  # raises, and names what is missing
        if callable(value):  # a method of a text or an object, of the name of a field that it has not
            raise TypeError(f"'{text}' is no value")
        return value

    return of


def rendered(template: Template, row: Mapping[str, Any]) -> str:
    """Return a template's text for a row, without space around it; raises one of FAULTS, or Blank."""
    text = template.render(row).strip()
    if is_blank(text):
        raise Blank("its text is empty")
    return text


def fault(error: BaseException) -> str:
    """Return why a wording cannot be said of a row, as a part of a sentence."""
    return _reason(error) if str(error) else type(error).__name__


def _reason(error: BaseException) -> str:
    return " ".join(str(error).split()).rstrip(".")
