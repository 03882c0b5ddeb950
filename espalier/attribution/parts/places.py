"""Which tokens of a prompt are whose: by the characters of the messages, through the chat template.

Where a template puts a message is found by rendering the prompt once more with a word of no language in that
message's place. A template that trims a message is followed; one that changes it, or shows other words before
it then, is refused, and so is a tokenizer whose tokens do not spell the prompt.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from espalier.core.errors import TemplateError
from espalier.core.records import message

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from espalier.attribution.parts.prompt import Prompt
    from espalier.core.records import Message
    from espalier.encode.template import Template

PROBE = "\u241fpart\u241f"


def shares(prompt: Prompt, template: Template) -> NDArray[np.float64]:
    """Return how much of each token of the prompt is of each piece, by characters [pieces, tokens].

    What is of none is the template's own, or stands between the pieces.

    Raises:
        TemplateError: it cannot be told, and why.
    """
    messages = prompt.messages()
    text = template.prompt_text(messages)
    ids = template.prompt_ids(messages)
    spelt = template.pieces(ids[len(template.prefix) :])
    if "".join(spelt) != text:
        raise TemplateError("The tokens do not spell the prompt, so no token can be said to be of a part.")
    owners = np.full(len(text), -1)
    for turn in sorted({turn for piece in prompt.pieces for turn in piece.turns}):
        at, trimmed = _begin(messages, turn, text, template)
        letters = [place for words, place in prompt.segments(turn, {}) for _ in words][trimmed]
        owners[at : at + len(letters)] = [-1 if place is None else place for place in letters]
    made = np.zeros((len(prompt.pieces), len(ids)))
    start = 0
    for token, piece in enumerate(spelt, start=len(template.prefix)):
        for place in owners[start : start + len(piece)]:
            if place >= 0:
                made[place, token] += 1 / len(piece)
        start += len(piece)
    return made


def _begin(messages: tuple[Message, ...], turn: int, text: str, template: Template) -> tuple[int, slice]:
    """Return where a message begins in the rendered prompt, and which of its letters are shown there."""
    own = messages[turn].text
    probed = [*messages]
    probed[turn] = message(messages[turn].role, PROBE)
    at = (other := template.prompt_text(probed)).find(PROBE)
    if at >= 0 and text[:at] == other[:at]:
        if text.startswith(own, at):
            return at, slice(None)
        if text.startswith(own.strip(), at):
            return at, slice(len(own) - len(own.lstrip()), len(own.rstrip()))
    raise TemplateError(
        f"The chat template shows the {messages[turn].role}'s turn {turn + 1} otherwise than it is written, "
        "so no token can be said to be of a part."
    )
