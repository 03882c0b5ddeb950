"""A model as judge: which of two systems answers better, or how good answers are, and whether to believe it.

A model of this machine weighs the labels A, B and tie behind the prompt, along prompt trees; one behind a
server writes its verdict at temperature 0. Either is asked through what keeps answers by all that they depend
on, so that nothing is asked twice, after a kill neither.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from espalier.core.errors import DataError, RecipeError
from espalier.core.recipe import Choice
from espalier.core.records import Example, message
from espalier.core.text import counted
from espalier.generate.parsing import number_in, unthought
from espalier.judge.grades import Grades, Single, score_grades
from espalier.judge.pairs import Pair, PairVerdicts, score_pairs
from espalier.judge.prompts import GRADES, MOST, OPTIONS, RUBRIC, grade_prompt, padded, pair_prompt
from espalier.judge.verdicts import verdict_of
from espalier.judge.words import told_of_grades, told_of_pairs
from espalier.runs.events import bar, say
from espalier.trials.judged import Judged

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from espalier.core.records import Completion, Generator
    from espalier.decode.local import Local
    from espalier.judge.pairs import Orders
    from espalier.judge.verdicts import Verdict

    Key = tuple[str, int, int]  # the control or "full", the place of the row, the order

TAKEN = 16  # tokens that a label takes at most
REFUSED = "[the judge was not asked: the prompt does not fit into its context]"


@dataclass(frozen=True)
class Manner:
    """How a judge is asked.

    Attributes:
        rubric: by what answers are judged, as it stands behind "by".
        controls: how many rows the controls are tried on.
        limit: most tokens of a written verdict.
        seed: which rows those are, and of the bootstrap.
    """

    rubric: str = RUBRIC
    controls: int = 50
    limit: int = 512
    seed: int = 0

    def __post_init__(self) -> None:
        if self.controls < 0 or self.limit < 1 or not self.rubric.strip():
            raise RecipeError("A judge needs a rubric, a limit above 0, and no fewer than 0 controls.")


@dataclass(frozen=True)
class Judge:
    """Who judges: what answers prompts, and its name for a person."""

    generator: Generator
    name: str


def judge_pairs(pairs: Sequence[Pair], judge: Judge, names: tuple[str, str], manner: Manner) -> Judged:
    """Ask a judge which answer of each pair is better, in both orders, with controls; say what that is worth.

    Args:
        pairs: the answers.
        judge: who is asked.
        names: of the two systems.
        manner: how.

    Raises:
        EspalierError: the judge cannot be asked; what it has said is kept.
    """
    prompts: dict[Key, str] = {}
    some = _sample(len(pairs), manner)
    for place, pair in enumerate(pairs):
        texts: dict[str, tuple[str | None, str, str]] = {"full": (pair.request, *pair.answers)}
        if place in some:
            longer = padded(pair.answers[0])
            texts["blind"] = (None, *pair.answers)
            texts["padded"] = (pair.request, longer, pair.answers[0])
        for kind, (request, one, other) in texts.items():
            prompts[kind, place, 0] = pair_prompt(request, one, other, manner.rubric)
            prompts[kind, place, 1] = pair_prompt(request, other, one, manner.rubric)
        if place in some:
            own = pair.answers[0]
            prompts["same", place, 0] = pair_prompt(pair.request, own, own, manner.rubric)
    said, notes = _asked(judge, prompts, OPTIONS, manner)
    verdicts: dict[Key, Verdict | None] = {key: _verdict(one) for key, one in said.items()}

    def orders(kind: str) -> dict[int, Orders]:
        places = [place for one, place, order in prompts if one == kind and order == 0]
        return {place: (verdicts[kind, place, 0], verdicts[kind, place, 1]) for place in places}

    same: dict[int, Verdict | None] = {place: verdicts["same", place, 0] for place in sorted(some)}
    found = PairVerdicts([*orders("full").values()], orders("blind"), orders("padded"), same)
    score = score_pairs(pairs, found, manner.seed)
    rows = [
        {"id": pair.id, "winner": winner, "verdicts": both, "replies": _replies(said, place, 2)}
        for place, (pair, winner, both) in enumerate(zip(pairs, score.winners, found.full, strict=True))
    ]
    form = pair_prompt("{request}", "{first answer}", "{second answer}", manner.rubric)
    told, asked = told_of_pairs(score, names), len({*prompts.values()})
    return Judged(judge.name, names, score, told, form, len(some), asked, notes, rows)


def judge_singles(singles: Sequence[Single], judge: Judge, name: str, manner: Manner) -> Judged:
    """Ask a judge for a grade of each answer, with controls; see `judge_pairs`."""
    some = _sample(len(singles), manner)
    prompts: dict[Key, str] = {}
    for place, one in enumerate(singles):
        prompts["full", place, 0] = grade_prompt(one.request, one.answer, manner.rubric)
        if place in some:
            prompts["blind", place, 0] = grade_prompt(None, one.answer, manner.rubric)
            prompts["padded", place, 0] = grade_prompt(one.request, padded(one.answer), manner.rubric)
    said, notes = _asked(judge, prompts, GRADES, manner)
    grades = {key: _grade(one) for key, one in said.items()}

    def of(kind: str) -> dict[int, int | None]:
        return {place: grade for (one, place, _), grade in grades.items() if one == kind}

    found = Grades([*of("full").values()], of("blind"), of("padded"))
    score = score_grades(singles, found, manner.seed)
    rows = [
        {"id": one.id, "grade": grade, "replies": _replies(said, place, 1)}
        for place, (one, grade) in enumerate(zip(singles, found.full, strict=True))
    ]
    form, told = grade_prompt("{request}", "{answer}", manner.rubric), told_of_grades(score, name)
    asked = len({*prompts.values()})
    return Judged(judge.name, (name,), score, told, form, len(some), asked, notes, rows)


def _sample(count: int, manner: Manner) -> set[int]:
    return {*random.Random(manner.seed).sample(range(count), min(count, manner.controls))}


def _asked(
    judge: Judge, prompts: Mapping[Key, str], options: Sequence[str], manner: Manner
) -> tuple[dict[Key, Completion], tuple[str, ...]]:
    """Return the judge's reply to each prompt, asking none twice, and what is to be said of it."""
    from espalier.decode.local import Local
    from espalier.runs.answers import answers_of

    texts = list(dict.fromkeys(prompts.values()))
    rows = [_example(str(n), text, options) for n, text in enumerate(texts)]
    form: dict[str, Any] = {"kind": "greedy", "limit": manner.limit}
    if isinstance(judge.generator, Local):
        rows, form = _fitting(judge.generator, rows), {"kind": "choices"}
    say(f"{judge.name} judges: {counted(len(texts), 'prompt')}, {manner.controls} rows of controls at most.")
    with bar("Verdicts", len(rows)) as advance:
        found = answers_of(judge.generator, rows, Choice.model_validate(form), lambda: advance(1, ""))
    said = {texts[int(one.example)]: one for one in found}
    missing = replace(found[0], text=REFUSED, finish="error") if found else None
    if missing is None:
        raise DataError("No prompt fits into the judge's context.", hint="Take another judge.")
    return {key: said.get(text, missing) for key, text in prompts.items()}, _notes(said, len(texts))


def _fitting(local: Local, rows: Sequence[Example]) -> list[Example]:
    """Return the rows whose prompts leave a label room in the model's context."""
    template = local.template
    return [row for row in rows if len(template.prompt_ids(row.messages)) + TAKEN <= template.context]


def _notes(said: Mapping[str, Completion], count: int) -> tuple[str, ...]:
    refused = sum(one.finish == "error" for one in said.values())
    cut = sum(one.finish == "length" for one in said.values())
    told = [
        f"{counted(count - len(said), 'prompt')} of {count} did not fit into the judge's context."
        if len(said) < count
        else "",
        f"The server refused {counted(refused, 'prompt')} of {count}." if refused else "",
        f"{cut} of {count} replies ended at the limit of tokens (-o limit=…)." if cut else "",
    ]
    return tuple(filter(None, told))


def _example(name: str, text: str, options: Sequence[str]) -> Example:
    return Example(name, "judge", name, (message("user", text),), facts={"options": [*options]})


def _verdict(said: Completion) -> Verdict | None:
    return None if said.finish == "error" else verdict_of(unthought(said.text))


def _grade(said: Completion) -> int | None:
    return None if said.finish == "error" else number_in(unthought(said.text), MOST) or None


def _replies(said: Mapping[Key, Completion], place: int, orders: int) -> list[str]:
    return [said["full", place, order].text for order in range(orders)]
