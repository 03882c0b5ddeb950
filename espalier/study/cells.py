"""A study planned: each cell's recipes, which trainings cells share, and what would make them incomparable.

A cell is a level of each factor and a seed. What acts on training makes its training's recipe, what acts on
asking its test's. Where both ask the same prompts the cell is an ordinary run; else its training is one, and
the cell an evaluation of that. All cells with one training share it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from espalier.core.errors import DataError, RecipeError, nearest
from espalier.core.files import content_hash
from espalier.core.recipe import Choice, as_recipe
from espalier.core.run import RunFolder
from espalier.core.text import counted
from espalier.design.designs import designs
from espalier.design.factors import plain, varied
from espalier.design.files import Files
from espalier.evaluate.measures import ALL
from espalier.runs.judging import try_judges
from espalier.runs.plan import chosen
from espalier.runs.prepare import Prepared, prepare
from espalier.runs.trunk import alone_as
from espalier.scorers.registry import scorers
from espalier.tasks.once import reading_once

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from espalier.core.recipe import Recipe
    from espalier.design.designs import Layout
    from espalier.design.factors import Varied
    from espalier.design.recipe import StudyRecipe

LONG = 120  # letters of a cell's name, from which on it is cut
ASKING = ("decode", "evaluate")  # sections that a training does not depend on
OF_FOLDER = {"name", "folder", "track", "evidence", *ASKING}


@dataclass(frozen=True)
class Rows:
    """What a recipe's rows come to, as far as cells have to agree in them.

    Attributes:
        asked: hash of the prompts that are scored, with their references and checks.
        learned: hash of what is trained on.
        ids: of the rows that are scored.
        trained: sources that are trained on.
        scored: sources that are scored.
    """

    asked: str
    learned: str
    ids: frozenset[str]
    trained: frozenset[str]
    scored: frozenset[str]


@dataclass(frozen=True)
class Cell:
    """One training's answers under one way of asking.

    Attributes:
        levels: the number of each factor's level.
        seed: of the training.
        labels: the levels for a person, by factor.
        name: of its folder.
        recipe: what is asked of the training's model.
        training: the key of its training.
        run: whether its folder is the training's run.
        key: hash of all that goes into its folder.
    """

    levels: tuple[int, ...]
    seed: int
    labels: Mapping[str, str]
    name: str
    recipe: Recipe
    training: str
    run: bool
    key: str


@dataclass(frozen=True)
class Training:
    """A training that cells share: an ordinary run, which may be one of them."""

    key: str
    name: str
    recipe: Recipe
    content: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Planned:
    """All of a study before anything is done."""

    study: StudyRecipe
    factors: tuple[Varied, ...]
    layout: Layout
    trainings: tuple[Training, ...]

    @property
    def cells(self) -> list[Cell]:
        """All cells, training by training."""
        return [cell for training in self.trainings for cell in training.cells]

    @property
    def runs(self) -> Path:
        """The folder of all runs."""
        return self.study.path / "runs"

    def folder(self, name: str) -> RunFolder:
        """Return the folder of a cell or a training."""
        return RunFolder(self.runs / name)


@dataclass(frozen=True)
class _Draft:
    """A cell's recipes: what is trained, and how that is asked."""

    levels: tuple[int, ...]
    seed: int
    train: Recipe
    test: Recipe


@dataclass
class _Reader:
    """Reads each recipe's rows once."""

    known: dict[str, Rows] = field(default_factory=dict[str, Rows])

    def rows(self, recipe: Recipe) -> Rows:
        stages = [stage.data for stage in recipe.train]
        told = [recipe.task.model_dump(), recipe.data.model_dump(), stages, recipe.split_seed]
        key = content_hash(told)
        if key not in self.known:
            made = prepare(recipe)
            asked = [
                [e.id, [(turn.role, turn.text) for turn in e.prompt], e.references, dict(e.facts)]
                for e in made.test
            ]
            checks = made.checks if recipe.task.checks is None else recipe.task.checks
            learned = [[e.id, [(t.role, t.text, t.trained) for t in e.messages]] for e in made.train]
            self.known[key] = Rows(
                content_hash([asked, checks]),
                content_hash([learned, [e.id for e in made.dev]]),
                frozenset(e.id for e in made.test),
                frozenset(e.source for e in (*made.train, *made.dev)),
                frozenset(e.source for e in made.test),
            )
        return self.known[key]


@reading_once()
def planned(
    study: StudyRecipe, known: Mapping[str, Any] | None = None, layout: Layout | None = None
) -> Planned:
    """Plan a study; nothing is trained, and only derived files are written.

    Args:
        study: what is asked.
        known: by name, what is recorded of cells that are done: a cell that is a run stays one.
        layout: that goes on from another one, see `Layout.next`; by default the design's first.

    Raises:
        RecipeError: a factor, a level, the design or the metric does not fit.
        DataError: rows cannot be used, or cells would be scored on different ones.
    """
    base = _base(study)
    factors = tuple(varied(choice, number) for number, choice in enumerate(study.factor))
    layout = layout or designs.build(study.design.kind, study.design.params, "design")(factors)
    factors = layout.factors or factors
    files, reader = Files(study.path / "files"), _Reader()
    _check_metric(study, base)
    settings = {
        cell: tuple(_at(base, factors, cell, place, files) for place in ("train", "test"))
        for cell in layout.cells
    }
    _check_settings(factors, settings, reader)
    _check_sides(study, factors, settings, reader, layout)
    groups: dict[str, list[_Draft]] = {}
    for seed in (*study.seeded, 1 + max(study.seeded)):
        for levels, pair in settings.items():
            if (levels in layout.once) == (seed in study.seeded):
                continue
            draft = _Draft(levels, seed, *(recipe.model_copy(update={"seed": seed}) for recipe in pair))
            groups.setdefault(_training_key(draft.train), []).append(draft)
    trainings = [_training(factors, key, group, reader, known or {}) for key, group in groups.items()]
    return Planned(study, factors, layout, tuple(sorted(trainings, key=_size_first)))


def _size_first(training: Training) -> float:
    """Sort trainings that go on from each other by their sizes, the smallest first, behind the others."""
    recipe = training.recipe
    return 0.0 if alone_as(recipe) else recipe.data.limit or math.inf


def _base(study: StudyRecipe) -> Recipe:
    """Return the recipe that is varied, with one split for all seeds."""
    quiet = [] if any(key.startswith("evidence") for key in study.set) else ["evidence=false"]
    try:
        recipe = as_recipe(study.recipe, [*quiet, *study.set])
    except RecipeError as error:
        where = "set" if study.set and not error.where.endswith(".toml") else "recipe"
        raise RecipeError(str(error), where=where) from None
    if study.metric in scorers.names() and study.metric not in [one.kind for one in recipe.evaluate]:
        judges = (*recipe.evaluate, Choice(kind=study.metric))
        recipe = recipe.model_copy(update={"evaluate": judges})
    data = recipe.data.model_copy(update={"seed": recipe.split_seed})
    folder = str((study.path / "runs").absolute())
    return recipe.model_copy(update={"data": data, "folder": folder, "track": ()})


def _at(base: Recipe, factors: Sequence[Varied], cell: Sequence[int], place: str, files: Files) -> Recipe:
    recipe = base
    for factor, level in zip(factors, cell, strict=True):
        if factor.at in (place, "both"):
            recipe = factor.on(recipe, level, files)
    return recipe


def _training_key(recipe: Recipe) -> str:
    return content_hash(recipe.model_dump(mode="json", exclude=OF_FOLDER))


def _check_metric(study: StudyRecipe, base: Recipe) -> None:
    """Refuse a metric that the task lacks, before any time is spent. Raises RecipeError."""
    choices = chosen(base, prepare(base))  # tries all that the recipe names, too
    known = [*choices.scorers, *choices.checks, *([ALL] if choices.checks else [])]
    if choices.rates:
        raise RecipeError("A reward model answers nothing, so a study cannot score it.", where="recipe")
    if study.metric and study.metric not in known:
        raise RecipeError(
            f"The runs have no measure '{study.metric}'.", where="metric", hint=nearest(study.metric, known)
        )
    try:
        try_judges(choices)
    except RecipeError as error:
        raise RecipeError(error.message, where="metric" if study.metric else error.where) from None


def _check_settings(
    factors: Sequence[Varied],
    settings: Mapping[tuple[int, ...], tuple[Recipe, ...]],
    reader: _Reader,
) -> None:
    """Refuse settings that are the same, or scored on what is trained on.

    Raises:
        RecipeError: two settings come to the same.
        DataError: a source is trained on and scored.
    """
    seen: dict[str, tuple[int, ...]] = {}
    tried: set[str] = set()
    for levels, pair in settings.items():
        train, test = pair
        _try(factors, levels, pair, tried)
        learned, asked = reader.rows(train), reader.rows(test)
        same = content_hash([_training_key(train), asked.asked, *_asking(test)])
        if same in seen:
            raise _no_difference(factors, seen[same], levels)
        seen[same] = levels
        if leaked := sorted(learned.trained & asked.scored):
            raise DataError(
                f"At {_named(factors, levels)} {counted(len(leaked), 'source')} of the test set would be "
                f"trained on, such as '{leaked[0][:60]}'.",
                where="factor",
                hint="Leave these rows out of what is trained on.",
            )


def _check_sides(
    study: StudyRecipe,
    factors: Sequence[Varied],
    settings: Mapping[tuple[int, ...], tuple[Recipe, ...]],
    reader: _Reader,
    layout: Layout,
) -> None:
    """Refuse cells that are set against each other and scored on other rows. Raises DataError."""
    for contrast in layout.contrasts:
        first, *others = [*contrast.minus, *contrast.plus]
        ids = reader.rows(settings[first][1]).ids
        for levels in others:
            asked = reader.rows(settings[levels][1])
            if asked.ids != ids:
                names = [_named(factors, which) for which in (first, levels)]
                raise DataError(
                    f"The rows that are scored differ: {len(ids)} at {names[0]}, {len(asked.ids)} at "
                    f"{names[1]}, {len(ids & asked.ids)} in both.",
                    where=str(study.path.name),
                    hint='What changes rows can act on training only: at = "train".',
                )


def _try(
    factors: Sequence[Varied], levels: Sequence[int], recipes: Sequence[Recipe], tried: set[str]
) -> None:
    """Build what a setting's recipes name, so that what is wrong is told before the first training."""
    for recipe in recipes:
        told = recipe.model_dump_json(exclude={"data": {"limit"}, "task": {"path"}})
        if told in tried:
            continue
        tried.add(told)
        try:
            chosen(recipe, Prepared((), [], [], [], []))
        except RecipeError as error:
            raise RecipeError(
                f"At {_named(factors, levels)}: {error.message}", where=error.where, hint=error.hint
            ) from None


def _no_difference(factors: Sequence[Varied], one: Sequence[int], other: Sequence[int]) -> RecipeError:
    moved = [factor for factor, a, b in zip(factors, one, other, strict=True) if a != b]
    rest = [factor.name for factor in factors if factor not in moved]
    beside = f" beside {' and '.join(rest)}, which may set the same" if rest else ""
    return RecipeError(
        f"'{moved[0].name}' makes no difference{beside}: {_named(factors, one)} and {_named(factors, other)} "
        "come to the same recipe.",
        where=moved[0].where,
        hint="Leave it out, or say where it acts (at)."
        if isinstance(moved[0].levels[0], str | int | float | dict | list)
        else "Give the factor more rows, or the design fewer cells.",
    )


def _asking(recipe: Recipe) -> list[Any]:
    return [
        recipe.decode.model_dump(mode="json"),
        [one.model_dump(mode="json") for one in recipe.evaluate],
    ]


def _training(
    factors: Sequence[Varied], key: str, group: Sequence[_Draft], reader: _Reader, known: Mapping[str, Any]
) -> Training:
    """Return a training with its cells; one that asks as the training does, if there is one, is its run."""
    first, rows = group[0], reader.rows(group[0].train)
    names = {one.levels: _cell_name(factors, one.levels, one.seed) for one in group}
    fits = [one for one in group if reader.rows(one.test).asked == rows.asked]
    before = [one for one in fits if known.get(names[one.levels], {}).get("kind") == "run"]
    home = next(iter([*before, *fits]), None)
    trained = [number for number, factor in enumerate(factors) if factor.at != "test"]
    told = [first.levels[number] for number in trained]
    alone = _cell_name([factors[number] for number in trained], told, first.seed, "trained")
    like = (home or first).test
    run = first.train.model_copy(
        update={
            "name": names[home.levels] if home else alone,
            "decode": like.decode,
            "evaluate": like.evaluate,
        }
    )
    content = content_hash([run.hash, rows.asked, rows.learned])
    place = f"{run.folder}/{run.name}"
    cells: list[Cell] = []
    for one in group:
        labels = {f.name: f.labels[level] for f, level in zip(factors, one.levels, strict=True)}
        recipe, mine = run, content
        if one is not home:
            model = one.test.model.model_copy(update={"name": place})
            recipe = one.test.model_copy(update={"name": names[one.levels], "model": model})
            mine = content_hash([recipe.hash, content, reader.rows(one.test).asked])
        cells.append(Cell(one.levels, one.seed, labels, recipe.name, recipe, key, one is home, mine))
    return Training(key, run.name, run, content, tuple(cells))


def _named(factors: Sequence[Varied], levels: Sequence[int]) -> str:
    told = [f"{factor.name} {factor.labels[level]}" for factor, level in zip(factors, levels, strict=True)]
    return ", ".join(told)


def _cell_name(factors: Sequence[Varied], levels: Sequence[int], seed: int, begin: str = "") -> str:
    """Return the name of a folder: what a person reads first, short, and no two alike."""
    parts = [
        f"{plain(factor.name)}-{plain(factor.labels[level])}"
        for factor, level in zip(factors, levels, strict=True)
    ]
    name = "_".join([*([begin] if begin else []), *parts, f"s{seed}"])
    return name if len(name) <= LONG else f"{name[: LONG - 20]}_{content_hash(name)[:8]}_s{seed}"
