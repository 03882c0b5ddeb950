"""A run from its plan to its report; a stage is keyed by what goes into it and not done twice."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from espalier.core.files import content_hash, jsonl
from espalier.core.journal import store_of
from espalier.core.records import ALONE, Ranks
from espalier.core.run import RunFolder
from espalier.data.looks import model_of
from espalier.decode.journal import Generations
from espalier.decode.local import Local, local_of
from espalier.evaluate.baselines import floors
from espalier.evaluate.harness import evaluate
from espalier.evaluate.measures import AS_IS
from espalier.evaluate.pairs import pairs_of
from espalier.evaluate.unseen import BLIND, SHUFFLED, blinded, shuffled
from espalier.models.adapters import methods
from espalier.models.outline import outline
from espalier.models.support import drops
from espalier.report.page import write_report
from espalier.runs.abilities import ask_abilities, compare_abilities
from espalier.runs.answers import answers_of
from espalier.runs.books import held, inputs_of, look, write_books
from espalier.runs.events import Logged, bar, emit, say, working
from espalier.runs.finished import mark_finished
from espalier.runs.invariance import try_invariance
from espalier.runs.judging import say_limit, try_judges, weighs
from espalier.runs.looking import count_look, count_losses, hold_apart, seal
from espalier.runs.media import check_alignment, encode_media, say_anew
from espalier.runs.plan import make_plan
from espalier.runs.precision import keep_formats
from espalier.runs.rating import lengths, order, raters_from, score_pairs
from espalier.runs.results import write_results
from espalier.runs.stages import train_stages
from espalier.runs.tracking import open_trackers
from espalier.train.peak import peak_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from espalier.core.records import Completion, Example
    from espalier.evaluate.score_records import Limit
    from espalier.models.load import Loaded
    from espalier.runs.abilities import Verdicts
    from espalier.runs.books import Way
    from espalier.runs.plan import Choices, Plan
    from espalier.servers.remote import Remote


def execute(
    choices: Choices,
    path: Path,
    cache: Path,
    *,
    ranks: Ranks = ALONE,
    way: Way = "refuse",
    patience: float = 0.0,
) -> Path:
    """Do every stage of a run that is not done, and return the report's path.

    Nothing is written before the task, the choices and the model are known to be usable, and before a run of
    another recipe that has the folder is out of the `way`.

    Args:
        choices: what the recipe comes to.
        path: the run's folder.
        cache: folder of converted models.
        ranks: that share the training; this is the first of them.
        way: what to do with a run of another recipe in the folder.
        patience: seconds that another process may take to let go of the folder.
    """
    started = time.monotonic()
    prepared = choices.prepared
    if not choices.rates:
        try_judges(choices)
    # A run that is put out of the way decides nothing.
    known = RunFolder(path) if look(choices, path, way, patience) else None
    plan = make_plan(choices, cache, path, known=known, ranks=ranks)
    for note in prepared.notes:
        say(f"Note: {note}")
    say_sharing(plan.loaded, plan.longest)
    try_methods(plan)
    check_alignment(plan)
    hold_apart(plan, path.parent)
    inputs = inputs_of(plan)
    with (
        held(plan, path, inputs, way, patience) as folder,
        open_trackers(choices.trackers, choices.recipe, path) as track,
    ):

        def listen(event: Mapping[str, Any]) -> None:
            track(event)
            emit(Logged(event))

        run = replace(folder, listen=listen)
        write_books(run, plan, inputs)
        seal(run.path, choices)
        keep_formats(choices.recipe.model, run, plan.loaded)
        run.log_stage("prepare", started, peak_bytes())
        rows = [row for stage in plan.stages for row in (*stage.examples, *stage.dev)]
        encode_media(plan.loaded, [*rows, *prepared.test], run)
        say_anew(plan)
        (_rate if choices.rates else _answer)(plan, run, ranks)
        report = write_report(run.path)
    mark_finished(RunFolder(path), choices, cache)
    return report


def assist(choices: Choices, path: Path, cache: Path, ranks: Ranks) -> None:
    """Do a rank's share of the training, where another one executes the run; nothing is written."""
    run = RunFolder(path)
    for _ in train_stages(make_plan(choices, cache, path, known=run, ranks=ranks), run, ranks):
        pass


def say_sharing(loaded: Loaded, longest: int) -> None:
    """Tell where rows have to be computed one by one, and where they share more than a prefix's result.

    Raises:
        ModelError: the model's code does not train on such rows.
    """
    if why_not := loaded.sharing.why_not(longest, training=True):
        say(f"Note: prefixes are not shared with this model, each row is computed by itself: {why_not}.")
    elif drops(loaded.model):
        say(
            "Note: the model drops hidden states at random while it trains (dropout), in a prefix for all "
            "the rows that share it. Gradients stay right in the mean, with other noise."
        )


def try_methods(plan: Plan) -> None:
    """Try peft's methods on the model without its weights, so that a wrong target costs no time.

    Raises:
        RecipeError: a stage's method cannot be used on it.
    """
    for stage in plan.stages:
        method = stage.section.method
        kind = {"qlora": "lora"}.get(method.kind, method.kind)
        if kind in ("lora", "ia3"):
            methods.build(kind, method.params, f"{stage.key}.method")(outline(plan.loaded.model))
        elif kind != "full":
            return  # what it makes of the model is not known before


def _answer(plan: Plan, run: RunFolder, ranks: Ranks) -> None:
    """Do the rest of a run whose model writes answers."""
    weighs = plan.choices.strategy.weighs is not None  # nothing is written, so no limit cuts it
    limit = None if weighs else say_limit(plan.prepared.test, plan.template, plan.choices.strategy.limit)
    base, before = _before(plan, run)
    answers: dict[str, list[Completion]] = {}
    evidence: dict[str, Any] = {}
    for stage, tuned in train_stages(plan, run, ranks):
        name = "tuned" if stage.last else f"stage {stage.number + 1}"
        given, tried = _after(plan, run, tuned, name, before)
        answers |= given
        evidence |= tried
        count_losses(run, stage)
    # The others are compared with the first.
    score_answers(
        plan.choices, run, {"tuned": answers.pop("tuned"), **answers, "base": base}, limit, evidence
    )


def _before(plan: Plan, run: RunFolder) -> tuple[list[Completion], Verdicts | None]:
    """Return the base model's answers, to the general questions too; one copy of its weights writes all."""
    writer = _writer(plan, run, plan.loaded)
    answers = answered(plan.choices, run, writer, "base")
    return answers, ask_abilities(run, writer, "base") if plan.choices.recipe.evidence else None


def _after(
    plan: Plan, run: RunFolder, tuned: Loaded, name: str, before: Verdicts | None
) -> tuple[dict[str, list[Completion]], dict[str, Any]]:
    """Return a stage's answers, of the last one those on unseen media too, and what else is known of it."""
    writer = _writer(plan, run, tuned)
    test, decode = plan.prepared.test, plan.choices.recipe.decode
    answers = answered(plan.choices, run, writer, name)
    given = {name: answers} | (answered_unseen(plan.choices, run, writer) if name == "tuned" else {})
    if name != "tuned" or not plan.choices.recipe.evidence:
        return given, {}
    after = ask_abilities(run, writer, name) if before else None
    return given, {
        "abilities": compare_abilities(before, after, plan.seed),
        "invariance": try_invariance(run, writer, test, answers, decode),
    }


def _rate(plan: Plan, run: RunFolder, ranks: Ranks) -> None:
    """Do the rest of a run whose model rates answers: it is scored by the order of held-out pairs."""
    pairs = pairs_of(plan.prepared.test)
    base = order(run, pairs, plan.loaded, "base")
    *_, (stage, tuned) = train_stages(plan, run, ranks)
    count_losses(run, stage)
    systems = {"tuned": order(run, pairs, tuned, "tuned"), "base": base, "longer": lengths(pairs)}
    count_look(run.path, plan.choices, map(content_hash, (systems["tuned"], base)))
    score_pairs(plan.seed, run, pairs, systems)


def _writer(plan: Plan, run: RunFolder, loaded: Loaded) -> Local:
    return local_of(loaded, generations_of(run), raters=raters_from(plan.cache))


def generations_of(run: RunFolder) -> Generations:
    """Return what a run, and the runs beside it, have answered. Raises DataError where that is damaged."""
    return Generations(run.path / "generations.jsonl", store_of(run.path.parent))


def answered(
    choices: Choices,
    run: RunFolder,
    model: Local | Remote,
    system: str,
    rows: Sequence[Example] | None = None,
) -> list[Completion]:
    """Return a model's answers to the rows that are scored, or to others; what is known is not made again."""
    started = time.monotonic()
    test, decode = choices.prepared.test if rows is None else rows, choices.recipe.decode
    whose = "model" if system == AS_IS else f"{system} model"
    with bar(f"Answers of the {whose}", len(test) * choices.strategy.samples) as advance:
        completions = answers_of(model, test, decode, lambda: advance(1, ""))
    if isinstance(model, Local) and any(map(weighs, choices.scorers.values())):
        completions = _with_references(model, test, completions)
    if isinstance(model, Local) and model.journal and model.journal.made:
        run.log_stage(f"decode {system}", started, peak_bytes())
    return completions


def answered_unseen(choices: Choices, run: RunFolder, model: Local) -> dict[str, list[Completion]]:
    """Return a model's answers to the rows without their media and with another row's; {} without media."""
    rows = {BLIND: blinded(choices.prepared.test), SHUFFLED: shuffled(choices.prepared.test)}
    return {how: answered(choices, run, model, how, asked) for how, asked in rows.items() if asked}


@working("Weighing references", aloud=False)
def _with_references(
    model: Local, rows: Sequence[Example], completions: Sequence[Completion]
) -> list[Completion]:
    """Return the answers, each with how likely the model holds its row's first reference."""
    known = [row for row in rows if row.references]
    found = model.weighed(known, [row.references[:1] for row in known])
    told = {row.id: one for row, (one,) in zip(known, found, strict=True)}
    return [replace(one, reference=told.get(one.example)) for one in completions]


@working("Scoring", aloud=False)
def score_answers(
    choices: Choices,
    run: RunFolder,
    answers: Mapping[str, Sequence[Completion]],
    limit: Limit | None,
    evidence: Mapping[str, Any],
    *,
    split: str = "test",
) -> None:
    """Write outputs.jsonl and scores.json, a look at the rows; of several samples the first is scored."""
    started = time.monotonic()
    prepared = choices.prepared
    tasks = [part.task for part in prepared.parts if part.task]
    worked = {task.name: task.positive[0].output for task in tasks if task.positive}
    systems = {**answers, **floors(prepared.test, prepared.train, worked)}
    lines = [
        {"system": system, **completion.plain()}
        for system, completions in systems.items()
        for completion in completions
    ]
    first = {name: [c for c in completions if c.sample == 0] for name, completions in systems.items()}
    shown = [output for part in prepared.parts for output in part.worked]
    scores = evaluate(
        prepared.test, first, choices.scorers, choices.checks, choices.recipe.seed,
        rewarded=choices.rewarded, train=prepared.train, shown=shown, limit=limit, own=choices.checks_of,
    )  # fmt: skip
    verb = "evaluate" if AS_IS in answers else "run"
    count_look(run.path, choices, map(model_of, answers.values()), verb, split)
    write_results(run, jsonl(lines), replace(scores, **evidence).to_json())
    run.log_stage("evaluate", started, peak_bytes())
