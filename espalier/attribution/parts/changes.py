"""What a piece of a prompt is changed into: nothing, full stops of equal length, or another task's piece."""

from __future__ import annotations

from typing import TYPE_CHECKING

from espalier.attribution.parts.prompt import cut
from espalier.core.records import Demonstration, Task, TaskRow
from espalier.tasks.templates import Show, available, to_examples
from espalier.tasks.variants import FOREIGN

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from espalier.attribution.parts.prompt import Piece, Prompt
    from espalier.core.records import Message
    from espalier.encode.template import Template

CHANGES = ("leave_out", "neutral", "swap")
STOP = "."
# Another task, where no other is at hand: it has nothing in common with what a text's task asks.
OTHER = Task(
    name="another task",
    definition=FOREIGN,
    rows=(TaskRow("1", "12, 7, 7, 30", ("7, 12, 30; 49",)),),
    positive=(
        Demonstration("3, 1, 2", "1, 2, 3; 6"),
        Demonstration("9, 9, 4", "4, 9; 13"),
    ),
    negative=(Demonstration("5, 8", "8, 5; 13"),),
    cautions=("Separate the numbers by a comma and a space.", "Do not count a number twice."),
)


def other_prompt() -> Prompt:
    """Return a row of `OTHER` with all its parts."""
    show = available(OTHER, Show())
    return cut(to_examples(OTHER, show)[0], OTHER, show)


def changed(
    change: str, prompt: Prompt, place: int, donor: Prompt, template: Template
) -> tuple[Message, ...] | None:
    """Return a prompt's messages with one piece changed; None where that means nothing.

    Args:
        change: one of `CHANGES`. "neutral" is a row of full stops of as many tokens, or as near to that as
            full stops come; "swap" takes the donor's piece of the same kind.
        prompt: the prompt.
        place: of the piece.
        donor: another task's prompt, or another conversation.
        template: that counts tokens.

    Raises:
        TemplateError: the template refuses the prompt.
    """
    piece = prompt.pieces[place]
    if change == "leave_out":
        return prompt.messages({place: None})
    if change == "swap":
        texts = _swapped(prompt, place, donor)
        return prompt.messages({place: texts}) if texts else None
    wanted = len(template.prompt_ids(prompt.messages()))

    def length(texts: tuple[str, ...]) -> int:
        return len(template.prompt_ids(prompt.messages({place: texts})))

    return prompt.messages({place: _filler(piece, wanted, length)})


def _swapped(prompt: Prompt, place: int, donor: Prompt) -> tuple[str, ...] | None:
    """Return the words of the donor's piece of the same kind and number, counted round."""
    piece = prompt.pieces[place]
    found = [one for one in donor.pieces if one.kind == piece.kind and len(one.turns) == len(piece.turns)]
    if not found:
        return None
    number = sum(one.kind == piece.kind for one in prompt.pieces[:place])
    texts = found[number % len(found)].texts
    ends = [text[len(text.rstrip()) :] for text in piece.texts]  # what sets it apart from the next unit
    texts = tuple(text.rstrip() + end for text, end in zip(texts, ends, strict=True))
    return None if texts == piece.texts else texts


def _filler(piece: Piece, wanted: int, length: Callable[[tuple[str, ...]], int]) -> tuple[str, ...]:
    """Return full stops for a piece's words, so many that the prompt has as many tokens as it had."""
    *first, last = piece.texts
    fixed = [_stops(len(text.split()), text) for text in first]

    def texts(count: int, extra: str = "") -> tuple[str, ...]:
        return (*fixed, _stops(count, last, extra))

    low, high = 1, wanted
    while low < high:  # the fewest that are long enough
        middle = (low + high) // 2
        low, high = (middle + 1, high) if length(texts(middle)) < wanted else (low, middle)
    # Where a full stop with its space is two tokens, one more without may be missing.
    near = [texts(count, extra) for count in (low, low - 1) if count for extra in ("", STOP)]
    return min(near, key=lambda one: abs(length(one) - wanted))


def _stops(count: int, text: str, extra: str = "") -> str:
    return " ".join([STOP] * count) + extra + text[len(text.rstrip()) :]


def donors(prompts: Sequence[Prompt]) -> list[Prompt]:
    """Return whose pieces each prompt gets: the next one's of another task, or else of another source.

    Where all are of one task, it is `OTHER`; a conversation's turns are those of another conversation.
    """
    made: list[Prompt] = []
    fallback = other_prompt()
    for place, prompt in enumerate(prompts):
        around = (*prompts[place + 1 :], *prompts[:place])
        own = prompt.example
        other = [one for one in around if one.example.task != own.task]
        apart = [one for one in around if one.example.source != own.source]
        kinds = {piece.kind for piece in prompt.pieces}
        fits = [one for one in other if kinds <= {piece.kind for piece in one.pieces}]
        if not fits and kinds & {"system", "exchange"}:
            fits = apart
        made.append(fits[0] if fits else fallback)
    return made
