"""`espalier compare`: is B really better than A? Runs, seeds, and what other tools wrote, side by side."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

import typer

from espalier.cli.completion import run_folders
from espalier.cli.settings import Json, Split
from espalier.cli.summary import print_tables
from espalier.cli.terminal import as_json


def compare(
    sides: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN_A RUN_B [MORE]…",
            help="Runs' folders, RUN:base for another of its systems, or other tools' JSONL of {id, "
            "prediction}; A1,A2,A3 are seeds of one recipe.",
            show_default=False,
            autocompletion=run_folders,
        ),
    ],
    *,
    metric: Annotated[
        list[str] | None, typer.Option(help="Compare by this measure only; can be repeated. [default: all]")
    ] = None,
    allow: Annotated[
        list[str] | None,
        typer.Option(metavar="data|template|decoding", help="What may differ all the same; can be repeated."),
    ] = None,
    margin: Annotated[
        float | None, typer.Option(help="Ask whether they are as good within so many points.")
    ] = None,
    looks: Annotated[
        str,
        typer.Option(
            help="How often the rows were used to choose what is compared, or all: count what is known of."
        ),
    ] = "1",
    split: Split = "test",
    confirm: Annotated[
        bool, typer.Option("--confirm", help="Compare on a sealed test set, the once that it is kept for.")
    ] = False,
    references: Annotated[
        str | None,
        typer.Option(
            "--references", "--task", help="What files are scored against: a task, or rows with ids."
        ),
    ] = None,
    report: Annotated[Path | None, typer.Option(help="Write a page with all rows side by side.")] = None,
    json: Json = False,
) -> None:
    """Say whether one run is better than another, row by row, and what such a test could have shown.

    The first is what the others are compared with. Rows are aligned by id. Runs that differ in test rows,
    template or decoding settings are refused.
    """
    from espalier.comparison.compare import compare as compare_sides

    groups = [[one] if os.path.exists(one) else one.split(",") for one in sides]
    found = compare_sides(
        groups, measures=metric or (), allow=allow or (), margin=margin, looks=_looks(looks),
        split=split, confirm=confirm, references=references, report=report,
    )  # fmt: skip
    if json:
        typer.echo(as_json(found.plain()))
    else:
        said = [next(iter(pair.measures.values())).said for pair in found.pairs]
        print_tables(said, map(found.table, found.pairs), found.footing, found.notes)
        if report:
            typer.echo(report)


def _looks(text: str) -> int | Literal["all"]:
    if text == "all":
        return "all"
    if not text.isdigit():
        raise typer.BadParameter("Give a number, or all.", param_hint="--looks")
    return int(text)
