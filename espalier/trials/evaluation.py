"""A model scored as it is, with nothing trained: `espalier evaluate`, from what is asked to the report.

The model is of this machine or behind a server. Answers go through the same hands as those of a run, and into
the same store, so that none is made twice; a second evaluation of which nothing has changed loads nothing.
"""

from __future__ import annotations

import json
import time
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from espalier.core.errors import RecipeError, RunError
from espalier.core.files import content_hash, write_atomic, write_changed
from espalier.core.journal import NAME, STORE, Journal, store_of
from espalier.core.recipe import load_recipe
from espalier.core.run import open_run, provenance
from espalier.core.text import counted
from espalier.data.table import as_parquet
from espalier.evaluate.measures import AS_IS
from espalier.report.page import write_report
from espalier.runs.events import bar, say
from espalier.runs.finished import is_finished, mark_finished
from espalier.runs.in_tokens import askable
from espalier.runs.looking import seal
from espalier.runs.plan import choose
from espalier.trials.evaluation_subject import by_choice, rows_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from espalier.core.recipe import Recipe
    from espalier.core.records import Completion, Example
    from espalier.core.run import RunFolder
    from espalier.decode.local import Local
    from espalier.evaluate.score_records import Limit
    from espalier.runs.plan import Choices
    from espalier.runs.prepare import Prepared
    from espalier.servers.remote import Remote
    from espalier.trials.evaluation_subject import Evaluation


def evaluated(asked: Evaluation, cache: Path) -> RunFolder:
    """Score a model, and return the folder with outputs.jsonl, scores.json and the report.

    Raises:
        EspalierError: in one sentence what is wrong, and what to do.
    """
    if left := _left(asked, cache):
        _evaluate(*left, cache)
    return asked.folder


def evaluate_together(asked: Sequence[Evaluation], cache: Path) -> None:
    """Make several evaluations of one run's model, beside each other: it is loaded once, and what prompts
    share is computed once for all of them.

    Raises:
        EspalierError: see `evaluated`.
    """
    waiting = [left for one in asked if (left := _left(one, cache))]
    if not waiting:
        return
    from espalier.runs.execute import generations_of

    first, _ = waiting[0]
    local = local_model(first.recipe, first.folder, cache)
    _answer_together([choices for _, choices in waiting], local, first.folder.path.parent)
    for one, choices in waiting:
        _evaluate(one, choices, cache, replace(local, journal=generations_of(one.folder)))


def _answer_together(every: Sequence[Choices], local: Local, runs: Path) -> None:
    """Have all prompts of each way of decoding answered in one go; the answers go into the runs' store."""
    from espalier.decode.journal import Generations
    from espalier.runs.answers import answers_of

    kept = runs / STORE / "together.jsonl"  # what a kill interrupted; the rest is in the store
    journal = Generations(kept, store_of(runs))
    groups: dict[str, list[Choices]] = {}
    for one in every:
        groups.setdefault(content_hash(one.recipe.decode.model_dump()), []).append(one)
    for group in groups.values():
        rows = [
            replace(row, id=f"{n} {row.id}") for n, one in enumerate(group) for row in _rendered(one, local)
        ]
        with bar("Answers of the model, all together", len(rows) * group[0].strategy.samples) as advance:
            answers_of(replace(local, journal=journal), rows, group[0].recipe.decode, lambda: advance(1, ""))
    kept.unlink(missing_ok=True)


def _rendered(choices: Choices, local: Local) -> list[Example]:
    """Return the rows that the template renders; the evaluation itself says which it does not."""
    refused: list[dict[str, Any]] | None = [] if choices.recipe.task.on_bad == "reject" else None
    return askable(choices.prepared.test, local.template, refused)


def _left(asked: Evaluation, cache: Path) -> tuple[Evaluation, Choices] | None:
    """Return what there is to do; None where nothing is, since nothing has changed. Raises EspalierError."""
    folder = asked.folder
    if folder.model.exists() or folder.stages.exists():
        raise RunError("A run has this name.", where=str(folder.path), hint="Give this another with --name.")
    say(f"Evaluation {asked.recipe.name}, in {folder.path}")
    prepared = rows_of(asked)
    say(f"{prepared.name}: {counted(len(prepared.test), 'row')} to score.")
    asked = by_choice(asked, prepared)
    if is_finished(folder, asked.recipe, prepared, cache, trains=False, server=asked.server):
        say("All of it is done, and nothing has changed.")
        return None
    choices = choose(asked.recipe, prepared)
    from espalier.runs.judging import weighs

    if asked.server and choices.strategy.weighs is not None:
        raise RecipeError(
            "A server does not say how likely an option is to its model.",
            where="decode.kind",
            hint="Let it write: -o decode=greedy.",
        )
    if asked.server and (asking := [name for name, one in choices.scorers.items() if weighs(one)]):
        raise RecipeError(
            f"A server does not say how likely a reference is to its model, as '{asking[0]}' asks.",
            where="evaluate",
            hint="Leave it out, or score a model of this machine.",
        )
    if asked.server and asked.recipe.model.template:
        told = ", ".join(f"{key} = {json.dumps(value)}" for key, value in asked.recipe.model.template.items())
        say(f"Note: the server renders prompts in its own way; start it with the template's {told}.")
    return asked, choices


def _evaluate(asked: Evaluation, choices: Choices, cache: Path, loaded: Local | None = None) -> None:
    """Do all of an evaluation, by a model that is loaded if it is."""
    from espalier.decode.local import Local
    from espalier.runs.execute import answered, answered_unseen, score_answers
    from espalier.runs.judging import say_limit, try_judges
    from espalier.runs.media import encode_media

    started = time.monotonic()
    try_judges(choices)
    prepared, recipe = choices.prepared, choices.recipe
    with (
        open_run(asked.folder.path) as run,
        nullcontext(loaded) if loaded else _model(asked, run, cache) as model,
    ):
        bound: Limit | None = None
        inputs = {"task": prepared.hash, "recipe": recipe.hash}
        if not asked.server:
            local: Any = model
            refused = prepared.rejects if recipe.task.on_bad == "reject" else None
            prepared.test[:] = askable(prepared.test, local.template, refused)
            inputs |= {"weights": local.loaded.weights, "template": local.template.hash}
            if choices.strategy.weighs is None:
                bound = say_limit(prepared.test, local.template, choices.strategy.limit)
        _write_books(run, asked, prepared, inputs)
        if asked.split == "test":
            seal(run.path, choices)
        run.log_stage("prepare", started, 0)
        if isinstance(model, Local):
            encode_media(model.loaded, prepared.test, run)
        answers: dict[str, Sequence[Completion]] = {AS_IS: answered(choices, run, model, AS_IS)}
        if isinstance(model, Local):  # a server is given no media
            answers |= answered_unseen(choices, run, model)
        score_answers(choices, run, answers, bound, {}, split=asked.split)
    write_report(asked.folder.path)
    mark_finished(asked.folder, choices, cache, asked.server)


def _model(asked: Evaluation, run: RunFolder, cache: Path) -> AbstractContextManager[Local | Remote]:
    """Return what answers. Raises ModelError, RunError, MissingExtra."""
    if asked.server:
        from espalier.servers.remote import Server, remote_of

        server = Server(asked.server, asked.secret)
        return remote_of(server, asked.recipe.model.name, Journal(run.path / NAME), step="evaluate")
    return nullcontext(local_model(asked.recipe, run, cache))


def local_model(recipe: Recipe, run: RunFolder | None, cache: Path) -> Local:
    """Load a recipe's model, ready to answer as the recipe renders rows.

    A run's model computes in the number format of its own answers, unless the recipe names another.

    Args:
        recipe: whose model it is.
        run: where its answers are kept, and the formats that it computes in; what the runs beside it have
            answered is known. None where neither is.
        cache: folder of converted models.
    """
    from espalier.decode.local import local_of
    from espalier.runs.execute import generations_of
    from espalier.runs.load import load_run, load_writer, rendered, rendering_of
    from espalier.runs.precision import keep_formats, of_run, settle
    from espalier.runs.rating import raters_from
    from espalier.runs.talkers import find_talker

    talker, rendering = find_talker(recipe.model.name), rendering_of(recipe)
    section = recipe.model.model_copy(update={"name": talker.name})
    if talker.run is not None:
        loaded = rendered(load_run(talker.run, cache), rendering, talker.run)
        if section.precision in ("auto", load_recipe(talker.run.recipe).model.precision):
            loaded = of_run(talker.run, loaded, "decoding")
        else:
            loaded = settle(section, loaded)
    else:
        loaded = settle(section, rendered(load_writer(section, cache), rendering, run), run)
        if run is not None:
            keep_formats(section, run, loaded)
    journal = None if run is None else generations_of(run)
    return local_of(loaded, journal, in_place=True, raters=raters_from(cache))


def _write_books(run: RunFolder, asked: Evaluation, prepared: Prepared, inputs: dict[str, str]) -> None:
    """Write down what is evaluated."""
    write_changed(run.recipe, asked.recipe.to_toml().encode())
    write_changed(run.data / "test.parquet", as_parquet(prepared.test))
    run.write_rejects({"data": prepared.rejects})
    made = provenance(asked.recipe.seed, inputs)
    made |= {"server": asked.server, "split": asked.split}
    write_atomic(run.provenance, json.dumps(made, indent=1) + "\n")
