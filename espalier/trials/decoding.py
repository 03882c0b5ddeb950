"""Ways of decoding as an experiment: gates, equal tuning on development rows, then quality and time."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from espalier.core.errors import RecipeError
from espalier.core.files import write_atomic
from espalier.core.run import open_run
from espalier.core.text import counted, some
from espalier.data.looks import exposure, keys_of, looks_in, model_of
from espalier.evaluate.compare import estimate
from espalier.evaluate.statistics import mean
from espalier.evaluate.widened import wide
from espalier.runs.events import say, working
from espalier.runs.looking import count
from espalier.trials.decoding_advice import advised
from espalier.trials.decoding_answers import seen_in
from espalier.trials.decoding_asking import Asker
from espalier.trials.decoding_gates import held, of_gates
from espalier.trials.decoding_page import render
from espalier.trials.decoding_record import Decodings, Outcome, Tried
from espalier.trials.decoding_settings import settings_to_try
from espalier.trials.decoding_subject import divided, renderable, subject_of
from espalier.trials.decoding_times import timed
from espalier.trials.pareto import median_draws, within

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from espalier.core.records import Example
    from espalier.decode.local import Local
    from espalier.trials.decoding_asking import Verdicts
    from espalier.trials.decoding_settings import Setting, Try
    from espalier.trials.decoding_subject import Source, Split, Subject
    from espalier.trials.decoding_times import Times

    Kinds = Mapping[str, Sequence[Setting]]

TIMED = 32  # rows that are answered at once to measure what that takes
ROUNDS = 5


def compare_decodings(
    source: Source,
    overrides: Sequence[str] = (),
    *,
    cache: Path,
    tries: Sequence[Try] = (),
    budget: int = 4,
    samples: int = 3,
    metric: str = "",
    rows: int | None = None,
    rounds: int = ROUNDS,
    again: bool = False,
) -> Decodings:
    """Compare ways of decoding on the same prompts; write `decoding.json` and `decoding.html`, and return it.

    What was answered before is not answered again, and an interrupted comparison goes on.

    Args:
        source: a run or its folder, or a recipe: then its finished run, or the model that it would tune.
        overrides: of a recipe's keys.
        cache: folder of converted models.
        tries: settings, as "beam beams=4" or a table; by default the recipe's own and a grid.
        budget: most settings of each kind.
        samples: answers to each prompt of what draws.
        metric: by which to choose; by default what a run is judged by first.
        rows: most of each split, drawn by whole sources.
        rounds: of timing.
        again: measure times anew; answers are kept all the same.

    Raises:
        EspalierError: in one sentence what is wrong, and what to do; in fp32 also where a gate fails.
    """
    for name, number in (("rounds", rounds), ("rows", rows)):
        if number is not None and number < 1:
            raise RecipeError(f"{number} does not fit: it must be at least 1.", where=f"--{name}")
    subject = subject_of(source, overrides, cache)
    kinds = settings_to_try(tries, subject.recipe.decode, budget=budget, samples=samples)
    split = divided(subject, choosing=_choosing(kinds), rows=rows)
    with open_run(subject.folder):
        with working("Loading the model", aloud=False):
            local = subject.load()
        split = renderable(split, subject, local)
        say(f"Asked is {subject.model}; {split.said}.")
        gates = held(local, [*split.dev, *split.test], subject.folder / "gates.json")
        asker = Asker(subject, local, subject.folder)
        tried, verdicts, every = _asked(asker, kinds, split, metric)
        file = subject.folder / "times.json"
        times = timed(local, split.test[:TIMED], every, rounds=rounds, file=file, again=again)
        if times.taken:
            say("Times are those that were measured before; --again measures anew.")
        notes = (*of_gates(gates, local), *unequal(kinds))
        found = _record(asker, split, verdicts, times, every)
        found = replace(found, tried=tried, gates=gates, notes=notes)
        found = _widened(found, split, subject) if subject.apart else found
        columns = {one.name: verdicts.answered[one.name].columns[verdicts.measure] for one in every}
        sources = {row.id: row.source for row in split.test}
        found = advised(found, columns, sources, times.seconds, subject.recipe.seed)
        write_atomic(subject.folder / "decoding.json", found.to_json() + "\n")
        write_atomic(subject.folder / "decoding.html", render(found))
    return found


def _choosing(kinds: Kinds) -> bool:
    """Whether a kind has several settings to choose from; those of one kind alone are all tested."""
    return len(kinds) > 1 and any(len(several) > 1 for several in kinds.values())


def _asked(
    asker: Asker, kinds: Kinds, split: Split, metric: str
) -> tuple[tuple[Tried, ...], Verdicts, list[Setting]]:
    """Choose a setting of each kind where there is something to choose, and ask the test rows."""
    every = [one for several in kinds.values() for one in several]
    tried: tuple[Tried, ...] = ()
    if _choosing(kinds):
        on_dev = asker.ask(split.dev, every, "Answers to the development rows", metric)
        tried = chosen(on_dev, split.dev, kinds, asker.subject.recipe.seed)
        _count(asker, split.dev, on_dev, dev=bool(asker.subject.dev))
        metric = on_dev.measure
        kept = {one.setting for one in tried if one.chosen}
        every = [one for one in every if one.name in kept]
    on_test = asker.ask(split.test, every, "Answers to the test rows", metric)
    _count(asker, split.test, on_test)
    return tried, on_test, every


def _count(asker: Asker, rows: Sequence[Example], verdicts: Verdicts, *, dev: bool = False) -> None:
    """Count a look at the rows for each setting. Raises RunError."""
    models = [model_of(one.samples[0]) for one in verdicts.answered.values()]
    split = "dev" if dev or asker.subject.apart else "test"
    count(asker.folder.parent, rows, models, "decode", split, each=True)


def _record(
    asker: Asker, split: Split, verdicts: Verdicts, times: Times, every: Sequence[Setting]
) -> Decodings:
    """Return all that was counted and measured, before anything is said of it."""
    return Decodings(
        name=asker.subject.name,
        model=asker.subject.model,
        measure=verdicts.measure,
        metric=verdicts.metrics[verdicts.measure],
        metrics=verdicts.metrics,
        tested=tuple(tested(asker.local, split.test, every, verdicts, times)),
        tried=(),
        gates={},
        rows=len(split.test),
        sources=len({row.source for row in split.test}),
        dev_rows=len(split.dev),
        dev_sources=len({row.source for row in split.dev}),
        timed_rows=times.rows,
        rounds=len(times.seconds),
        precision=asker.local.loaded.formats.decoding,
        made=asker.made,
    )


def _widened(found: Decodings, split: Split, subject: Subject) -> Decodings:
    """Return the same with intervals that hold for all looks at the rows together, which is said."""
    known = exposure(keys_of(split.test), looks_in(subject.folder.parent.parent), "dev")
    tested = [
        replace(one, scores={name: wide(score, known.looks) for name, score in one.scores.items()})
        for one in found.tested
    ]
    return replace(found, tested=tuple(tested), notes=(*found.notes, known.told))


def chosen(verdicts: Verdicts, dev: Sequence[Example], kinds: Kinds, seed: int) -> tuple[Tried, ...]:
    """Return what each setting reaches on the development rows; of each kind the best is chosen.

    Of equals that is the first.
    """
    metric, sources = verdicts.metrics[verdicts.measure], [row.source for row in dev]
    reached = {
        name: estimate(metric, one.columns[verdicts.measure], sources, seed)
        for name, one in verdicts.answered.items()
    }

    def worth(setting: Setting) -> float:
        value = reached[setting.name]
        return metric.sign * value.value if value.known else float("-inf")

    best = {kind: max(several, key=worth).name for kind, several in kinds.items()}
    every = [one for several in kinds.values() for one in several]
    return tuple(Tried(one.name, one.kind, reached[one.name], best[one.kind] == one.name) for one in every)


def tested(
    local: Local, rows: Sequence[Example], settings: Sequence[Setting], verdicts: Verdicts, times: Times
) -> Iterator[Outcome]:
    """Yield what each setting came to on the test rows."""
    sources = [row.source for row in rows]
    prompt = sum(len(local.template.prompt_ids(row.prompt)) for row in rows) / len(rows)
    spent = [(table, median_draws(table)) for table in (times.seconds, times.cpu)]
    scale = verdicts.metrics[verdicts.measure].scale
    for place, setting in enumerate(settings):
        one = verdicts.answered[setting.name]
        seconds, cpu = (
            within(float(np.median(table[:, place])), draws[:, place], len(table)) for table, draws in spent
        )
        several = len(one.samples) > 1
        yield Outcome(
            setting=setting.name,
            decode=setting.choices[0].model_dump(),
            samples=len(one.samples),
            scores={
                name: estimate(metric, one.columns[name], sources)
                for name, metric in verdicts.metrics.items()
            },
            best=replace(mean(one.best, sources), scale=scale) if several else None,
            seconds=seconds,
            cpu=cpu,
            prompt=prompt,
            seen=seen_in(one.samples, sources),
        )


def unequal(kinds: Kinds) -> list[str]:
    """Return a note where kinds were not tuned alike."""
    counts = {kind: len(several) for kind, several in kinds.items()}
    if len(kinds) < 2 or len(set(counts.values())) < 2:
        return []
    told = some([f"{kind} {counted(count, 'setting')}" for kind, count in counts.items()], 8)
    return [f"Kinds were not tuned alike: {told}. The more are tried, the better the best one seems."]
