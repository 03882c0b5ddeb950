"""A loaded model that answers, and says how likely answers are: a `Generator` and a `Likelihood` in one.

Whoever has answers written or weighed by a model of this machine asks a `Local`. Only training does not: its
weights change with each step, and it asks the engine itself (`train/sampling.py`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from espalier.decode.choosing import choose
from espalier.decode.engine import generate, written
from espalier.decode.likelihood import answer_rows, check_context, numbers
from espalier.decode.picking import limited, no_raters
from espalier.decode.ready import ready_to_decode, to_decode
from espalier.decode.strategies.registry import strategies

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from transformers import PreTrainedModel

    from espalier.core.recipe import Choice
    from espalier.core.records import Completion, Example, Finish, Message
    from espalier.decode.journal import Generations
    from espalier.decode.picking import Raters
    from espalier.decode.strategy import Strategy
    from espalier.encode.template import Template
    from espalier.models.load import Loaded


@dataclass(frozen=True)
class Local:
    """A model with its template, ready to decode; `local_of` makes it.

    Attributes:
        loaded: the weights that say how likely an answer is, with their hash, their number formats, and
            whether they share.
        journal: where answers are kept; None where they are not.
        in_place: whether these weights write, too; otherwise a copy of them does.
        raters: loads the reward models that choose among answers, where a strategy names any.
    """

    loaded: Loaded
    journal: Generations | None = None
    in_place: bool = False
    raters: Raters = no_raters

    @cached_property
    def writer(self) -> PreTrainedModel:
        """The model that writes: adapters merged, in the number format of decoding. Made when first asked."""
        if self.in_place:
            return self.loaded.model
        return to_decode(self.loaded.model, self.loaded.formats.decoding)

    @property
    def template(self) -> Template:
        """Of the model's tokenizer."""
        return self.loaded.template

    def generate(self, examples: Sequence[Example], settings: Choice) -> Iterator[Completion]:
        """Yield the completions of each example, in any order, each one as soon as it is made.

        What the journal holds is not made again. Without one the keys name no weights, as those of `stream`.

        Raises:
            RecipeError: the settings do not fit.
            GenerationError, DataError: see `decode.engine.generate`.
        """
        strategy, weights = strategy_of(settings), self.loaded.weights if self.journal is not None else ""
        if strategy.weighs is not None:
            return choose(self.loaded, examples, strategy.weighs, weights=weights, journal=self.journal)
        return generate(
            self.writer,
            self.template,
            examples,
            strategy,
            weights=weights,
            journal=self.journal,
            raters=self.raters,
        )

    def stream(
        self, messages: Sequence[Message], settings: Choice, limit: int | None = None
    ) -> Iterator[tuple[str, Finish | None]]:
        """Yield the answer to one prompt in pieces, as it is written, the last with why it ended.

        Args:
            messages: the prompt.
            settings: as in `generate`, whose answer it is; of several samples the first.
            limit: most new tokens, where that is fewer than the settings allow.

        Raises:
            RecipeError, DataError: see `generate`.
        """
        strategy = strategy_of(settings)
        most = strategy.limit if limit is None else min(limit, strategy.limit)
        return written(self.writer, self.template, messages, limited(strategy, most), raters=self.raters)

    def logprobs(self, examples: Sequence[Example], options: Sequence[Sequence[str]]) -> list[list[float]]:
        """Return the log-probability in nats of each option as the answer to its example's prompt.

        What prompts and options share is computed once, as far as the budget of tokens reaches.

        Raises:
            TemplateError: the template cannot render a prompt with one of its options.
            DataError: a prompt with one of its options does not fit into the model's context.
        """
        return [[logprob for logprob, _ in own] for own in self.weighed(examples, options)]

    def weighed(
        self, examples: Sequence[Example], options: Sequence[Sequence[str]]
    ) -> list[list[tuple[float, int]]]:
        """Return the same, each with how many tokens it is the sum of; see `logprobs`."""
        rows = [row for own in answer_rows(examples, options, self.template) for row in own]
        check_context(rows, self.template.context)
        found = zip(numbers(self.loaded, rows), rows, strict=True)
        told = ((logprob, sum(weight > 0 for weight in row.weights)) for logprob, row in found)
        return [[next(told) for _ in choices] for choices in options]


def local_of(
    loaded: Loaded,
    journal: Generations | None = None,
    *,
    in_place: bool = False,
    raters: Raters = no_raters,
) -> Local:
    """Return a loaded model as one that can be asked.

    Args:
        loaded: a model that writes, in the number formats to compute in.
        journal: where its answers are to be kept.
        in_place: make the weights themselves ready to decode, which saves a copy: they can be trained no
            more, and likelihoods, too, are those of the weights in the number format of decoding.
        raters: see `Local`.
    """
    if in_place:
        loaded = replace(loaded, model=ready_to_decode(loaded.model, loaded.formats.decoding))
    return Local(loaded, journal, in_place, raters)


def strategy_of(settings: Choice) -> Strategy:
    """Return the strategy that a recipe's `[decode]` names. Raises RecipeError where it does not fit."""
    return strategies.build(settings.kind, settings.params, "decode")
