"""The table of a build: all rows with their origin, and a verdict column for each filter. None leaves it.

The columns of `table.py`, and for each filter one struct (ok, why, score, near, spans) by its name. Written
and read in batches: a table of any size needs little memory. Verdicts are first written to files of their
own, so that a filter that changes is done again alone, and then joined to the rows.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, cast

import numpy as np

from espalier.core.errors import DataError
from espalier.core.files import replacing
from espalier.data.judgement import Judgement
from espalier.data.table import as_rows, columns, from_rows

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from espalier.core.records import Example
    from espalier.data.judgement import Filter

    Bools: TypeAlias = NDArray[np.bool_]

BATCH = 4096  # rows of a row group
T = TypeVar("T")
Verdicts: TypeAlias = Mapping[str, Judgement]
VERDICT = "verdict"  # the column of a file of verdicts


@dataclass(frozen=True)
class Pairs:
    """The rows of a table, read anew each time that one goes over them."""

    path: Path

    def __iter__(self) -> Iterator[Example]:
        """Yield the rows, without their verdicts."""
        for batch in _batches(self.path, columns()):
            yield from from_rows(batch)

    def __len__(self) -> int:
        """Return how many rows there are."""
        return int(_file(self.path).metadata.num_rows)

    @property
    def filters(self) -> list[str]:
        """The names of the filters whose verdicts are in it."""
        known = columns()
        return [name for name in _file(self.path).schema_arrow.names if name not in known]

    def judged(self) -> Iterator[tuple[Example, Verdicts]]:
        """Yield each row with its verdicts by the names of the filters."""
        names = self.filters
        for batch in _batches(self.path):
            verdicts = [[_judgement(one) for one in batch.column(name).to_pylist()] for name in names]
            for number, example in enumerate(from_rows(batch)):
                yield example, {name: found[number] for name, found in zip(names, verdicts, strict=True)}

    def verdicts(self) -> Iterator[tuple[str, Verdicts]]:
        """Yield the id of each row with its verdicts, which is faster than whole rows."""
        names = self.filters
        for batch in _batches(self.path, ["id", *names]):
            for row in batch.to_pylist():
                yield row["id"], {name: _judgement(row[name]) for name in names}

    def outcome(self, name: str) -> tuple[Bools, Bools]:
        """Return which rows do not pass a filter, and which it could not judge, in the order of the rows."""
        column: Any = _file(self.path).read([f"{name}.ok"]).column(0).combine_chunks()
        ok: Any = column.field("ok") if len(column) else column
        known = np.asarray(ok.is_valid().to_numpy(zero_copy_only=False) if len(column) else [], bool)
        passed = np.asarray(ok.fill_null(True).to_numpy(zero_copy_only=False) if len(column) else [], bool)
        return ~passed, ~known

    def at(self, places: Iterable[int]) -> Iterator[tuple[Example, Verdicts]]:
        """Yield the rows at places, which ascend, with their verdicts."""
        names = self.filters
        wanted = list(places)
        first = 0
        file = _file(self.path)
        for group in range(file.metadata.num_row_groups):
            size = file.metadata.row_group(group).num_rows
            inside = [place - first for place in wanted if first <= place < first + size]
            first += size
            if inside:
                rows = file.read_row_group(group).take(inside)
                verdicts = {
                    name: [_judgement(one) for one in rows.column(name).to_pylist()] for name in names
                }
                for number, example in enumerate(from_rows(rows)):
                    yield example, {name: found[number] for name, found in verdicts.items()}

    def places(self, ids: Collection[str]) -> list[int]:
        """Return where the rows with these ids stand, ascending."""
        if not ids:
            return []
        first = 0
        found: list[int] = []
        for batch in _batches(self.path, ["id"]):
            names = cast("list[str]", batch.column(0).to_pylist())
            found += [first + number for number, name in enumerate(names) if name in ids]
            first += len(names)
        return found


class _StoredRows:
    """The rows of a table as a sequence; neighbours are read once."""

    def __init__(self, path: Path) -> None:
        self._pairs = Pairs(path)
        self._size = len(self._pairs)
        self._group = -1
        self._rows: list[Example] = []

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[Example]:
        return iter(self._pairs)

    def __getitem__(self, place: int | slice) -> Example | list[Example]:
        if isinstance(place, slice):
            return [self._row(one) for one in range(*place.indices(self._size))]
        if not -self._size <= place < self._size:
            raise IndexError(place)
        return self._row(place % self._size)

    def _row(self, place: int) -> Example:
        if place // BATCH != self._group:
            self._group = place // BATCH
            self._rows = from_rows(_file(self._pairs.path).read_row_group(self._group, columns=columns()))
        return self._rows[place % BATCH]


cast("Any", Sequence).register(_StoredRows)  # random.sample wants to know


def stored_rows(path: Path) -> Sequence[Example]:
    """Return the rows of a table as a sequence: of a million, only those are in memory that are looked at."""
    return cast("Sequence[Example]", _StoredRows(path))


def is_pairs(path: Path) -> bool:
    """Tell a table of examples, with verdicts or without, from any other file."""
    if path.suffix != ".parquet" or not path.is_file():
        return False
    pa: Any = import_module("pyarrow")
    try:
        return set(columns()) <= set(_file(path).schema_arrow.names)
    except (pa.ArrowException, OSError, DataError):
        return False


def write_pairs(path: Path, examples: Iterable[Example]) -> int:
    """Write rows without verdicts, and return how many there are. Raises RunError where it cannot."""
    return _write(path, (as_rows(batch) for batch in in_batches(examples, BATCH)), as_rows([]).schema)


def write_verdicts(path: Path, judgements: Iterable[Judgement]) -> int:
    """Write a filter's verdicts, in the order of the rows, and return how many there are."""
    return _write(path, map(_as_verdicts, in_batches(judgements)), _as_verdicts([]).schema)


def write_each(
    filters: Mapping[Path, Filter], rows: Iterable[Example], on_rows: Callable[[int], object]
) -> None:
    """Write the verdicts of filters that look at each row by itself, all in one pass over the rows.

    Args:
        filters: by the file that their verdicts go to.
        rows: read once.
        on_rows: takes how many more rows have been judged.
    """
    parquet: Any = import_module("pyarrow.parquet")
    with ExitStack() as stack:
        new = {path: stack.enter_context(replacing(path)) for path in filters}
        schema = _as_verdicts([]).schema
        files = {
            path: stack.enter_context(parquet.ParquetWriter(file, schema, compression="zstd"))
            for path, file in new.items()
        }
        for batch in in_batches(rows):
            for path, judge in filters.items():
                files[path].write_table(_as_verdicts(list(judge(batch))))
            on_rows(len(batch))


def _as_verdicts(judgements: Sequence[Judgement]) -> Any:
    pa: Any = import_module("pyarrow")
    rows = [{VERDICT: _row(one)} for one in judgements]
    return pa.Table.from_pylist(rows, schema=pa.schema([(VERDICT, _kind(pa))]))


def join(path: Path, verdicts: Mapping[str, Path]) -> None:
    """Write the verdicts of files into a table of rows, in place of those that it has.

    Raises:
        DataError: a file has not as many verdicts as there are rows.
    """
    pa: Any = import_module("pyarrow")
    rows = len(Pairs(path))
    for name, file in verdicts.items():
        if (found := int(_file(file).metadata.num_rows)) != rows:
            raise DataError(f"The filter '{name}' has judged {found} of {rows} rows.", where=str(file))
    fields = [pa.field(name, _kind(pa)) for name in verdicts]
    schema = pa.schema([*as_rows([]).schema, *fields])

    def joined() -> Iterator[Any]:
        found = [_batches(file) for file in verdicts.values()]
        for batch in _batches(path, columns()):
            more = [next(one).column(0) for one in found]
            yield pa.Table.from_arrays([*batch.select(columns()).columns, *more], schema=schema)

    _write(path, joined(), schema)


def in_batches(items: Iterable[T], size: int = BATCH) -> Iterator[list[T]]:
    """Yield items in lists of so many; the last may be shorter."""
    left = iter(items)
    while batch := list(islice(left, size)):
        yield batch


def _write(path: Path, tables: Iterable[Any], schema: Any) -> int:
    parquet: Any = import_module("pyarrow.parquet")
    count = 0
    with replacing(path) as new, parquet.ParquetWriter(new, schema, compression="zstd") as file:
        for table in tables:
            file.write_table(table)
            count += table.num_rows
    return count


def _batches(path: Path, names: list[str] | None = None) -> Iterator[Any]:
    """Yield the batches of a table, as they were written."""
    file = _file(path)
    for group in range(file.metadata.num_row_groups):
        yield file.read_row_group(group, columns=names)


def _file(path: Path) -> Any:
    pa: Any = import_module("pyarrow")
    try:
        return cast("Any", import_module("pyarrow.parquet")).ParquetFile(path)
    except FileNotFoundError:
        raise DataError("There is no such table.", where=str(path)) from None
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"The table is damaged or cut off: {error}.", where=str(path)) from None


def _kind(pa: Any) -> Any:
    """Return the type of a verdict column."""
    span = pa.list_(pa.int32(), 3)
    fields = [("ok", pa.bool_()), ("why", pa.string()), ("score", pa.float64()), ("near", pa.string())]
    return pa.struct([*fields, ("spans", pa.list_(span))])


def _row(judgement: Judgement) -> dict[str, Any]:
    return {
        "ok": judgement.ok,
        "why": judgement.why,
        "score": judgement.score,
        "near": judgement.near,
        "spans": [list(span) for span in judgement.spans],
    }


def _judgement(row: dict[str, Any]) -> Judgement:
    spans = tuple((number, start, end) for number, start, end in row["spans"])
    return Judgement(row["ok"], row["why"], row["score"], row["near"], spans)
