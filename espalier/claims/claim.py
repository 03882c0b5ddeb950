"""A claim: what a paper says, the small study that asks it here, and by which rule that is judged.

    claim = "Random labels do as well as tuning."
    [study]                              # as `espalier study` has it; without a factor it is one run
    recipe = "event-duration"
    [measured]                           # what number answers the claim, see `measures.py`
    kind = "effect"
    factor = "examples"
    [rule]                               # fixed before the run: its hash is in the ledger, see `ledger.py`
    direction = "within"
    effect = 5.0

A file is all that a claim is: there is no code of its own. Ten ship with the package, in `bundled/`.
"""

from __future__ import annotations

import json
import os
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

from pydantic import AfterValidator, BeforeValidator, Field

from espalier.core.errors import DataError, RecipeError, nearest
from espalier.core.files import content_hash, file_sha256
from espalier.core.overrides import apply_override
from espalier.core.recipe import Named, Section, as_recipe, named, parsed, read_toml
from espalier.core.run_name import run_name
from espalier.design.recipe import FactorChoice, StudyRecipe, as_study

if TYPE_CHECKING:
    from collections.abc import Sequence

    from espalier.core.recipe import Recipe

SUFFIX = ".toml"


class Source(Section):
    """Where the claim was made, and what was found there."""

    paper: str
    """Authors, title and year."""
    arxiv: str = ""
    """Its number."""
    found: str
    """The published effect with its unit and its setting."""


class Need(Section):
    """Something that does not ship with the package: `$name` in the study stands for its path."""

    what: str
    """What it is, in words."""
    path: str = ""
    """Where it lies."""


class ClaimStudy(Section):
    """The small study: keys of `espalier study`; where there is no factor it is one run of the recipe."""

    recipe: str
    """A recipe's file, or a bundled one's name."""
    set: tuple[str, ...] = ()
    """Keys of the recipe that are other than there."""
    seeds: int | tuple[int, ...] = 3
    """How many trainings of each setting, or their seeds."""
    metric: str = ""
    """What is judged by; by default what the runs lead with."""
    design: Named = Field(default=cast("Any", {"kind": "grid"}), validate_default=True)
    """Which levels meet; see `espalier study`."""
    factor: tuple[Annotated[FactorChoice, BeforeValidator(named)], ...] = ()
    """What is varied."""

    @property
    def seeded(self) -> tuple[int, ...]:
        """The seeds of each setting's trainings."""
        return tuple(range(self.seeds)) if isinstance(self.seeds, int) else self.seeds


class Rule(Section):
    """How the measured number is judged, in the unit that it is measured in."""

    direction: Literal["above", "below", "within"]
    """The claimed side of `origin`: above it, below it, or no further from it than `effect`."""
    effect: float = Field(gt=0)
    """The published effect, as a distance from `origin` in our unit; of "within" the margin."""
    origin: float = 0.0
    """What no effect is."""
    why: str
    """How the published effect became this number."""

    @property
    def published(self) -> float:
        """The number that the paper would have here; of a margin its centre."""
        signs = {"above": 1, "below": -1, "within": 0}
        return self.origin + signs[self.direction] * self.effect


class Assumed(Section):
    """What is assumed of spreads before the run, in points; see `plan.py`."""

    rows: float = Field(default=18.0, gt=0)
    """Standard deviation of a row's score around what its setting and the row itself account for."""
    seeds: float = Field(default=2.0, ge=0)
    """Standard deviation of a setting's score from one training to the next."""


class Claim(Section):
    """A claim of a paper as a small study with a verdict that is ruled beforehand."""

    name: Annotated[str, AfterValidator(run_name)]
    """Of the claim and its folder; by default that of the file."""
    claim: str
    """It, in one sentence."""
    source: Source
    small: str
    """Why a small study may come out otherwise."""
    awaits: str = ""
    """What the study lacks, where it cannot be made here yet; then it is not run."""
    needs: dict[str, Need] = Field(default={})
    """Files that do not ship with the package."""
    study: ClaimStudy
    measured: Named
    """What number answers the claim, with its parameters."""
    rule: Rule
    assumed: Assumed = Assumed()

    @property
    def hash(self) -> str:
        """Hash of all that the verdict hangs on: the study, what is measured, and the rule.

        A recipe's file counts by what it says, and what is needed not by where it lies.
        """
        told = self.model_dump(mode="json", include={"claim", "study", "measured", "rule", "assumed"})
        if os.path.isfile(self.study.recipe):
            told["study"]["recipe"] = file_sha256(Path(self.study.recipe))
        return content_hash(told)

    @property
    def margin(self) -> float | None:
        """Within how many points of none an effect has to be shown to lie; None: not asked."""
        return self.rule.effect if self.rule.direction == "within" and not self.rule.origin else None

    @property
    def lacking(self) -> str:
        """What has to be there first, in a sentence; '' for nothing."""
        if self.awaits:
            return f"It awaits {self.awaits}."
        for key, need in self.needs.items():
            if not need.path or not os.path.exists(need.path):
                at = f", and there is nothing at {need.path}" if need.path else ""
                return f"It needs {need.what}{at}: -o needs.{key}.path=PATH."
        return ""

    def asked(self, folder: Path) -> StudyRecipe:
        """Return the study as `espalier study` takes it, which makes its folder in `folder`.

        Raises:
            RecipeError: it does not fit.
        """
        more: dict[str, Any] = {"name": self.name, "folder": str(folder), "question": self.claim}
        if self.margin and len(self.study.seeded) > 1:
            more["margin"] = self.margin
        return as_study({**self._study(), **more})

    def recipes(self, folder: Path) -> list[Recipe]:
        """Return the runs of a study without a factor, one for each seed, on the same rows.

        Raises:
            RecipeError: they do not fit.
        """
        table = self._study()
        recipe = as_recipe(table["recipe"], ["evidence=false", *table["set"]])
        data = recipe.data.model_copy(update={"seed": recipe.split_seed})
        same = {"data": data, "folder": str((folder / self.name / "runs").absolute())}
        return [
            recipe.model_copy(update={**same, "name": f"run_s{seed}", "seed": seed})
            for seed in self.study.seeded
        ]

    def _study(self) -> dict[str, Any]:
        """Return the study's table with the paths of what it needs in place."""
        text = json.dumps(self.study.model_dump(mode="json", exclude_none=True))
        for key, need in self.needs.items():
            text = text.replace(f"${key}", json.dumps(str(Path(need.path).resolve()))[1:-1])
        return json.loads(text)


def bundled_claims() -> dict[str, Path]:
    """Return the file of each claim that ships with the package, by its name."""
    folder = Path(str(files("espalier.claims") / "bundled"))
    return {path.stem: path for path in sorted(folder.glob(f"*{SUFFIX}"))}


def load_claims(names: Sequence[str | Path] = (), overrides: Sequence[str] = ()) -> list[Claim]:
    """Return claims by their bundled names or files; without any, all bundled ones.

    Raises:
        RecipeError: not TOML, an unknown key (the nearest is named), or a value that does not fit.
        DataError: there is no such claim.
    """
    bundled = bundled_claims()
    found = [_load(name, bundled, overrides) for name in names or bundled]
    needs = {key for claim in found for key in claim.needs}
    if unknown := next((one for one in map(_need, overrides) if one and one not in needs), ""):
        raise RecipeError(f"No claim needs '{unknown}'.", where="needs", hint=nearest(unknown, needs))
    seen = [claim.name for claim in found]
    if twice := next((name for name in seen if seen.count(name) > 1), ""):
        raise RecipeError(f"Two claims are called '{twice}', and each has a folder by its name.")
    return found


def _load(name: str | Path, bundled: dict[str, Path], overrides: Sequence[str]) -> Claim:
    file = Path(name)
    if not os.path.isfile(file):
        if str(name) not in bundled:
            raise DataError(
                "There is no such file, and no bundled claim of this name.",
                where=str(name),
                hint=nearest(str(name), bundled),
            )
        file = bundled[str(name)]
    table = {"name": file.stem, **read_toml(file)}
    inner = table.get("study")
    if isinstance(inner, dict):
        table["study"] = {**inner, **_beside(cast("dict[str, Any]", inner), file.parent)}
    for override in overrides:
        if _need(override) in ("", *table.get("needs", {})):  # what one claim needs, others do not
            apply_override(table, override, Claim)
    try:
        return parsed(Claim, table)
    except RecipeError as error:
        raise RecipeError(f"{file.name}: {error.message}", where=error.where, hint=error.hint) from None


def _need(override: str) -> str:
    """Return whose path an override tells: `tasks` of needs.tasks.path=…, '' of other keys."""
    first, _, rest = override.partition("=")[0].strip().partition(".")
    return rest.partition(".")[0] if first == "needs" else ""


def _beside(study: dict[str, Any], folder: Path) -> dict[str, str]:
    """Return the study's recipe, where it is a file beside the claim's."""
    recipe = study.get("recipe")
    there = isinstance(recipe, str) and recipe and os.path.isfile(folder / recipe)
    return {"recipe": str((folder / str(recipe)).resolve())} if there else {}
