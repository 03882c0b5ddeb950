"""What kind a test row is, and how often training had that kind: verb and noun, category, length."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from espalier.building.longtail import form_of, length_of
from espalier.building.wording import tagger
from espalier.core.text import folded
from espalier.report.nearest import nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from espalier.core.records import Example

NEIGHBOUR = "nearest training input"
BANDS = ((0.0, "nothing shared"), (0.25, "up to a quarter"), (0.5, "up to half"), (0.9999, "more than half"))
SAME = "the same words"
TAGS = 4  # of the rows' own, that are looked at
PER_KIND = 3  # test rows that a tag's kinds have on average, at least: an id is no category


@dataclass(frozen=True, slots=True)
class Facet:
    """A way to tell rows apart.

    Attributes:
        name: what it looks at.
        kinds: of each test row.
        seen: of each test row: training rows of its kind; of the neighbour, the share of the input's runs of
            three words that the nearest training input has. None where there is no training.
    """

    name: str
    kinds: tuple[str, ...]
    seen: tuple[float, ...] | None


def facets(test: Sequence[Example], train: Sequence[Example], *, closed: bool = False) -> list[Facet]:
    """Return how rows can be told apart. Words are those of a row's own input, not of what all are asked.

    Args:
        test: rows that are scored.
        train: rows that were learned from; none where nobody knows.
        closed: an answer is one of a few: then it is a kind itself, else its length and form are.
    """
    tag = tagger()

    def verb_and_noun(row: Example) -> str:
        return " ".join(filter(None, tag(_words(row)))) or "no verb"

    ways: dict[str, Callable[[Example], str]] = {
        "task": lambda row: row.task,
        "verb and noun": verb_and_noun,
        **{name: lambda row, name=name: str(_tags(row).get(name, "none")) for name in _categories(test)},
        "length of the input": lambda row: length_of(_words(row)) or "empty",
    }
    if closed:
        ways["answer"] = lambda row: folded(row.answer)
    else:
        ways["form of the answer"] = lambda row: form_of(row.answer) or "empty"
        ways["length of the answer"] = lambda row: length_of(row.answer) or "empty"
    made: list[Facet] = []
    for name, of in ways.items():
        kinds, counts = tuple(map(of, test)), Counter(map(of, train))
        made.append(Facet(name, kinds, tuple(float(counts[kind]) for kind in kinds) if train else None))
    return [*made, *([_neighbours(test, train)] if train else [])]


def _neighbours(test: Sequence[Example], train: Sequence[Example]) -> Facet:
    found = nearest([("", _words(row)) for row in train], [("", _words(row)) for row in test])
    shared = tuple(near.shared if near else 0.0 for near in found)
    same = [near is not None and near.same for near in found]
    kinds = [
        SAME if alike else next((name for most, name in BANDS if share <= most), BANDS[-1][1])
        for share, alike in zip(shared, same, strict=True)
    ]
    return Facet(NEIGHBOUR, tuple(kinds), shared)


def _words(row: Example) -> str:
    """Return a row's own words: its input, or the last thing that the user says."""
    turns = [turn.text for turn in row.prompt if turn.role == "user"]
    return row.input or (turns[-1] if turns else "")


def _tags(row: Example) -> dict[str, object]:
    return {**row.origin.get("tags", {})}


def _categories(rows: Sequence[Example]) -> list[str]:
    """Return the rows' own tags that tell some of them apart, the coarsest first."""
    names = dict.fromkeys(name for row in rows for name in _tags(row))
    kinds = {name: len({str(_tags(row).get(name)) for row in rows}) for name in names}
    fit = [name for name, count in kinds.items() if 1 < count <= len(rows) / PER_KIND]
    return sorted(fit, key=lambda name: kinds[name])[:TAGS]
