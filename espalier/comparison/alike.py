"""What has to be alike so that a difference in scores is one of the models: refused, or told."""

from __future__ import annotations

from typing import TYPE_CHECKING

from espalier.comparison.entries import prompt_of
from espalier.core.errors import DataError, nearest
from espalier.core.text import counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from espalier.comparison.entries import Entry

ALLOWED = ("data", "template", "decoding")


def held_alike(entries: Sequence[Entry], allow: Sequence[str] = ()) -> list[str]:
    """Return a note for each difference that was allowed.

    Raises:
        DataError: data, template or decoding settings differ, and that was not allowed; or `allow` names
            something else.
    """
    for name in allow:
        if name not in ALLOWED:
            raise DataError(
                f"'{name}' cannot be allowed to differ.",
                hint=nearest(name, ALLOWED),
            )
    found: dict[str, str] = {}
    first, *others = entries
    for other in others:
        for kind, what in _differences(first, other):
            found.setdefault(kind, what)
    refused = {kind: what for kind, what in found.items() if kind not in allow}
    if refused:
        options = " ".join(f"--allow {kind}" for kind in refused)
        raise DataError(
            f"These differ in more than the models: {'; '.join(refused.values())}.",
            hint=f"{_advice(refused)}To compare them all the same: {options}.",
        )
    return [f"Allowed to differ: {what}." for what in found.values()]


def _advice(refused: dict[str, str]) -> str:
    if "data" in refused:
        return "Runs whose seeds differ keep their test rows with one data.seed. "
    return ""


def _differences(first: Entry, other: Entry) -> Iterator[tuple[str, str]]:
    ours, theirs = first.side.sources.keys(), other.side.sources.keys()
    names = first.name, other.name
    if ours != theirs:
        shared = counted(len(ours & theirs), "row")
        yield (
            "data",
            f"data ({len(ours)} test rows in {names[0]}, {len(theirs)} in {names[1]}, {shared} in both)",
        )
    if first.template and other.template and first.template != other.template:
        yield "template", f"template ({first.template} in {names[0]}, {other.template} in {names[1]})"
    elif asked := _asked(first, other):
        yield "template", f"template ({asked})"
    if first.decoding is not None and other.decoding is not None and first.decoding != other.decoding:
        keys = [
            key
            for key in dict.fromkeys([*first.decoding, *other.decoding])
            if first.decoding.get(key) != other.decoding.get(key)
        ]
        told = ", ".join(
            f"{key} is {first.decoding.get(key, 'not set')} in {names[0]}, "
            f"{other.decoding.get(key, 'not set')} in {names[1]}"
            for key in keys
        )
        yield "decoding", f"decoding ({told})"


def _asked(first: Entry, other: Entry) -> str:
    """Say how prompts of the same rows differ; '' where they do not."""
    shared = [name for name in first.examples if name in other.examples]
    changed = [name for name in shared if prompt_of(first.examples[name]) != prompt_of(other.examples[name])]
    if not changed:
        return ""
    keys: list[str] = []
    if first.recipe is not None and other.recipe is not None:
        values = first.recipe, other.recipe
        keys = [
            f"{key} is {values[0].get(key)} in {first.name}, {values[1].get(key)} in {other.name}"
            for key in values[0]
            if key.startswith("task.") and values[0].get(key) != values[1].get(key)
        ]
    sizes = [sum(len(turn.text) for turn in entry.examples[changed[0]].prompt) for entry in (first, other)]
    lengths = (
        f"that of row {changed[0]} has {sizes[0]} characters in {first.name}, {sizes[1]} in {other.name}"
    )
    return f"{len(changed)} of {counted(len(shared), 'prompt')} differ: {', '.join(keys) or lengths}"


def one_recipe(group: Sequence[Entry]) -> None:
    """Refuse trainings of a group that differ by more than their seed.

    Raises:
        DataError: they do, or one is there twice.
    """
    first, *others = group
    for other in others:
        if first.recipe is None or other.recipe is None:
            continue
        changed = different(first, other)
        if changed:
            key = changed[0]
            raise DataError(
                f"{first.name} and {other.name} are no seeds of one recipe: {key} is {first.recipe.get(key)} "
                f"and {other.recipe.get(key)}.",
                hint="A group is one recipe with several seeds; name others as sides of their own.",
            )
    seeds = [entry.seed for entry in group if entry.recipe is not None]
    if len(set(seeds)) < len(seeds):
        raise DataError(
            f"Two of {', '.join(entry.name for entry in group)} have the same seed: they are one training.",
            hint="Train again with -o seed=N, and the same -o data.seed=0.",
        )


def different(first: Entry, other: Entry) -> list[str]:
    """Return the keys in which two runs differ besides their seeds."""
    one, two = first.recipe or {}, other.recipe or {}
    return [key for key in dict.fromkeys([*one, *two]) if one.get(key) != two.get(key)]


def spoiled_by(entry: Entry) -> str:
    """Say why its numbers are not to be believed: rows that it knew, ids that are wrong; or ''."""
    if entry.doubt:
        return entry.doubt
    seen = sum(example.asked in entry.trained for example in entry.examples.values())
    rows = counted(len(entry.examples), "test row")
    return f"{entry.name} was trained on the inputs of {seen} of its {rows}" if seen else ""


def told_of(entries: Sequence[Entry]) -> Iterator[str]:
    """Yield what makes scores of these say less than they seem to."""
    for entry in entries:
        yield from entry.notes
    first, *others = entries
    for other in others:
        if first.formats and other.formats and first.formats != other.formats:
            yield f"Number formats differ: {first.formats} in {first.name}, {other.formats} in {other.name}."
        shared = [name for name in first.texts if name in other.texts]
        if shared and all(first.texts[name] == other.texts[name] for name in shared):
            yield f"Every answer of {other.name} is that of {first.name}."
