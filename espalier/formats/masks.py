"""Masks of a whole row: whether it is trained on, or which of its turns are.

They are called as those of a turn are (`turns.py`). A row has other things under such names, too, such as a
loss that was measured: only true, false, 1 and 0, or a list of these, are a mask.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from espalier.core.errors import DataError
from espalier.core.records import example_id
from espalier.formats.turns import is_mask

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from espalier.core.records import Example

Mask: TypeAlias = bool | list[bool]
SAID = {"true": True, "1": True, "false": False, "0": False}  # as the cells of a table have it


def masks_of(row: Mapping[str, Any], known: Collection[str]) -> dict[str, Mask]:
    """Return what a row's masks say, by their keys; what its format knows as something else is none.

    Raises:
        DataError: it says yes to a mask of which it is not known what that means.
    """
    others = {key: value for key, value in row.items() if key not in known}
    for key, value in others.items():
        if is_mask(key, value) is False and value is not False:
            raise DataError(
                f"'{key}' says {value!r} of the row, and what that leaves out is not clear.",
                hint='Write "train": true or false, or remove it.',
            )
    found = {key: _mask(value) for key, value in others.items() if is_mask(key, value)}
    return {key: mask for key, mask in found.items() if mask is not None}


def masked(example: Example, masks: Mapping[str, Mask], where: str) -> Example:
    """Return an example as its row's masks have it.

    What is not trained on at all says so as the fact "train", and can be scored; of what is in part the other
    answers are only shown.

    Raises:
        DataError: the masks contradict each other, or a list has neither as many items as there are turns nor
            as there are answers.
    """
    first, *others = masks.values() or (True,)
    if any(other != first for other in others):
        keys = " and ".join(map(repr, masks))
        raise DataError(f"{keys} contradict each other.", where=where, hint="Keep one of them.")
    whole = first if isinstance(first, bool) else any(first) and (True if all(first) else None)
    if whole is None:
        return _in_part(example, cast("list[bool]", first), f"{where}, {next(iter(masks))}")
    return example if whole else replace(example, facts={**example.facts, "train": False})


def _in_part(example: Example, mask: list[bool], where: str) -> Example:
    turns = example.messages
    answers = [place for place, turn in enumerate(turns) if turn.role == "assistant"]
    begun = len(turns) - len(mask)  # a system turn that stands beside the list of turns
    if len(mask) == len(answers):
        trained = dict(zip(answers, mask, strict=True))
    elif begun == 0 or (begun == 1 and turns[0].role == "system"):
        trained = {place + begun: item for place, item in enumerate(mask)}
    else:
        raise DataError(
            f"The mask has {len(mask)} items, and the row {len(turns)} turns with {len(answers)} answers.",
            where=where,
            hint="Give each turn one, or each answer.",
        )
    if any(trained[place] for place in trained.keys() - set(answers)):
        raise DataError("The mask marks a turn as trained that is no answer.", where=where)
    kept = [replace(t, trained=t.trained and trained.get(n, True)) for n, t in enumerate(turns)]
    last = max(place for place, turn in enumerate(kept) if turn.trained)
    # The row is asked, and scored, up to the last answer that is trained.
    references = example.references if last == len(turns) - 1 else (turns[last].text,)
    made = replace(example, messages=tuple(kept[: last + 1]), references=references)
    return replace(made, id=example_id(example.id, mask), input=made.prompt[-1].text)


def _mask(value: object) -> Mask | None:
    if isinstance(value, list):
        items = [_mask(item) for item in cast("list[object]", value)]
        return [item for item in items if isinstance(item, bool)] if items and _plain(items) else None
    if isinstance(value, str):
        return SAID.get(value.strip().lower())
    return bool(value) if isinstance(value, int | float) and value in (0, 1) else None


def _plain(items: list[Mask | None]) -> bool:
    return all(isinstance(item, bool) for item in items)
