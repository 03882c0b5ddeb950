"""`espalier influence`: which training rows helped or hurt what a run says, and whether that holds."""

from __future__ import annotations

from typing import Annotated

import typer

from espalier.cli.settings import DEFAULT_CACHE, Cache, Json, RunPath
from espalier.cli.summary import print_tables
from espalier.cli.terminal import as_json


def influence(
    run: RunPath,
    *,
    query: Annotated[
        str,
        typer.Option(
            metavar="FILE|test|wrong",
            help="What is asked about: rows with their answers, the run's test rows, or its wrong answers.",
        ),
    ] = "test",
    by: Annotated[
        str, typer.Option(help="List rows by tracin, cosine, bm25, overlap, longest or random.")
    ] = "tracin",
    top: Annotated[int, typer.Option(min=1, help="Rows that are listed of each side.")] = 10,
    queries: Annotated[int, typer.Option(min=1, help="Most queries that are taken.")] = 20,
    project: Annotated[
        int, typer.Option(min=0, help="Sketch gradients in so many numbers; 0 takes them whole.")
    ] = 0,
    norms: Annotated[
        bool,
        typer.Option("--norms", help="Cosines and self-influence, too: a whole backward for each row."),
    ] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Remove the rows that a score names, train again, and compare.")
    ] = False,
    remove: Annotated[float, typer.Option(help="Share of the rows that --check removes.")] = 0.1,
    seeds: Annotated[int, typer.Option(help="Trainings of all rows: the noise of --check.")] = 5,
    again: Annotated[int, typer.Option(help="Trainings without each set of rows.")] = 1,
    halves: Annotated[int, typer.Option(help="Trainings on random halves, for the LDS; 0 for none.")] = 20,
    json: Json = False,
    cache: Cache = DEFAULT_CACHE,
) -> None:
    """Tell which training rows taught a run what.

    It has to be trained with `train.keep = "influence"`. Scores are predictions; --check trains again
    without the rows that they name.
    """
    if check:
        from espalier.attribution.influence.checking import check as checked_by

        checked = checked_by(
            run, query, cache=cache, by=by, most=queries, project=project, remove=remove, seeds=seeds,
            again=again, halves=halves,
        )  # fmt: skip
        if json:
            typer.echo(as_json(checked.plain()))
        else:
            print_tables([checked.sentence], [checked.table()], checked.footing, checked.lines)
        return
    from espalier.attribution.influence.asking import influence as ask

    found = ask(run, query, cache=cache, by=by, top=top, most=queries, project=project, norms=norms)
    if json:
        typer.echo(as_json(found.plain()))
        return
    for title, table in found.tables():
        print_tables([title], [table], "", [])
    print_tables([found.sentence], [], found.footing, found.notes)
    typer.echo(found.page)
