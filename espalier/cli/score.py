"""`espalier score`: score any tool's predictions on any file, with intervals and floors."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from espalier.cli.judge import (
    Against,
    Gold,
    JudgeName,
    RecordName,
    ServedName,
    print_judged,
    who_of,
)
from espalier.cli.settings import DEFAULT_CACHE, Cache, KeyEnv, ServerUrl
from espalier.cli.store import RUNS
from espalier.cli.summary import fitting
from espalier.core.errors import RecipeError
from espalier.core.overrides import apply_override
from espalier.core.sections import Section
from espalier.data.looks import look_of_file
from espalier.data.references import references_of
from espalier.formats.load import load_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from espalier.core.records import Example
    from espalier.evaluate.beside import Reached
    from espalier.evaluate.predictions import PredictionScore

Asked = Annotated[
    str | None,
    typer.Option(
        "--task",
        "--references",
        "--prompts",
        help="What was asked: a task file, a bundled task's name, a file of rows in any format, or the "
        "evaluation's own file.",
    ),
]


def score(
    kind: Annotated[
        str,
        typer.Argument(
            help="A scorer, such as rouge_l, numeric, label or mctaco; checks (the task's own), ifeval, "
            "judge, or perplexity."
        ),
    ],
    *,
    predictions: Annotated[
        Path,
        typer.Option(
            help="JSONL, JSON, a table or plain lines: answers by id, by index, or in the rows' order."
        ),
    ],
    task: Asked = None,
    system: Annotated[
        str | None,
        typer.Option(
            help="Whose answers of a run's outputs (by default the tuned model's); lm-eval's filter."
        ),
    ] = None,
    first: Annotated[
        int | None,
        typer.Option(min=1, help="Score the task's first rows only; the official evaluation: 100."),
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("-o", help="A setting of the scorer: -o pattern='\\d+'.")
    ] = None,
    mode: Annotated[str, typer.Option(help="Of ifeval: official or repaired.")] = "official",
    against: Against = None,
    judge: JudgeName = "",
    server: ServerUrl = "",
    model: ServedName = "",
    key_env: KeyEnv = "",
    gold: Gold = None,
    name: RecordName = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    cache: Cache = DEFAULT_CACHE,
) -> None:
    """Score any tool's predictions.

    They stand with their intervals, beside a constant answer, a copy of the input and other floors.
    """
    if kind == "ifeval":
        _ifeval(_asked(task, kind), predictions, mode, as_json)
        return
    if kind == "judge":
        who = who_of(judge, server, model, key_env)
        print_judged((predictions, against, task, gold), who, settings or [], name, cache, as_json=as_json)
        return
    result = _scored(kind, predictions, task, first, system, settings or [])
    if as_json:
        typer.echo(json.dumps(result.percent(), ensure_ascii=False))
    else:
        _print(result)


def _scored(
    kind: str, predictions: Path, task: str | None, first: int | None, system: str | None, given: list[str]
) -> PredictionScore:
    from espalier.evaluate.predictions import (
        Rows,
        measures_of,
        own_rows,
        rows_of,
        score_logprobs,
        score_predictions,
    )

    if kind == "perplexity":
        result = score_logprobs(predictions)
        return _counted(result, rows_of(references_of(task)).examples, predictions) if task else result
    settings: dict[str, Any] = {}
    for one in given:
        apply_override(settings, one, Section)
    if kind != "checks":
        measures_of(kind, settings)  # a name that is wrong is told before files are read
    asked = _asked(task, kind)
    rows = own_rows(kind, Path(asked)) or references_of(asked)
    result = score_predictions(rows, predictions, kind, first, system, settings)
    asked_of = rows if isinstance(rows, Rows) else rows_of(rows)
    return _counted(result, asked_of.examples, predictions)


def _counted(result: PredictionScore, rows: Sequence[Example], predictions: Path) -> PredictionScore:
    """Count the look at these rows, and return the result with what is said of it."""
    told = look_of_file(RUNS, rows, predictions)
    return replace(result, findings=(*result.findings, told)) if told else result


def _asked(task: str | None, kind: str) -> str:
    if task is None:
        raise RecipeError(
            f"'{kind}' has to know what was asked.",
            where="--task",
            hint="Name the task, or the file of references or prompts.",
        )
    return task


def _ifeval(prompts: str, predictions: Path, mode: str, as_json: bool) -> None:
    if mode not in ("official", "repaired"):
        raise RecipeError(f"There is no mode '{mode}'.", where="--mode", hint="It is official or repaired.")
    from espalier.evaluate.instruction_following import score_files

    result = score_files(Path(prompts), predictions, mode)
    told = look_of_file(RUNS, load_rows(Path(prompts)), predictions)
    if as_json:
        typer.echo(json.dumps({**result, "looks": told} if told else result, ensure_ascii=False))
        return
    table = Table("", "%", "95 % interval", title=f"IFEval, {mode}")
    given = {**result, **result.get("rates", {})}
    for name, rate in given.items():
        match rate:
            case {"value": float() | int() as value}:
                ends = [rate.get("low"), rate.get("high")]
                table.add_row(
                    name.replace("_", " "), f"{value:.2f}", " to ".join(f"{e:.2f}" for e in ends if e)
                )
            case float() as value:
                table.add_row(name.replace("_", " "), f"{value:.2f}", "")
            case _:
                pass
    Console().print(table, *([Text(told)] if told else []))


def _print(result: PredictionScore) -> None:
    console = Console()
    for number, one in enumerate(result.measures.values()):
        console.print(_table(one, whole=not number or len(result.measures) < 4))
    for fact, values in result.groups.items():
        head = [fact, "rows", *(one.metric.title for one in result.measures.values())]
        rows = [
            [value, str(max(one.n for one in found.values())), *map(str, found.values())]
            for value, found in values.items()
        ]
        for table in fitting(head, rows, console.width):
            console.print(table)
    if "confusion" in result.more:
        console.print("Which label was taken for which", style="italic")
        for table in fitting(*_confusion(result.more["confusion"]), console.width):
            console.print(table)
    for sentence in result.findings:
        console.print(Text(sentence))


def _table(one: Reached, *, whole: bool) -> Table:
    estimate = one.reached
    title = f"{one.metric.title}, n = {estimate.n}"
    table = Table("", f"×{estimate.scale:g}", "95 % interval", title=title)
    rows = [("predictions", estimate)]
    for name, floor in one.floors.items() if whole else ():
        text = f": {floor.called}" if floor.text and not name.startswith("all-") else ""
        rows.append((f"{NAMES.get(name, name)}{text}", floor.reached))
    for name, e in rows:
        value, low, high = ("–" if end != end else f"{e.scale * end:.2f}" for end in (e.value, e.low, e.high))
        table.add_row(Text(name), value, f"{low} to {high}" if e.bounded else "–")
    way = one.rescaled
    if way:
        table.caption = f"{100 * way.value:.1f} % of the way from the constant to the best possible value"
    return table


NAMES = {"copy": "copy of the input", "random": "random label", "example": "first example"}


def _confusion(found: dict[str, dict[str, int]]) -> tuple[list[str], list[list[str]]]:
    said = list(dict.fromkeys(label for row in found.values() for label in row))
    rows = [[gold, *(str(row.get(label, 0)) for label in said)] for gold, row in found.items()]
    return ["reference", *said], rows
