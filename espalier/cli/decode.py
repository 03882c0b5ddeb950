"""`espalier decode`: which way of decoding to take, by quality and time on the same prompts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from espalier.cli.completion import run_folders
from espalier.cli.settings import DEFAULT_CACHE, Cache, Json, Overrides
from espalier.cli.summary import print_tables
from espalier.cli.terminal import as_json


def decode(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="RECIPE|RUN",
            help="A run's folder, or a recipe: its finished run, or the model that it would tune.",
            show_default=False,
            autocompletion=run_folders,
        ),
    ],
    override: Overrides = None,
    *,
    tries: Annotated[
        list[str] | None,
        typer.Option(
            "--try",
            metavar="'KIND KEY=VALUE …'",
            help="A setting, such as 'beam beams=4'; can be repeated. [default: a grid]",
        ),
    ] = None,
    budget: Annotated[int, typer.Option(min=1, help="Most settings tried of each kind.")] = 4,
    samples: Annotated[int, typer.Option(min=1, help="Answers to each prompt of what draws.")] = 3,
    metric: Annotated[
        str, typer.Option(help="Choose by this measure. [default: what the run leads with]")
    ] = "",
    rows: Annotated[
        int | None, typer.Option(min=1, help="Most rows of each split, by whole sources.")
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of timing.")] = 5,
    again: Annotated[bool, typer.Option("--again", help="Measure times anew.")] = False,
    json: Json = False,
    cache: Cache = DEFAULT_CACHE,
) -> None:
    """Say which way of decoding to take.

    Settings of each kind are tuned alike on development rows; the best of each is tested on other rows for
    quality and time. The same command goes on after an interruption.
    """
    from espalier.trials.decoding import compare_decodings

    found = compare_decodings(
        source, override or (), cache=cache, tries=tries or (), budget=budget, samples=samples,
        metric=metric, rows=rows, rounds=rounds, again=again,
    )  # fmt: skip
    if json:
        typer.echo(as_json(found.plain()))
    else:
        print_tables([found.sentence], [found.table()], found.footing, found.notes)
