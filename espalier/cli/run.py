"""`espalier run`: from a recipe to a report; a stage is keyed by what goes into it and not done twice."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from espalier.cli import precision, tuning
from espalier.cli.books import Way, held, inputs_of, look, way_of, write_books, write_results
from espalier.cli.judging import build_scorers, say_limit, try_judges
from espalier.cli.prepare import Prepared, prepare
from espalier.cli.progress import bar, say, working
from espalier.cli.ranks import joined, restarted
from espalier.cli.settings import DEFAULT_CACHE, Cache, Keep, Overrides, Overwrite, RecipeFile
from espalier.cli.stages import Stage, plan_stages, train_stages
from espalier.cli.stopping import Stopped, stoppable
from espalier.cli.summary import print_summary
from espalier.cli.tracking import choose_trackers, open_trackers
from espalier.core.errors import RecipeError, nearest
from espalier.core.files import jsonl, read_json
from espalier.core.recipe import Recipe, load_recipe
from espalier.core.records import ALONE, Ranks
from espalier.core.run import RunFolder
from espalier.core.text import counted

if TYPE_CHECKING:
    from espalier.core.records import Completion, Scorer
    from espalier.decode.strategies import Strategy
    from espalier.models.load import Loaded
    from espalier.train.objectives import Objective

# Seconds that the processes before a restart may take to let go of the run's folder.
RESTART = 60.0
GOES_ON = "The same command goes on from here: what is complete is not done again."


def run(
    recipe: RecipeFile,
    override: Overrides = None,
    *,
    overwrite: Overwrite = False,
    keep: Keep = False,
    cache: Cache = DEFAULT_CACHE,
) -> None:
    """Tune a model on a task and write a report.

    The same command goes on after an interruption; what is done is not done again. Another recipe under the
    name of a run that has trained is refused.
    """
    way = way_of(overwrite=overwrite, keep=keep)
    try:
        with stoppable(), joined() as ranks:
            plan = load_recipe(recipe, override or ())
            path = Path(plan.folder) / plan.name
            say(f"Run {plan.name}, in {path}")
            if ranks.rank > 0:
                assist(plan, RunFolder(path), cache, ranks)
                return
            report = execute(plan, path, cache, ranks, way)
    except KeyboardInterrupt:
        say(f"Interrupted. {GOES_ON}")
        raise typer.Exit(130) from None
    except Stopped as stopped:
        say(f"Stopped by {stopped}. {GOES_ON}")
        raise typer.Exit(stopped.status) from None
    print_summary(read_json(RunFolder(path).scores))
    say(f"Report: {report}")


@dataclass(frozen=True)
class Choices:
    """The recipe's factories, built before anything else so that a wrong name costs no time."""

    objectives: list[list[tuple[Objective, float]]]
    strategy: Strategy
    scorers: dict[str, Scorer]


def execute(recipe: Recipe, path: Path, cache: Path, ranks: Ranks = ALONE, way: Way = "refuse") -> Path:
    """Do every stage of a run that is not done, and return the report's path.

    Nothing is written before the task, the choices and the model are known to be usable, and before a run of
    another recipe that has the folder is out of the `way`.
    """
    from espalier.cli.overview import overview
    from espalier.study.report.page import write_report

    started = time.monotonic()
    patience = RESTART if restarted() else 0.0
    prepared = prepare(recipe)
    rows = counted(len(prepared.train), "row")
    say(f"Task {prepared.task.name}: {rows} to train on, {len(prepared.test)} to score.")
    with working("Getting ready"):
        choices = choose(recipe)
        trackers = choose_trackers(recipe)
    if not any(objective.rates for objective, _ in choices.objectives[-1]):
        try_judges(recipe, choices.scorers, choices.objectives, prepared)
    goes_on = look(recipe, path, prepared, way, patience)
    known = RunFolder(path) if goes_on else None  # one that is put out of the way decides nothing
    loaded = precision.settle(recipe, tuning.load(recipe.model, cache), known, ranks)
    loaded = tuning.rendered(recipe, loaded, known, ranks)
    stages = plan_stages(recipe, choices.objectives, prepared, loaded.template, path)
    for note in prepared.notes:
        say(f"Note: {note}")
    tuning.say_sharing(loaded.model, max(stage.longest for stage in stages))
    tuning.try_methods(recipe, loaded.model)
    inputs = inputs_of(recipe, prepared, stages, loaded)
    with (
        held(recipe, path, inputs, way, patience) as folder,
        open_trackers(trackers, recipe, path) as tell,
    ):
        run = replace(folder, listen=tell)
        about = partial(overview, stages[0], recipe.seed, loaded.template)
        write_books(run, recipe, prepared, stages, inputs, about, today=loaded.template.today)
        precision.keep(recipe, run, loaded)
        run.log_stage("prepare", started, tuning.peak_bytes())
        if stages[-1].rates:
            return _execute_rating(recipe, run, prepared, stages, loaded, ranks)
        limit = say_limit(prepared.test, loaded.template, choices.strategy.limit)
        base = _generate(recipe, run, choices.strategy, prepared, loaded, "base")
        answers: dict[str, list[Completion]] = {}
        for stage, tuned in train_stages(recipe, run, stages, loaded, ranks):
            name = "tuned" if stage.last else f"stage {stage.number + 1}"
            answers[name] = _generate(recipe, run, choices.strategy, prepared, tuned, name)
        # The others are compared with the first.
        systems = {"tuned": answers.pop("tuned"), **answers, "base": base}
        _evaluate(recipe, run, choices, prepared, systems, limit)
        return write_report(run.path)


def _execute_rating(
    recipe: Recipe, run: RunFolder, prepared: Prepared, stages: list[Stage], loaded: Loaded, ranks: Ranks
) -> Path:
    """Do the rest of a run whose model rates answers: it is scored by the order of held-out pairs."""
    from espalier.cli.rating import lengths, order, score_pairs
    from espalier.evaluate.pairs import pairs_of
    from espalier.study.report.page import write_report

    pairs = pairs_of(prepared.test)
    base = order(run, pairs, loaded, "base")
    *_, (_, tuned) = train_stages(recipe, run, stages, loaded, ranks)
    systems = {"tuned": order(run, pairs, tuned, "tuned"), "base": base, "longer": lengths(pairs)}
    score_pairs(recipe, run, pairs, systems)
    return write_report(run.path)


def assist(recipe: Recipe, run: RunFolder, cache: Path, ranks: Ranks) -> None:
    """Do a rank's share of the training, where another one executes the run; nothing is written."""
    prepared = prepare(recipe)
    choices = choose(recipe)
    loaded = precision.settle(recipe, tuning.load(recipe.model, cache), run, ranks)
    loaded = tuning.rendered(recipe, loaded, run, ranks)
    stages = plan_stages(recipe, choices.objectives, prepared, loaded.template, run.path)
    for _ in train_stages(recipe, run, stages, loaded, ranks):
        pass


def choose(recipe: Recipe) -> Choices:
    """Build the recipe's factories. Raises RecipeError where a name or a parameter is wrong."""
    from espalier.decode.strategies import strategies
    from espalier.models.adapters import methods
    from espalier.train.objectives import objectives
    from espalier.train.optimizer import optimizers

    _check_checks(recipe)
    shared: list[list[tuple[Objective, float]]] = []
    for number, section in enumerate(recipe.train):
        where = f"train.{number}" if len(recipe.train) > 1 else "train"
        methods.build(section.method.kind, section.method.params, f"{where}.method")
        optimizers.build(section.optimizer.kind, section.optimizer.params, f"{where}.optimizer")
        if section.parallel == "fsdp" and section.optimizer.kind != "adamw":
            raise RecipeError(
                f"'{section.optimizer.kind}' cannot move weights that are shared out; adamw can.",
                where=f"{where}.optimizer",
                hint="Take it, or train.parallel = 'ddp'.",
            )
        shared.append(
            [
                (objectives.build(choice.kind, choice.params, f"{where}.objective.{index}"), choice.weight)
                for index, choice in enumerate(section.objective)
            ]
        )
    return Choices(
        objectives=shared,
        strategy=strategies.build(recipe.decode.kind, recipe.decode.params, "decode"),
        scorers=build_scorers(recipe),
    )


def _check_checks(recipe: Recipe) -> None:
    from espalier.tasks.checks import checks, set_checks

    known = [*checks.names(), *set_checks.names()]
    for name in recipe.task.checks or ():
        if name not in known:
            raise RecipeError(f"No check is named '{name}'.", where="task.checks", hint=nearest(name, known))


def _generate(
    recipe: Recipe, run: RunFolder, strategy: Strategy, prepared: Prepared, loaded: Loaded, system: str
) -> list[Completion]:
    from espalier.decode.engine import generate
    from espalier.decode.journal import Journal

    started = time.monotonic()
    journal = Journal(run.path / "generations.jsonl")
    known = len(journal.done)
    completions: list[Completion] = []
    with bar(f"Answers of the {system} model", len(prepared.test) * strategy.samples) as advance:
        model = tuning.to_decode(loaded.model, loaded.formats.decoding)
        for completion in generate(
            model, loaded.template, prepared.test, strategy, weights=loaded.weights, journal=journal
        ):
            completions.append(completion)
            advance(1, "")
    if len(journal.done) > known:
        run.log_stage(f"decode {system}", started, tuning.peak_bytes())
    place = {example.id: number for number, example in enumerate(prepared.test)}
    return sorted(completions, key=lambda completion: (place[completion.example], completion.sample))


@working("Scoring", aloud=False)
def _evaluate(
    recipe: Recipe,
    run: RunFolder,
    choices: Choices,
    prepared: Prepared,
    answers: dict[str, list[Completion]],
    limit: dict[str, int],
) -> None:
    """Write outputs.jsonl and scores.json; of several samples of an answer the first is scored."""
    from espalier.evaluate.baselines import floors
    from espalier.evaluate.harness import evaluate

    started = time.monotonic()
    test = prepared.test
    systems = {**answers, **floors(test, prepared.train)}
    lines = [
        {"system": system, **asdict(completion)}
        for system, completions in systems.items()
        for completion in completions
    ]
    checks = prepared.task.checks if recipe.task.checks is None else recipe.task.checks
    first = {name: [c for c in completions if c.sample == 0] for name, completions in systems.items()}
    objectives = [objective for stage in choices.objectives for objective, _ in stage]
    rewarded = list(dict.fromkeys(name for objective in objectives for name in objective.rewards))
    task, shown = prepared.task, prepared.shown
    worked = [e.output for e in (*task.positive[: shown.positive], *task.negative[: shown.negative])]
    scores = evaluate(
        test, first, choices.scorers, checks, recipe.seed,
        rewarded=rewarded, train=prepared.train, shown=worked, limit=limit,
    )  # fmt: skip
    write_results(run, jsonl(lines), json.dumps(scores, ensure_ascii=False, indent=1) + "\n")
    run.log_stage("evaluate", started, tuning.peak_bytes())
