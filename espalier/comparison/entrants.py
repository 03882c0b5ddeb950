"""From runs to a comparison: groups of trainings, held to be alike, and what a reader has to know of them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from espalier.comparison.alike import different, held_alike, one_recipe, spoiled_by, told_of
from espalier.comparison.looks import looked
from espalier.comparison.records import Side
from espalier.comparison.sides import compare_sides
from espalier.core.errors import DataError, nearest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from espalier.comparison.entries import Entry
    from espalier.comparison.looks import Looks, Split
    from espalier.comparison.records import Comparison

RETRAINED = "One training a side: the numbers are about these models, and say nothing about retraining."


def compare_entries(
    groups: Sequence[Sequence[Entry]],
    *,
    measures: Sequence[str] = (),
    allow: Sequence[str] = (),
    margin: float | None = None,
    looks: Looks = 1,
    split: Split = "test",
    confirm: bool = False,
) -> Comparison:
    """Compare groups of trainings with the first, on the rows that all were scored on.

    Args:
        groups: two or more; each has one training, or those of one recipe with several seeds.
        measures: by which to compare; by default all that all have.
        allow: what may differ all the same: "data", "template", "decoding".
        margin: within how many points, as shown, two are as good as each other.
        looks: how often the rows were used to choose what is compared; "all" counts what is known of.
        split: what the rows are; of development rows every look counts.
        confirm: see `looked`.

    Raises:
        DataError: what is compared is not comparable, or by no measure that all have, or the rows are sealed.
        RunError: a comparison on sealed rows cannot be counted.
    """
    groups = [[*group] for group in groups]
    entries = [entry for group in groups for entry in group]
    if len(groups) < 2 or not all(groups):
        raise DataError("There is one side only; a comparison needs two or more.", hint="Name another run.")
    _all_other(entries)
    notes = held_alike(entries, allow)
    for group in groups:
        one_recipe(group)
    names = _measures(entries, measures, notes)
    found = looked(groups, looks, split, confirm=confirm)
    notes += told_of(entries)
    notes += found.told(len(entries))
    if any(len(group) > 1 for group in groups) and any(len(group) == 1 for group in groups):
        notes.append("A side of one training is taken to vary by seed as the others do.")
    elif all(len(group) == 1 for group in groups):
        notes.append(RETRAINED)
    sides = _sides(groups)
    first, *others = groups
    alike = [
        side.name
        for side, group in zip(sides[1:], others, strict=True)
        if group[0].recipe is not None and first[0].recipe is not None and not different(first[0], group[0])
    ]
    spoiled = {
        side.name: reasons[0]
        for side, group in zip(sides, groups, strict=True)
        if (reasons := [why for entry in group if (why := spoiled_by(entry))])
    }
    comparison = compare_sides(
        sides, names, margin=margin, looks=found.together, alike=alike, spoiled=spoiled, notes=notes
    )
    return replace(comparison, seen=found.beside)


def _all_other(entries: Sequence[Entry]) -> None:
    """Refuse what is there twice. Raises DataError."""
    places: dict[tuple[str, str], str] = {}
    for entry in entries:
        place = str(entry.path.resolve()), entry.name
        if place in places:
            raise DataError(
                f"{entry.name} is there twice: it cannot differ from itself.",
                where=str(entry.path),
                hint="Name two runs, or two systems of one, such as RUN:base.",
            )
        places[place] = entry.name


def _measures(entries: Sequence[Entry], asked: Sequence[str], notes: list[str]) -> list[str]:
    """Return by what to compare: what all have, what leads first; what is left out is noted."""
    first, *others = entries
    shared = [name for name in first.measures if all(name in other.measures for other in others)]
    for name in asked:
        if name not in shared:
            lacking = [entry.name for entry in entries if name not in entry.measures]
            whose = f"{', '.join(lacking)} {'has' if len(lacking) == 1 else 'have'} no scores of '{name}'."
            raise DataError(whose, hint=nearest(name, shared))
    if not shared:
        told = "; ".join(f"{entry.name} has {', '.join(entry.measures)}" for entry in entries)
        raise DataError(f"They share no measure: {told}.", hint="Score them by the same [[evaluate]].")
    alone = sorted({name for entry in entries for name in entry.measures} - {*shared})
    if alone and not asked:
        notes.append(f"Left out, since not all have it: {', '.join(alone)}.")
    return [*dict.fromkeys(asked)] or shared


def _sides(groups: Sequence[Sequence[Entry]]) -> list[Side]:
    """Return each group as one side, with a name of its own, on the rows that all its trainings have."""
    names = [_named([entry.name for entry in group]) for group in groups]
    sides: list[Side] = []
    for name, group in zip(names, groups, strict=True):
        own = name if names.count(name) == 1 else str(group[0].path)
        first = group[0].side
        kept = {i: s for i, s in first.sources.items() if all(i in entry.side.sources for entry in group)}
        trainings = tuple(entry.side.trainings[0] for entry in group)
        sides.append(replace(first, name=own, trainings=trainings, sources=kept))
    return sides


def _named(names: Sequence[str]) -> str:
    """Return what a group is called: slow (3 seeds) of slow-1, slow-2 and slow-3."""
    if len(names) == 1:
        return names[0]
    same = next((i for i, letters in enumerate(zip(*names, strict=False)) if len(set(letters)) > 1), None)
    shared = names[0][:same].rstrip("-_. 0123456789") or names[0]
    return f"{shared} ({len(names)} seeds)"
