"""`espalier data`: rows with their verdicts, shown, compared, written out, and held against test sets."""

from __future__ import annotations

from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from espalier.cli.data_tail import longtail, tradeoff
from espalier.cli.settings import DEFAULT_CACHE, Cache, Json
from espalier.cli.terminal import as_json as as_line
from espalier.core.errors import RecipeError, RunError
from espalier.core.text import counted
from espalier.runs.events import say, working

if TYPE_CHECKING:
    from espalier.core.records import Example, Message
    from espalier.data.pairs import Verdicts

data = typer.Typer(help="Look at rows and verdicts, compare them, write them out.", no_args_is_help=True)

Rows = Annotated[
    str,
    typer.Argument(
        metavar="FOLDER|FILE", help="A build's folder, or rows in any format.", show_default=False
    ),
]


@data.command()
def show(
    place: Rows,
    filter: Annotated[str, typer.Option(help="Only rows that this filter does not let pass.")] = "",
    n: Annotated[int, typer.Option("--n", "-n", min=1, help="How many rows.")] = 20,
) -> None:
    """Show rows with their verdicts: a table in the terminal, a line of JSON a row in a pipe."""
    from espalier.builds.built import rows_with_verdicts

    rows = islice(rows_with_verdicts(place, filter), n)
    console = Console(highlight=False)
    if not console.is_terminal:
        for example, verdicts in rows:
            typer.echo(as_line(_line(example, verdicts)))
        return
    table = Table("row", "asked", "answer", "verdicts", show_lines=True)
    for example, verdicts in rows:
        told = [f"{name}: {one.why}" for name, one in verdicts.items() if one.ok is False]
        table.add_row(
            Text(example.id), Text(_asked(example)), Text(_short(example.answer)), Text("\n".join(told))
        )
    console.print(table)


@data.command()
def diff(a: Rows, b: Rows, as_json: Json = False) -> None:
    """Show what differs between two builds or files: rows that only one has, and verdicts that changed."""
    from espalier.builds.built import compare_rows

    found = compare_rows(a, b)
    if as_json:
        typer.echo(as_line(asdict(found)))
        return
    typer.echo(f"{counted(found.same, 'row')} in both")
    for name, rows in (("first", found.only_first), ("second", found.only_second)):
        typer.echo(f"{counted(len(rows), 'row')} only in the {name}{_some(rows)}")
    for name, rows in found.changed.items():
        typer.echo(f"{name}: {counted(len(rows), 'verdict')} changed{_some(rows)}")


@data.command()
def export(
    folder: Annotated[Path, typer.Argument(help="A build's folder.", show_default=False)],
    *,
    to: Annotated[Path, typer.Option(help="File to write: .jsonl, .csv or .parquet.")],
    format: Annotated[str, typer.Option(help="Format of the rows.")] = "messages",
    drop: Annotated[
        list[str] | None,
        typer.Option(help="Filter whose rows stay behind; by default all. Can be repeated; 'none' is none."),
    ] = None,
    mask: Annotated[
        list[str] | None, typer.Option(help="Filter of which what it found is replaced by a tag.")
    ] = None,
    mix: Annotated[
        bool,
        typer.Option("--mix", help="Mix sources as the recipe's [mix] says; else all rows that pass go out."),
    ] = False,
    nested: Annotated[
        str, typer.Option(help="Write subsets of so many rows, each within the larger ones: 100,300,1000.")
    ] = "",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file that is there.")] = False,
    cache: Cache = DEFAULT_CACHE,
) -> None:
    """Write a build's rows in another format, with a card."""
    from espalier.builds.going_out import export_nested, export_rows, subset_files

    sizes = _sizes(nested)
    if mix and sizes:
        raise RecipeError("--mix and --nested are both given.", hint="Leave one of them out.")
    for file in subset_files(to, sizes).values() if sizes else [to]:
        if file.exists() and not overwrite:
            message = "There is such a file already."
            raise RunError(message, where=str(file), hint="Replace it with --overwrite.")
    if sizes:
        for size, (file, card) in export_nested(folder, to, format, sizes, drop, mask or []).items():
            say(f"{counted(size, 'row')} in {file}, with a card: {card}")
        return
    exported, card = export_rows(folder, to, format, drop, mask or [], mix=cache if mix else None)
    say(f"{counted(exported.rows, 'row')} in {to}, with a card: {card}")


def _sizes(text: str) -> list[int]:
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not all(part.isdecimal() and int(part) for part in parts):
        raise RecipeError(f"'{text}' is no list of sizes.", where="--nested", hint="Write 100,300,1000.")
    return [int(part) for part in parts]


@data.command()
def contamination(
    train: Annotated[list[str], typer.Option(help="Rows or a task to train on. Can be repeated.")],
    test: Annotated[list[str], typer.Option(help="Rows or a task that are kept for tests. Can be repeated.")],
    as_json: Json = False,
) -> None:
    """Show what training data has of test sets: the same passages, and tasks from one source."""
    from espalier.filters.same_source import shared

    with working("Looking for the tests' texts", aloud=False):
        found = shared(train, test)
    if as_json:
        typer.echo(as_line(found.table()))
        return
    table = Table("test row", "training row", "", "passage", show_lines=True)
    for match in found.matches:
        table.add_row(Text(match.test), Text(match.train), match.kind, Text(_short(match.passage)))
    console = Console(highlight=False)
    if found.matches:
        console.print(table)
    for mine, theirs in found.same_source:
        console.print(f"Of one source: {mine} and {theirs}", markup=False, soft_wrap=True)
    console.print(
        f"{counted(found.tests_matched, 'test row')} of which {counted(found.rows_matched, 'training row')} "
        f"{'has' if found.rows_matched == 1 else 'have'} something.", markup=False, soft_wrap=True,
    )  # fmt: skip


data.command()(longtail)
data.command()(tradeoff)


def _line(example: Example, verdicts: Verdicts) -> dict[str, Any]:
    return {
        "id": example.id,
        "task": example.task,
        "messages": [_said(turn) for turn in example.messages],
        "references": list(example.references),
        "rejected": [turn.text for turn in example.rejected],
        "origin": dict(example.origin),
        "verdicts": {name: asdict(one) for name, one in verdicts.items()},
    }


def _said(turn: Message) -> dict[str, Any]:
    shown = [{"kind": one.kind, "sha256": one.sha256, "file": one.uri} for one in turn.media]
    return {"role": turn.role, "content": turn.text, **({"media": shown} if shown else {})}


def _asked(example: Example) -> str:
    """Return what a row asks, after the names of the files of its media."""
    return _short(" ".join([*(f"[{Path(one.uri).name}]" for one in example.media), example.input]))


def _short(text: str) -> str:
    return text if len(text) <= 200 else f"{text[:200]}…"


def _some(rows: list[str]) -> str:
    return f": {', '.join(rows[:5])}{', …' if len(rows) > 5 else ''}" if rows else ""
