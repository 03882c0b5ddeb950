"""An example to token ids with loss weights: the answer and its stop token carry loss, nothing else does.

Whatever is learned from an example is in its `Unit`: the answer that was trained on, the worse ones, and the
prompt that a model may answer itself.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from typing import TYPE_CHECKING

from espalier.core.errors import TemplateError
from espalier.core.records import Encoded
from espalier.encode.media import FIRST, named

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from espalier.core.records import Example, Message
    from espalier.encode.template import Template


class RewrittenError(TemplateError):
    """A conversation that cannot be one row, since a trained answer is rendered otherwise later on."""


@dataclass(frozen=True, slots=True)
class Unit:
    """All rows of one example, which share its prompt; they are never split over steps.

    Attributes:
        example: its id.
        prompt: token ids that a generation is prompted with.
        rows: its trained answer, where it has one, and its rejected ones.
    """

    example: str
    prompt: tuple[int, ...]
    rows: tuple[Encoded, ...]


def encode(example: Example, template: Template) -> Encoded:
    """Return the example's answer in tokens, each trained turn weighted 1 per token.

    The row ends with the last trained answer: what comes after it influences nothing.

    Raises:
        DataError: no token is trained.
        RewrittenError: the template renders a trained answer otherwise once a later one follows.
        TemplateError: the template cannot render the conversation.
    """
    return _row(example.id, example.messages, template)


def encode_unit(example: Example, template: Template) -> Unit:
    """Return the example's prompt and all its rows in tokens; a rejected answer takes the place of the last.

    The answers are one row, in which every trained turn is learned; where the template renders earlier turns
    otherwise once later ones follow, a row for each, behind the history that a model would see there.

    Raises:
        TemplateError: the template cannot render the conversation.
    """
    answers = _answers(example, template) if any(turn.trained for turn in example.messages) else []
    rows = [*answers]
    for number, worse in enumerate(example.rejected):
        messages = (*example.prompt, replace(worse, trained=True))
        messages = _only_last(messages) if len(answers) > 1 else messages
        rows.append(replace(_row(example.id, messages, template), role="rejected", number=number))
    last = (answers or rows or [None])[-1]
    prompt = last.ids[: last.prompt] if last else template.prompt_ids(example.prompt)
    return Unit(example.id, prompt, tuple(rows))


def read_ahead(examples: Sequence[Example], template: Template) -> None:
    """Turn examples into tokens together, so that `encode_unit` costs less for each of them."""
    template.read_ahead(row for example in examples for row in _conversations(example))


def unit_hashes(units: Iterable[Unit]) -> list[str]:
    """Return the `content_hash` of each unit's ids, weights and roles, in half the time: it makes the JSON.

    Each is hashed by itself, as one text of all would take more memory than they do.
    """
    digits = cache(str)
    weighted = lru_cache(4096)(json.dumps)

    def listed(ids: tuple[int, ...]) -> str:
        if max(ids, default=0) >= FIRST:
            return json.dumps(named(ids))
        return f"[{', '.join(map(digits, ids))}]"

    def text(unit: Unit) -> str:
        rows = [f'[{listed(row.ids)}, {weighted(row.weights)}, "{row.role}"]' for row in unit.rows]
        return f"[{listed(unit.prompt)}, [{', '.join(rows)}]]"

    return [hashlib.sha256(text(unit).encode()).hexdigest()[:16] for unit in units]


def foreign_answers(example: Example, template: Template) -> int:
    """Return how many answers of an example have other ids than the tokenizer gives; more than 0 is a bug."""
    return sum(not template.is_own(row) for row in _conversations(example))


def _conversations(example: Example) -> list[tuple[Message, ...]]:
    """Return what an example's rows are read from: up to each trained answer, and to each worse one."""
    places = [place for place, turn in enumerate(example.messages) if turn.trained]
    rows = [example.messages[: place + 1] for place in places]
    return rows + [(*example.prompt, replace(worse, trained=True)) for worse in example.rejected]


def _answers(example: Example, template: Template) -> list[Encoded]:
    try:
        return [encode(example, template)]
    except RewrittenError:
        return [
            replace(_row(example.id, _only_last(example.messages[: place + 1]), template), number=place)
            for place, turn in enumerate(example.messages)
            if turn.trained
        ]


def _only_last(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    return (*(replace(turn, trained=False) for turn in messages[:-1]), messages[-1])


def _row(example: str, messages: tuple[Message, ...], template: Template) -> Encoded:
    """Return the ids up to the last trained answer, in which the earlier ones have to stand as they were."""
    places = [place for place, turn in enumerate(messages) if turn.trained]
    answers = [template.answered(messages[: place + 1]) for place in places]
    ids, prompt = (answers[-1].ids, answers[-1].prompt) if answers else (template.prompt_ids(messages), 0)
    if len(answers) == 1:
        return Encoded(ids, _of_one(prompt, len(ids)), prompt, example)
    weights = [0.0] * len(ids)
    for answer in answers:
        if ids[: len(answer.ids)] != answer.ids:
            raise RewrittenError(
                "The chat template renders earlier turns differently once a later turn follows, so they "
                "cannot be trained in one row."
            )
        weights[answer.prompt : len(answer.ids)] = [1.0] * (len(answer.ids) - answer.prompt)
    return Encoded(ids, tuple(weights), prompt, example)


@lru_cache(maxsize=4096)
def _of_one(prompt: int, size: int) -> tuple[float, ...]:
    """Return the weights of a row of one answer; rows of the same lengths hold the same, a third of them."""
    return (0.0,) * prompt + (1.0,) * (size - prompt)
