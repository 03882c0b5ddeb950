"""A run's answers, and what each part of their prompts adds to them, with the proof whether that is true."""

from __future__ import annotations

from collections import defaultdict
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from espalier.attribution.parts.attribute import METHODS, Case, Refusals, attribute, case_of
from espalier.attribution.parts.changes import donors
from espalier.attribution.parts.faith import faith
from espalier.attribution.parts.page import render
from espalier.attribution.parts.prompt import UNITS, cut
from espalier.attribution.parts.reading import readers
from espalier.attribution.parts.record import Attribution, Line, Told
from espalier.core.errors import DataError, RecipeError, TemplateError, nearest
from espalier.core.run import open_run
from espalier.decode.likelihood import answer_row
from espalier.evaluate.statistics import paired_difference, score_mean
from espalier.explain.record import keep
from espalier.explain.subject import FOLDER, explained, few_sources, greedy_of
from espalier.runs.prepare import prepare
from espalier.tasks.templates import available

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from espalier.attribution.parts.attribute import Method, Row
    from espalier.attribution.parts.prompt import Prompt, Unit
    from espalier.core.journal import Journal
    from espalier.core.records import Estimate, Example
    from espalier.data.mixture import Part
    from espalier.encode.template import Template
    from espalier.explain.subject import Explained
    from espalier.explain.token_shift import Models

    Scored = Mapping[Method, Sequence[Row]]

ROWS = 24  # that are weighed unless more are asked for
ANSWERS = ("own", "reference")  # the tuned model's, greedily, or the first reference


def explain_parts(
    path: Path, cache: Path, rows: int | None = None, *, unit: Unit = "part", answer: str = "own"
) -> Attribution:
    """Say what a run's answers hang on; write `explain/parts.json` and `explain/parts.html` in its folder.

    What was weighed before is not weighed again, and an interrupted explanation goes on.

    Args:
        path: the run's folder.
        cache: folder of converted models.
        rows: most test rows, by whole sources; `ROWS` by default.
        unit: what the curves take away, one of `UNITS`.
        answer: one of `ANSWERS`.

    Raises:
        EspalierError: in one sentence what is wrong, and what to do.
    """
    for what, given, known in (("unit", unit, UNITS), ("answer", answer, ANSWERS)):
        if given not in known:
            raise RecipeError(f"No {what} is called '{given}'.", where=what, hint=nearest(given, known))
    subject = explained(path, cache, rows or ROWS)
    folder = subject.run.path / FOLDER
    with open_run(folder):
        said = _own(subject) if answer == "own" else {}
        models = subject.models()
        said = said or _references(subject.test, models.tuned.template)
        parts, notes = _parts(subject)
        prompts = [_prompt(row, parts) for row in subject.test]
        found = attribution(models, subject.store, prompts, said, unit=unit)
        made = found.made + subject.journal.made
        found = replace(found, name=subject.recipe.name, answer=answer, notes=tuple(notes), made=made)
        keep(folder, "parts", found, render(found))
    return found


def attribution(
    models: Models,
    store: Journal,
    prompts: Sequence[Prompt],
    answers: Mapping[str, tuple[int, ...]],
    *,
    unit: Unit = "part",
    methods: Sequence[Method] = METHODS,
) -> Attribution:
    """Return what the pieces of prompts add to answers, under a tuned model and its base.

    Args:
        models: the two.
        store: what was weighed before.
        prompts: of the rows, cut in parts.
        answers: token ids by the rows' ids; a row without any is left out.
        unit: what the curves take away.
        methods: how pieces are scored.

    Raises:
        DataError: no row can be weighed.
    """
    refusals = Refusals()
    template = models.tuned.template
    fit = _fit(prompts, answers, template, refusals)
    if not fit:
        why = next(iter(refusals.counts), "There is no row.")
        raise DataError("No row's answer can be weighed.", hint=why)
    given = dict(zip((prompt.example.id for prompt in prompts), donors(prompts), strict=True))

    def cases_of(unit: Unit) -> list[Case]:
        return [
            case_of(prompt.finer(unit), answers[row], given[row].finer(unit), template, refusals)
            for row, prompt in fit.items()
        ]

    tuned, base = readers(models, store)
    cases = cases_of("part")
    scores = attribute(tuned, cases, methods, refusals)
    before = attribute(base, cases, methods, refusals)
    fine = cases if unit == "part" else cases_of(unit)
    own = scores if unit == "part" else attribute(tuned, fine, methods, refusals)
    found, networks = faith(tuned, fine, own, refusals)
    say = models.tuned.template.decode
    return Attribution(
        name="",
        answer="own",
        unit=unit,
        rows=len(cases),
        sources=len({case.prompt.example.source for case in cases}),
        networks=networks,
        lines=tuple(line for method in methods for line in _lines(method, cases, scores, before)),
        faith=tuple(found),
        told=tuple(
            _told(case, {name: tuple(rows[row]) for name, rows in scores.items()}, say(case.answer))
            for row, case in enumerate(cases)
        ),
        left=dict(refusals.counts),
        made=tuned.made + base.made,
    )


def _own(subject: Explained) -> dict[str, tuple[int, ...]]:
    """Return the ids of the tuned model's greedy answers by row."""
    local = subject.local("tuned")
    said = subject.answers(local, subject.test, greedy_of(subject), "Answers to be weighed")
    return {row: one.ids for row, one in said.items()}


def _references(rows: Sequence[Example], template: Template) -> dict[str, tuple[int, ...]]:
    """Return the ids of the rows' answers; a row that the template refuses has none."""
    found: dict[str, tuple[int, ...]] = {}
    for row in rows:
        with suppress(TemplateError):
            made = answer_row(row, row.answer, template)
            found[row.id] = made.ids[made.prompt :]
    return found


def _parts(subject: Explained) -> tuple[Sequence[Part], list[str]]:
    """Return the run's tasks, and what is to be said of the rows."""
    notes = few_sources(subject.test)
    if len(subject.test) < subject.scores.rows:
        notes.append(f"{len(subject.test)} of {subject.scores.rows} rows.")
    try:
        return prepare(subject.recipe).parts, notes
    except DataError as error:
        cut_by = "prompts are cut by turns, and a task's words are part of the input"
        return (), [*notes, f"The task cannot be read again, so {cut_by}: {error.message}"]


def _prompt(row: Example, parts: Sequence[Part]) -> Prompt:
    part = next((one for one in parts if one.name == row.task), None)
    return cut(row, part.task, available(part.task, part.shown)) if part and part.task else cut(row)


def _fit(
    prompts: Sequence[Prompt],
    answers: Mapping[str, tuple[int, ...]],
    template: Template,
    refusals: Refusals,
) -> dict[str, Prompt]:
    """Return the rows by their ids that the template and the context allow."""
    made: dict[str, Prompt] = {}
    for prompt in prompts:
        row = prompt.example.id
        answer = answers.get(row, ())
        with refusals.counted("The template refuses a row"):
            size = len(template.prompt_ids(prompt.messages())) + len(answer)
            if not answer:
                refusals.counts["A row has no answer to be weighed."] += 1
            elif size > template.context:
                refusals.counts["A prompt with its answer is longer than the model's context."] += 1
            elif not prompt.pieces:
                refusals.counts["A prompt has no part of text."] += 1
            else:
                made[row] = prompt
    return made


def _lines(method: Method, cases: Sequence[Case], tuned: Scored, base: Scored) -> list[Line]:
    """Return what each part adds, by the order in which parts come in prompts."""
    rows: defaultdict[str, list[tuple[float | None, float | None, str]]] = defaultdict(list)
    for row, case in enumerate(cases):
        for place, piece in enumerate(case.prompt.pieces):
            own = (tuned[method][row][place], base[method][row][place])
            rows[piece.name].append((*own, case.prompt.example.source))
    places = {p.name: n for case in cases for n, p in enumerate(case.prompt.pieces)}
    made: list[Line] = []
    for name in sorted(rows, key=lambda name: places[name]):
        ours, theirs, sources = zip(*rows[name], strict=True)
        made.append(
            Line(
                method,
                name,
                _nats(score_mean(ours, sources)),
                _nats(score_mean(theirs, sources)),
                _nats(paired_difference(ours, theirs, sources)),
            )
        )
    return made


def _nats(one: Estimate) -> Estimate:
    return replace(one, scale=1.0)


def _told(case: Case, scores: Mapping[str, tuple[float | None, ...]], answer: str) -> Told:
    example = case.prompt.example
    parts = tuple((piece.name, piece.head + "\n".join(piece.texts)) for piece in case.prompt.pieces)
    return Told(example.id, example.task, example.source, answer, parts, scores)
