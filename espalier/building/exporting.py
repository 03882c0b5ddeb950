"""What leaves a build: rows without those that were judged away, what is masked, in the format that is asked.

Rows go to a file of lines first, and from there to CSV or Parquet, whose columns are known when all rows are.
What a format has no word for, each row says itself (`building/faithful.py`).
"""

from __future__ import annotations

import csv
import json
import re
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from itertools import accumulate
from typing import TYPE_CHECKING, Any, cast

from pydantic import TypeAdapter, ValidationError

from espalier.building.faithful import as_written
from espalier.building.mixing import Portion
from espalier.building.review import Decided
from espalier.building.task_export import ENDS as TASK_ENDS
from espalier.building.task_export import TASKS, export_tasks
from espalier.building.written import writers
from espalier.core.errors import DataError, RecipeError
from espalier.core.files import read_json, replacing
from espalier.core.records import Example
from espalier.data.pairs import in_batches
from espalier.filters.masking import changed
from espalier.filters.personal import KINDS, personal_in
from espalier.formats.cells import STRUCTURED
from espalier.formats.folders import name_of
from espalier.tasks.facts import OURS
from espalier.tasks.raw_rows import kind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from espalier.building.mixer import Mixer, Subset
    from espalier.building.review import Decision
    from espalier.data.pairs import Pairs, Verdicts

ENDS = (".jsonl", ".csv", ".parquet")
MASKED = "[MASKED]"  # where what was found has no kind
AS_JSON = ("tools", "arguments", "facts", OURS)  # of which each row may have other keys


EXPORTED = "exported.json"  # in a build's folder


@dataclass(frozen=True, slots=True)
class Exported:
    """What went out: how many rows, of each source, how many were masked, and what a mixture took."""

    rows: int
    sources: Mapping[str, int]
    masked: int
    portions: tuple[Portion, ...] = ()


def read_exported(folder: Path) -> Exported | None:
    """Return what went out of a build's folder last; None where nothing has. Raises DataError."""
    file = folder / EXPORTED
    if not file.is_file():
        return None
    try:
        return TypeAdapter(Exported).validate_python(read_json(file))
    except ValidationError:
        raise DataError("It does not say what went out.", where=str(file), hint="Build again.") from None


def check_export(path: Path, format: str, where: str = "export") -> None:
    """Check a file's ending and a format's name, before any time is spent. Raises RecipeError."""
    writers.find(format, f"{where}.format")
    ends = TASK_ENDS if format == TASKS else ENDS
    if path.suffix.lower() not in ends:
        hint = "A task is a .json file; several are a folder of them." if format == TASKS else ""
        named = " or ".join(filter(None, ends))
        raise RecipeError(f"'{path.name}' does not end in {named}.", where=f"{where}.path", hint=hint)


def going_out(
    pairs: Pairs, drop: Iterable[str], mask: Iterable[str], decisions: Iterable[Decision] = ()
) -> Iterator[tuple[Example, bool]]:
    """Yield the rows that go out, and whether something in them was masked.

    Args:
        pairs: the table.
        drop: names of the filters whose rows are taken out; a row that could not be judged stays.
        mask: names of the filters whose spans are replaced by a tag, wherever the row says the same again.
        decisions: of people: a row that they kept or edited goes out whatever filters say, as it was edited
            last, and one that they rejected does not.
    """
    drop, mask, decided = tuple(drop), tuple(mask), Decided(decisions)
    for example, verdicts in pairs.judged():
        row, held = decided.merged(example)
        if held.ok is None and any(_fails(verdicts, name) for name in drop):
            continue
        if held.ok is not False:
            spans = [span for name in mask if name in verdicts for span in verdicts[name].spans]
            yield (_masked(example, row, spans), True) if spans else (row, False)


def export(
    pairs: Pairs,
    path: Path,
    format: str,
    drop: Iterable[str] = (),
    mask: Iterable[str] = (),
    on_row: Callable[[], object] = lambda: None,
    *,
    decisions: Iterable[Decision] = (),
    mixer: Mixer | Subset | None = None,
) -> Exported:
    """Write the rows that go out, see `going_out`, and return how many these are.

    Args:
        pairs, drop, mask, decisions: see `going_out`.
        path: .jsonl, .csv or .parquet; of tasks a .json file or a folder.
        format: a name in the registry `writers`.
        on_row: called for each row that is written.
        mixer: which rows are written, and in which order; without it all, as they come.

    Raises:
        RecipeError: see `check_export`; or the mixture does not fit.
        DataError: the format cannot hold a row, which is named.
        RunError: the file cannot be written.
    """
    check_export(path, format)
    if format == TASKS and mixer:
        hint = "Export 'messages', or all rows as they come."
        message = "Rows of task files are not mixed, and no part is taken of them."
        raise RecipeError(message, where="export.format", hint=hint)
    sources: list[str] = []
    hidden: list[bool] = []

    def rows() -> Iterator[Example]:
        for example, hides in going_out(pairs, drop, mask, decisions):
            yield example
            sources.append(str(example.origin.get("source", "")))
            hidden.append(hides)
            if mixer:
                mixer.see(example)
            on_row()

    order: Sequence[int] | None = None
    if format == TASKS:
        export_tasks(rows(), path)
    else:
        order = _export_rows(rows(), path, format, mixer)
    order = range(len(sources)) if order is None else order
    counts = dict(Counter(sources[place] for place in order))
    return Exported(
        len(order), counts, sum(hidden[place] for place in order), mixer.portions if mixer else ()
    )


def _export_rows(
    rows: Iterable[Example], path: Path, format: str, mixer: Mixer | Subset | None
) -> Sequence[int] | None:
    """Write rows, a line a row where they are mixed, and return which are out in which order, or None."""
    kinds: defaultdict[str, set[str]] = defaultdict(set)
    with replacing(path) as new:
        lines = new if path.suffix.lower() == ".jsonl" else new.with_name(f"{new.name}.lines")
        try:
            with lines.open("w", encoding="utf-8") as file:
                for row in as_written(rows, format, name_of(path), alone=mixer is not None):
                    for key, value in row.items():
                        kinds[key].add(kind(value))
                    file.write(json.dumps(row, ensure_ascii=False) + "\n")
            order = mixer.order() if mixer else None
            if order is not None:
                _reorder(lines, order)
            if lines != new:
                {".csv": _csv, ".parquet": _parquet}[path.suffix.lower()](lines, new, kinds)
        finally:
            if lines != new:
                lines.unlink(missing_ok=True)
    return order


def _reorder(lines: Path, order: Sequence[int]) -> None:
    """Write the lines of a file in an order, some of them more than once."""
    mixed = lines.with_name(f"{lines.name}.mixed")
    try:
        with lines.open("rb") as file, mixed.open("wb") as out:
            starts = [0, *accumulate(len(line) for line in file)]
            for place in order:
                file.seek(starts[place])
                out.write(file.read(starts[place + 1] - starts[place]))
        mixed.replace(lines)
    finally:
        mixed.unlink(missing_ok=True)


def _fails(verdicts: Verdicts, name: str) -> bool:
    return name in verdicts and verdicts[name].ok is False


def _masked(example: Example, row: Example, spans: Iterable[tuple[int, int, int]]) -> Example:
    """Return the row made of an example, with a tag wherever it has what stands at the spans there."""
    found = {example.messages[turn].text[start:end] for turn, start, end in spans}
    tags = {text: _tag(text) for text in found if text.strip()}
    longest = sorted(tags, key=len, reverse=True)
    pattern = re.compile("|".join(map(re.escape, longest)))

    def hidden(text: str) -> str:
        return pattern.sub(lambda match: tags[match.group()], text)

    return changed(row, hidden)


def _tag(text: str) -> str:
    """Return the tag for what is hidden, which says what it was: [EMAIL]."""
    name = next((name for name, _ in personal_in(text)), "")
    return f"[{name.upper()}]" if name in KINDS else MASKED


def _rows(lines: Path) -> Iterator[dict[str, Any]]:
    with lines.open(encoding="utf-8") as file:
        yield from map(json.loads, file)


def _csv(lines: Path, path: Path, kinds: Mapping[str, set[str]]) -> None:
    """Write a table of texts; what is no text is JSON, and so is a text that would be read as such."""
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(kinds)
        for row in _rows(lines):
            table.writerow([_cell(key, row[key]) if key in row else "" for key in kinds])


def _cell(key: str, value: object) -> str:
    if not isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if key in STRUCTURED and key != "tools" and value.lstrip()[:1] in ("[", "{"):
        role = "user" if key == "prompt" else "assistant"
        return json.dumps([{"role": role, "content": value}], ensure_ascii=False)
    return value


def _parquet(lines: Path, path: Path, kinds: Mapping[str, set[str]]) -> None:
    """Write a table with lists and turns as such; a column that holds texts too has them as JSON."""
    pa: Any = import_module("pyarrow")
    parquet: Any = import_module("pyarrow.parquet")

    def batches() -> Iterator[Any]:
        for batch in in_batches(_rows(lines)):
            yield pa.Table.from_pylist(
                [{key: _value(key, row.get(key), kinds[key]) for key in kinds} for row in batch]
            )

    schema = pa.unify_schemas(
        [pa.schema([]), *(batch.schema for batch in batches())], promote_options="permissive"
    )
    with parquet.ParquetWriter(path, schema, compression="zstd") as file:
        for batch in batches():
            file.write_table(batch.cast(schema) if batch.schema != schema else batch)


def _value(key: str, value: Any, kinds: set[str]) -> Any:
    if value is None:
        return None
    if key in AS_JSON or len(kinds) > 1 or isinstance(value, str):
        return _cell(key, value)
    return _plain(value)


def _plain(value: Any) -> Any:
    """Return a value in which what each row has otherwise is JSON text."""
    match value:
        case dict():
            inner = cast("dict[str, Any]", value)
            return {
                key: json.dumps(item, ensure_ascii=False)
                if key in AS_JSON and not isinstance(item, str)
                else _plain(item)
                for key, item in inner.items()
            }
        case list():
            return [_plain(item) for item in cast("list[Any]", value)]
        case _:
            return value
