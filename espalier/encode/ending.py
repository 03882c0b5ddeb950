"""Where an answer ends in token ids: at its stop token, which is added where a template writes none."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from espalier.core.errors import TemplateError
from espalier.encode.tokenizer import LONGEST_CHARACTER

if TYPE_CHECKING:
    from collections.abc import Sequence

    from espalier.encode.tokenizer import Reader
    from espalier.encode.voice import Frame


def ended(
    reader: Reader, ids: tuple[int, ...], prompt: int, whole: str, frame: Frame, stop: int
) -> tuple[int, ...]:
    """Return the ids up to the answer's stop token.

    Args:
        reader: of the tokenizer.
        ids: of a rendered conversation; the first `prompt` come before its last answer.
        whole: its text.
        frame: how the answer ends.
        stop: the id of the token that ends it.

    Raises:
        TemplateError: the end cannot be told.
    """
    if not frame.written:
        return (*_cut(reader, ids, whole, frame), stop)
    behind = frame.after.count(frame.stop)
    ends = (place for place in range(len(ids) - 1, prompt - 1, -1) if ids[place] == stop)
    end = next(islice(ends, behind, None), None)
    if end is None:
        raise TemplateError(f"The tokenizer does not read {frame.stop!r} behind the answer as a token.")
    return ids[: end + 1]


def first_stop(answer: Sequence[int], stops: frozenset[int]) -> int | None:
    """Return the first token of an answer at which a model would have ended."""
    return next((token for token in answer if token in stops), None)


def _cut(reader: Reader, ids: tuple[int, ...], whole: str, frame: Frame) -> tuple[int, ...]:
    """Return the ids without those of what is rendered after an answer."""
    own = reader.ids(whole.removesuffix(frame.closing))
    if ids[: len(own)] == own:
        return own
    for at in range(len(ids), max(0, len(ids) - LONGEST_CHARACTER * len(frame.closing)) - 1, -1):
        if reader.text(ids[at:], ids[max(0, at - 1) : at]) == frame.closing:
            return ids[:at]
    raise TemplateError(
        f"The tokenizer reads the end of the answer and the {frame.closing!r} behind it as one."
    )
