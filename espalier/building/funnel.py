"""What a build did to its rows: how many came in, what each filter found in all of them, how many go out.

Filters judge independently, so there are two counts of each: what it found, and what is left after it and all
that stand before it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import TypeAdapter, ValidationError

from espalier.building.written import place_of_row
from espalier.core.errors import DataError
from espalier.core.files import read_json
from espalier.core.registry import recipe_error
from espalier.core.spending import NOTHING, Spent
from espalier.core.text import word_count

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from numpy.typing import NDArray

    from espalier.core.records import Example
    from espalier.data.judgement import Judgement
    from espalier.data.pairs import Pairs

FUNNEL, TABLE = "funnel.json", "pairs.parquet"  # in a build's folder
SHOWN = 3  # rows of what a filter found
LENGTHS = 5_000  # rows whose lengths are counted
LONGEST = 600  # characters of a text that is kept as an example


@dataclass(frozen=True, slots=True)
class Source:
    """Where rows came from.

    Attributes:
        path: as the recipe has it; of rows that a model wrote, the model.
        licence: under which they were published.
        rows: how many came in; `rejected` could not.
        use: what for: "rows" of the data set, or only to write others from ("seeds", "prompts").
        note: what else is to be said, such as how far annotators agree.
        name: what the recipe calls it, and everything else that tells of it.
    """

    path: str
    licence: str
    rows: int
    rejected: int
    use: str = "rows"
    note: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True)
class Written:
    """What a step of generation came to.

    Attributes:
        name, kind: the step.
        model: who wrote.
        given: rows that it was given.
        answers: what the model wrote, whatever it was good for.
        rows: what came of it.
        left_out: answers that could not be used, by reason.
        paid: in the start of the build that wrote these rows.
        total: by this step in all starts, those that were killed or had other settings too.
    """

    name: str
    kind: str
    model: str
    given: int
    answers: int
    rows: int
    left_out: Mapping[str, int]
    paid: Spent = NOTHING
    total: Spent = NOTHING


@dataclass(frozen=True, slots=True)
class FoundRow:
    """A row that a filter found, with its evidence; `near` is the row that it is told beside.

    Texts that are long are cut around what is `marked` in them; beside another row the whole prompt counts,
    and its middle is cut, as prompts are alike in their beginnings.
    """

    id: str
    where: str
    prompt: str
    answer: str
    why: str
    score: float | None = None
    near: str = ""
    near_where: str = ""
    near_prompt: str = ""
    near_answer: str = ""
    marked: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Step:
    """What a filter did.

    Attributes:
        name: the column of its verdicts.
        kind, params: what it is.
        found: rows that it does not let pass.
        unjudged: rows that it could not judge.
        left: rows that it and all before it let pass, as far as these take rows out.
        drops: whether its rows are taken out.
        examples: some of what it found.
    """

    name: str
    kind: str
    params: Mapping[str, Any]
    found: int
    unjudged: int
    left: int
    drops: bool
    examples: tuple[FoundRow, ...] = ()

    @property
    def settings(self) -> str:
        """The parameters as a recipe has them."""
        return ", ".join(f"{key} = {json.dumps(value)}" for key, value in self.params.items())


@dataclass(frozen=True, slots=True)
class Funnel:
    """The rows of a build from its sources to what goes out.

    `lengths` are words of answers, and `written` is what the steps of generation came to.
    """

    name: str
    sources: tuple[Source, ...]
    rows: int
    steps: tuple[Step, ...]
    out: int
    lengths: Mapping[str, Sequence[int]]
    written: tuple[Written, ...] = ()

    def to_json(self) -> str:
        """Return it as text; see `read_funnel`."""
        return json.dumps(asdict(self), ensure_ascii=False, indent=1) + "\n"


def read_funnel(path: Path) -> Funnel:
    """Return what `Funnel.to_json` wrote. Raises DataError where it is not that."""
    try:
        return TypeAdapter(Funnel).validate_python(read_json(path))
    except ValidationError as error:
        wrong = recipe_error(error)
        raise DataError(
            f"The funnel cannot be read: {wrong.where}: {wrong.message}",
            where=str(path),
            hint="Build again: it is written anew.",
        ) from None


@dataclass(frozen=True, slots=True)
class NamedFilter:
    """A filter as the recipe names it."""

    name: str
    kind: str
    params: Mapping[str, Any]


def make_funnel(
    name: str,
    pairs: Pairs,
    sources: Sequence[Source],
    filters: Sequence[NamedFilter | Step],
    dropped: Collection[str],
    written: Sequence[Written] = (),
) -> Funnel:
    """Return what the verdicts of a table come to, with rows as examples."""
    alive = np.ones(len(pairs), bool)
    steps: list[Step] = []
    for asked in filters:
        found, unjudged = pairs.outcome(asked.name)
        drops = asked.name in dropped
        if drops:
            alive &= ~found
        places = np.flatnonzero(found)
        spread = np.unique(np.linspace(0, len(places) - 1, min(SHOWN, len(places))).astype(int))
        shown = _examples(pairs, asked.name, [int(place) for place in places[spread]])
        steps.append(
            Step(
                asked.name,
                asked.kind,
                asked.params,
                len(places),
                int(unjudged.sum()),
                int(alive.sum()),
                drops,
                shown,
            )
        )
    out = int(alive.sum())
    return Funnel(name, tuple(sources), len(alive), tuple(steps), out, _lengths(pairs, alive), tuple(written))


def _examples(pairs: Pairs, name: str, places: Sequence[int]) -> tuple[FoundRow, ...]:
    rows = [(example, verdicts[name]) for example, verdicts in pairs.at(places)]
    wanted = {verdict.near for _, verdict in rows if verdict.near}
    near = {example.id: example for example, _ in pairs.at(pairs.places(wanted))}
    return tuple(_found(example, verdict, near.get(verdict.near)) for example, verdict in rows)


def _found(example: Example, verdict: Judgement, near: Example | None) -> FoundRow:
    texts = [turn.text for turn in example.messages]
    marked = tuple(dict.fromkeys(texts[turn][start:end] for turn, start, end in verdict.spans))
    prompt, beside = example.input or example.prompt[-1].text, ""
    if near:
        prompt, beside = _apart(example.prompt[-1].text, near.prompt[-1].text)
    answer = _answer_of(example)
    if marked and not any(part in text for part in marked for text in (prompt, answer)):
        prompt = texts[verdict.spans[0][0]]
    return FoundRow(
        example.id,
        place_of_row(example),
        _excerpt(prompt, marked, near is not None),
        _excerpt(answer, marked),
        verdict.why,
        verdict.score,
        verdict.near,
        place_of_row(near) if near else "",
        _excerpt(beside, (), True),
        _excerpt(_answer_of(near)) if near else "",
        marked,
    )


def _apart(one: str, other: str) -> tuple[str, str]:
    """Return two prompts without a long beginning that they share, such as a task's words."""
    pairs = enumerate(zip(one, other, strict=False))
    shared = next((place for place, (mine, theirs) in pairs if mine != theirs), min(len(one), len(other)))
    cut = one.rfind("\n", 0, shared) + 1
    if cut < LONGEST // 2 or one == other:
        return one, other
    return f"…\n{one[cut:]}", f"…\n{other[cut:]}"


def _answer_of(example: Example) -> str:
    return example.answer or next((turn.text for turn in example.rejected), "")


def _excerpt(text: str, marked: Sequence[str] = (), ends: bool = False) -> str:
    """Return a text; of a long one the part around what is marked, or both ends, or the beginning."""
    if len(text) <= LONGEST:
        return text
    if ends:
        return f"{text[: LONGEST // 2]} … {text[-LONGEST // 2 :]}"
    place = min((text.find(part) for part in marked if part in text), default=0)
    start = max(0, min(place - LONGEST // 2, len(text) - LONGEST))
    return f"{'…' * (start > 0)}{text[start : start + LONGEST]}{'…' * (start + LONGEST < len(text))}"


def _lengths(pairs: Pairs, alive: NDArray[np.bool_]) -> dict[str, list[int]]:
    places = range(0, len(alive), 1 + len(alive) // LENGTHS)
    found: dict[str, list[int]] = {"answers that came in": [], "answers that go out": []}
    for place, (example, _) in zip(places, pairs.at(places), strict=True):
        count = word_count(example.answer)
        found["answers that came in"].append(count)
        if alive[place]:
            found["answers that go out"].append(count)
    return found
