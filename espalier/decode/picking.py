"""One answer chosen among several that are written to a prompt: by likelihood, by a reward, or by votes.

The several are samples like any others, under the keys of those. So what the journal holds of 8 is not made
again when 16 are chosen among.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias

from espalier.core.records import message
from espalier.evaluate.rewards import reward_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from espalier.core.records import Completion, Example, Scorer
    from espalier.decode.strategy import Pick, Strategy

    # From names of rewards to those that are models.
    Raters: TypeAlias = Callable[[Iterable[str]], Mapping[str, Scorer]]


def no_raters(names: Iterable[str]) -> Mapping[str, Scorer]:
    """Load no reward model."""
    return {}


def picked(
    write: Callable[[Sequence[Example], Strategy], Iterable[Completion]],
    examples: Sequence[Example],
    pick: Pick,
    raters: Raters = no_raters,
) -> Iterator[Completion]:
    """Yield of each example's answers the one that is chosen, as soon as all of them are written.

    Args:
        write: writes the answers, in any order.
        examples: to be answered.
        pick: what chooses.
        raters: loads the reward models that `pick` names.

    Raises:
        RecipeError: there is no reward of that name.
    """
    reward = reward_of(pick.by, "decode.by", raters([pick.by])) if pick.by else None
    asked = {example.id: example for example in examples}
    found: defaultdict[str, list[Completion]] = defaultdict(list)
    for completion in write(examples, pick.of):
        several = found[completion.example]
        several.append(completion)
        if len(several) == pick.of.samples:
            several.sort(key=lambda one: one.sample)
            example = _unanswered(asked[completion.example])
            scores = reward.score([example] * len(several), several) if reward else []
            values = [score.value for score in scores] or [None] * len(several)
            yield replace(pick.choose(several, values), sample=0)
            del found[completion.example]


def _unanswered(example: Example) -> Example:
    """Return an example without the answers that are known to be right: what chooses may not see them."""
    turns = (*example.prompt, message("assistant", "", trained=True))
    return replace(example, messages=turns, references=(), rejected=())


def limited(strategy: Strategy, limit: int) -> Strategy:
    """Return the strategy with another limit."""
    pick = strategy.pick
    return replace(strategy, limit=limit, pick=pick and pick._replace(of=replace(pick.of, limit=limit)))
