"""`espalier score`: score any tool's predictions on a task file, with intervals and floors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from espalier.core.text import counted
from espalier.data.references import references_of

if TYPE_CHECKING:
    from espalier.evaluate.predictions import PredictionScore


def score(
    scorer: Annotated[str, typer.Argument(help="rouge_l, exact_match, or checks (the task's own).")],
    task: Annotated[
        str,
        typer.Option(
            "--task",
            "--references",
            help="What was asked: a task file, the name of a bundled task, or a file of rows in any format.",
        ),
    ],
    predictions: Annotated[
        Path,
        typer.Option(help='JSONL of {"id", "prediction"}, {"predictions": …}, or a run\'s outputs.jsonl.'),
    ],
    system: Annotated[
        str | None, typer.Option(help="Whose answers of a run's outputs; by default the tuned model's.")
    ] = None,
    first: Annotated[
        int | None,
        typer.Option(min=1, help="Score the task's first rows only; the official evaluation: 100."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Score any tool's predictions on a task.

    They stand with their intervals, beside a constant answer and a copy of the input.
    """
    from espalier.evaluate.predictions import score_predictions

    result = score_predictions(references_of(task), predictions, scorer, first, system)
    if as_json:
        typer.echo(json.dumps(result.percent(), ensure_ascii=False))
    else:
        _print_table(result)


def _print_table(result: PredictionScore) -> None:
    title = f"{result.title} on {counted(result.estimate.n, 'row')}"
    table = Table("", f"×{result.estimate.scale:g}", "95 % interval", title=title)
    rows = (
        ("predictions", result.estimate),
        (f"constant: {result.constant_text}", result.constant),
        ("copy of the input", result.copy),
    )
    for name, e in rows:
        value, low, high = (f"{e.scale * end:.2f}" for end in (e.value, e.low, e.high))
        table.add_row(Text(name), value, f"{low} to {high}")
    console = Console()
    console.print(table)
    if result.missing:
        missing = f"{counted(result.missing, 'row')} {'has' if result.missing == 1 else 'have'} no prediction"
        console.print(f"{missing} and count as the empty text (see --first).")
    if result.extra:
        extra = f"{counted(result.extra, 'prediction')} {'belongs' if result.extra == 1 else 'belong'}"
        console.print(f"{extra} to no scored row and {'is' if result.extra == 1 else 'are'} ignored.")
