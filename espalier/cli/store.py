"""`espalier store`: what the runs of a folder share, its size, and clearing it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from espalier.core.journal import store_of
from espalier.core.text import counted
from espalier.data.looks import looks_in, set_of

Folder = Annotated[Path, typer.Option(help="The folder of the runs.")]
RUNS = Path("runs")
NAMED = {
    "reference": ("pass of a reference", "passes of a reference"),
    "samples": ("round of samples", "rounds of samples"),
    "stage": ("stage of training", "stages of training"),
}

store = typer.Typer(help="Show what runs share, or clear it.", invoke_without_command=True)


@store.callback()
def shown(context: typer.Context, folder: Folder = RUNS) -> None:
    """Show what the runs of a folder share: a run does not make again what another has made."""
    if context.invoked_subcommand is None:
        journal = store_of(folder)
        entries = counted(journal.count(), "entry", "entries")
        typer.echo(f"{journal.path}: {entries}, {journal.size / 1e6:.1f} MB")
        for kind, (count, size) in journal.kinds().items():
            typer.echo(f"  {counted(count, *NAMED.get(kind, (kind,)))}, {size / 1e6:.1f} MB")


@store.command()
def looks(folder: Folder = RUNS) -> None:
    """List who has looked at which rows; clearing what is shared leaves that as it is."""
    for look in looks_in(folder):
        what = f"{look.split}, sealed" if look.sealed else look.split
        rows = f"{counted(len(look.rows), 'row')} ({set_of(look.rows)}, {what})"
        times = counted(look.times, "look") if look.times else "a seal"
        typer.echo(f"{look.time}  {times}  {rows}  {look.run}: {look.purpose}")


@store.command()
def clear(folder: Folder = RUNS) -> None:
    """Remove what is shared; the runs themselves stay whole."""
    journal = store_of(folder)
    size = journal.size
    journal.clear()
    typer.echo(f"{journal.path}: {size / 1e6:.1f} MB freed")
