"""`influence`: which training rows helped or hurt what a run says, at the states that it kept."""

from __future__ import annotations

import io
import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from espalier.attribution.influence.floors import bm25, by_chance, longest, overlap
from espalier.attribution.influence.gradients import row_gradients
from espalier.attribution.influence.page import render
from espalier.attribution.influence.queries import queries_of, texts
from espalier.attribution.influence.record import ITSELF, TITLES, Influence, listed, row_of
from espalier.attribution.influence.scores import Asked, check_size, scored
from espalier.attribution.influence.subject import kept_by, subject_of
from espalier.core.errors import RecipeError, nearest
from espalier.core.files import content_hash, write_atomic
from espalier.core.run import open_run
from espalier.core.text import counted, spelt
from espalier.data.table import as_parquet, read_examples
from espalier.decode.likelihood import answer_row, check_context
from espalier.runs.events import bar, say
from espalier.train.objectives import answer_loss

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from transformers import PreTrainedModel

    from espalier.attribution.influence.record import Row
    from espalier.attribution.influence.subject import Kept
    from espalier.core.records import Example

    Floats = NDArray[np.float64]

VERSION = 3  # of how scores are computed: others are not those of before
TABLE, ROWS = "table.npz", "rows.parquet"


@dataclass(frozen=True)
class Found:
    """What was computed for some queries: scores by name [Q, R], of each row itself [R], tokens, the rows."""

    scores: dict[str, Floats]
    itself: Floats | None
    tokens: list[int]
    examples: list[Example]
    computed: int


def influence(
    path: Path, query: str = "test", *, cache: Path, by: str = "tracin", top: int = 10, most: int = 20,
    project: int = 0, norms: bool = False,
) -> Influence:  # fmt: skip
    """Return which training rows of a run helped and hurt some queries; write influence.json and .html.

    What was computed for the same queries before is not computed again.

    Args:
        path: the run's folder.
        query: a file of rows, "test" for the run's own test rows, "wrong" for what it got wrong of them.
        cache: folder of converted models.
        by: the score to list rows by: tracin, cosine, bm25, overlap, longest or random.
        top: rows that are listed of each side.
        most: queries that are taken.
        project: numbers that each gradient is sketched in; 0 takes all of them.
        norms: compute the lengths of rows' gradients, too, which takes a whole backward of each: for cosines
            and for what rows taught of themselves. `by` cosine asks for them.

    Raises:
        EspalierError: in one sentence what is wrong, and what to do.
    """
    if by not in TITLES:
        raise RecipeError(f"No score is named '{by}'.", where="--by", hint=nearest(by, TITLES))
    kept = kept_by(path)
    queries = queries_of(kept.run, kept.recipe, query, most)
    with open_run(kept.run.path):
        found = computed(kept, queries, project, cache, norms=norms or by == "cosine")
        told = list(_notes(queries, found))
        record = Influence(
            name=kept.recipe.name,
            by=by,
            queries=listed(queries, found.examples, found.scores, by, top),
            itself=_taught_themselves(found, top),
            rows=len(found.examples),
            states=tuple(state.step for _, state in kept.states),
            dims=project,
            computed=found.computed,
            scores=found.scores,
            self_scores=found.itself,
            examples=found.examples,
            page=kept.folder / "influence.html",
            notes=tuple(told),
        )
        write_atomic(kept.folder / "influence.json", json.dumps(record.plain(), ensure_ascii=False) + "\n")
        write_atomic(record.page, render(record))
    return record


def _taught_themselves(found: Found, top: int) -> tuple[Row, ...]:
    """Return the rows that taught their own answers most; none where that was not computed."""
    if found.itself is None:
        return ()
    return tuple(
        row_of(found.examples[place], place, {ITSELF: float(found.itself[place])})
        for place in np.argsort(-found.itself, kind="stable")[:top].tolist()
    )


def computed(kept: Kept, queries: Sequence[Example], project: int, cache: Path, *, norms: bool) -> Found:
    """Return all scores of some queries, from `influence/KEY` where they are there already."""
    asked = [[turn.text for turn in example.messages] for example in queries]
    key = content_hash([VERSION, kept.key, [state.step for _, state in kept.states], asked, project])
    plain, full = (kept.folder / f"{key}{ending}" for ending in ("", "-norms"))
    norms = norms or (full / TABLE).exists()
    folder = full if norms else plain
    count = 0
    if not (folder / TABLE).exists():
        count = _compute(kept, queries, project, cache, folder, norms=norms)
    with np.load(folder / TABLE) as table:
        own: dict[str, Any] = {name: table[name] for name in ("tracin", "cosine", "itself", "tokens")}
    examples = read_examples(folder / ROWS)
    tokens: list[int] = own["tokens"].tolist()
    asked_texts, row_texts = texts(queries), texts(examples)
    scores = {
        "tracin": own["tracin"],
        **({"cosine": own["cosine"]} if norms else {}),
        "bm25": bm25(asked_texts, row_texts),
        "overlap": overlap(asked_texts, row_texts),
        "longest": longest(tokens, len(queries)),
        "random": by_chance(len(queries), len(examples), kept.recipe.seed),
    }
    return Found(scores, own["itself"] if norms else None, tokens, examples, count)


def _compute(
    kept: Kept, queries: Sequence[Example], project: int, cache: Path, folder: Path, *, norms: bool
) -> int:
    """Compute the scores of some queries into a folder; return how many gradients it took."""
    subject = subject_of(kept, cache)
    rows = [answer_row(query, query.answer, subject.template) for query in queries]
    check_context(rows, subject.template.context)
    model = subject.ready.model
    check_size(sum(w.numel() for w in model.parameters() if w.requires_grad), len(rows), project)
    section = kept.recipe.train[-1]
    asked = Asked(
        [[row] for row in rows],
        subject.rows,
        answer_loss(),
        answer_loss(**section.objective[0].params),
        project,
        shared=subject.ready.shared and not section.recompute,
        weight=subject.weight,
        norms=norms,
    )
    each = len(rows) + sum(map(len, subject.rows))
    done = each * sum((folder / f"{path.stem}.npy").exists() for path, _ in kept.states)
    count = each * len(kept.states) - done
    if norms:
        say(_price(model, asked, count))
    with bar("Gradients of rows and queries", count + done, done) as advance:
        found = scored(model, kept.states, asked, folder, lambda done: advance(done, ""))
    write_atomic(folder / ROWS, as_parquet(subject.examples))
    table = io.BytesIO()
    tokens = [sum(len(row.ids) for row in rows) for rows in subject.rows]
    np.savez(table, tracin=found.tracin, cosine=found.cosine, itself=found.itself, tokens=tokens)
    write_atomic(folder / TABLE, table.getvalue())
    for path, _ in kept.states:
        (folder / f"{path.stem}.npy").unlink(missing_ok=True)
    return count


def _price(model: PreTrainedModel, asked: Asked, count: int) -> str:
    """Return what so many whole backwards will take, from the first query's."""
    begun = time.perf_counter()
    for _ in row_gradients(model, [(asked.queries[0][0], asked.query_loss)]):
        seconds = count * (time.perf_counter() - begun)
    return (
        f"Cosines and what rows taught themselves take {counted(count, 'whole gradient')}: about "
        f"{spelt(seconds)}; without them rows share most of that. Ctrl-C ends it; the same command goes on, "
        "from the last state that is done."
    )


def _notes(queries: Sequence[Example], found: Found) -> list[str]:
    """Return what a reader has to know of these queries."""
    strange = [number for number, row in enumerate(found.scores["bm25"], start=1) if not row.any()]
    notes: list[str] = []
    if strange:
        which = ", ".join(map(str, strange[:5]))
        notes.append(
            f"{counted(len(strange), 'query', 'queries')} ({which}) have no word in common with any row, so "
            "BM25 and overlap say nothing of them."
        )
    return notes
