"""What is tried of ways of decoding: kinds with their settings, and how many of each."""

from __future__ import annotations

import inspect
import re
import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from espalier.builds.keys import choice_key
from espalier.core.errors import EspalierError, RecipeError, nearest
from espalier.core.files import content_hash
from espalier.core.recipe import Choice
from espalier.core.text import counted
from espalier.decode.local import strategy_of
from espalier.decode.strategies.registry import strategies

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    # As on the command line, "beam beams=4", or as a recipe's [decode].
    Try: TypeAlias = str | Mapping[str, Any]

# What is tried where nothing is named: the same number of settings of each kind, the usual ones first.
GRID: Mapping[str, Sequence[Mapping[str, Any]]] = {
    "greedy": ({}, {"no_repeat": 3}, {"repetition_penalty": 1.1}, {"repetition_penalty": 1.2}),
    "beam": (
        {"beams": 4},
        {"beams": 2},
        {"beams": 4, "length_penalty": 0.0},
        {"beams": 4, "length_penalty": 2.0},
    ),
    "sample": (
        {"temperature": 0.7},
        {"temperature": 1.0, "top_p": 0.9},
        {"temperature": 0.3},
        {"temperature": 1.0, "min_p": 0.1},
    ),
}


@dataclass(frozen=True)
class Setting:
    """A way to decode with its settings.

    Attributes:
        name: as a person writes it: "beam beams=4".
        choices: what a recipe's [decode] would be: one, or of a strategy that draws one for each seed.
        limit: most tokens of an answer.
        code: the hash of its code and settings, where the code is not ours.
    """

    name: str
    choices: tuple[Choice, ...]
    limit: int
    code: str = ""

    @property
    def kind(self) -> str:
        """The strategy's name."""
        return self.choices[0].kind


def settings_to_try(
    tries: Sequence[Try], usual: Choice, *, budget: int = 4, samples: int = 3
) -> dict[str, list[Setting]]:
    """Return the settings by kind, each once.

    Args:
        tries: what is named; by default `usual` and the grid.
        usual: the recipe's own, whose limit the others take where they name none.
        budget: most settings of a kind.
        samples: answers to each prompt of what draws.

    Raises:
        RecipeError: a name or a setting is wrong, a kind has more settings than the budget, or there are
            fewer than two.
    """
    for name, number in (("budget", budget), ("samples", samples)):
        if number < 1:
            raise RecipeError(f"{name} = {number} does not fit: it must be at least 1.", where=f"--{name}")
    limit = strategy_of(usual).limit
    asked = [parsed(one) for one in tries] or list(_grid(usual, budget))
    found: dict[str, dict[str, Setting]] = {}
    for choice in asked:
        setting, key = _setting(choice, limit, samples)
        found.setdefault(setting.kind, {}).setdefault(key, setting)
    named = {kind: [*several.values()] for kind, several in found.items()}
    for kind, several in named.items():
        if len(several) > budget:
            raise RecipeError(
                f"'{kind}' has {counted(len(several), 'setting')}, and {budget} of each kind are tried.",
                where="--try",
                hint=f"Give fewer, or --budget {len(several)}: the more are tried, the luckier is the best.",
            )
    if sum(map(len, named.values())) < 2:
        raise RecipeError(
            "There is one way of decoding only, and nothing to compare it with.",
            where="--try",
            hint="Name another: --try greedy --try 'beam beams=4'.",
        )
    return named


def parsed(one: Try) -> Choice:
    """Return what `--try` says: a kind, and settings as in TOML. Raises RecipeError."""
    if not isinstance(one, str):
        if not isinstance(one.get("kind"), str):
            raise RecipeError(f"{dict(one)!r} names no kind.", where="--try")
        return Choice.model_validate(dict(one))
    kind, _, rest = one.strip().partition(" ")
    params: dict[str, Any] = {}
    for part in re.split(r"\s+(?=\w+\s*=)", rest.strip()) if rest.strip() else ():
        key, equals, value = part.partition("=")
        if not equals or not re.fullmatch(r"\w+", key.strip()):
            raise RecipeError(
                f"'{part}' is no setting.",
                where=f"--try '{one}'",
                hint="Write it as in --try 'beam beams=4'.",
            )
        params[key.strip()] = _value(value.strip())
    if not kind:
        raise RecipeError("Nothing is named.", where="--try", hint=nearest(kind, strategies.names()))
    return Choice.model_validate({**params, "kind": kind})


def _value(text: str) -> object:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _grid(usual: Choice, budget: int) -> Iterator[Choice]:
    """Yield the recipe's own setting, and as many of the grid's as the budget of its kind leaves."""
    yield usual
    for kind, several in GRID.items():
        others = [Choice.model_validate({**params, "kind": kind}) for params in several]
        if kind == usual.kind:
            own = _core(usual)
            others = [one for one in others if _core(one) != own][: budget - 1]
        yield from others[:budget]


def _core(choice: Choice) -> dict[str, Any]:
    """Return all settings of a choice but what is set alike for all."""
    filled = strategies.filled(choice.kind, choice.params)
    return {key: value for key, value in filled.items() if key not in ("limit", "samples", "seed")}


def _setting(choice: Choice, limit: int, samples: int) -> tuple[Setting, str]:
    """Return a setting that is known to fit, and what tells it from another."""
    try:
        factory = strategies.find(choice.kind, "--try")
        known = inspect.signature(factory).parameters
        params = {**({"limit": limit} if "limit" in known else {}), **choice.params}
        strategy = strategy_of(Choice.model_validate({**params, "kind": choice.kind}))
        count = params.get("samples", samples) if "samples" in known else samples
        params = {**params, **({"samples": 1} if "samples" in known else {})}
        one = Choice.model_validate({**params, "kind": choice.kind})
    except EspalierError as error:
        wrong = error.where.removeprefix("decode.")
        raise RecipeError(
            error.message, where=f"--try '{_named(choice, limit)}', {wrong}", hint=error.hint
        ) from None
    several = _seeds(one, count) if _draws(choice.kind, params) else (one,)
    # Nobody knows whether the settings that foreign code tells are all that its answers depend on.
    code = content_hash(choice_key(strategies, one)) if ":" in choice.kind else ""
    key = code or content_hash(dict(strategy.settings))
    return Setting(_named(choice, limit), several, strategy.limit, code), key


def _draws(kind: str, params: Mapping[str, Any]) -> bool:
    """Whether another seed gives other answers."""
    filled = strategies.filled(kind, params)
    return isinstance(filled.get("seed"), int) and filled.get("temperature", 1) != 0


def _seeds(choice: Choice, count: int) -> tuple[Choice, ...]:
    first = strategies.filled(choice.kind, choice.params)["seed"]
    return tuple(choice.model_copy(update={"seed": first + number}) for number in range(max(1, count)))


def _named(choice: Choice, limit: int) -> str:
    """Return a choice as a person writes it, without what is set alike for all."""
    told = {
        key: value
        for key, value in choice.params.items()
        if key != "samples" and (key, value) not in (("limit", limit), ("seed", 0))
    }
    return " ".join([choice.kind, *(f"{key}={_written(value)}" for key, value in told.items())])


def _written(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
