"""A run planned once: what its recipe comes to, all of it, before anything is done.

`resolve` reads the rows and builds what the recipe names, with no model: what is wrong there costs no time.
`make_plan` adds the model, and the rows in its tokens. Below this file nothing looks at a recipe but the
books that a run keeps of it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from espalier.core.errors import DataError, RecipeError, nearest
from espalier.core.journal import store_of
from espalier.core.memory import all_kept
from espalier.core.records import ALONE, Ranks
from espalier.core.run import stage_name
from espalier.runs.events import say, working
from espalier.runs.in_tokens import askable, encode_units, once_each, showing, special_names
from espalier.runs.prepare import announced, divided, prepare, stage_examples

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from espalier.core.journal import Journal
    from espalier.core.recipe import Recipe, TrainSection
    from espalier.core.records import Example, Scorer
    from espalier.core.run import RunFolder
    from espalier.decode.strategy import Strategy
    from espalier.encode.template import Template
    from espalier.encode.tokens import Unit
    from espalier.models.load import Loaded
    from espalier.runs.in_tokens import Units
    from espalier.runs.prepare import Prepared
    from espalier.runs.trackers import Opener
    from espalier.train.objectives import Objective


@dataclass(frozen=True)
class Choices:
    """What a recipe comes to without its model.

    Attributes:
        recipe: as it was resolved.
        prepared: its rows.
        objectives: of each stage, each with its share.
        strategy: of decoding.
        scorers: by their names.
        checks: names of the checks that judge the answers: all of them where the recipe names them, else
            each those of the tasks that have it, see `checks_of`.
        trackers: what opens each, by its name.
    """

    recipe: Recipe
    prepared: Prepared
    objectives: Sequence[Sequence[tuple[Objective, float]]]
    strategy: Strategy
    scorers: Mapping[str, Scorer]
    checks: Sequence[str]
    trackers: Mapping[str, Opener]

    @property
    def checks_of(self) -> Mapping[str, Sequence[str]]:
        """The checks that judge a task's answers, by the task's name."""
        own = self.recipe.task.checks
        return {part.name: part.checks if own is None else own for part in self.prepared.parts}

    @property
    def rates(self) -> bool:
        """Whether the run makes a reward model."""
        return any(objective.rates for objective, _ in self.objectives[-1])

    @property
    def rewarded(self) -> list[str]:
        """Names of what answers are rewarded for while the model learns."""
        objectives = [objective for stage in self.objectives for objective, _ in stage]
        return list(dict.fromkeys(name for objective in objectives for name in objective.rewards))


@dataclass(frozen=True)
class Stage:
    """One `[[train]]` of the recipe, with what it learns from.

    Attributes:
        number: counted from 0.
        name: of its records; "train" where there is only one.
        section: its part of the recipe.
        shared: its objectives, each with its share.
        examples: that it learns from.
        encoded: the same in tokens.
        folder: where its checkpoints lie.
        last: whether its model is the run's.
        dev: examples whose loss is followed meanwhile, and which of its weights are kept depends on.
        heldout: the same in tokens.
    """

    number: int
    name: str
    section: TrainSection
    shared: Sequence[tuple[Objective, float]]
    examples: list[Example]
    encoded: Units
    folder: Path
    last: bool
    dev: list[Example] = field(default_factory=list["Example"])
    heldout: list[Unit] = field(default_factory=list["Unit"])

    @property
    def model(self) -> Path:
        """Where its model goes."""
        return self.folder / "model"

    @property
    def states(self) -> Path:
        """Where the states of its training are kept, if `train.keep` asks for them."""
        return self.folder / "influence"

    @property
    def key(self) -> str:
        """Its place in the recipe."""
        return self.name.replace(" ", ".")

    @property
    def longest(self) -> int:
        """Tokens of its longest row."""
        units = self.encoded.units
        return max(len(ids) for unit in units for ids in (unit.prompt, *(row.ids for row in unit.rows)))

    @property
    def rates(self) -> bool:
        """Whether it makes a reward model."""
        return any(objective.rates for objective, _ in self.shared)


@dataclass(frozen=True)
class Plan:
    """All that a run needs.

    Attributes:
        choices: what the recipe comes to without its model.
        loaded: the model that the next stage begins with: the recipe's own, at first.
        stages: in their order.
        cache: folder of converted models.
        store: what the runs of the folder share.
    """

    choices: Choices
    loaded: Loaded
    stages: Sequence[Stage]
    cache: Path
    store: Journal

    @property
    def seed(self) -> int:
        """Of all draws."""
        return self.choices.recipe.seed

    @property
    def prepared(self) -> Prepared:
        """The rows."""
        return self.choices.prepared

    @property
    def template(self) -> Template:
        """Of the model."""
        return self.loaded.template

    @property
    def longest(self) -> int:
        """Tokens of the longest training row."""
        return max(stage.longest for stage in self.stages)


def resolve(recipe: Recipe) -> Choices:
    """Read the rows, and build all that the recipe names.

    Raises:
        DataError: the rows cannot be used.
        RecipeError: a name or a parameter is wrong.
        MissingExtra: what it names is not installed.
    """
    return choose(recipe, announced(prepare(recipe)))


@working("Getting ready")
def choose(recipe: Recipe, prepared: Prepared) -> Choices:
    """Build the recipe's factories. Raises RecipeError where a name or a parameter is wrong."""
    return chosen(recipe, prepared)


def chosen(recipe: Recipe, prepared: Prepared) -> Choices:
    """Do the same as `choose`, and say nothing."""
    from espalier.decode.strategies.registry import strategies
    from espalier.runs.judging import build_scorers
    from espalier.runs.rating import rater_weights
    from espalier.runs.tracking import choose_trackers

    for note in recipe.left_out:
        say(note)
    _check_held_out(recipe)
    own = recipe.task.checks
    _check_checks(own or ())
    objectives = [_objectives(recipe.train, number) for number in range(len(recipe.train))]
    if recipe.data.dev:
        _check_dev(recipe, objectives)
    strategy = strategies.build(recipe.decode.kind, recipe.decode.params, "decode")
    rater_weights([strategy.pick.by] if strategy.pick else [])  # a model that is not there is told now
    return Choices(
        recipe=recipe,
        prepared=prepared,
        objectives=objectives,
        strategy=strategy,
        scorers=build_scorers(recipe.evaluate),
        checks=prepared.checks if own is None else own,
        trackers=choose_trackers(recipe.track),
    )


def _objectives(sections: Sequence[TrainSection], number: int) -> list[tuple[Objective, float]]:
    """Return a stage's objectives with their shares, and try what else it names."""
    from espalier.models.adapters import methods
    from espalier.train.objectives import objectives
    from espalier.train.optimizer import optimizers
    from espalier.train.states import check_keep

    section = sections[number]
    where = f"train.{number}" if len(sections) > 1 else "train"
    methods.build(section.method.kind, section.method.params, f"{where}.method")
    optimizers.build(section.optimizer.kind, section.optimizer.params, f"{where}.optimizer")
    if section.parallel == "fsdp" and section.optimizer.kind != "adamw":
        raise RecipeError(
            f"'{section.optimizer.kind}' cannot move weights that are shared out; adamw can.",
            where=f"{where}.optimizer",
            hint="Take it, or train.parallel = 'ddp'.",
        )
    if section.keep:
        check_keep(section, where, last=number == len(sections) - 1)
    return [
        (objectives.build(choice.kind, choice.params, f"{where}.objective.{index}"), choice.weight)
        for index, choice in enumerate(section.objective)
    ]


def _check_held_out(recipe: Recipe) -> None:
    """Refuse a key that asks for a held-out loss where no row is held out. Raises RecipeError."""
    for section in recipe.train:
        for key, value in (("patience", section.patience), ("dev", section.dev)):
            if value and not recipe.data.dev:
                raise RecipeError(
                    f"train.{key} = {value} asks for a held-out loss, and no row is held out.",
                    where=f"train.{key}",
                    hint="Hold some out, such as a tenth with -o data.dev=0.1.",
                )


def _check_dev(recipe: Recipe, objectives: Sequence[Sequence[tuple[Objective, float]]]) -> None:
    """Refuse to follow a held-out loss where there is none. Raises RecipeError."""
    for section, shared in zip(recipe.train, objectives, strict=True):
        if samples(shared) and (section.patience or section.dev or len(recipe.train) == 1):
            raise RecipeError(
                "An objective that learns from the model's own answers has no held-out loss.",
                where="data.dev" if len(recipe.train) == 1 else "train.patience, train.dev",
                hint="Leave that out here; the test set's scores show how well it does.",
            )


def samples(shared: Sequence[tuple[Objective, float]]) -> bool:
    """Say whether the model learns from answers of its own."""
    return any(objective.rewards for objective, _ in shared)


def _check_checks(names: Sequence[str]) -> None:
    from espalier.tasks.checks import checks, set_checks

    known = [*checks.names(), *set_checks.names()]
    for name in names:
        if name not in known:
            raise RecipeError(f"No check is named '{name}'.", where="task.checks", hint=nearest(name, known))


def make_plan(
    choices: Choices, cache: Path, folder: Path, *, known: RunFolder | None = None, ranks: Ranks = ALONE
) -> Plan:
    """Load the model, and turn the rows into its tokens. Every rank calls it; nothing is written.

    Args:
        choices: what is planned.
        cache: folder of converted models.
        folder: where the run's files are to lie.
        known: the run's folder, where number formats and the date of its first start stand.
        ranks: that share the work.

    Raises:
        ModelError: the model cannot be loaded.
        DataError, RecipeError, TemplateError: see `stages_of`.
    """
    from espalier.runs.load import load_base, rendered, rendering_of
    from espalier.runs.media import open_media
    from espalier.runs.precision import settle

    recipe = choices.recipe
    loaded = settle(recipe.model, load_base(recipe.model, cache, recipe.seed), known, ranks)
    loaded = rendered(loaded, rendering_of(recipe), known, ranks)
    store = store_of(folder.parent)
    made = choices.prepared
    open_media(loaded, [*made.train, *made.dev, *made.test])
    return Plan(choices, loaded, stages_of(choices, loaded.template, folder), cache, store)


@working("Turning the rows into tokens", aloud=False)
@all_kept()
def stages_of(choices: Choices, template: Template, path: Path) -> list[Stage]:
    """Return the recipe's stages with their rows in tokens.

    Raises:
        DataError: a stage's rows cannot be used, none fits the token budget, or an objective finds nothing
            to learn from in them.
        RecipeError: a stage that is not the last has a method whose result is no whole model.
    """
    from espalier.train.objectives import check_units

    recipe, prepared, shared = choices.recipe, choices.prepared, choices.objectives
    refused = prepared.rejects if recipe.task.on_bad == "reject" else None
    prepared.test[:] = askable(prepared.test, template, refused, rates=choices.rates)
    stages: list[Stage] = []
    for number, section in enumerate(recipe.train):
        last = number == len(recipe.train) - 1
        if not last and section.method.kind in ("prompt", "adapter"):
            raise RecipeError(
                f"The method '{section.method.kind}' adds to a model what cannot be folded into it, so no "
                "stage can follow.",
                where=f"train.{number}.method",
                hint="Make it the last stage, or take lora, which can be.",
            )
        examples, dev = divided(recipe, section, stage_examples(recipe.task, section, prepared), prepared)
        folder = path if last else path / "stages" / str(number)
        encoded = encode_units(examples, template, section.tokens, written(shared[number]), refused)
        name = stage_name(number, len(recipe.train))
        stage = Stage(number, name, section, shared[number], examples, encoded, folder, last)
        if section.method.kind == "projector":
            stage = replace(stage, encoded=showing(encoded, examples, f"{stage.key}.method"))
        if stage.rates:
            _check_rating(stage)
        for place, (objective, _) in enumerate(shared[number]):
            check_units(objective, stage.encoded.units, f"{stage.key}.objective.{place}")
        if dev and samples(stage.shared):
            prepared.notes.append(f"{stage.name} learns from answers of its own: its last weights are kept.")
        elif dev:
            stage = _watching(stage, dev, template, refused)
        stages.append(stage)
    distinct = {example.id: example for stage in stages for example in (*stage.examples, *stage.dev)}
    distinct |= {example.id: example for example in prepared.test}
    prepared.rejects[:] = once_each(prepared.rejects)
    prepared.notes.extend(special_names([*distinct.values()], template))
    return stages


def _watching(
    stage: Stage, dev: list[Example], template: Template, refused: list[dict[str, Any]] | None
) -> Stage:
    """Return the stage with what it is watched by. Raises DataError where an objective has no loss there."""
    found = encode_units(dev, template, stage.section.tokens, 0, refused, what="held-out")
    if stage.section.method.kind == "projector":
        found = showing(found, dev, "data.dev")
    stage.encoded.rejects.extend(found.rejects)
    for objective, _ in stage.shared:
        if not any(objective.learns(unit) for unit in found.units):
            raise DataError(
                f"None of the {len(found.units)} held-out rows has {objective.needs}, so there is no loss.",
                where="data.dev",
                hint="Raise it, or leave it out.",
            )
    return replace(stage, dev=dev, heldout=found.units)


def _check_rating(stage: Stage) -> None:
    """Refuse a reward model that would have to write as well. Raises RecipeError."""
    section = stage.section
    rules = {
        "objective": (len(stage.shared) == 1, "A reward model learns nothing besides."),
        "method": (section.method.kind in ("full", "lora"), "A reward model is trained by full or lora."),
    }
    for key, (fits, rule) in rules.items():
        if not fits:
            raise RecipeError(rule, where=f"{stage.key}.{key}")
    if not stage.last:
        raise RecipeError(
            "No stage can follow one that makes a reward model, which writes nothing.",
            where=f"{stage.key}.objective",
        )


def written(shared: Sequence[tuple[Objective, float]]) -> int:
    """Return the most tokens of an answer that the model writes itself."""
    return max(objective.limit for objective, _ in shared)
