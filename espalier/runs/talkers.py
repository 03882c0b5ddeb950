"""What can be asked, by name: a run in the shape that it was trained in, or a model in its own way."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from espalier.core.errors import ModelError, RecipeError, RunError
from espalier.core.overrides import apply_overrides
from espalier.core.recipe import Choice, ModelSection, Recipe, load_recipe, named
from espalier.core.run import RunFolder, run_at
from espalier.data.asking import Asking
from espalier.decode.local import local_of, strategy_of
from espalier.models.bundled import KNOWN
from espalier.models.places import may_be_hub_id, near
from espalier.runs.asking import run_asking
from espalier.runs.events import say
from espalier.runs.load import load_to_decode, load_writer
from espalier.runs.precision import settle
from espalier.runs.rating import raters_from

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from espalier.decode.local import Local

LIMIT = 512  # new tokens of a plain model's answer, as far as half its context has room for them


@dataclass(frozen=True)
class Talker:
    """A run or a model that can be asked; nothing of it is loaded yet.

    Attributes:
        name: as it was given.
        run: its folder; None for a model.
        asking: what stands around a text; nothing for a model.
        decode: how it answers where nobody says otherwise: as the run's recipe says, or greedily.
        columns: the recipe's `task.columns`.
        changes: of how a plain model answers, as overrides.
    """

    name: str
    run: RunFolder | None = None
    asking: Asking = field(default_factory=Asking)
    decode: Choice = field(default_factory=lambda: Choice(kind="greedy"))
    columns: Mapping[str, str] = field(default_factory=dict[str, str])
    changes: Sequence[str] = ()

    def load(self, cache: Path, *, base: bool = False) -> Local:
        """Return the model, ready to decode; `base` is the one that a run has tuned.

        Raises:
            RunError: the run has no model yet, or one that rates answers.
            ModelError: there is no such model, it writes nothing, or `base` is asked of a model.
        """
        if self.run is not None:
            return replace(load_to_decode(self.run, cache, base=base), raters=raters_from(cache))
        if base:
            raise ModelError(
                "--base is for a run: it asks the model that the run has tuned.", where=self.name
            )
        section = ModelSection(name=self.name)
        return local_of(settle(section, load_writer(section, cache)), in_place=True)

    def answers(self, context: int) -> Choice:
        """Return how it answers; a plain model at most `LIMIT` tokens, or half its context."""
        if self.run is not None:
            return self.decode
        usual = _choice("greedy", {"limit": max(1, min(LIMIT, context // 2))})
        return _changed(usual, self.changes)[0]


@dataclass(frozen=True)
class Sampling:
    """What a person wants otherwise than a recipe has it; None, and one sample, for what it has."""

    limit: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    samples: int = 1
    top_k: int | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    beams: int | None = None

    @property
    def _drawn(self) -> dict[str, Any]:
        names = ("temperature", "top_p", "top_k", "min_p", "seed")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}

    def draws(self, decode: Choice) -> bool:
        """Say whether answers are sampled, by what is wanted or by `decode`."""
        return self.over(decode).kind == "sample"

    def over(self, decode: Choice) -> Choice:
        """Return how answers are decoded: sampled where what is drawn from, a seed or several are asked for.

        Temperature 0 is greedy. With beams, several are the best of one search. `decode` is how they are
        where nobody says otherwise.

        Raises:
            RecipeError: `decode` does not fit.
            RunError: several answers of temperature 0, or beams and draws.
        """
        given = {"limit": self.limit, "repetition_penalty": self.repetition_penalty}
        common = {key: value for key, value in given.items() if value is not None}
        own, drawn = decode.params, self._drawn
        if self.beams is not None or (decode.kind == "beam" and not drawn):
            return self._search(decode, common)
        if self.temperature == 0:
            if self.samples > 1:
                raise RunError(
                    "At temperature 0 all answers are the same.", hint="Give samples a temperature above 0."
                )
            return _choice("greedy", {**_limit(decode), **common})
        if not drawn and self.samples == 1:
            once = {"samples": 1} if "samples" in own else {}
            return _choice(decode.kind, {**own, **once, **common})
        base = own if decode.kind == "sample" else _limit(decode)
        return _choice("sample", {**base, **common, **drawn, "samples": self.samples})

    def _search(self, decode: Choice, common: Mapping[str, Any]) -> Choice:
        if self._drawn and self._drawn != {"temperature": 0}:
            raise RunError(
                "Beams are searched, and nothing of them is drawn.",
                hint=f"Leave out beams, or {', '.join(self._drawn)}.",
            )
        base = decode.params if decode.kind == "beam" else _limit(decode)
        beams = {} if self.beams is None else {"beams": self.beams}
        return _choice("beam", {**base, **common, **beams, "samples": self.samples})


def _limit(decode: Choice) -> dict[str, Any]:
    return {"limit": strategy_of(decode).limit}


def _choice(kind: str, params: Mapping[str, Any]) -> Choice:
    return Choice.model_validate({**params, "kind": kind})


def _changed(decode: Choice, overrides: Sequence[str]) -> tuple[Choice, list[str]]:
    """Return a way to decode with overrides of a recipe's key `decode`, and what of it was left out.

    Raises:
        RecipeError: they are of another key, or do not fit.
    """
    for one in overrides:
        if not re.match(r"\s*decode\s*[.=]", one):
            raise RecipeError(
                f"'{one}' has no part in an answer.",
                where="-o",
                hint="Write -o decode.KEY=VALUE, as in a recipe.",
            )
    table: dict[str, Any] = {"decode": {"kind": decode.kind, **decode.params}}
    notes = apply_overrides(table, overrides, Recipe)
    return Choice.model_validate(named(table["decode"])), notes


def find_talker(name: str, *, plain: bool = False, changes: Sequence[str] = ()) -> Talker:
    """Return the run or the model of that name: a folder of either, a bundled model, or a hub id.

    Args:
        name: a folder that holds a run goes before a bundled model.
        plain: whether texts are asked as they are, without the shape of the run's rows.
        changes: of how it answers, as overrides of a recipe: "decode.kind=beam".

    Raises:
        RecipeError: a change does not fit.
        ModelError: it is nothing of these; near names are told.
    """
    folder = Path(name).expanduser()
    if run := run_at(folder):
        recipe = load_recipe(run.recipe)
        asking = Asking() if plain else run_asking(run)
        decode = recipe.decode if strategy_of(recipe.decode).weighs is None else Choice(kind="greedy")
        decode, notes = _changed(decode, changes)
        for note in notes:
            say(note)
        return Talker(name, run, asking, decode, recipe.task.columns)
    if name in KNOWN:
        return Talker(name, changes=changes)
    if os.path.isdir(folder) and not any(
        (folder / file).exists() for file in ("config.json", "adapter_config.json")
    ):
        from espalier.models.folder import check_folder

        try:
            check_folder(folder)  # which says what it holds instead
        except ModelError as error:
            error.hint = error.hint or near(name)
            raise
    if not os.path.exists(folder) and not may_be_hub_id(name):
        raise ModelError(
            f"There is no '{name}': it is no folder of a run or of a model, no bundled model and no hub id "
            "(owner/model).",
            hint=near(name),
        )
    return Talker(str(folder) if os.path.exists(folder) else name, changes=changes)
