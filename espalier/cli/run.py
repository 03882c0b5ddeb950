"""`espalier run`: from a recipe to a report; a stage is keyed by what goes into it and not done twice."""

from __future__ import annotations

import json
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from espalier.cli import tuning
from espalier.cli.prepare import Prepared, Rows, encode_rows, prepare
from espalier.cli.progress import bar, say
from espalier.cli.settings import DEFAULT_CACHE, Cache, Overrides, RecipeFile
from espalier.cli.summary import print_summary
from espalier.core.files import content_hash, jsonl, read_json, write_atomic
from espalier.core.recipe import Recipe, load_recipe
from espalier.core.run import RunFolder, open_run, provenance

if TYPE_CHECKING:
    from collections.abc import Generator

    from transformers import PreTrainedModel

    from espalier.core.records import Completion, Encoded, Scorer
    from espalier.decode.journal import Journal
    from espalier.decode.strategies import Strategy
    from espalier.models.load import Loaded
    from espalier.train.objectives import Objective


def run(recipe: RecipeFile, override: Overrides = None, cache: Cache = DEFAULT_CACHE) -> None:
    """Tune a model on a task and write the report; the same command goes on after an interruption."""
    plan = load_recipe(recipe, override or ())
    with open_run(Path(plan.folder) / plan.name) as folder:
        report = execute(plan, folder, cache)
    print_summary(read_json(folder.scores))
    say(f"Report: {report}")


@dataclass(frozen=True)
class Choices:
    """The recipe's factories, built before anything else so that a wrong name costs no time."""

    objectives: list[tuple[Objective, float]]
    strategy: Strategy
    scorers: dict[str, Scorer]


def execute(recipe: Recipe, run: RunFolder, cache: Path) -> Path:
    """Do every stage of a run that is not done, and return the report's path."""
    from espalier.study.report.page import write_report

    choices = choose(recipe)
    write_atomic(run.recipe, recipe.to_toml())
    with _stage(run, "data"):
        prepared = _data(recipe, run)
    with _stage(run, "load"):
        loaded = tuning.load(recipe.model, cache)
        rows = _encode(recipe, run, prepared, loaded)
    base = _generate(recipe, run, choices.strategy, prepared, loaded, "base")
    with _stage(run, "train"):
        tuned = _train(recipe, run, choices, rows, loaded)
    answers = _generate(recipe, run, choices.strategy, prepared, tuned, "tuned")
    with _stage(run, "evaluate"):
        _evaluate(recipe, run, choices, prepared, {"tuned": answers, "base": base})
    return write_report(run.path)


def choose(recipe: Recipe) -> Choices:
    """Build the recipe's factories. Raises RecipeError where a name or a parameter is wrong."""
    from espalier.decode.strategies import strategies
    from espalier.evaluate.harness import scorers
    from espalier.models.adapters import methods
    from espalier.train.objectives import objectives

    methods.build(recipe.train.method.kind, recipe.train.method.params, "train.method")
    return Choices(
        objectives=[
            (objectives.build(choice.kind, choice.params, f"train.objective.{index}"), choice.weight)
            for index, choice in enumerate(recipe.train.objective)
        ],
        strategy=strategies.build(recipe.decode.kind, recipe.decode.params, "decode"),
        scorers={
            choice.kind: scorers.build(choice.kind, choice.params, f"evaluate.{index}")
            for index, choice in enumerate(recipe.evaluate)
        },
    )


@contextmanager
def _stage(run: RunFolder, name: str) -> Generator[None]:
    from espalier.train.loop import peak_mb

    started = time.monotonic()
    yield
    run.log(
        {
            "event": "stage",
            "stage": name,
            "seconds": time.monotonic() - started,
            "peak_bytes": peak_mb() * 1e6,
        }
    )


def _data(recipe: Recipe, run: RunFolder) -> Prepared:
    from espalier.data.table import write_examples

    prepared = prepare(recipe)
    write_examples(run.data / "train.parquet", prepared.train)
    write_examples(run.data / "test.parquet", prepared.test)
    run.write_rejects("data", prepared.rejects)
    say(f"Task {prepared.task.name}: {len(prepared.train)} rows to train on, {len(prepared.test)} to score.")
    return prepared


def _encode(recipe: Recipe, run: RunFolder, prepared: Prepared, loaded: Loaded) -> list[Encoded]:
    from espalier.cli.overview import overview

    encoded: Rows = encode_rows(prepared.train, loaded.template, recipe.train.tokens)
    run.write_rejects("encode", encoded.rejects)
    inputs = {"task": content_hash(asdict(prepared.task)), "weights": loaded.weights}
    made = provenance(recipe.seed, {**inputs, "template": loaded.template.hash, "recipe": recipe.hash})
    write_atomic(run.provenance, json.dumps(made, indent=1) + "\n")
    run.log({"event": "encoded", **overview(encoded.rows, recipe, loaded.template)})
    if encoded.rejects:
        say(f"{len(encoded.rejects)} rows are longer than the budget and left out; see {run.rejects}.")
    return encoded.rows


def _train(recipe: Recipe, run: RunFolder, choices: Choices, rows: list[Encoded], loaded: Loaded) -> Loaded:
    """Train, or load what was trained with the same key; return the tuned model."""
    determined = recipe.model_dump(exclude={"train": {"checkpoint"}}, include={"train", "model", "seed"})
    from espalier.models.load import load_tuned

    key = content_hash([determined, loaded.weights, [(row.ids, row.weights) for row in rows]])
    if run.is_done("train", key):
        say(f"Training is done: {run.model}")
    else:
        _tune(recipe, run, choices, rows, loaded, {**determined, "key": key})
        run.mark_done("train", key)
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

    section = recipe.train
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
    save_tuned(model, loaded, run.model)
    # Only an unfinished training needs them, and they are three times the weights.
    shutil.rmtree(run.checkpoints, ignore_errors=True)


def _generate(
    recipe: Recipe, run: RunFolder, strategy: Strategy, prepared: Prepared, loaded: Loaded, system: str
) -> list[Completion]:
    from espalier.decode.engine import generate
    from espalier.decode.journal import Journal

    with _stage(run, f"decode {system}"):
        model: PreTrainedModel = tuning.to_decode(loaded.model, recipe.model.precision)
        journal: Journal = Journal(run.path / "generations.jsonl")
        total = len(prepared.test) * strategy.samples
        completions: list[Completion] = []
        with bar(f"Answers of the {system} model", total) as advance:
            for completion in generate(
                model,
                loaded.template,
                prepared.test,
                strategy,
                weights=loaded.weights,
                journal=journal,
            ):
                completions.append(completion)
                advance(1, "")
    return completions


def _evaluate(
    recipe: Recipe,
    run: RunFolder,
    choices: Choices,
    prepared: Prepared,
    answers: dict[str, list[Completion]],
) -> None:
    from espalier.evaluate.baselines import constant, copy
    from espalier.evaluate.harness import evaluate

    test = prepared.test
    systems = {**answers, "constant": constant(test, prepared.train), "copy": copy(test)}
    lines = [
        {"system": system, **asdict(completion)}
        for system, completions in systems.items()
        for completion in completions
    ]
    write_atomic(run.outputs, jsonl(lines))
    checks = prepared.task.checks if recipe.task.checks is None else recipe.task.checks
    scores = evaluate(test, systems, choices.scorers, checks, recipe.seed)
    write_atomic(run.scores, json.dumps(scores, ensure_ascii=False, indent=1) + "\n")
