"""What `-o key.path=value` changes of a recipe's table, before it is checked.

An override of a choice's `kind` alone leaves what the recipe's file has set of the one before: of that, what
the new one does not know is left out, and said. What the same command sets is the user's, and stays.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

from espalier.core.errors import RecipeError
from espalier.core.files import parse_toml
from espalier.core.sections import Choice, keys_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pydantic import BaseModel

    from espalier.core.registry import Registry

# Where the factories of a choice are, which live in rooms that this one must not import before it has to.
REGISTRIES = {
    "decode": "espalier.decode.strategies.registry:strategies",
    "train.method": "espalier.models.adapters:methods",
    "train.objective": "espalier.train.objectives:objectives",
    "train.optimizer": "espalier.train.optimizer:optimizers",
    "evaluate": "espalier.scorers.registry:scorers",
    "track": "espalier.runs.trackers:trackers",
}
OURS = ("kind", "weight")  # keys of a choice that go to no factory


def apply_overrides(table: dict[str, Any], overrides: Sequence[str], schema: type[BaseModel]) -> list[str]:
    """Set keys of a table; return in sentences what of the file was left out. Raises RecipeError."""
    changed: dict[str, str] = {}  # what was chosen before, by the path
    written: dict[str, bool] = {}  # whether the file says so
    for override in overrides:
        path = override.partition("=")[0].strip()
        choice, dot, key = path.rpartition(".")
        if dot and key == "kind":
            written[choice] = _choice_at(table, choice) is not None
            before = _choice_at(table, choice) or _default_choice(choice, schema)
            changed[choice] = str(before.get("kind", ""))
        apply_override(table, override, schema)
    said = {override.partition("=")[0].strip() for override in overrides}
    notes: list[str] = []
    for choice, before in changed.items():
        own = _choice_at(table, choice)
        if own is None or not before or before == own["kind"] or choice in said:
            continue
        known = _known(choice, str(own["kind"]))
        if known is None:
            continue
        left = [key for key in own if key not in (*OURS, *known) and f"{choice}.{key}" not in said]
        for key in left:
            del own[key]
        if left and written[choice]:
            listed = " and ".join(f"{choice}.{key}" for key in left)
            notes.append(f"The recipe's {listed} of '{before}' does not go with '{own['kind']}': left out.")
    return notes


def _choice_at(table: Mapping[str, Any], path: str) -> dict[str, Any] | None:
    """Return the choice that a path of an override names, where it is written as a table."""
    found: Any = table
    for step in path.split("."):
        if step.isdigit() and not isinstance(found, list):
            continue  # the number of a stage that is the only one
        if isinstance(found, list):
            listed = cast("list[Any]", found)
            if step.isdigit():
                found = listed[int(step)] if int(step) < len(listed) else None
                continue
            found = listed[0] if len(listed) == 1 else None
        found = cast("dict[str, Any]", found).get(step) if isinstance(found, dict) else None
    if isinstance(found, list) and len(cast("list[Any]", found)) == 1:
        found = cast("list[Any]", found)[0]
    return cast("dict[str, Any]", found) if isinstance(found, dict) else None


def _known(path: str, kind: str) -> frozenset[str] | None:
    """Return the keys of the factory that is chosen at a path; None where nothing is. Raises RecipeError."""
    plain = ".".join(step for step in path.split(".") if not step.isdigit())
    module, _, name = REGISTRIES.get(plain, "").partition(":")
    if not module:
        return None
    registry = cast("Registry[Any]", vars(import_module(module))[name])
    return registry.keys(kind, f"{path}.kind")


def apply_override(table: dict[str, Any], override: str, schema: type[BaseModel]) -> None:
    """Set one key of a table, `key.path=value`. Raises RecipeError."""
    path, equals, text = override.partition("=")
    if not equals or not path.strip():
        raise RecipeError(f"'{override}' is not an override.", hint="Write it as key.path=value.")
    *parents, key = path.strip().split(".")
    inner = table
    for depth, parent in enumerate(parents, start=1):
        if parent.isdigit():  # the number of a stage was taken with its list
            continue
        default = _default_choice(".".join(p for p in parents[:depth] if not p.isdigit()), schema)
        step = inner.setdefault(parent, default)
        if isinstance(step, str) and default:
            step = inner[parent] = {"kind": step}
        if isinstance(step, list):
            step = _stage(cast("list[object]", step), parents[depth : depth + 1], path.strip())
        if not isinstance(step, dict):
            raise RecipeError(f"'{parent}' is not a table here.", where=path)
        inner = cast("dict[str, Any]", step)
    value = _toml_value(text.strip())
    plain = ".".join(step for step in path.strip().split(".") if not step.isdigit())
    kinds = next((field.annotation for name, field in keys_of(schema) if name == plain), None)
    takes_text = kinds is str or (plain == "task.path" and not isinstance(value, list))
    inner[key] = text.strip() if takes_text and not isinstance(value, str) else value


def _stage(stages: list[object], number: list[str], path: str) -> object:
    """Return the stage that an override's number names; a list of one needs no number."""
    if number and number[0].isdigit() and int(number[0]) < len(stages):
        return stages[int(number[0])]
    if len(stages) == 1 and not (number and number[0].isdigit()):
        return stages[0]
    first, _, rest = path.partition(".")
    numbered = bool(number) and number[0].isdigit()
    wanted = f"counted from 0; there is no {number[0]}" if numbered else "so an override has to say which one"
    raise RecipeError(
        f"'{first}' is a list of {len(stages)} here, {wanted}.",
        where=path,
        hint=f"Write it as {first}.0.{rest.lstrip('0123456789.')}=…, counted from 0.",
    )


def _default_choice(path: str, schema: type[BaseModel]) -> dict[str, Any]:
    """Return what a parameter that is set by itself belongs to; nothing where the path is not a choice."""
    for key, field in keys_of(schema):
        if key == path and isinstance(field.default, Choice):
            return field.default.model_dump()
    return {}


def _toml_value(text: str) -> object:
    try:
        return parse_toml(f"value = {text}")["value"]
    except ValueError:
        # A path or a name without quotes is what people type; TOML has no other use for it.
        return text
