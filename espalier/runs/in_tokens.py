"""Rows in a model's tokens: those that fit, and of the others how much each lacks; none is cut."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from espalier.core.errors import DataError, RecipeError, TemplateError
from espalier.core.text import counted
from espalier.encode.batches import group_size
from espalier.encode.media import FIRST, PLACES, medium
from espalier.encode.tokens import encode_unit, read_ahead
from espalier.formats.load import LEAVE_OUT

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from espalier.core.records import Example
    from espalier.encode.template import Template
    from espalier.encode.tokens import Unit

NAMES = 3  # of special tokens that are listed
AHEAD = 256  # examples whose texts the tokenizer is given at once


@dataclass(frozen=True)
class Units:
    """Training examples as tokens, and those that fit neither the token budget nor the model's context."""

    units: list[Unit]
    rejects: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])


def encode_units(
    examples: list[Example],
    template: Template,
    tokens: int,
    answer: int = 0,
    refused: list[dict[str, Any]] | None = None,
    *,
    what: str = "training",
) -> Units:
    """Return the examples in tokens; one beyond the budget or the model's context is left out, never cut.

    Args:
        examples: to train on.
        template: of the model.
        tokens: most distinct tokens of an example's rows.
        answer: most tokens of an answer that the model may write itself; it has to fit behind the prompt.
        refused: takes what the template refuses; without it that is an error.
        what: what they are called where none fits.

    Raises:
        DataError: no example fits.
        TemplateError: the template refuses an example, which is named.
    """
    result = Units([])
    sizes: list[int] = []  # of all rows of an example laid out together
    lengths: list[int] = []  # of its longest row
    for place, example in enumerate(examples):
        if place % AHEAD == 0:
            read_ahead(examples[place : place + AHEAD], template)
        try:
            unit = encode_unit(example, template)
        except TemplateError as error:
            if refused is None:
                raise _refused(example, error) from None
            refused.append(left_out(example, f"{error.message} {error.hint}".strip()))
            continue
        written = len(unit.prompt) + max(1, answer)
        sizes.append(max(len(unit.rows) + group_size(unit.rows) if unit.rows else 0, written))
        lengths.append(max([written, *(len(row.ids) for row in unit.rows)]))
        if lengths[-1] > template.context:
            reason = _too_long(unit, lengths[-1], template.context, "the model's context")
        elif sizes[-1] > tokens:
            reason = _too_long(unit, sizes[-1], tokens, "the budget train.tokens")
        else:
            result.units.append(unit)
            continue
        result.rejects.append(left_out(example, reason))
    if not sizes and refused:
        raise DataError(
            f"The chat template refuses all {len(examples)} {what} rows.", hint=refused[-1]["reason"]
        )
    if not result.units:
        raise _nothing_fits(f"None of the {len(sizes)} {what} rows fits", sizes, lengths, tokens, template)
    return result


def showing(encoded: Units, examples: Sequence[Example], where: str) -> Units:
    """Return what a projector learns from, which is all that a stage trains: rows with media; others go out.

    Raises:
        RecipeError: no row has any.
    """
    blind = {unit.example for unit in encoded.units if not any(_shows(row.ids) for row in unit.rows)}
    units = [unit for unit in encoded.units if unit.example not in blind]
    if not units:
        raise RecipeError(
            f"None of the {counted(len(blind), 'row')} has a picture or a sound, so a projector has nothing "
            "to learn from.",
            where=where,
            hint="Take another method, such as lora, or rows with media.",
        )
    reason = "It has no picture or sound, and the stage trains the projector alone."
    rejects = [left_out(example, reason) for example in examples if example.id in blind]
    return Units(units, [*encoded.rejects, *rejects])


def _shows(ids: Sequence[int]) -> bool:
    return max(ids, default=0) >= FIRST


def once_each(rejects: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return rejects, each row once for a reason however many stages leave it out."""
    return [*{(one["where"], one.get("example"), one["reason"]): one for one in rejects}.values()]


def askable(
    examples: list[Example], template: Template, refused: list[dict[str, Any]] | None, *, rates: bool = False
) -> list[Example]:
    """Return the examples to score that the template renders.

    Args:
        examples: to score.
        template: of the model.
        refused: as in `encode_units`.
        rates: whether the examples' own answers are to be rated; else only their prompts are asked.

    Raises:
        TemplateError: the template refuses an example, which is named.
        DataError: it refuses all.
    """
    kept: list[Example] = []
    for example in examples:
        try:
            if rates:
                encode_unit(example, template)
            else:
                template.prompt_ids(example.prompt)
        except TemplateError as error:
            if refused is None:
                raise _refused(example, error) from None
            refused.append(left_out(example, f"{error.message} {error.hint}".strip()))
        else:
            kept.append(example)
    if not kept and refused:
        reason = refused[-1]["reason"]
        raise DataError(f"The chat template refuses all {len(examples)} test rows.", hint=reason)
    return kept


def special_names(examples: Sequence[Example], template: Template) -> Iterator[str]:
    """Yield a sentence on rows that hold names of special tokens, where there are such and they are text."""
    found = [
        names for example in examples if (names := template.quoted((*example.messages, *example.rejected)))
    ]
    if found and template.rendering.special == "text":
        listed = sorted(set[str]().union(*found))
        more = f" and {len(listed) - NAMES} more" if len(listed) > NAMES else ""
        rows = f"{counted(len(found), 'row')} {'holds' if len(found) == 1 else 'hold'}"
        yield (
            f"{rows} names of special tokens ({', '.join(listed[:NAMES])}{more}): "
            'they are text there, in several tokens each. task.special = "token" makes them the tokens.'
        )


def _refused(example: Example, error: TemplateError) -> TemplateError:
    hint = f"{error.hint} {LEAVE_OUT}".strip()
    return TemplateError(error.message, where=_place(example) or error.where, hint=hint)


def left_out(example: Example, reason: str) -> dict[str, Any]:
    """Return what rejects.jsonl says of a row."""
    return {"where": _place(example), "reason": reason, "example": example.id}


def _place(example: Example) -> str:
    return ", row ".join(str(example.origin[key]) for key in ("file", "row") if key in example.origin)


def _too_long(unit: Unit, size: int, most: int, what: str) -> str:
    """Return in words how long a row is, and with media how many tokens of each would fit."""
    longest = max([unit.prompt, *(row.ids for row in unit.rows)], key=len)
    media = [token for token in longest if token >= FIRST]
    if not media:
        return f"The row has {size} tokens; {what} is {most}."
    starts = [token for token in media if (token - FIRST) % PLACES == 0]
    kinds = {medium(token).kind for token in starts}
    name = {"image": "picture", "audio": "sound"}[kinds.pop()] if len(kinds) == 1 else "medium"
    text = size - len(media)
    each = (most - text) // len(starts)
    fits = f"At most {each} tokens for each {name} would fit" if each > 0 else "Its text leaves them no room"
    of = counted(len(starts), name, "media" if name == "medium" else f"{name}s")
    return (
        f"The row has {size} tokens, {len(media)} of {of} and {text} of text; {what} is {most}. {fits}; all "
        f"of it does where that is {size}."
    )


def _nothing_fits(
    none: str, sizes: list[int], lengths: list[int], tokens: int, template: Template
) -> DataError:
    if min(lengths) > template.context:
        return DataError(
            f"{none} the model's context of {template.context} tokens; they have {min(lengths)} to "
            f"{max(lengths)}.",
            where="model.name",
            hint="Take a model with a longer context, or show fewer examples (task.positive).",
        )
    return DataError(
        f"{none} the budget of {tokens} tokens; they have {min(sizes)} to {max(sizes)}.",
        where="train.tokens",
        hint=f"Raise it with -o train.tokens={max(sizes)}, or show fewer examples (task.positive).",
    )
