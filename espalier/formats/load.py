"""Files of rows to examples: JSON or JSONL, in the format that is named or that the rows' keys tell.

A row that cannot be used is an error with its place and the fix, or goes to `on_reject` with that reason;
none is dropped in silence. The same row twice is two examples with ids of their own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from itertools import chain, islice
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast

from espalier.core.errors import DataError
from espalier.core.records import example_id
from espalier.core.registry import Registry
from espalier.formats import captions, conversations, instructions, openassistant, preferences, questions
from espalier.formats.folders import TABLES, files_of, name_of, plain
from espalier.formats.format import Format, Row, referenced
from espalier.formats.masks import masked, masks_of
from espalier.formats.placing import COLUMNS, Access, filed, linked, media_of, without_empty
from espalier.formats.readers import Raw, renamed, rows_of
from espalier.formats.turns import MASKS
from espalier.formats.unused import unused, unused_note
from espalier.tasks.facts import KEYS as FACTS
from espalier.tasks.facts import OURS, kept
from espalier.tasks.raw_rows import OnReject, writable
from espalier.tasks.task_files import is_task

if TYPE_CHECKING:
    from espalier.core.records import Example
    from espalier.media.finding import Finder

# A row may have the keys of several: whichever stands first here has most to say about it.
FORMATS = {
    "preference": preferences.preference,
    "kto": preferences.kto,
    "openassistant": openassistant.openassistant,
    "self-instruct": instructions.self_instruct,
    "messages": conversations.messages,
    "sharegpt": conversations.sharegpt,
    "choices": questions.choices,
    "passage": questions.passage,
    "alpaca": instructions.alpaca,
    "predictions": instructions.predictions,
    "prompt-completion": instructions.prompt_completion,
    "captions": captions.captions,
    "questions": questions.questions,
}
formats: Registry[Format] = Registry("format")
for _name, _factory in FORMATS.items():
    formats.register(_name)(_factory)

# Other names of what the formats know; "chosen_response" is one, too.
ALSO = {
    "system_prompt": "system",
    "system_message": "system",
    "passage": "context",
    "is_correct": "correct",
    # Natural Instructions, an instance or a task a row.
    "definition": "instruction",
    "inputs": "input",
    "targets": "output",
    "positive_examples": "instances",
    # Choices in columns, as "option_a" or "opa".
    **{f"{word}{letter.lower()}": letter for word in ("option_", "option", "choice_") for letter in "ABCDEF"},
}
TAG = 64  # letters of a text that may be a tag
FEW = 12
OWN = frozenset({"task", "references"})  # what exports write beside a format's own keys
TOLD = 1000  # rows whose keys tell the format
FILES = Access()
LEAVE_OUT = 'Or leave such rows out with task.on_bad = "reject".'


def load_rows(
    path: str | Path,
    format: str = "auto",
    on_reject: OnReject | None = None,
    on_note: Callable[[str], object] = lambda _: None,
    columns: Mapping[str, str] = MappingProxyType({}),
    *,
    name: str = "",
    media: Access = FILES,
) -> list[Example]:
    """Return the examples of a file of rows, in file order.

    Args:
        path: a file or a folder, see `readers.py`.
        format: a name in the registry `formats`, or "auto" to tell it from the keys.
        on_reject: takes each row that cannot be used, as {"where", "reason", "row"}; without it such a row is
            an error.
        on_note: takes a sentence on what the file says and nothing looks at.
        columns: which column of the file stands for which key of a format.
        name: what the rows call their task; by default what the file is called.
        media: where their pictures and sounds are looked for. Rows that share one are one source.

    Raises:
        DataError: the file cannot be read, its format cannot be told, a row cannot be used, or none can.
        RecipeError: no format has that name.
    """
    rows = iter_rows(path, format, on_reject, on_note, columns, name=name, media=media)
    return linked(list(numbered(rows)))


def iter_rows(
    path: str | Path,
    format: str = "auto",
    on_reject: OnReject | None = None,
    on_note: Callable[[str], object] = lambda _: None,
    columns: Mapping[str, str] = MappingProxyType({}),
    *,
    name: str = "",
    own: bool = False,
    media: Access = FILES,
) -> Iterator[Example]:
    """Yield the examples of a file of rows one by one, so that a file of any size fits; see `load_rows`.

    Repetitions have one id here: see `numbered`.

    Args:
        path, format, on_reject, on_note, columns: as for `load_rows`.
        name: what the rows call their task; by default what the file is called.
        own: whether a row that says `task` and `references` itself, as exports do, means it.
        media: as for `load_rows`; the source of a row is its first medium here.

    Raises:
        DataError, RecipeError: as `load_rows`, each where it is come to.
    """
    place = Path(path)
    files = files_of(place)
    if files.note:
        on_note(files.note)
    settings = _Settings(name or name_of(place), format, on_reject, on_note, columns, own, media)
    for file in files.paths:
        yield from _of_file(file, settings)


def numbered(examples: Iterable[Example]) -> Iterator[Example]:
    """Give an exact repetition an id of its own, made of the id and of how often it came before."""
    seen: dict[str, int] = {}
    for item in examples:
        again = seen.get(item.id, 0) + 1
        identifier = item.id
        while again > 1 and (identifier := example_id(item.id, again)) in seen:
            again += 1
        seen[item.id] = again
        if again > 1:
            seen[identifier] = 1
        yield replace(item, id=identifier) if again > 1 else item


def has_columns(path: Path, columns: Mapping[str, str]) -> bool:
    """Tell whether the first row of a file has one of the columns that are named. Raises DataError."""
    if not columns or (path.is_file() and is_task(path)):
        return False
    first = next(rows_of(path, columns.values()), None)
    return first is not None and bool(set(columns.values()) & {key for key, _ in _items(first.value)})


@dataclass(frozen=True, slots=True)
class _Settings:
    """What `load_rows` was asked for, and the name of the task that the rows are."""

    task: str
    format: str
    on_reject: OnReject | None
    on_note: Callable[[str], object]
    columns: Mapping[str, str]
    own: bool
    media: Access


def _of_file(file: Path, asked: _Settings) -> Iterator[Example]:
    meant = asked.columns.values()
    rows = spelt(_within(rows_of(file, meant)), meant)
    rows = renamed(rows if "file_name" in meant else filed(rows, file), dict(asked.columns), str(file))
    begin = list(islice(rows, TOLD))
    if not begin:
        raise DataError("The file has no rows.", where=str(file))
    kind = detect_format(file, begin, asked.columns) if asked.format == "auto" else asked.format
    count = made = 0
    reader = formats.find(kind, "task.format")()
    finder = asked.media.finder(file)
    reason = ""
    ignored: Counter[str] = Counter()
    for raw in chain(begin, rows):
        count += 1
        try:
            examples, known = read_row(raw, reader, str(file), asked.task, finder, own=asked.own)
            spare = unused(dict(_items(raw.value)), reader) - FACTS - known
            ignored.update(spare)
        except DataError as error:
            where = error.where or raw.where
            hint = f"{error.hint} A row of the format '{kind}': {reader.sample}".strip()
            if asked.on_reject is None:
                raise DataError(error.message, where=where, hint=f"{hint} {LEAVE_OUT}") from None
            reason = reason or f"{error.message} {hint}"
            asked.on_reject({"where": where, "reason": f"{error.message} {hint}", "row": writable(raw.value)})
        else:
            made += len(examples)
            tags = {key: v for key, v in _items(raw.value) if key in spare and _is_tag(v)}
            yield from (_tagged(item, tags) for item in examples) if tags else examples
    if not made:
        message = f"None of the {count} rows can be used."
        raise DataError(message, where=str(file), hint=f"The first: {reason}")
    if ignored:
        asked.on_note(unused_note(str(file), ignored, count))


def _is_tag(value: object) -> bool:
    """Tell what may say of which kind a row is, as a category does, from a text."""
    return isinstance(value, str) and 0 < len(value) <= TAG and "\n" not in value


def _tagged(made: Example, tags: Mapping[str, str]) -> Example:
    return replace(made, origin={**made.origin, "tags": tags})


def read_row(
    raw: Raw, reader: Format, file: str, task: str, finder: Finder, *, own: bool
) -> tuple[list[Example], set[str]]:
    """Return the examples of a row, and those of its keys that say what its format has no word for.

    Raises:
        DataError: the row cannot be used.
    """
    value = dict(_items(raw.value))
    keys = OWN & _keys(value) if own else frozenset[str]()
    masks = masks_of(value, reader.words())
    name = value["task"] if "task" in keys and isinstance(value["task"], str) else task
    read = _read(Row(file, name, raw.number, raw.where, {}), raw, reader, finder)
    examples = [masked(item, masks, raw.where) for item in read]
    if "references" in keys:
        examples = [referenced(item, value["references"], raw.where) for item in examples]
    return [kept(item, value) for item in examples], {OURS, *masks, *keys, *COLUMNS}


def spelt(raws: Iterator[Raw], named: Collection[str]) -> Iterator[Raw]:
    """Yield rows with the formats' keys as those have them: by one name, small, without space around it.

    A key stays as it is where it is `named`, or where the row has the other too.
    """
    words = {word for factory in FORMATS.values() for word in factory().words()} | {*MASKS, *COLUMNS}
    for raw in raws:
        row = dict(_items(raw.value))
        small = {key: key.strip().lower() for key in row if key not in named}
        plainly = {key: ALSO.get(word, word.removesuffix("_response")) for key, word in small.items()}
        new = {key: word for key, word in plainly.items() if word in words and word not in row}
        if new and len(set(new.values())) == len(new):
            raw = replace(raw, value={new.get(key, key): item for key, item in row.items()})
        yield raw


def _within(raws: Iterator[Raw]) -> Iterator[Raw]:
    """Yield rows; of a file that is one object with nothing but a list of rows, those in the list."""
    begin = list(islice(raws, 2))
    ((key, items),) = (
        _items(begin[0].value) if len(begin) == 1 and len(_items(begin[0].value)) == 1 else (("", 0),)
    )
    if not _is_rows(items) or any(factory().fits({key}) for factory in FORMATS.values()):
        yield from chain(begin, raws)
        return
    for number, item in enumerate(cast("list[object]", items), start=1):
        yield Raw(f"{begin[0].where}, {key}[{number - 1}]", number, item)


def detect_format(file: Path, raws: list[Raw], columns: Collection[str] = ()) -> str:
    """Return the name of the format that most rows have the keys of; one that has `columns` goes before.

    Raises:
        DataError: no row has those of any; what was found and the nearest format are named.
    """
    known = {name: factory() for name, factory in FORMATS.items()}
    if columns:
        meant = {
            name: kind for name, kind in known.items() if set(columns) & set(" ".join(kind.shapes).split())
        }
        known = meant or known
    rows = [_keys(raw.value) for raw in raws if not raw.error]
    if raws[0].error and not rows:
        raise raws[0].error
    votes = Counter(name for raw in raws if not raw.error for name in _first(known, raw.value))
    if votes:
        return votes.most_common(1)[0][0]
    found = sorted({key for keys in rows for key in keys})
    # The plainest formats are the last, and of equally near ones the likeliest.
    plainest = [name for name in reversed(known) if name != "questions"] or list(known)
    near = min(plainest, key=lambda name: _distance(known[name], found))
    hint = (
        f"The nearest format is '{near}': {known[near].sample} Known: {', '.join(known)}. "
        'Or say which columns are meant: task.columns = {prompt = "…", completion = "…"}.'
    )
    if plain(file).suffix.lower() in TABLES:
        hint += (
            " The first line of a table has to name its columns; where it is a row, name them by numbers: "
            'task.columns = {prompt = "1", completion = "2"}.'
        )
    lists = [key for key, item in _items(raws[0].value) if _is_rows(item)]
    if len(raws) == 1 and lists:
        hint = f"The rows seem to be the list under '{lists[0]}': save that list as the file."
    raise DataError(
        f"The format of the rows cannot be told: they have the keys {', '.join(found[:FEW]) or '(none)'}.",
        where=str(file),
        hint=hint,
    )


def _distance(format: Format, found: list[str]) -> tuple[int, int]:
    """Return how few keys of the format are there, or nearly, and then how many are missing."""
    wanted = [[get_close_matches(key, found, 1, 0.8) for key in shape.split()] for shape in format.shapes]
    return min((-sum(map(bool, keys)), sum(not key for key in keys)) for keys in wanted)


def _first(known: dict[str, Format], value: object) -> list[str]:
    keys = _keys(value)
    # What should be a list of turns may be a plain text: a play's dialogue, beside its summary.
    talks = {key for key, item in _items(value) if not isinstance(item, str) or item[:1] in "[{"} & keys
    return [name for name, kind in known.items() if kind.fits(talks if name == "sharegpt" else keys)][:1]


def _read(row: Row, raw: Raw, reader: Format, finder: Finder) -> list[Example]:
    if raw.error:
        raise raw.error
    value = without_empty(dict(_items(raw.value)))
    if not reader.fits(_keys(value)):
        key = reader.missing(_keys(value))[0]
        raise DataError(
            f"'{key}' is {'null' if key in value else 'missing'}.",
            where=raw.where,
            hint=f"The row has: {', '.join(value) or 'nothing'}.",
        )
    given = media_of({key: item for key, item in value.items() if item is not None}, finder, row.where)
    try:
        made = reader.read(replace(row, value=given.value))
        return [given.example(item, first=reader.asks_once) for item in made]
    except UnicodeEncodeError:  # in a tool or a call, where the text of a turn is named by itself
        message = "The row holds half a character (a lone surrogate)."
        raise DataError(message, where=raw.where, hint="Write it again.") from None


def _keys(value: object) -> set[str]:
    """Return the keys of a row that hold something; files made from tables fill up the others with null."""
    return {key for key, item in _items(value) if item is not None}


def _items(value: object) -> list[tuple[str, Any]]:
    return list(cast("dict[str, Any]", value).items()) if isinstance(value, dict) else []


def _is_rows(value: object) -> bool:
    items = cast("list[object]", value) if isinstance(value, list) else []
    return any(isinstance(item, dict) and not item.keys() & {"role", "from"} for item in items)
