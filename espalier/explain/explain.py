"""A run explained: what its answers owe to format, to tuning and to the definition, as a card."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from espalier.core.errors import RecipeError, nearest
from espalier.core.run import open_run
from espalier.explain.card import ask, card_of, to_ask
from espalier.explain.manner import ask_manner, manner_of
from espalier.explain.page import render
from espalier.explain.record import Explanation, keep
from espalier.explain.sentences import sentences
from espalier.explain.shifting import read_answers, shift_of
from espalier.explain.subject import FOLDER, explained, few_sources, greedy_of

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

    from espalier.core.records import Completion
    from espalier.explain.manner import Told
    from espalier.explain.record import Shift
    from espalier.explain.subject import Explained, System

PARTS = ("card", "shift", "style")


def explain(path: Path, cache: Path, parts: Collection[str] = PARTS, rows: int | None = None) -> Explanation:
    """Explain a run; write `explain/explain.json` and `explain/explain.html` in it, and return what is there.

    What was answered or read before is not asked again, and an interrupted explanation goes on.

    Args:
        path: the run's folder.
        cache: folder of converted models.
        parts: of `PARTS`, those to explain.
        rows: most test rows that are asked, by whole sources.

    Raises:
        EspalierError: in one sentence what is wrong, and what to do.
    """
    _check(parts)
    subject = explained(path, cache, rows)
    scores = subject.scores
    folder = subject.run.path / FOLDER
    with open_run(folder):
        asked = to_ask(subject) if "card" in parts else None
        told: dict[str, Told | None] = {}
        greedy: Mapping[str, Completion] = {}
        systems: tuple[System, System] = ("tuned", "base")
        for system in systems:
            wanted = [part for part in parts if part != "shift"]
            if not wanted and system == "base":
                continue
            local = subject.local(system)
            if asked:
                ask(subject, asked, local, system)
            if "style" in parts:
                told[system] = ask_manner(subject, local, system)
            if "shift" in parts and system == "tuned":
                greedy = subject.answers(local, subject.test, greedy_of(subject), "Answers to be read")
            del local  # one copy of the weights at a time
        shift, read = _shift(subject, greedy) if "shift" in parts else (None, 0)
        before, after = told.get("base"), told.get("tuned")
        found = Explanation(
            name=subject.recipe.name,
            measure=scores.leading,
            metric=scores.metric(scores.leading),
            rows=scores.rows,
            sources=scores.sources,
            card=card_of(subject, asked) if asked else None,
            shift=shift,
            style=manner_of(before, after) if before and after else None,
            notes=_notes(subject),
            made=subject.journal.made + read,
        )
        found = replace(found, sentences=sentences(found))
        keep(folder, "explain", found, render(found))
    return found


def _check(parts: Collection[str]) -> None:
    for part in parts:
        if part not in PARTS:
            raise RecipeError(f"No part is called '{part}'.", where="parts", hint=nearest(part, PARTS))


def _shift(subject: Explained, greedy: Mapping[str, Completion]) -> tuple[Shift, int]:
    models = subject.models()
    rows = [row for row in subject.test if greedy[row.id].ids]
    read, made = read_answers(models, rows, [greedy[row.id] for row in rows], subject.store)
    tokenizer = models.tuned.tokenizer
    shift = shift_of(
        read,
        [row.source for row in rows],
        lambda token: str(tokenizer.decode([token])),
        greedy_of(subject).model_dump(),
        models.tuned.formats.training,
    )
    return shift, made


def _notes(subject: Explained) -> tuple[str, ...]:
    some = f"Variants and token shift are of {len(subject.test)} of {subject.scores.rows} rows."
    return (
        *few_sources(subject.test),
        *([some] if len(subject.test) < subject.scores.rows else []),
    )
