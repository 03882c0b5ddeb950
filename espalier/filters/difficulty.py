"""How much an instruction helps with its answer, by the model that is to learn it.

Instruction-following difficulty (Li et al. 2023, "From Quantity to Quality", arXiv 2308.12032): the loss of
the answer behind its prompt, over the loss of the same answer behind nothing. At 1 and over the instruction
does not help: answer and prompt do not fit, or the model cannot see that they do. Near 0 the answer follows
from the prompt, so that there is little to learn.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING

from espalier.core.errors import DataError, RecipeError, TemplateError
from espalier.core.records import message
from espalier.data.judgement import Judgement, weighing

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from espalier.core.records import Example, Likelihood
    from espalier.data.judgement import Filter, Weighing

BATCH = 64


@weighing.register("difficulty")
def difficulty(*, least: float = 0.0, most: float = 1.0) -> Weighing:
    """Instruction-following difficulty: the answer's loss with its prompt over that without, by a model."""
    if not 0 <= least < most:
        raise RecipeError("The least difficulty must be under the most.", where="filter.difficulty")

    def bound(likelihood: Likelihood) -> Filter:
        def judge(rows: Iterable[Example]) -> Iterator[Judgement]:
            rest = iter(rows)
            while part := list(islice(rest, BATCH)):
                for value in _ratios(likelihood, part):
                    yield value if isinstance(value, Judgement) else _judged(value, least, most)

        return judge

    return bound


def _judged(value: float, least: float, most: float) -> Judgement:
    if value >= most:
        return Judgement(
            False, f"Its prompt does not help with the answer: {value:.2f} of the loss stays.", value
        )
    if value < least:
        return Judgement(False, f"The answer follows from its prompt: {value:.2f} of the loss stays.", value)
    return Judgement(True, score=value)


def _ratios(likelihood: Likelihood, rows: Sequence[Example]) -> list[float | Judgement]:
    """Return the difficulty of each row, or why it has none; rows that do not fit spoil no other."""
    asked = [row for row in rows if row.answer.strip()]
    alone = [
        replace(row, messages=(message("user", ""), message("assistant", row.answer, trained=True)))
        for row in asked
    ]
    try:
        answers = [[row.answer] for row in asked]
        pairs = zip(likelihood.logprobs(asked, answers), likelihood.logprobs(alone, answers), strict=True)
        found = iter([_ratio(behind, bare) for (behind,), (bare,) in pairs])
    except (DataError, TemplateError) as error:
        if len(rows) > 1:
            return [value for row in rows for value in _ratios(likelihood, [row])]
        return [Judgement(None, error.message)]
    empty = Judgement(None, "There is no answer to weigh.")
    return [next(found) if row.answer.strip() else empty for row in rows]


def _ratio(behind: float, bare: float) -> float | Judgement:
    if not bare < 0:
        return Judgement(None, "The answer costs the model nothing.")
    return behind / bare
