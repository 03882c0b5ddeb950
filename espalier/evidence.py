"""From Python, what is asked about answers, runs and choices; `espalier.api` has these names too.

Each draws what it does as the command line does.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from espalier.cli.notebook import shown
from espalier.core.caches import keep_in

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from espalier.attribution.influence.check_record import Checked
    from espalier.attribution.influence.record import Influence
    from espalier.attribution.parts.prompt import Unit
    from espalier.attribution.parts.record import Attribution
    from espalier.claims.ledger import Ledger
    from espalier.comparison.records import Comparison
    from espalier.core.recipe import Recipe
    from espalier.core.records import Estimate
    from espalier.design.recipe import StudyRecipe
    from espalier.design.record import Findings
    from espalier.explain.record import Explanation
    from espalier.explain.tail.record import TailPage
    from espalier.explain.wording.record import Sensitivity
    from espalier.runs.run import Run
    from espalier.study.ahead import Ahead
    from espalier.trials.decoding_record import Decodings
    from espalier.trials.judged import Judged
    from espalier.trials.judging import Judge, Manner

    Source: TypeAlias = str | Path | Mapping[str, Any] | Recipe


def score(
    scorer: str,
    predictions: Sequence[str],
    references: Sequence[str | Sequence[str]],
    *,
    sources: Sequence[str] | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Estimate:
    """Return what texts score against their references, with the 95 % interval: 0 to 1 for most measures.

    Args:
        scorer: "rouge_l", "exact_match", "numeric", "label", …, or "my_module:function" (`docs/scores.md`).
        predictions: texts.
        references: of each, one text or several.
        sources: what each row was made of, where rows are not independent: the interval is by source.
        settings: of the scorer, as a recipe has them: {"pattern": "\\d+"}.

    Raises:
        DataError: there are not as many references as predictions.
        RecipeError: no scorer has that name, or takes these settings.
    """
    from espalier.evaluate.texts import score_texts

    return score_texts(scorer, predictions, references, sources, settings)


def compare(
    *sides: Run | str | Path | Sequence[Run | str | Path],
    measures: Sequence[str] = (),
    allow: Sequence[str] = (),
    margin: float | None = None,
    looks: int | Literal["all"] = 1,
    split: Literal["test", "dev"] = "test",
    confirm: bool = False,
    references: str | None = None,
    report: str | Path | None = None,
) -> Comparison:
    """Return how the other sides differ from the first, on the rows that all were scored on, by measure.

    `espalier.compare(a, b)["rouge_l"].difference` is b's value less a's, with its interval; `.won` counts the
    rows on which b is better, `.verdict` and `.said` are what may be said. It prints as a table.

    Args:
        sides: runs or their folders, RUN:SYSTEM for another of a run's systems, or files of another tool,
            JSONL of `{"id", "prediction"}`; a list is one recipe trained with several seeds.
        measures: by which to compare; by default all that all have, of files ROUGE-L and exact match.
        allow: what may differ all the same: "data", "template", "decoding".
        margin: within how many points, as they are shown, two are as good as each other.
        looks: how often the rows were used to choose what is compared; "all" counts what is known of.
        split: "dev" compares on the rows that were held out, as `evaluate(run, split="dev")` scored them.
        confirm: whether this is the one comparison that a sealed test set is kept for; it is counted.
        references: what files are scored against, as `espalier score --references`.
        report: where to write the page.

    Raises:
        EspalierError: what is compared is not there or not comparable: in one sentence why, and what to do.
    """
    from espalier.comparison.compare import compare as compare_sides

    page = Path(report) if report is not None else None
    return compare_sides(
        sides, measures=measures, allow=allow, margin=margin, looks=looks, split=split, confirm=confirm,
        references=references, report=page,
    )  # fmt: skip


def judge(
    predictions: Run | str | Path | Sequence[str],
    prompts: str | Path | Sequence[str] | None = None,
    against: Run | str | Path | Sequence[str] | None = None,
    *,
    model: str | Path | Run | Judge,
    server: str = "",
    secret: str = "",
    gold: str | Path | Sequence[str | float | None] | None = None,
    manner: Manner | None = None,
    name: str = "",
    folder: str = "runs",
    cache: Path | None = None,
) -> Judged:
    """Have a model judge which of two systems answers better, as `espalier score judge` does.

    It prints as two sentences: who wins by how much, and whether the judge can be believed.
    `.score.rate` is the win rate, `.trust` "none" where the judge says nothing. Verdicts are kept.

    Args:
        predictions: a file of answers, a run, RUN:SYSTEM, or texts.
        prompts: what was asked: a task or a file of rows, or as many texts; by default a run's test rows.
        against: the answers of the other system; None has each answer graded from 1 to 10.
        model: who judges: as for `load`, its name on the server, or a `Judge` that asks in its own way.
        server: address of an OpenAI-compatible server that has the model.
        secret: its key; written nowhere.
        gold: persons' verdicts (A, B, tie) or grades, as a file or a list.
        manner: the rubric, on how many rows controls are tried, and the seed.
        name: of the folder of the record.
        folder: of such folders.
        cache: as for `run`.

    Raises:
        EspalierError: in one sentence what is wrong, and what to do.
    """
    with shown("espalier.api.judge"):
        from espalier.comparison.contest import contest
        from espalier.trials.judges import judged
        from espalier.trials.judging import Judge, Manner
        from espalier.trials.who import Who

        who = model if isinstance(model, Judge) else Who(os.fspath(model), server, secret)
        what = contest(predictions, against, prompts, gold)
        return judged(what, who, manner or Manner(), name=name, folder=folder, cache=keep_in(cache))


def compare_decodings(
    source: Source | Run,
    *overrides: str,
    tries: Sequence[str | Mapping[str, Any]] = (),
    budget: int = 4,
    samples: int = 3,
    metric: str = "",
    rows: int | None = None,
    rounds: int = 5,
    again: bool = False,
    cache: Path | None = None,
) -> Decodings:
    """Say which way of decoding to take, as `espalier decode` does; see `espalier.trials.decoding`.

    The record prints as a table: `found.sentence`, `found.advised`, `found["beam beams=4"].seconds`.
    """
    with shown("espalier.decode"):
        from espalier.trials.decoding import compare_decodings as compare

        return compare(
            source, overrides, cache=keep_in(cache), tries=tries, budget=budget, samples=samples,
            metric=metric, rows=rows, rounds=rounds, again=again,
        )  # fmt: skip


def explain(
    run: Run | str | Path,
    *,
    parts: Collection[str] = ("card", "shift", "style"),
    rows: int | None = None,
    cache: Path | None = None,
) -> Explanation:
    """Say what is behind a run's score, as `espalier explain` does; see `espalier.explain.explain`.

    The record prints as its tables and sentences: `found.sentences`, `found.shift.shares["shifted"]`.

    Args:
        run: a run or its folder.
        parts: those to explain.
        rows: most test rows that are asked, by whole sources.
        cache: as for `run`.

    Raises:
        EspalierError: in one sentence what is wrong, and what to do.
    """
    with shown("espalier.explain"):
        from espalier.explain.explain import explain as explain_run

        return explain_run(Path(run), keep_in(cache), parts, rows)


def explain_parts(
    run: Run | str | Path,
    *,
    unit: Unit = "part",
    answer: str = "own",
    rows: int | None = None,
    cache: Path | None = None,
) -> Attribution:
    """Say what each part of the prompts adds to a run's answers, as `espalier explain --parts` does.

    The record prints as its tables and sentences: `found.of("swap")`, `found.faith_of("gradient").beats`.

    Args:
        run: a run or its folder.
        unit: what is taken away in turn, to see whether the scores are true: "part", "sentence" or "word".
        answer: "own", the tuned model's greedy answer, or "reference".
        rows: most test rows, by whole sources; 24 by default.
        cache: as for `run`.

    Raises:
        EspalierError: in one sentence what is wrong, and what to do.
    """
    with shown("espalier.explain_parts"):
        from espalier.attribution.parts.parts import explain_parts as explain_run

        return explain_run(Path(run), keep_in(cache), rows, unit=unit, answer=answer)


def explain_tail(run: Run | str | Path, *, cache: Path | None = None) -> TailPage:
    """Say what kinds of rows a run does worst on, and how that goes with training, as `explain --tail` does.

    `found.facets[0].groups[0].shrunken` is an Estimate. See `espalier.explain.tail`.
    """
    with shown("espalier.explain_tail"):
        from espalier.explain.tail.tail import tail as tail_of

        return tail_of(Path(run), keep_in(cache))


def explain_wording(
    run: Run | str | Path,
    *,
    against: Sequence[Run | str | Path] = (),
    definitions: Path | None = None,
    writer: str | Path | Run = "",
    server: str = "",
    secret: str = "",
    paraphrases: int = 10,
    rows: int | None = None,
    cache: Path | None = None,
) -> Sensitivity:
    """Say what a run's score owes to how it is asked, as `espalier explain --wording` does.

    `found.systems[0].wordings[-1]` is the worst wording. A writer, with its server as for `judge`, puts each
    definition into other words, `found.writing`. See `espalier.explain.wording.wording`.
    """
    with shown("espalier.explain_wording"):
        from espalier.explain.wording.wording import wording
        from espalier.trials.who import Who

        others, named = [Path(one) for one in against], os.fspath(writer)
        who = Who(named, server, secret, "writes") if named or server else None
        place = keep_in(cache)
        return wording(Path(run), place, rows, others, definitions, writer=who, paraphrases=paraphrases)


def influence(
    run: Run | str | Path,
    query: str = "test",
    *,
    by: str = "tracin",
    top: int = 10,
    queries: int = 20,
    project: int = 0,
    norms: bool = False,
    cache: Path | None = None,
) -> Influence:
    """Say which training rows taught a run what, as `espalier influence` does; see `espalier.explain`.

    `found.queries[0].helped[0].text` is the row that helped the first query most, `found.scores["tracin"]`
    all scores [Q, R] of `found.examples`. With `norms` there are cosines, and `found.itself`.
    """
    with shown("espalier.influence"):
        from espalier.attribution.influence.asking import influence as ask

        return ask(
            Path(run), query, cache=keep_in(cache), by=by, top=top, most=queries, project=project,
            norms=norms,
        )  # fmt: skip


def check_influence(
    run: Run | str | Path,
    query: str = "test",
    *,
    by: str = "tracin",
    queries: int = 20,
    project: int = 0,
    remove: float = 0.1,
    seeds: int = 5,
    again: int = 1,
    halves: int = 20,
    cache: Path | None = None,
) -> Checked:
    """Train again without the rows that a score names, as `espalier influence --check` does."""
    with shown("espalier.influence"):
        from espalier.attribution.influence.checking import check

        return check(
            Path(run), query, cache=keep_in(cache), by=by, most=queries, project=project,
            remove=remove, seeds=seeds, again=again, halves=halves,
        )  # fmt: skip


def study(
    asked: str | Path | Mapping[str, Any] | StudyRecipe,
    *overrides: str,
    anyway: bool = False,
    assume: Sequence[str] = (),
    cache: Path | None = None,
) -> Findings:
    """Say which choice made a difference, as `espalier study` does, and return what was found.

    It prints as a table: `found.sentence`, `found["rate"].compared.difference`, `found.cells`.

    Args:
        asked: a file, a table of the same keys, or a `StudyRecipe`.
        overrides: of its keys, such as "seeds=5".
        anyway: whether a study begins that cannot see its margin.
        assume: as for `plan_study`.
        cache: as for `run`.

    Raises:
        EspalierError: in one sentence what is wrong, and what to do.
    """
    with shown("espalier.api.study"):
        from espalier.design.recipe import as_study
        from espalier.study.study import study as carry_out

        return carry_out(as_study(asked, overrides), keep_in(cache), anyway=anyway, assume=assume)


def plan_study(
    asked: str | Path | Mapping[str, Any] | StudyRecipe,
    *overrides: str,
    assume: Sequence[str] = (),
    cache: Path | None = None,
) -> Ahead:
    """Say what a study will take and could see, as `espalier study --plan` does: `ahead.promises`.

    Args:
        asked: as for `study`.
        overrides: of its keys.
        assume: what to assume otherwise of rows and seeds, such as "seeds=1.5" points.
        cache: as for `run`.

    Raises:
        EspalierError: in one sentence what is wrong, and what to do.
    """
    with shown("espalier.api.plan_study"):
        from espalier.design.recipe import as_study
        from espalier.study.ahead import plan_study as look_ahead

        return look_ahead(as_study(asked, overrides), keep_in(cache), assume)


def claims(
    *names: str | Path,
    overrides: Sequence[str] = (),
    folder: str | Path = "claims",
    plan: bool = False,
    anyway: bool = False,
    cache: Path | None = None,
) -> Ledger:
    """Ask small what papers say, as `espalier claims` does, and return the ledger.

    It prints as a table with the reasons: `found["lima"].verdict`, `found["lima"].value`.

    Args:
        names: of bundled claims, or files; all bundled ones by default.
        overrides: of keys of each claim, such as "study.seeds=1".
        folder: of the ledger and the studies.
        plan: only say what each costs and could see.
        anyway: run what cannot be expected to see its effect, too.
        cache: as for `run`.

    Raises:
        EspalierError: in one sentence what is wrong, and what to do.
    """
    with shown("espalier.api.claims"):
        from espalier.claims.claim import load_claims
        from espalier.claims.settle import settle

        asked = load_claims(names, overrides)
        return settle(asked, Path(folder), keep_in(cache), plan=plan, anyway=anyway)
