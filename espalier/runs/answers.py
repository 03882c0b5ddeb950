"""Answers to many questions, in the order of these: they are decoded together, and come in any order."""

from __future__ import annotations

from typing import TYPE_CHECKING

from espalier.decode.engine import generate

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from transformers import PreTrainedModel

    from espalier.core.records import Completion
    from espalier.data.inputs import Asked
    from espalier.decode.strategies import Strategy
    from espalier.encode.template import Template

TOGETHER = 256  # answers decoded at a time: what prompts share is computed once, and answers come soon


def in_order(
    model: PreTrainedModel, template: Template, asks: Sequence[Asked], strategy: Strategy
) -> Iterator[Completion]:
    """Yield the answers in the order of their questions, the samples of each one after the other.

    Raises:
        GenerationError, DataError: see `generate`.
    """
    size = max(1, TOGETHER // strategy.samples)
    for start in range(0, len(asks), size):
        examples = [ask.example(number) for number, ask in enumerate(asks[start : start + size])]
        early: dict[int, Completion] = {}
        following = 0
        for completion in generate(model, template, examples, strategy):
            early[int(completion.example) * strategy.samples + completion.sample] = completion
            while following in early:
                yield early.pop(following)
                following += 1
