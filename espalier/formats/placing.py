"""Pictures and sounds of rows: what a row gives becomes media, at the places that its texts name.

Whatever its format, a row has its media in columns (`images`, `audio`), for which its texts have
placeholders, `<image>` and `<audio>`; or in the parts of its turns, by themselves or as the next of a column.
Before a format reads the row they are taken out, and each part leaves a mark; in the messages that the format
makes, marks and placeholders become media. So no format knows of them.

In a row without any, `<image>` is text; so it is in answers, and beside parts, which say themselves where
media stand. Line breaks beside a medium part it from the text in files, and are no part of the text.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from espalier.core.caches import beside
from espalier.core.errors import DataError
from espalier.core.joined import joined
from espalier.core.records import Example, Media, Message, Part, Text
from espalier.formats.format import content_id
from espalier.formats.turns import SAID, spelt
from espalier.media.finding import Finder

if TYPE_CHECKING:
    from espalier.formats.readers import Raw
    from espalier.media.kinds import Kind

IMAGE, AUDIO = "image", "audio"
FILED = "medium"  # what a folder's metadata names as `file_name`
# Columns that hold media, and of which kind; what is filed is of any.
COLUMNS: dict[str, Kind | None] = {
    **dict.fromkeys(("images", "image", "image_path", "image_paths"), "image"),
    **dict.fromkeys(("audios", "audio", "audio_path", "audio_paths"), "audio"),
    FILED: None,
}
REFUSED = ("videos", "video")
# Types of parts, and the keys under which they have what they show, the nearest first.
PARTS: dict[str, Kind] = {
    **dict.fromkeys(("image", "image_url", "input_image"), "image"),
    **dict.fromkeys(("audio", "audio_url", "input_audio"), "audio"),
}
HELD = (*PARTS, "url", "path", "source", "base64", "data", "bytes", "value")
PLURAL: dict[Kind, str] = {"image": "images", "audio": "audios"}
# Characters that Unicode keeps for use within a program: no text of a file has them.
OPEN, CLOSE = "\ufdd0", "\ufdd1"
MARK = re.compile(f"{OPEN}([a-z0-9]+){CLOSE}")
PLACEHOLDER = re.compile("<(image|audio)>")


@dataclass(frozen=True)
class Access:
    """Where the media of rows are looked for.

    Attributes:
        folder: that paths start from; '' is that of the data file.
        fetch: whether what URLs name is fetched.
        shelf: folder for what is no file yet; None is the one for all runs.
    """

    folder: str = ""
    fetch: bool = False
    shelf: Path | None = None

    def finder(self, file: str | Path) -> Finder:
        """Return what finds the media of a file's rows; it remembers the files that it has read."""
        shelf = self.shelf or beside("media")
        return Finder(Path(self.folder or Path(file).parent), shelf, self.fetch)


@dataclass(frozen=True)
class Given:
    """The media of one row.

    Attributes:
        value: the row without them; parts have left marks.
        where: its place, for errors.
        columns: the keys that held any, by kind.
        listed: those of the columns, in order.
        own: those that parts show by themselves, by their number.
        parted: whether parts say where media stand.
    """

    value: dict[str, Any]
    where: str
    columns: Mapping[Kind, str] = field(default_factory=dict["Kind", str])
    listed: tuple[Media, ...] = ()
    own: tuple[Media, ...] = ()
    parted: bool = False

    def __bool__(self) -> bool:
        """Tell whether the row has any."""
        return bool(self.listed or self.parted)

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        return MARK if self.parted else PLACEHOLDER

    def example(self, made: Example, *, first: bool) -> Example:
        """Return an example of the row with its media, which are its source too; see `messages`."""
        if not self:
            return made
        said = [*made.references, *(turn.text for turn in made.rejected)]
        if any(OPEN in text for text in said):
            raise _answers(self.where)
        turns = self.messages(made.messages, first=first)
        new = replace(
            made,
            id=content_id(made.task, turns, made.references, made.rejected),
            messages=turns,
            source=next(part.name for turn in turns for part in turn.media),
        )
        return replace(new, input=new.prompt[-1].text)

    def messages(self, turns: Sequence[Message], *, first: bool) -> tuple[Message, ...]:
        """Return the messages with the row's media where marks or placeholders are.

        Args:
            turns: as a format made them.
            first: whether media may stand before what is asked, where no placeholder is.

        Raises:
            DataError: there are not as many places as media of a kind; or one stands in an answer.
        """
        asked = [turn for turn in turns if turn.role != "assistant"]
        if any(OPEN in turn.text for turn in turns if turn.role == "assistant"):
            raise _answers(self.where)
        places = Counter(name for turn in asked for name in self._pattern.findall(turn.words))
        if first and not self.parted and not places:
            at = next(number for number, turn in enumerate(turns) if turn.role == "user")
            new = replace(turns[at], parts=(*self.listed, *turns[at].parts))
            return (*turns[:at], new, *turns[at + 1 :])
        for kind in PLURAL:
            self._check(kind, places[kind])
        left = {kind: iter([one for one in self.listed if one.kind == kind]) for kind in PLURAL}

        def take(name: str) -> Media:
            return self.own[int(name)] if name.isdecimal() else next(left[cast("Kind", name)])

        return tuple(
            turn if turn.role == "assistant" else _placed(turn, self._pattern, take) for turn in turns
        )

    def _check(self, kind: Kind, places: int) -> None:
        """Refuse another number of places than media. Raises DataError."""
        count = sum(one.kind == kind for one in self.listed)
        if places == count:
            return
        column = self.columns.get(kind, PLURAL[kind])
        what = f"part of the type {kind!r}" if self.parted else f"<{kind}>"
        hint = (
            f"Write one such part for each, in the order of '{column}'."
            if self.parted
            else f'Write <{kind}> in what is asked, once for each: "<{kind}>What is this?"'
        )
        raise DataError(
            f"What is asked has {places or 'no'} {what}{'s' if places > 1 and self.parted else ''}, "
            f"and the row {count or 'no'} {kind if count == 1 else PLURAL[kind]} for it.",
            where=f"{self.where}, {column}" if kind in self.columns else self.where,
            hint=hint,
        )


def media_of(value: Mapping[str, Any], finder: Finder, where: str) -> Given:
    """Return the media of a row, and the row without them.

    Raises:
        DataError: one cannot be found, or is a video.
    """
    if not any(map(_may_hold, value.items())):
        return Given(dict(value), where)
    for key in REFUSED:
        if value.get(key):
            raise DataError(
                f"The row comes with {key}; texts, pictures and sounds can be trained on.",
                where=f"{where}, {key}",
                hint="Remove the row, or give pictures of it.",
            )
    columns: dict[Kind, str] = {}
    listed: list[Media] = []
    rest = dict(value)
    for key in COLUMNS:
        if key in value:
            found = [*_listed(rest.pop(key), finder, COLUMNS[key], f"{where}, {key}")]
            listed += found
            columns |= {one.kind: key for one in found}
    own: list[Media] = []
    parted: list[bool] = []

    def marked(part: dict[str, Any], place: str) -> str:
        kind = PARTS[part["type"]]
        parted.append(True)
        held = next((part[key] for key in (part["type"], *HELD) if part.get(key) is not None), None)
        if held is None:
            return f"{OPEN}{kind}{CLOSE}"
        one = finder.find(held, kind, place)
        if one not in own:
            own.append(one)
        return f"{OPEN}{own.index(one)}{CLOSE}"

    made = {key: _marked(item, f"{where}, {key}", marked) for key, item in rest.items()}
    if listed or parted:
        _check_marks(rest, where)
    return Given(made, where, columns, tuple(listed), tuple(own), bool(parted))


def filed(raws: Iterator[Raw], file: Path) -> Iterator[Raw]:
    """Yield rows; in a folder's `metadata.jsonl`, `.csv` or `.parquet` a `file_name` is a medium."""
    if not file.name.lower().startswith("metadata."):
        yield from raws
        return
    for raw in raws:
        value = raw.value
        row = cast("dict[str, Any]", value) if isinstance(value, dict) else {}
        new = {FILED if key == "file_name" else key: item for key, item in row.items()}
        yield replace(raw, value=new) if "file_name" in row else raw


def without_empty(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row without columns of media that hold none: a text-only row among others."""
    return {key: item for key, item in row.items() if key not in COLUMNS or not _is_empty(item)}


def linked(examples: list[Example]) -> list[Example]:
    """Return examples such that those that share a picture or a sound, directly or by others, are one source.

    It is called after the first of their media in the order of the hashes, whatever the order of rows.
    """
    sources = joined([one.name for one in example.media] for example in examples)
    joins = {name: source for name, source in sources.items() if name != source}
    return [replace(row, source=joins[row.source]) if row.source in joins else row for row in examples]


def unplaced(example: Example) -> tuple[Example, dict[str, list[str]]]:
    """Return an example with placeholders in place of its media, and the columns that then hold these."""
    columns: dict[str, list[str]] = {}
    for one in example.media:
        columns.setdefault(PLURAL[one.kind], []).append(one.uri)
    turns = tuple(turn.showing(lambda one: [Text(f"<{one.kind}>")]) for turn in example.messages)
    return (replace(example, messages=turns) if columns else example), columns


def has_media(row: Mapping[str, Any]) -> bool:
    """Tell whether a row has a column of media that is not empty."""
    return any(key in COLUMNS for key in without_empty(row))


def _may_hold(item: tuple[str, Any]) -> bool:
    """Tell whether a key of a row may have media: a column of them, or turns."""
    key, value = item
    return key in COLUMNS or (key in REFUSED and bool(value)) or isinstance(value, list | dict)


def _is_empty(value: object) -> bool:
    return value is None or (isinstance(value, str | list | dict) and not value)


def _listed(value: object, finder: Finder, kind: Kind | None, where: str) -> Iterator[Media]:
    """Yield the media of a column: one, or a list of such. Raises DataError."""
    if not isinstance(value, list):
        yield finder.find(value, kind, where)
        return
    for number, item in enumerate(cast("list[object]", value)):
        place = f"{where}[{number}]"
        if item is None or isinstance(item, list):
            raise DataError(
                f"Here should be a picture or a sound; it is {'null' if item is None else 'a list […]'}.",
                where=place,
                hint='Write one list for the row: ["a.png", "b.png"].',
            )
        yield finder.find(item, kind, place)


def _marked(value: Any, where: str, mark: Callable[[dict[str, Any], str], str]) -> Any:
    """Return a value of a row with a mark, as a part of text, in place of each part that is a medium."""
    match value:
        case list():
            items = cast("list[Any]", value)
            return [_marked(item, f"{where}[{number}]", mark) for number, item in enumerate(items)]
        case {"role": _} | {"from": _}:
            turn = cast("dict[str, Any]", value)
            return {
                key: _parts(item, f"{where}.{key}", mark) if spelt(key) in SAID else item
                for key, item in turn.items()
            }
        case _:
            return value


def _parts(content: Any, where: str, mark: Callable[[dict[str, Any], str], str]) -> Any:
    match content:
        case list():
            items = cast("list[Any]", content)
            return [_parts(item, f"{where}[{number}]", mark) for number, item in enumerate(items)]
        case {"type": str() as sort} if sort in PARTS:
            return {"type": "text", "text": mark(cast("dict[str, Any]", content), where)}
        case _:
            return content


def _placed(turn: Message, pattern: re.Pattern[str], take: Callable[[str], Media]) -> Message:
    """Return a turn with media where its texts have marks or placeholders."""
    parts: list[Part] = []
    for part in turn.parts:
        if isinstance(part, Text):
            words = pattern.split(part.text)  # texts and names by turns
            for number, word in enumerate(words):
                if number % 2:
                    parts.append(take(word))
                elif text := _between(word, number > 0, number < len(words) - 1):
                    parts.append(Text(text))
        else:
            parts.append(part)
    return replace(turn, parts=tuple(parts))


def _between(text: str, after: bool, before: bool) -> str:
    """Return a text without the line breaks that part it from media `after` and `before` which it stands."""
    text = text.lstrip("\r\n") if after else text
    return text.rstrip("\r\n") if before else text


def _check_marks(value: object, where: str) -> None:
    """Refuse a row with media whose texts have the characters of marks. Raises DataError."""
    match value:
        case str() if OPEN in value or CLOSE in value:
            raise DataError(
                "A text has the character U+FDD0 or U+FDD1, which is none.", where=where, hint="Remove it."
            )
        case list():
            for item in cast("list[object]", value):
                _check_marks(item, where)
        case dict():
            for item in cast("dict[str, object]", value).values():
                _check_marks(item, where)
        case _:
            pass


def _answers(where: str) -> DataError:
    return DataError(
        "A picture or a sound stands in an answer; models write text here.",
        where=where,
        hint="Put it into what is asked, or remove the row.",
    )
