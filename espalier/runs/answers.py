"""Answers in the order of what they answer: a `Generator` gives them in any order, as they are made."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from espalier.core.errors import DataError, TemplateError
from espalier.core.records import media_in
from espalier.decode.engine import check_room
from espalier.runs.events import bar
from espalier.runs.rating import best_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from espalier.core.recipe import Choice
    from espalier.core.records import Completion, Example, Generator, Media
    from espalier.data.inputs import Asked
    from espalier.encode.template import Template
    from espalier.runs.rating import Rater

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


def check_asks(asks: Sequence[Asked], template: Template, limit: int) -> None:
    """Refuse a prompt that the model's context has no room for, before any is answered. Raises DataError."""
    for ask in asks:
        check_media(media_in(ask.prompt), template, ask.question.where)
        try:
            check_room([len(template.prompt_ids(ask.prompt))], limit, template.context)
        except DataError as error:
            hint = "Shorten it, or lower --limit."
            raise DataError(error.message, where=ask.question.where, hint=hint) from None


def check_media(media: Sequence[Media], template: Template, where: str = "") -> None:
    """Refuse pictures and sounds that a model does not take, or that cannot be read. Raises DataError."""
    for one in media:
        try:
            template.blocks.size(one)
        except TemplateError as error:
            raise DataError(error.message, where=where or Path(one.uri).name, hint=error.hint) from None


def in_order(
    generator: Generator, asks: Sequence[Asked], settings: Choice, samples: int
) -> Iterator[Completion]:
    """Yield the answers in the order of their questions, the `samples` of each one after the other.

    How many there are is told as they come.

    Raises:
        GenerationError, DataError: see `Generator`.
    """
    size = max(1, TOGETHER // samples)
    with bar("Answers", len(asks) * samples) as advance:
        for start in range(0, len(asks), size):
            examples = [ask.example(number) for number, ask in enumerate(asks[start : start + size])]
            early: dict[int, Completion] = {}
            following = 0
            for completion in generator.generate(examples, settings):
                early[int(completion.example) * samples + completion.sample] = completion
                while following in early:
                    yield early.pop(following)
                    advance(1, "")
                    following += 1


def best(
    generator: Generator, asks: Sequence[Asked], settings: Choice, samples: int, rater: Rater
) -> Iterator[tuple[Completion, list[float]]]:
    """Yield of each question the best of its samples, with the numbers of all; see `best_of`."""
    with bar("Answers", len(asks) * samples) as advance:

        def write(examples: Sequence[Example]) -> Iterator[Completion]:
            for completion in generator.generate(examples, settings):
                advance(1, "")
                yield completion

        for ask in asks:
            yield best_of(rater, write, ask)
