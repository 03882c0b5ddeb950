"""Answers in the order of what they answer: a `Generator` gives them in any order, as they are made."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from espalier.core.recipe import Choice
    from espalier.core.records import Completion, Example, Generator
    from espalier.data.inputs import Asked

TOGETHER = 256  # answers decoded at a time: what prompts share is computed once, and answers come soon


def answers_of(
    generator: Generator, examples: Sequence[Example], settings: Choice, advance: Callable[[], None]
) -> list[Completion]:
    """Return the answers to all examples in their order, the samples of each one after the other.

    `advance` is called for each as it is made.

    Raises:
        GenerationError, DataError: see `Generator`.
    """
    found: list[Completion] = []
    for completion in generator.generate(examples, settings):
        found.append(completion)
        advance()
    place = {example.id: number for number, example in enumerate(examples)}
    return sorted(found, key=lambda completion: (place[completion.example], completion.sample))


def in_order(
    generator: Generator, asks: Sequence[Asked], settings: Choice, samples: int
) -> Iterator[Completion]:
    """Yield the answers in the order of their questions, the `samples` of each one after the other.

    Raises:
        GenerationError, DataError: see `Generator`.
    """
    size = max(1, TOGETHER // samples)
    for start in range(0, len(asks), size):
        examples = [ask.example(number) for number, ask in enumerate(asks[start : start + size])]
        early: dict[int, Completion] = {}
        following = 0
        for completion in generator.generate(examples, settings):
            early[int(completion.example) * samples + completion.sample] = completion
            while following in early:
                yield early.pop(following)
                following += 1
