"""`espalier run`: from a recipe to a report; a stage is keyed by what goes into it and not done twice."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from espalier.cli import tuning
from espalier.cli.prepare import Prepared, Rows, encode_rows, prepare
from espalier.cli.progress import bar, say, working
from espalier.cli.settings import DEFAULT_CACHE, Cache, Overrides, RecipeFile
from espalier.cli.summary import print_summary
from espalier.core.errors import RecipeError, nearest
from espalier.core.files import content_hash, jsonl, read_json, write_atomic
from espalier.core.recipe import Recipe, load_recipe
from espalier.core.run import RunFolder, open_run, provenance

if TYPE_CHECKING:
    from espalier.core.records import Completion, Encoded, Scorer
    from espalier.decode.strategies import Strategy
    from espalier.models.load import Loaded
    from espalier.train.objectives import Objective

INTERRUPTED = "Interrupted. The same command goes on from here: what is complete is not done again."


def run(recipe: RecipeFile, override: Overrides = None, cache: Cache = DEFAULT_CACHE) -> None:
    """Tune a model on a task and write a report.

    The same command goes on after an interruption; what is done is not done again.
    """
    plan = load_recipe(recipe, override or ())
    path = Path(plan.folder) / plan.name
    say(f"Run {plan.name}, in {path}")
    try:
        with open_run(path) as folder:
            report = execute(plan, folder, cache)
    except KeyboardInterrupt:
        say(INTERRUPTED)
        raise typer.Exit(130) from None
    print_summary(read_json(folder.scores))
    say(f"Report: {report}")


@dataclass(frozen=True)
class Choices:
    """The recipe's factories, built before anything else so that a wrong name costs no time."""

    objectives: list[tuple[Objective, float]]
    strategy: Strategy
    scorers: dict[str, Scorer]


def execute(recipe: Recipe, run: RunFolder, cache: Path) -> Path:
    """Do every stage of a run that is not done, and return the report's path.

    Nothing is written before the task, the choices and the model are known to be usable.
    """
    from espalier.study.report.page import write_report

    started = time.monotonic()
    prepared = prepare(recipe)
    say(f"Task {prepared.task.name}: {len(prepared.train)} rows to train on, {len(prepared.test)} to score.")
    with working("Getting ready"):
        choices = choose(recipe)
    loaded = tuning.load(recipe.model, cache)
    encoded = encode_rows(prepared.train, loaded.template, recipe.train[0].tokens)
    _open_books(recipe, run, prepared, encoded, loaded)
    _log_stage(run, "prepare", started)
    base = _generate(recipe, run, choices.strategy, prepared, loaded, "base")
    tuned = _train(recipe, run, choices, encoded.rows, loaded)
    answers = _generate(recipe, run, choices.strategy, prepared, tuned, "tuned")
    _evaluate(recipe, run, choices, prepared, {"tuned": answers, "base": base})
    return write_report(run.path)


def choose(recipe: Recipe) -> Choices:
    """Build the recipe's factories. Raises RecipeError where a name or a parameter is wrong."""
    from espalier.decode.strategies import strategies
    from espalier.evaluate.harness import scorers
    from espalier.models.adapters import methods
    from espalier.train.objectives import objectives

    _check_checks(recipe)
    methods.build(recipe.train[0].method.kind, recipe.train[0].method.params, "train.method")
    return Choices(
        objectives=[
            (objectives.build(choice.kind, choice.params, f"train.objective.{index}"), choice.weight)
            for index, choice in enumerate(recipe.train[0].objective)
        ],
        strategy=strategies.build(recipe.decode.kind, recipe.decode.params, "decode"),
        scorers={
            choice.kind: scorers.build(choice.kind, choice.params, f"evaluate.{index}")
            for index, choice in enumerate(recipe.evaluate)
        },
    )


def _check_checks(recipe: Recipe) -> None:
    from espalier.tasks.checks import checks, set_checks

    known = [*checks.names(), *set_checks.names()]
    for name in recipe.task.checks or ():
        if name not in known:
            raise RecipeError(f"No check is named '{name}'.", where="task.checks", hint=nearest(name, known))


def _determined(recipe: Recipe, rows: list[Encoded], loaded: Loaded) -> dict[str, Any]:
    """Return all that determines the tuned weights. Where the files lie and when to save is no part of it."""
    return {
        **recipe.model_dump(include={"seed": True, "model": {"precision", "device"}}),
        "train": recipe.train[0].model_dump(exclude={"checkpoint"}),
        "weights": loaded.weights,
        "rows": content_hash([(row.ids, row.weights) for row in rows]),
    }


def _open_books(recipe: Recipe, run: RunFolder, prepared: Prepared, encoded: Rows, loaded: Loaded) -> None:
    """Write down what the run is made of; results of another recipe or other inputs are removed."""
    from espalier.cli.overview import overview
    from espalier.data.table import write_examples

    inputs = {
        "task": content_hash(asdict(replace(prepared.task, origin=""))),
        "weights": loaded.weights,
        "template": loaded.template.hash,
        "recipe": recipe.hash,
    }
    for rejects, why in (
        (prepared.rejects, "cannot be used"),
        (encoded.rejects, "longer than train.tokens"),
    ):
        if rejects:
            say(f"Rows left out, {why}: {len(rejects)}; see {run.rejects}.")
    if run.provenance.exists():
        if read_json(run.provenance)["inputs"] == inputs:
            return
        say("The recipe or its inputs have changed: what depends on them is made again.")
    for stale in (run.provenance, run.outputs, run.scores, run.report):
        stale.unlink(missing_ok=True)
    write_atomic(run.recipe, recipe.to_toml())
    write_examples(run.data / "train.parquet", prepared.train)
    write_examples(run.data / "test.parquet", prepared.test)
    run.write_rejects("data", prepared.rejects)
    run.write_rejects("encode", encoded.rejects)
    run.log({"event": "encoded", **overview(encoded.rows, recipe, loaded.template)})
    # Last, because it says that the others are there.
    write_atomic(run.provenance, json.dumps(provenance(recipe.seed, inputs), indent=1) + "\n")


def _log_stage(run: RunFolder, stage: str, started: float) -> None:
    """Log what a stage cost. One that had nothing to do is not logged, or its true cost would be lost."""
    from espalier.train.loop import peak_mb

    seconds = time.monotonic() - started
    run.log({"event": "stage", "stage": stage, "seconds": seconds, "peak_bytes": peak_mb() * 1e6})


def _train(
    recipe: Recipe,
    run: RunFolder,
    choices: Choices,
    rows: list[Encoded],
    loaded: Loaded,
) -> Loaded:
    """Train, or load what was trained with the same key; return the tuned model."""
    from espalier.models.load import load_tuned

    determined = _determined(recipe, rows, loaded)
    key = content_hash(determined)
    if run.is_done("train", key) and run.model.is_dir():
        say(f"Training is done: {run.model}")
    else:
        started = time.monotonic()
        _tune(recipe, run, choices, rows, loaded, determined)
        run.mark_done("train", key)
        _log_stage(run, "train", started)
    return load_tuned(run.model, loaded.place, loaded.model.device)


def _tune(
    recipe: Recipe,
    run: RunFolder,
    choices: Choices,
    rows: list[Encoded],
    loaded: Loaded,
    determined: dict[str, Any],
) -> None:
    import math
    import shutil

    from espalier.encode.batches import steps_per_epoch
    from espalier.models.load import save_tuned
    from espalier.train.loop import Settings, train
    from espalier.train.objectives import row_steps

    section = recipe.train[0]
    sharing = tuning.sharing(loaded.model, max(len(row.ids) for row in rows))
    model = tuning.to_train(recipe, loaded.model)
    source = row_steps(rows, choices.objectives, size=section.rows, tokens=section.tokens, seed=recipe.seed)
    settings = Settings(
        steps=max(1, math.ceil(section.epochs * steps_per_epoch(len(rows), section.rows))),
        rate=section.rate,
        warmup=section.warmup,
        schedule=section.schedule,
        clip=section.clip,
        decay=section.decay,
        precision=recipe.model.precision,
        checkpoint=section.checkpoint,
    )
    events = train(model, source, settings, run.path, recipe=determined, forward=sharing.forward)
    first = next(events)
    run.log(first)
    with bar("Training", settings.steps, first["step"]) as advance:
        for event in events:
            run.log(event)
            if event["event"] == "step":
                saved = 1 - event["distinct_tokens"] / event["tokens"]
                advance(
                    1, f"loss {event['loss']:.3f}  {event['rows_per_s']:.1f} rows/s  {saved:.0%} tokens saved"
                )
    run.mark_done("train", "")  # before its model is replaced: a kill must not leave the new one as its
    save_tuned(model, loaded, run.model)
    # Only an unfinished training needs them, and they are three times the weights.
    shutil.rmtree(run.checkpoints, ignore_errors=True)


def _generate(
    recipe: Recipe, run: RunFolder, strategy: Strategy, prepared: Prepared, loaded: Loaded, system: str
) -> list[Completion]:
    from espalier.decode.engine import generate
    from espalier.decode.journal import Journal

    started = time.monotonic()
    journal = Journal(run.path / "generations.jsonl")
    known = len(journal.done)
    model = tuning.to_decode(loaded.model, recipe.model.precision)
    answers = generate(
        model, loaded.template, prepared.test, strategy, weights=loaded.weights, journal=journal
    )
    completions: list[Completion] = []
    with bar(f"Answers of the {system} model", len(prepared.test) * strategy.samples) as advance:
        for completion in answers:
            completions.append(completion)
            advance(1, "")
    if len(journal.done) > known:
        _log_stage(run, f"decode {system}", started)
    place = {example.id: number for number, example in enumerate(prepared.test)}
    return sorted(completions, key=lambda completion: (place[completion.example], completion.sample))


def _evaluate(
    recipe: Recipe,
    run: RunFolder,
    choices: Choices,
    prepared: Prepared,
    answers: dict[str, list[Completion]],
) -> None:
    """Write outputs.jsonl and scores.json; of several samples of an answer the first is scored."""
    from espalier.evaluate.baselines import constant, copy
    from espalier.evaluate.harness import evaluate

    started = time.monotonic()
    test = prepared.test
    systems = {**answers, "constant": constant(test, prepared.train), "copy": copy(test)}
    lines = [
        {"system": system, **asdict(completion)}
        for system, completions in systems.items()
        for completion in completions
    ]
    write_atomic(run.outputs, jsonl(lines))
    checks = prepared.task.checks if recipe.task.checks is None else recipe.task.checks
    first = {name: [c for c in completions if c.sample == 0] for name, completions in systems.items()}
    scores = evaluate(test, first, choices.scorers, checks, recipe.seed)
    write_atomic(run.scores, json.dumps(scores, ensure_ascii=False, indent=1) + "\n")
    _log_stage(run, "evaluate", started)
