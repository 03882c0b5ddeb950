"""`espalier score judge`: a model's verdicts, printed as two sentences, their numbers, and the prompt."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from espalier.cli.summary import print_tables
from espalier.cli.terminal import as_json as line_of
from espalier.core.errors import RecipeError, nearest
from espalier.core.overrides import apply_override
from espalier.core.sections import Section
from espalier.core.text import counted
from espalier.trials.who import OPTIONS, Does, Who

if TYPE_CHECKING:
    from collections.abc import Sequence


Against = Annotated[Path | None, typer.Option(help="Of judge: the answers that those are compared with.")]
JudgeName = Annotated[str, typer.Option(metavar="MODEL", help="Of judge: a model of this machine, or a run.")]
ServedName = Annotated[str, typer.Option(help="Of judge: the name of the server's model.")]
Gold = Annotated[
    Path | None, typer.Option(help="Of judge: persons' verdicts on the rows (A, B or tie), or their grades.")
]
RecordName = Annotated[str, typer.Option(help="Of judge: the folder in runs/ where the record goes.")]


def who_of(named: str, server: str, model: str, key_env: str, does: Does = "judges") -> Who:
    """Return who is to judge or to write. Raises RecipeError: nobody is named, or two are."""
    option = OPTIONS[does]
    if named and (server or model):
        raise RecipeError(f"Who {does} is said twice.", where=option, hint="Leave --server and --model out.")
    if model and not server:
        raise RecipeError("--model is the name of a server's model.", hint=f"Give --server, or {option}.")
    return Who(named or model, server, os.environ.get(key_env, "") if key_env else "", does)


def print_judged(
    files: tuple[Path, Path | None, str | None, Path | None],
    who: Who,
    given: Sequence[str],
    name: str,
    cache: Path,
    *,
    as_json: bool,
) -> None:
    """Have answers judged, and print what came of it; `files` are those of `contest_of_files`."""
    from espalier.comparison.contest import contest_of_files
    from espalier.trials.judges import judged
    from espalier.trials.judging import Manner

    settings: dict[str, Any] = {}
    for one in given:
        apply_override(settings, one, Section)
    known = vars(Manner())
    for key, value in settings.items():
        if key not in known:
            raise RecipeError(f"A judge has no setting '{key}'.", where="-o", hint=nearest(key, known))
        if type(value) is not type(known[key]):
            kind = "text" if key == "rubric" else "whole number"
            raise RecipeError(f"'{key}' is {value!r}; a {kind} was expected.", where="-o")
    found = judged(contest_of_files(*files), who, Manner(**settings), name=name, cache=cache)
    if as_json:
        typer.echo(line_of(found.plain()))
        return
    footing = f"Controls were tried on {counted(found.controls, 'row')}."
    print_tables(found.sentences, [found.table()], footing, found.notes)
    typer.echo(f"\n{found.judge} was asked:\n\n{found.prompt}\n\nRecord: {found.folder}")
