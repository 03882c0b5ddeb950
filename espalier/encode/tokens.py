"""An example to token ids with loss weights: the answer and its stop token carry loss, nothing else does.

Whatever is learned from an example is in its `Unit`: the answer that was trained on, the worse ones, and the
prompt that a model may answer itself.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from espalier.core.records import Encoded, message

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
        TemplateError: the template cannot render the conversation.
    """
    return _row(example.id, example.messages, template)


def encode_unit(example: Example, template: Template) -> Unit:
    """Return the example's prompt and all its rows in tokens; a rejected answer takes the place of the last.

    Raises:
        TemplateError: the template cannot render the conversation.
    """
    rows: list[Encoded] = []
    if any(turn.trained for turn in example.messages):
        rows.append(encode(example, template))
    for number, text in enumerate(example.rejected):
        messages = (*example.prompt, message("assistant", text, trained=True))
        rows.append(replace(_row(example.id, messages, template), role="rejected", number=number))
    prompt = rows[0].ids[: rows[0].prompt] if rows else template.prompt_ids(example.prompt)
    return Unit(example.id, prompt, tuple(rows))


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
