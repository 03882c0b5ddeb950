"""Whose rows are asked about: a run that kept states, its rows in tokens, and the model as it was trained."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from espalier.core.errors import RunError
from espalier.core.files import content_hash
from espalier.core.recipe import load_recipe
from espalier.core.run import find_run, stage_name
from espalier.models.media import by_whole_rows
from espalier.runs.in_tokens import encode_units
from espalier.runs.kept import load_kept
from espalier.runs.plan import make_plan, resolve
from espalier.runs.stages import determinants, ready_model
from espalier.train.objectives import rows_of
from espalier.train.states import states_in

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from espalier.core.recipe import Recipe
    from espalier.core.records import Encoded, Example
    from espalier.core.run import RunFolder
    from espalier.encode.template import Template
    from espalier.runs.plan import Plan, Stage
    from espalier.runs.stages import Ready
    from espalier.train.states import State

SEVERAL = "It was trained in stages, and the states are of the last."


@dataclass(frozen=True)
class Kept:
    """A run that has kept states of its training; nothing is loaded.

    Attributes:
        run: its folder.
        recipe: as it was resolved.
        key: the hash of all that determines its weights.
        states: that it kept, oldest first, each with its file.
    """

    run: RunFolder
    recipe: Recipe
    key: str
    states: Sequence[tuple[Path, State]]

    @property
    def folder(self) -> Path:
        """Where what is found goes."""
        return self.run.path / "influence"


@dataclass(frozen=True)
class Subject:
    """A run's last stage, ready to be asked.

    Attributes:
        ready: its model, with the weights that it moved, and the template of its rows.
        stage: with its objective.
        examples: that it learned from, in the order of `rows`.
        rows: each example's answers in tokens.
    """

    ready: Ready
    stage: Stage
    examples: Sequence[Example]
    rows: Sequence[Sequence[Encoded]]

    @property
    def template(self) -> Template:
        """Of the rows."""
        return self.ready.template

    @property
    def weight(self) -> float:
        """Sum of the weights of all trained tokens."""
        return sum(sum(row.weights) for rows in self.rows for row in rows)


def kept_by(path: Path) -> Kept:
    """Return a run with the states that it kept. Raises RunError where it kept none, and says what to do."""
    run = find_run(path)
    recipe = load_recipe(run.recipe)
    section, count = recipe.train[-1], len(recipe.train)
    kinds = [choice.kind for choice in section.objective]
    if kinds != ["sft"]:
        what = "makes a reward model" if kinds == ["reward"] else f"was trained by {' + '.join(kinds)}"
        raise RunError(
            f"The influence of rows is told of the objective sft alone, and this run {what}.",
            where=str(path),
            hint="Name a run that was tuned on answers (train.objective = 'sft').",
        )
    done = run.done(stage_name(count - 1, count))
    if done is None:
        raise RunError("The run is not trained yet.", where=str(path), hint="Finish it with espalier run.")
    states = states_in(run.path / "influence", done.key)
    if not states:
        key = "train.keep" if count == 1 else f"train.{count - 1}.keep"
        raise RunError(
            "This run kept no states: set train.keep and train again.",
            where=str(path),
            hint=f"espalier run {run.recipe} -o {key}=influence does it, to the same weights.",
        )
    return Kept(run, recipe, done.key, states)


def subject_of(kept: Kept, cache: Path) -> Subject:
    """Load a run's model and rows as they were when it was trained.

    Raises:
        RunError: the recipe leads to other rows or weights now.
        EspalierError: the recipe's files or model cannot be used any more.
    """
    plan = make_plan(resolve(kept.recipe), cache, kept.run.path, known=kept.run)
    for before in plan.stages[:-1]:
        plan = _behind(plan, before)
    stage = plan.stages[-1]
    if content_hash(determinants(plan, stage)) != kept.key:
        raise RunError(
            "The recipe leads to other rows, weights or settings now than those that the states are of.",
            where=str(kept.run.path),
            hint="Put the files back that have changed since, or train again.",
        )
    ready = ready_model(plan, stage)
    ready.model.eval()
    if by_whole_rows(ready.model):
        raise RunError(
            "Influence is not computed for a model whose pictures have places of several dimensions, or see "
            "each other's tokens both ways.",
            where=str(kept.run.path),
            hint="Explain it by `espalier explain`, or tune a model of another type.",
        )
    units = stage.encoded.units
    if ready.template.prefix:  # behind a soft prompt
        units = encode_units(stage.examples, ready.template, stage.section.tokens).units
    examples = {example.id: example for example in stage.examples}
    answers = [(examples[unit.example], rows_of(unit, "answer")) for unit in units]
    answers = [(example, rows) for example, rows in answers if rows]
    return Subject(ready, stage, [example for example, _ in answers], [rows for _, rows in answers])


def _behind(plan: Plan, stage: Stage) -> Plan:
    """Return the plan with the model that a stage has left."""
    tuned = load_kept(stage, plan.loaded)
    template = tuned.template.under(plan.template.rendering)
    return replace(plan, loaded=replace(tuned, formats=plan.loaded.formats, template=template))
