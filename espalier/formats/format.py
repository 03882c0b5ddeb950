"""What a file format is: keys by which its rows are recognised, and a function from one row to examples.

A format is a factory that returns a `Format`. A new one is a function in a module of this folder and a line
in `load.py`, or `task.format = "my_module:function"`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cache, lru_cache
from types import MappingProxyType
from typing import Any, cast

from espalier.core.errors import DataError
from espalier.core.files import parse_json
from espalier.core.records import Example, Message, Part, TaskRow, example_id
from espalier.tasks.facts import facts_of
from espalier.tasks.templates import normalised


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a file: its keys and values, and where it stands, as errors say it."""

    file: str
    task: str
    number: int
    where: str
    value: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Format:
    """How the rows of a format are recognised and read.

    Attributes:
        shapes: the sets of keys that a row may have, each as words; whatever else it has is optional.
        read: a row to its examples; raises DataError where it cannot be used.
        sample: a row in short, for errors.
        optional: what else it looks at, as words; "*" where it knows all keys that such rows have.
        asks_once: whether a row asks one thing, so that its pictures and sounds may stand before it where
            no placeholder says another place.
    """

    shapes: tuple[str, ...]
    read: Callable[[Row], list[Example]]
    sample: str
    optional: str = ""
    asks_once: bool = False

    def fits(self, keys: set[str]) -> bool:
        """Tell whether a row with these keys is of the format."""
        return any(set(shape.split()) <= keys for shape in self.shapes)

    def looks_at(self, key: str) -> bool:
        """Tell whether a key of a row is looked at."""
        return self.optional == "*" or key in self.words()

    def words(self) -> frozenset[str]:
        """Return the keys that it knows."""
        return _words((*self.shapes, self.optional))

    def missing(self, keys: set[str]) -> list[str]:
        """Return the keys that a row lacks of the shape that it comes nearest to."""
        lacks = [[key for key in shape.split() if key not in keys] for shape in self.shapes]
        return min(lacks, key=len)


@lru_cache
def _words(texts: tuple[str, ...]) -> frozenset[str]:
    return frozenset(word for text in texts for word in text.split())


def example(
    row: Row,
    messages: Sequence[Message],
    references: tuple[str, ...] | None = None,
    rejected: tuple[Message, ...] = (),
    source: str = "",
    *,
    facts: Mapping[str, Any] = MappingProxyType({}),
) -> Example:
    """Return the example of a conversation, with an id from its content.

    Args:
        row: where it comes from.
        messages: the conversation, its trained turns marked.
        references: by default the text of the last turn, where that is trained.
        rejected: worse answers to the prompt.
        source: by default what was asked first, so that histories with the same beginning stay together.
        facts: what scorers need, besides those that the row has under their own names.
    """
    turns = tuple(messages)
    if references is None:
        references = (turns[-1].text,) if turns[-1].trained else ()
    asked = [turn.text for turn in turns if turn.role != "system"]
    made = Example(
        id=content_id(row.task, turns, references, rejected),
        task=row.task,
        source=source or normalised(asked[0] if asked else turns[0].text),
        messages=turns,
        references=references,
        rejected=rejected,
        origin={"file": row.file, "row": str(row.number)},
        facts={**facts_of(row.value), **facts},
    )
    return replace(made, input=made.prompt[-1].text)


def content_id(
    task: str, turns: Sequence[Message], references: Sequence[str], rejected: Sequence[Message]
) -> str:
    """Return the id of a conversation, see `Example.id`."""
    worse = [turn.text for turn in rejected]  # in one form, whatever a template makes of calls
    said = [
        {"role": turn.role, "parts": [fields_of(part) for part in turn.parts], "trained": turn.trained}
        for turn in turns
    ]
    return example_id(task, said, references, worse)


def fields_of(record: Part | TaskRow) -> dict[str, Any]:
    """Return a record's fields as `asdict` does, which copies each value too: slow over many rows.

    Where a medium lies is left out: it is no part of what it is.
    """
    return {name: getattr(record, name) for name in field_names(type(record))}


@cache
def field_names(kind: type[Part | TaskRow]) -> tuple[str, ...]:
    """Return the names of the fields by which records of a kind are told apart."""
    return tuple(field.name for field in fields(kind) if field.compare)


def referenced(example: Example, references: object, where: str) -> Example:
    """Return an example with the references that its row names, a list or JSON of one.

    Raises:
        DataError: they are no list of texts.
    """
    found = parse_json(references) if isinstance(references, str) and references[:1] == "[" else references
    items = cast("list[object]", found) if isinstance(found, list) else [None]
    if not all(isinstance(item, str) for item in items):
        raise DataError("'references' should be a list of texts.", where=f"{where}, references")
    texts = tuple(cast("list[str]", items))
    name = content_id(example.task, example.messages, texts, example.rejected)
    return replace(example, id=name, references=texts)
