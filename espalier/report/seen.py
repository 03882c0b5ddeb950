"""What the model saw: the pictures and sounds of the rows that the page shows, small, each once.

They are what the encoder is given: upright, with the white beside them that makes a square, or stretched or
cut off as its processor does. Nothing that a file holds besides comes along, and no folder of the machine is
named. `media.js` is given one JSON object, and puts them beside
the rows:

    {"media": {sha256: {"kind", "url", "wave": [0.1, …]} or {"kind", "told": why it is not shown}},
     "rows": [[sha256, …], …],          of each test row, in the order of the page
     "blind": [text or null, …]}        what the tuned model answered without them
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from espalier.core.errors import EspalierError
from espalier.core.files import file_sha256
from espalier.core.text import counted
from espalier.evaluate.unseen import BLIND
from espalier.media.pictures import pixels
from espalier.media.showing import as_seen, clip, shown, waveform
from espalier.media.sounds import samples
from espalier.report import browse

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from espalier.core.records import Example, Media
    from espalier.report.gather import Material

MOST = 5_000_000  # bytes of a page
RATE = 16_000  # samples a second of a waveform
ENTRY = 120  # bytes of a medium's entry besides its URL
NOUNS = {"image": "pictures", "audio": "sounds"}
LEFT_OUT = "left out: the page is full"


@dataclass
class Shelf:
    """The media of a page, as far as they fit into `room` bytes.

    Attributes:
        settings: of the encoder of pictures, as far as they are known; see `media/showing.py`.
        entries: by sha256, see the top of the file.
        left: how many did not fit.
    """

    room: int
    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])
    entries: dict[str, dict[str, Any]] = field(default_factory=dict[str, "dict[str, Any]"])
    left: int = 0

    def put(self, media: Media) -> None:
        """Show a medium, or say why it is not shown; the same one is there once."""
        if media.sha256 in self.entries:
            return
        entry: dict[str, Any] = {"kind": media.kind}
        if self.left:  # what comes first counts most: none is skipped for a smaller one behind it
            self.left += 1
            entry["told"] = LEFT_OUT
        else:
            entry |= _shown(media, self.settings)
            self.room -= ENTRY + len(str(entry.get("url", ""))) + 6 * len(entry.get("wave", ()))
            if self.room < 0 and "url" in entry:
                self.left += 1
                entry = {"kind": media.kind, "told": LEFT_OUT}
        self.entries[media.sha256] = entry

    @property
    def told(self) -> str:
        """What a reader should know of those that are not shown; '' where all are."""
        if not self.left:
            return ""
        many = counted(self.left, "picture or sound", "pictures and sounds")
        return f"Of {len(self.entries):,} {many} left out, since a page holds {MOST // 1_000_000} MB."


def has_media(material: Material) -> bool:
    """Say whether any row of the page has a picture or a sound."""
    return any(example.media for example in (*material.train, *material.test))


def first_row(material: Material) -> tuple[Media, ...]:
    """Return the media of the training row that is shown token by token."""
    text = "".join(material.last("encoded").get("first", {}).get("pieces", ()))
    rows = (row for row in material.train if row.media and row.input in text and row.answer in text)
    return next((row.media for row in rows), ())


def shelved(
    material: Material, picked: Iterable[str], listed: Mapping[str, Any], room: int
) -> dict[str, Any]:
    """Return what `media.js` is given, with "told": what is left out.

    Args:
        material: the run.
        picked: the hashes of the media of the rows shown as examples.
        listed: what `browse.listed` returned.
        room: bytes of the page that are left.
    """
    rows = [row.media if row else () for row in _rows(material)]
    first = first_row(material)
    known = {one.sha256: one for own in (first, *rows) for one in own}
    blind = [_blind(material, row) for row in _rows(material)]
    names = [[one.sha256 for one in own] for own in rows]
    texts = sum(len(text.encode()) for text in blind if text)
    shelf = Shelf(room - texts - 70 * sum(map(len, names)) - 10 * len(rows), _settings(material))
    for one in (*first, *(known[name] for name in picked if name in known), *known.values()):
        shelf.put(one)
    found = {"media": shelf.entries, "rows": names, "blind": blind, "told": shelf.told}
    assert len(rows) == len(listed["rows"])
    return found


def compared(listed: dict[str, Any], material: Material) -> None:
    """Let the listed rows be filtered by whether the answer without the media is right, where that is known.

    As in a comparison of two sides, each row says which of them "won": the blind answer is right; or it is
    wrong, and the tuned one right.
    """
    scores = material.scores
    values = [
        dict(zip(scores.measures, (row["answers"][-1] or {}).get("values") or (), strict=False))
        for row in listed["rows"]
    ]
    judging = browse.judges(scores.measures, values, closed=scores.closed)
    if not judging or BLIND not in scores.systems:
        return
    scored = {row.id: row.systems.get(BLIND, {}) for row in scores.examples}
    for row, name in zip(listed["rows"], _names(material), strict=True):
        own = [
            browse.right(key, score.value) for key, score in scored.get(name, {}).items() if key in judging
        ]
        unseen = bool(own) and all(own)
        row["won"] = [unseen, bool(own) and not unseen and not row["wrong"]]
    listed["filters"] = [
        ("all", "all"),
        ("wrong", f"wrong: {listed['wrong']}"),
        ("limit", "cut at the limit"),
        ("copy", "copies of the input"),
        ("first", "right when blind"),
        ("second", "right only with the media"),
    ]


def orders(listed: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the orders that the listed rows can be in, as (value, label)."""
    judged = bool(listed["measures"])
    known = [
        (judged, "rank", "worst first"),
        (judged, "best", "best first"),
        (judged and "base" in listed["systems"], "gain", "what tuning cost most first"),
        (bool(listed["trained"]), "near", "nearest to a trained answer first"),
        (True, "row", "as in the data"),
    ]
    return [(value, label) for possible, value, label in known if possible]


def without_folders(html: str, material: Material) -> str:
    """Return a page without the folders in which the run's files lie on this machine."""
    uris = [one.uri for row in (*material.train, *material.test) for one in row.media]
    places = [os.path.commonpath([os.path.dirname(uri) for uri in uris])] if uris else []
    places += [os.path.dirname(text) for text in _texts(material.recipe) if os.path.isabs(text)]
    for place in sorted({place for place in places if len(place) > 1}, key=len, reverse=True):
        html = html.replace(f"{place}/", "…/")
    return html


def encoded(material: Material) -> list[dict[str, Any]]:
    """Return of each kind of media what they are to the encoder, and what encoding them took; [] without any.

    Of a run that went on after a break, the last says how many there are, and all together how long it took.
    """
    found: dict[str, dict[str, Any]] = {}
    for event in material.of("media"):
        if kind := event.get("kind"):
            before = found.get(kind, {"encoded": 0, "seconds": 0.0})
            taken = {key: before[key] + event[key] for key in ("encoded", "seconds")}
            found[kind] = {**event, **taken}
    return [{**one, "name": NOUNS[kind]} for kind, one in found.items()]


def _settings(material: Material) -> Mapping[str, Any]:
    return next((one["settings"] for one in encoded(material) if one["kind"] == "image"), {})


def _shown(media: Media, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return a medium's URL, or why there is none; a picture is as the encoder sees it."""
    path = Path(media.uri)
    try:
        if file_sha256(path) != media.sha256:
            return {"told": "not shown: the file has changed since"}
        if media.kind == "image":
            return {"url": shown(as_seen(pixels(path), settings))}
        return {"url": clip(path), "wave": waveform(samples(path, RATE))}
    except OSError:
        return {"told": "not shown: the file is no longer where it was"}
    except EspalierError as error:
        return {"told": f"not shown: {error.message.replace(str(path), path.name)}"}


def _names(material: Material) -> list[str]:
    """Return the ids of the test rows in the order in which `browse` lists them."""
    return list(
        dict.fromkeys([*(row.id for row in material.test), *(row.id for row in material.scores.examples)])
    )


def _rows(material: Material) -> Iterator[Example | None]:
    examples = {row.id: row for row in material.test}
    return (examples.get(name) for name in _names(material))


def _blind(material: Material, row: Example | None) -> str | None:
    line = material.outputs.get((BLIND, row.id)) if row else None
    return str(line["text"]) if line else None


def _texts(value: object) -> Iterator[str]:
    """Yield the texts of a recipe, however deep."""
    match value:
        case str():
            yield value
        case dict():
            for item in value.values():
                yield from _texts(item)
        case list():
            for item in value:
                yield from _texts(item)
        case _:
            pass
