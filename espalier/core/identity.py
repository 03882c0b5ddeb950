"""Whether a run folder is of this recipe: what differs, and how far into the run each difference reaches.

Two recipes are compared as tables with every default filled in, and not by their hashes: a key that a later
version added makes no difference, and a person is told what does. Of a file only what it holds counts, which
is among the inputs in provenance.json; where it lies may change.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Reach: TypeAlias = Literal["nothing", "scores", "answers", "model"]
FAR: tuple[Reach, ...] = ("nothing", "scores", "answers", "model")

READING = r"task\.(path|format|on_bad|columns(\..*)?)"  # all that these change are the rows that are read

# How far a key of the recipe reaches, by the first pattern that fits; all others reach the model.
REACHES: dict[str, Reach] = {
    r"name|folder|track|data\.sealed": "nothing",
    r"train(\.\d+)?\.(checkpoint|parallel|keep|states)": "nothing",
    rf"{READING}|model\.name|train(\.\d+)?\.data": "nothing",  # what they lead to is among the inputs
    r"model\.precision": "nothing",  # "auto" may come to what a name says; the formats are an input
    r"evaluate|task\.checks": "scores",
    r"decode\..*|data\.test_limit": "answers",
}


@dataclass(frozen=True, slots=True)
class Input:
    """What a run is made of besides its recipe.

    Attributes:
        title: for a person.
        place: pattern of the keys that tell where it lies, or how it is read.
        cause: pattern of other keys that change it by themselves.
    """

    title: str
    place: str
    cause: str = ""


INPUTS = {
    "task": Input("what the task's file holds", READING),
    "rows": Input("the rows to train on", r"train(\.\d+)?\.data", r"seed|task\..*|data\..*|train"),
    "weights": Input("the model's weights or configuration", r"model\.name"),
    "template": Input("the model's chat template", r"model\.name"),
    "formats": Input("the number format", r"model\.precision"),
    "rewards": Input("the reward model's weights", "", r"train.*\.rewards\..*"),
}


@dataclass(frozen=True, slots=True)
class Difference:
    """A key of the recipe, or an input, that was another one before."""

    name: str
    reach: Reach
    values: tuple[object, object] | None = None

    def __str__(self) -> str:
        """Return it as 'train.rate (0.001 before, 0.002 now)'."""
        if self.values is None:
            return self.name
        before, now = map(_shown, self.values)
        return f"{self.name} ({before} before, {now} now)"


def differences(
    recipes: tuple[Mapping[str, Any], Mapping[str, Any]], inputs: tuple[Mapping[str, str], Mapping[str, str]]
) -> list[Difference]:
    """Return what differs between an earlier start of a run and this one.

    Args:
        recipes: the recipe of before and of now, as tables with every default.
        inputs: the hash of each input, before and now; one that either does not name is not compared.
    """
    values = _changed_keys(*recipes)
    reaches: dict[str, Reach] = {key: _reach(key) for key in values}
    changed = {name for name in INPUTS if name in inputs[0] and name in inputs[1]}
    changed = {name for name in changed if inputs[0][name] != inputs[1][name]}
    rest: list[Difference] = []
    for name in INPUTS:
        if name not in changed or (name == "rows" and "task" in changed):
            continue
        reach: Reach = "answers" if name == "task" and "rows" not in changed else "model"
        known = INPUTS[name]
        for key in values:
            if re.fullmatch(known.place, key):
                reaches[key] = reach
        if not any(re.fullmatch(f"{known.place}|{known.cause}", key) for key in values):
            rest.append(Difference(known.title, reach))
    return [Difference(key, reaches[key], values[key]) for key in values] + rest


def _changed_keys(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, tuple[object, object]]:
    """Return the values before and now of each key that differs, spelt as a person would.

    Of a choice that is another one its parameters are not told.
    """
    if len(old["train"]) != len(new["train"]):
        old, new = ({**table, "train": _stages(table)} for table in (old, new))
    before, now = (flat(_numbered(table)) for table in (old, new))
    keys = [key for key in dict.fromkeys([*before, *now]) if before.get(key) != now.get(key)]
    others = tuple(key.removesuffix("kind") for key in keys if key.endswith(".kind"))
    told = [key for key in keys if key.endswith(".kind") or not key.startswith(others)]
    return {key: (before.get(key), now.get(key)) for key in told}


def _stages(table: Mapping[str, Any]) -> str:
    count = len(table["train"])
    return "1 stage" if count == 1 else f"{count} stages"


def _numbered(table: Mapping[str, Any]) -> dict[str, Any]:
    """Return the table with its lists of stages and objectives as tables, named by their numbers."""
    if isinstance(table["train"], str):
        return dict(table)
    train: list[dict[str, Any]] = table["train"]
    stages = [{**stage, "objective": _by_number(stage["objective"])} for stage in train]
    return {**table, "train": stages[0] if len(stages) == 1 else _by_number(stages)}


def _by_number(items: Sequence[object]) -> dict[str, Any]:
    return {str(number): item for number, item in enumerate(items)}


def _reach(key: str) -> Reach:
    for pattern, reach in REACHES.items():
        if re.fullmatch(pattern, key):
            return reach
    return "model"


def _shown(value: object) -> str:
    """Return a value as a person reads it, in one line that is not long."""
    if isinstance(value, list):
        text = ", ".join(map(_shown, cast("list[object]", value)))
    elif isinstance(value, dict) and list(cast("dict[str, object]", value)) == ["kind"]:
        text = str(cast("dict[str, object]", value)["kind"])
    elif isinstance(value, str | None):
        text = value
    else:
        text = json.dumps(value, ensure_ascii=False)
    text = text or "none"
    return text if len(text) <= 80 else f"{text[:77]}…"


def farthest(found: Sequence[Difference]) -> Reach:
    """Return how far the differences reach together."""
    return FAR[max((FAR.index(difference.reach) for difference in found), default=0)]


def flat(value: object, path: str = "") -> dict[str, object]:
    """Return the leaves of nested tables by their dotted path; lists are leaves."""
    if not isinstance(value, dict):
        return {path: value}
    table = cast("dict[str, object]", value)
    inner = [flat(item, f"{path}.{key}" if path else key) for key, item in table.items()]
    return {name: item for leaves in inner for name, item in leaves.items()}
