"""Training side by side: Espalier, TRL's fastest setting and a lean loop take the same steps in turn.

One round is one optimizer step of each side and one look at the machine's matrix rate. The first round is
warm-up. What counts is the ratio inside a run: a cloud machine can be twice as fast an hour later.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bench import espalier, lean, rate, trl
from bench.rows import cases, describe, load_steps, row_cases
from bench.side import Job, Side, fastest, take_turns

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from multiprocessing.connection import Connection

    from bench.rows import Case
    from espalier.core.records import Encoded
    from espalier.encode.template import Template
    from espalier.models.precision import Format, Formats

    Say = Callable[[str], None]
    Run = Callable[[Job, Connection], None]

ROWS = 32
# Rows per step when settings are tried: enough for each batch size, few enough that all can be tried.
TRIAL_ROWS = 8
# 1 and 8 were slower by 15 % (docs/benchmarks.md).
LEAN_SETTINGS: dict[str, dict[str, Any]] = {f"batch {size}": {"batch": size} for size in (2, 4)}


@dataclass(frozen=True)
class Bench:
    """What all cases share: model, template, threads, rounds per case, number format, where progress goes."""

    model: str
    template: Template
    threads: int
    rounds: int
    precision: Format
    say: Say

    def job(self, case: Case, steps: Sequence[Sequence[Encoded]], settings: dict[str, Any]) -> Job:
        """Return what one side is to train."""
        told = {"precision": self.precision, **settings}
        return Job(self.model, [list(s) for s in steps], case.method, case.rate, self.threads, told)


def main(
    model: str,
    template: Template,
    say: Say,
    *,
    task: str | None = None,
    formats: Formats,
    only: Sequence[str] = (),
    threads: int = 2,
    rounds: int = 2,
    settings: str = "likely",
) -> dict[str, Any]:
    """Measure each case and return the figures, those of the first case on top.

    Args:
        model: folder of the model in Hugging Face layout.
        template: its template.
        say: takes progress lines.
        task: measure on this task file and not on the published ones.
        formats: number formats that are the fastest here.
        only: names of cases; where empty, all but those on files of rows.
        threads: threads of every side.
        rounds: measured steps per side and case, after one to warm up.
        settings: "likely" tries those TRL settings that were close to the fastest in `docs/benchmarks.md`,
            "all" tries every one, both in the number format that is the fastest here, and a setting's name,
            such as "fp32, batch 2", takes it without trying.
    """
    bench = Bench(model, template, threads, rounds, formats.training, say)
    all_cases = cases(task)
    known = [*all_cases, *row_cases()]
    wanted = [case for case in known if case.name in only] if only else all_cases
    if not wanted:
        raise SystemExit(f"No case of {list(only)}; there are {[case.name for case in known]}.")
    found: dict[str, dict[str, Any]] = {}
    for case in wanted:
        found[case.name] = measure(bench, case, settings, with_lean=case == all_cases[0])
    first = next(iter(found.values()))
    return {**{key: first[key] for key in ("espalier", "trl", "ratio")}, "cases": found}


def measure(bench: Bench, case: Case, settings: str, *, with_lean: bool) -> dict[str, Any]:
    """Return the figures of one case."""
    steps = load_steps(case, bench.template, bench.rounds + 1, ROWS)
    counts = describe(steps[1:])
    counts["gflop"] = rate.step_gflop(
        bench.model, counts["distinct_tokens"], counts["scored_tokens"], case.method
    )
    bench.say(
        f"{case.name}: {counts['row_tokens']:.0f} tokens a step, {counts['distinct_tokens']:.0f} distinct, "
        f"shared prefix {counts['prefix']:.0f}"
    )
    tried = _settings(settings, case, bench.precision)
    chosen, trials = _tried(bench, case, steps, "trl", trl.run, tried)
    jobs: dict[str, tuple[Run, dict[str, Any]]] = {
        "espalier": (espalier.run, {}),
        "trl": (trl.run, tried[chosen]),
    }
    if with_lean:
        batch, times = _tried(bench, case, steps, "lean", lean.run, LEAN_SETTINGS)
        trials.update(times)
        jobs["lean"] = (lean.run, LEAN_SETTINGS[batch])
    sides = [Side(name, run, bench.job(case, steps, with_)) for name, (run, with_) in jobs.items()]
    rater = Side("rate", rate.run, bench.job(case, [], {}))
    rates = [rater.ask()]
    loads = take_turns(sides, bench.rounds, bench.say, between=lambda: rates.append(rater.ask()))
    rater.close()
    figures = {side.name: _figures(side) for side in sides}
    return {**_compared(figures, counts, rates), "trl_setting": chosen, "trials": trials, "load": loads}


def _tried(
    bench: Bench,
    case: Case,
    steps: Sequence[Sequence[Encoded]],
    name: str,
    run: Run,
    settings: dict[str, dict[str, Any]],
) -> tuple[str, dict[str, float]]:
    """Return the setting with the most rows per second on a few rows, and the rows per second of each."""
    few = [list(steps[0])[:: ROWS // TRIAL_ROWS]] * 2
    jobs = {setting: bench.job(case, few, with_) for setting, with_ in settings.items()}
    chosen, seconds = fastest(name, run, jobs, bench.say)
    return chosen, {f"{name}, {setting}": TRIAL_ROWS / taken for setting, taken in seconds.items()}


def _settings(settings: str, case: Case, precision: Format) -> dict[str, dict[str, Any]]:
    named = {**trl.settings("bf16"), **trl.settings("fp32")}
    if settings in named:
        return {settings: named[settings]}
    likely = trl.LIKELY_ROWS if case.rows else trl.LIKELY
    return trl.settings(precision, {"likely": likely, "all": tuple(trl.WAYS)}[settings])


def _figures(side: Side) -> dict[str, Any]:
    steady = side.results[1:]
    seconds = statistics.median(result.seconds for result in steady)
    return {
        "rows_per_s": ROWS / seconds,
        "seconds": [round(result.seconds, 2) for result in side.results],
        "cpu_seconds": [round(result.cpu, 2) for result in side.results],
        "losses": [round(result.loss, 5) for result in side.results],
        "peak_mb": round(max(result.peak for result in side.results)),
    }


def _compared(
    sides: dict[str, dict[str, Any]], counts: dict[str, float], rates: list[dict[str, float]]
) -> dict[str, Any]:
    """Return the figures of the note, from what the sides measured."""
    ours, theirs = sides["espalier"], sides["trl"]
    matrix = {name: statistics.median(look[name] for look in rates) for name in rates[0]}
    achieved = counts["gflop"] * ours["rows_per_s"] / ROWS
    out = {
        "espalier": ours["rows_per_s"],
        "trl": theirs["rows_per_s"],
        "ratio": ours["rows_per_s"] / theirs["rows_per_s"],
        "round_ratios": [b / a for a, b in zip(ours["seconds"], theirs["seconds"], strict=True)],
        "loss_gap": max(
            abs(a - b) / b for a, b in zip(ours["losses"][-2:], theirs["losses"][-2:], strict=True)
        ),
        "memory_ratio": ours["peak_mb"] / theirs["peak_mb"],
        "matrix_share": achieved / max(matrix.values()),
        "gflops": achieved,
        "matrix_gflops": matrix,
        "matrix_spread": [min(look[rate.MODEL] for look in rates), max(look[rate.MODEL] for look in rates)],
        "tokens": counts,
        "sides": sides,
    }
    if "lean" in sides:
        gain = ours["rows_per_s"] / sides["lean"]["rows_per_s"]
        out |= {"lean_ratio": gain, "lean_share": gain / counts["token_ratio"]}
    return out
