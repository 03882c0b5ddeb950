"""Rows as a format writes them, each read back and found to be the same before it goes out.

A row says itself what its format has no word for: `task`, `references`, `facts`, and under "espalier" what a
reader would make otherwise (id, source, input). What is not the same even so is refused.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING, Any

from espalier.building.written import grown, place_of_row, writers
from espalier.core.errors import DataError
from espalier.formats.load import FILES, formats, read_row
from espalier.formats.placing import unplaced
from espalier.formats.readers import Raw
from espalier.tasks.facts import OURS, to_keep

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from espalier.building.written import Writer
    from espalier.core.records import Example
    from espalier.formats.format import Format
    from espalier.media.finding import Finder


def as_written(
    examples: Iterable[Example], format: str, own: str, *, alone: bool = False
) -> Iterator[dict[str, Any]]:
    """Yield the rows of a file.

    Args:
        examples: in their order.
        format: a name in the registry `writers`.
        own: what a reader of the file calls the task of its rows.
        alone: whether each row is one example, where a format could hold several.

    Raises:
        DataError: the format cannot hold a row, which is named.
    """
    again = _Reading(formats.find(format)(), own)
    write = writers.build(format, {}, "export")
    if alone or format != "openassistant":
        for example in examples:
            yield _whole(example, write, again)
        return
    for _, threads in groupby(examples, key=lambda one: (one.source, one.task)):
        group = list(threads)
        columns = unplaced(group[0])[1]
        tree = {**grown([unplaced(one)[0] for one in group]), **columns, **_task(group[0], own)}
        if len(group) > 1 and _is_read_as(group, tree, again):
            yield tree
        else:
            for example in group:
                yield _whole(example, write, again)


def difference(made: Example, meant: Example) -> str:
    """Return in which of its fields an example is another than is meant; '' in none that is compared."""
    fields = (
        ("task", made.task == meant.task),
        ("messages", made.messages == meant.messages),
        ("references", made.references == meant.references),
        ("rejected answers", made.rejected == meant.rejected),
        ("facts", dict(made.facts) == dict(meant.facts)),
    )
    return next((name for name, same in fields if not same), "")


def not_held(example: Example, why: str) -> DataError:
    """Return the error for a row that would come in as another."""
    return DataError(
        f"The row would not be read as the same again: {why}.",
        where=place_of_row(example),
        hint="Another format can hold it, such as 'messages'.",
    )


@dataclass(frozen=True)
class _Reading:
    """How a row that was written comes in again: in which format, in a file of which task."""

    reader: Format
    own: str
    finder: Finder = field(default_factory=lambda: FILES.finder(""))

    def __call__(self, row: Mapping[str, Any]) -> list[Example]:
        """Return its examples. Raises DataError."""
        return read_row(Raw("", 1, dict(row)), self.reader, "", self.own, self.finder, own=True)[0]


def _whole(example: Example, write: Writer, again: _Reading) -> dict[str, Any]:
    last = example.messages[-1]
    usual = (last.text,) if last.trained else ()
    plain, columns = unplaced(example)
    row = {
        **write(plain),
        **columns,
        **_task(example, again.own),
        **({"references": list(example.references)} if example.references != usual else {}),
        **({"facts": dict(example.facts)} if example.facts else {}),
    }
    try:
        made = again(row)
    except DataError as error:
        raise not_held(example, error.message.rstrip(".")) from None
    if len(made) != 1:
        raise not_held(example, f"it would be {len(made)} rows")
    if name := difference(made[0], example):
        raise not_held(example, f"its {name} would be others")
    said = to_keep(made[0], example)
    return {**row, OURS: said} if said else row


def _is_read_as(group: list[Example], row: Mapping[str, Any], again: _Reading) -> bool:
    try:
        made = again(row)
    except DataError:
        return False
    return len(made) == len(group) and not any(
        difference(one, meant) or to_keep(one, meant) for one, meant in zip(made, group, strict=True)
    )


def _task(example: Example, own: str) -> dict[str, str]:
    return {"task": example.task} if example.task != own else {}
