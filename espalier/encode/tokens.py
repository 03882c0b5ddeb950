"""An example to token ids with loss weights: the answer and its stop token carry loss, nothing else does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from espalier.core.records import Encoded

if TYPE_CHECKING:
    from espalier.core.records import Example
    from espalier.encode.template import Template


def encode(example: Example, template: Template) -> Encoded:
    """Return the example in tokens, each trained turn weighted 1 per token.

    Raises:
        DataError: no token is trained.
        TemplateError: the template cannot render the conversation.
    """
    segments = template.segments(example.messages)
    prompt = 0
    ids: list[int] = []
    weights: list[float] = []
    for segment in segments:
        if segment.trained:
            prompt = len(ids)
        ids.extend(segment.ids)
        weights.extend([float(segment.trained)] * len(segment.ids))
    return Encoded(tuple(ids), tuple(weights), prompt, example.id)
