"""`espalier review`: rows one at a time with their verdicts, and what a person decides about each."""

from __future__ import annotations

import getpass
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import click
import typer
from rich.console import Console
from rich.markup import escape
from rich.rule import Rule

from espalier.cli.progress import waiting
from espalier.core.errors import DataError
from espalier.core.files import read_text, write_atomic
from espalier.core.text import counted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from espalier.builds.review import Review
    from espalier.core.records import Example
    from espalier.data.judgement import Judgement

KEYS = "k keep · e edit · r reject · l label · s skip · u undo · q quit"
FORMAT = {".csv": "csv", ".json": "label-studio"}


def review(
    place: Annotated[
        Path,
        typer.Argument(
            metavar="FOLDER|FILE", help="A build's folder, or rows in any format.", show_default=False
        ),
    ],
    reviewer: Annotated[str, typer.Option(help="Who decides; by default your login.")] = "",
    filter: Annotated[str, typer.Option(help="Only rows that this filter does not let pass.")] = "",
    out: Annotated[
        Path | None,
        typer.Option(help="Write the rows that wait to a file, and ask nothing.", show_default=False),
    ] = None,
    take: Annotated[
        Path | None,
        typer.Option("--in", help="Take the decisions of a file that came back.", show_default=False),
    ] = None,
    format: Annotated[
        str, typer.Option(help="csv, label-studio or argilla; by default as the file's name ends.")
    ] = "",
) -> None:
    """Decide about rows, one at a time: keep, edit, reject, label. What is decided is never lost."""
    from espalier.builds.built import rows_with_verdicts
    from espalier.builds.review import Review, journal_at

    journal = journal_at(place)
    rows = list(rows_with_verdicts(place, "" if take else filter))
    state, who = Review(rows, journal), reviewer or getpass.getuser()
    if out is not None:
        write_atomic(out, state.written(format or FORMAT.get(out.suffix, "csv"), who).encode())
        typer.echo(f"{out}: {counted(len([*state.waiting(who)]), 'row')} for {who}")
        return
    if take is not None:
        _take(state, take, format or FORMAT.get(take.suffix, "csv"), who)
    else:
        _ask(state, who)
    _tell(state, who)


def _take(state: Review, file: Path, format: str, who: str) -> None:
    found = state.take(read_text(file), format, who)
    typer.echo(f"{counted(found.decisions, 'new decision')} from {file}")
    if found.changed:
        typer.echo(f"{counted(len(found.changed), 'row')} changed since, and will be asked again")
    if found.touched:
        rows = ", ".join(found.touched[:10])
        typer.echo(
            f"{counted(len(found.touched), 'row')} has another prompt or answer than was sent out, and no "
            f"new_answer: not taken, and still waiting: {rows}. Write the answer into new_answer.",
            err=True,
        )
    if found.unknown:
        typer.echo(f"{counted(len(found.unknown), 'row')} of the file is unknown here", err=True)


def _ask(state: Review, who: str) -> None:
    """Go over the rows that wait, until there is none or the reviewer leaves."""
    console = Console(highlight=False)
    left = [*state.waiting(who)]
    place = 0
    while place < len(left):
        row, verdicts = left[place]
        console.print(Rule(f"{place + 1} of {len(left)} · {row.id}"))
        _show(console, row, verdicts, state.labels(row, who))
        with waiting():
            key = _key()
        if key in ("q", ""):
            return
        if key == "u":
            undone = state.undo(who)
            console.print(f"Undone: {undone.action}." if undone else "There is nothing to undo.")
            places = [at for at, (one, _) in enumerate(left) if undone and one.id == undone.row]
            if undone and not places:
                again = [pair for pair in state.rows if pair[0].id == undone.row]
                left[place:place] = again
            place = min([place, *places])
        elif key == "l":
            with waiting():
                label = _line("Label: ")
            if label:
                state.decide(row, who, "label", label=label)
        elif key in ("k", "e", "r", "s"):
            place += _decide(state, row, who, key, console)
        else:
            console.print(KEYS)


def _decide(state: Review, row: Example, who: str, key: str, console: Console) -> bool:
    """Write down what a key says; False where the row stays, as an edit was left or went wrong."""
    if key == "e":
        from espalier.building.review import document, texts_of

        try:
            with waiting():
                changed = click.edit(document(row), extension=".md", require_save=False)
            texts = texts_of(changed or "", row)
        except (DataError, click.ClickException) as error:  # the editor may not be there, or fail
            console.print(escape(str(error)))
            return False
        if texts == tuple(turn.text for turn in row.messages):
            console.print("Nothing was changed.")
            return False
        state.decide(row, who, "edit", texts=texts)
    elif key != "s":
        state.decide(row, who, "keep" if key == "k" else "reject")
    return True


def _show(console: Console, row: Example, verdicts: Mapping[str, Judgement], labels: Sequence[str]) -> None:
    for turn in row.messages:
        console.print(f"[bold]{turn.role}[/bold]", _plain(turn.text), sep="\n")
    for turn in row.rejected:
        console.print("[bold]rejected[/bold]", _plain(turn.text), sep="\n")
    for name, one in verdicts.items():
        if one.ok is False:
            console.print(f"[red]{escape(name)}[/red]: {_plain(one.why)}")
    if labels:
        console.print(f"labelled: {_plain(', '.join(labels))}")
    console.print(f"[dim]{KEYS}[/dim]")


def _plain(text: str) -> str:
    """Return a text that neither styles nor steers the terminal."""
    return escape("".join(c if c.isprintable() or c in "\n\t" else "\ufffd" for c in text))


def _key() -> str:
    """Return the key that was pressed; without a keyboard a line's first letter, and '' at the end.

    Of several pressed at once only the first counts: the others were meant for a row that was not seen.
    """
    if sys.stdin.isatty():
        try:
            pressed = click.getchar().lower()
        except EOFError:  # Ctrl-D
            return ""
        return pressed if pressed.startswith("\x1b") else pressed[:1]
    line = sys.stdin.readline()
    return line.strip().lower()[:1] or ("s" if line else "")


def _line(prompt: str) -> str:
    typer.echo(prompt, nl=False)
    return sys.stdin.readline().strip()


def _tell(state: Review, who: str) -> None:
    """Say where the review stands, and how far reviewers agree."""
    verdicts = [judgement.ok for _, judgement in state.merged()]
    waiting = len([*state.waiting(who)])
    typer.echo(
        f"{verdicts.count(True)} kept, {verdicts.count(False)} rejected, {verdicts.count(None)} undecided; "
        f"{waiting} wait for {who}"
    )
    found = state.agreements()
    together = state.alpha()
    if found and together.known:
        span = f" ({together.low:.2f} to {together.high:.2f})" if together.bounded else ""
        typer.echo(f"Krippendorff's alpha of all reviewers: {together.value:.2f}{span}")
    for one in found:
        kappa = "" if one.kappa is None else f", kappa {one.kappa:.2f}"
        same = f"{100 * one.same.value:.0f} % ({100 * one.same.low:.0f} to {100 * one.same.high:.0f})"
        typer.echo(f"{' and '.join(one.reviewers)} agree on {same} of {counted(one.same.n, 'row')}{kappa}")
        if one.differing:
            typer.echo(f"  they differ on {', '.join(one.differing[:10])}")
