"""An example to token ids with loss weights: the answer and its stop token carry loss, nothing else does.

Whatever is learned from an example is in its `Unit`: the answer that was trained on, the worse ones, and the
prompt that a model may answer itself.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from espalier.core.records import Encoded, message
from espalier.encode.template import RewrittenError

if TYPE_CHECKING:
    from espalier.core.records import Example, Message
    from espalier.encode.template import Template


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

    Raises:
        DataError: no token is trained.
        TemplateError: the template cannot render the conversation, or not as one row.
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
    for number, text in enumerate(example.rejected):
        messages = (*example.prompt, message("assistant", text, trained=True))
        messages = _only_last(messages) if len(answers) > 1 else messages
        rows.append(replace(_row(example.id, messages, template), role="rejected", number=number))
    last = (answers or rows or [None])[-1]
    prompt = last.ids[: last.prompt] if last else template.prompt_ids(example.prompt)
    return Unit(example.id, prompt, tuple(rows))


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
    prompt = 0
    ids: list[int] = []
    weights: list[float] = []
    for segment in template.segments(messages):
        if segment.trained:
            prompt = len(ids)
        ids.extend(segment.ids)
        weights.extend([float(segment.trained)] * len(segment.ids))
    return Encoded(tuple(ids), tuple(weights), prompt, example)
