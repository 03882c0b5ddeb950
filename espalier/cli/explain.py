"""`espalier explain`: what is behind a run's score."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from espalier.cli.judge import who_of
from espalier.cli.settings import DEFAULT_CACHE, Cache, Json, KeyEnv, RunPath, ServerUrl
from espalier.cli.summary import print_tables
from espalier.cli.terminal import as_json
from espalier.core.errors import RunError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from espalier.attribution.parts.prompt import Unit
    from espalier.attribution.parts.record import Attribution
    from espalier.explain.record import Explanation
    from espalier.explain.tail.record import TailPage
    from espalier.explain.wording.record import Sensitivity
    from espalier.trials.who import Who

Against = Annotated[
    list[Path] | None, typer.Option(metavar="RUN", help="With --wording: another run, asked the same.")
]
Definitions = Annotated[
    Path | None, typer.Option(metavar="FILE", help="With --wording: a definition in each line, too.")
]
Writer = Annotated[
    str,
    typer.Option(metavar="MODEL", help="With --wording: a model that writes each definition in other words."),
]
Paraphrases = Annotated[
    int | None, typer.Option(min=1, help="With --writer: how many of each definition; by default 10.")
]
ServedName = Annotated[str, typer.Option(help="With --server: the name of its model.")]
Taken = Annotated[
    str | None, typer.Option(help="With --parts: what is taken away in turn: part, sentence or word.")
]

Whose = Annotated[
    str | None, typer.Option(help="With --parts: the tuned model's own answer, or the reference.")
]


def explain(
    run: RunPath,
    *,
    card: Annotated[
        bool, typer.Option("--card", help="Floors, and the rows asked with other definitions and examples.")
    ] = False,
    shift: Annotated[
        bool, typer.Option("--shift", help="The tuned model's answers, token by token, read by the base.")
    ] = False,
    style: Annotated[
        bool, typer.Option("--style", help="Style against facts on the general questions.")
    ] = False,
    parts: Annotated[
        bool, typer.Option("--parts", help="What each part of the prompts adds to the answers.")
    ] = False,
    unit: Taken = None,
    answer: Whose = None,
    tail: Annotated[
        bool, typer.Option("--tail", help="Scores by kind of row, against what training had of it; no model.")
    ] = False,
    wording: Annotated[
        bool, typer.Option("--wording", help="The same rows asked in twenty wordings and formats.")
    ] = False,
    against: Against = None,
    definitions: Definitions = None,
    writer: Writer = "",
    server: ServerUrl = "",
    model: ServedName = "",
    key_env: KeyEnv = "",
    paraphrases: Paraphrases = None,
    rows: Annotated[int | None, typer.Option(min=1, help="Most test rows, by whole sources.")] = None,
    json: Json = False,
    cache: Cache = DEFAULT_CACHE,
) -> None:
    """Say what is behind a run's score: format, what tuning moved, what the definition does, what is rare.

    Without any of the parts it is --card, --shift and --style. Nothing is asked twice.
    """
    chosen = {"card": card, "shift": shift, "style": style}
    pages = [name for name, is_asked in (("parts", parts), ("tail", tail), ("wording", wording)) if is_asked]
    if len(pages) + any(chosen.values()) > 1:
        raise RunError(f"--{pages[0]} has a page of its own, and is asked by itself.", hint="Ask twice.")
    asks = bool(writer or server or model)
    _check(unit or answer, parts, "--unit and --answer belong to --parts.")
    _check(
        against or definitions or asks, wording, "--against, --definitions and --writer belong to --wording."
    )
    _check(
        paraphrases or key_env, asks, "--paraphrases and --key-env are for who writes (--writer, --server)."
    )
    if parts:
        _parts(run, cache, rows, unit or "part", answer or "own", json=json)
    elif tail:
        _tail(run, cache, json=json)
    elif wording:
        who = who_of(writer, server, model, key_env, "writes") if asks else None
        _wording(run, cache, rows, (against or [], definitions), who, paraphrases, json=json)
    else:
        _card(run, cache, rows, [name for name, is_asked in chosen.items() if is_asked], json=json)


def _check(given: object, owner: object, sentence: str) -> None:
    """Refuse what is given without what it belongs to. Raises RunError."""
    if given and not owner:
        raise RunError(sentence, hint="Add that, or leave them out.")


def _card(run: Path, cache: Path, rows: int | None, chosen: list[str], *, json: bool) -> None:
    from espalier.explain.explain import PARTS
    from espalier.explain.explain import explain as explain_run

    found = explain_run(run, cache, chosen or PARTS, rows)
    left = found.card.left if found.card else {}
    notes = [*found.notes, *(f"{name.replace('_', ' ')}: {why}" for name, why in left.items())]
    _tell(found, notes, run / "explain" / "explain.html", json=json)


def _parts(run: Path, cache: Path, rows: int | None, unit: str, answer: str, *, json: bool) -> None:
    from espalier.attribution.parts.parts import explain_parts

    found = explain_parts(run, cache, rows, unit=cast("Unit", unit), answer=answer)
    _tell(found, found.remarks, run / "explain" / "parts.html", json=json)


def _tell(
    found: Attribution | Explanation | Sensitivity | TailPage,
    notes: Sequence[str],
    page: Path | str,
    *,
    json: bool,
) -> None:
    """Print tables and sentences with the page's place, or all of it as JSON."""
    if json:
        typer.echo(as_json(found.plain()))
        return
    print_tables([], found.tables(), found.footing, notes)
    for sentence in ("", *found.sentences):
        typer.echo(sentence)
    typer.echo(f"\n{page}")


def _tail(run: Path, cache: Path, *, json: bool) -> None:
    from espalier.explain.tail.tail import tail

    found = tail(run, cache)
    _tell(found, found.notes, found.page, json=json)


def _wording(
    run: Path,
    cache: Path,
    rows: int | None,
    given: tuple[list[Path], Path | None],
    who: Who | None,
    count: int | None,
    *,
    json: bool,
) -> None:
    from espalier.explain.wording.wording import PARAPHRASED, wording

    against, definitions = given
    found = wording(run, cache, rows, against, definitions, writer=who, paraphrases=count or PARAPHRASED)
    _tell(found, found.notes, found.page, json=json)
