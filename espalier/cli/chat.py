"""`espalier chat`: a conversation with a run or a model, in a terminal or through a pipe, a turn a line."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated

import typer

from espalier.cli import settings as options
from espalier.cli.progress import heard, say, waiting
from espalier.cli.terminal import tell_error
from espalier.core.errors import DataError, EspalierError
from espalier.data.inputs import media_given

if TYPE_CHECKING:
    from collections.abc import Iterator

    from espalier.runs.chatting import Speaker


def chat(
    name: options.Talks,
    override: options.Changes = None,
    *,
    image: options.Images = None,
    audio: options.Audios = None,
    system: options.System = None,
    plain: Annotated[
        bool, typer.Option("--plain", help="Send turns as they are, not as the run's rows were asked.")
    ] = False,
    base: Annotated[
        bool, typer.Option("--base", help="Talk with the model as it was before tuning.")
    ] = False,
    limit: options.Limit = None,
    temperature: options.Temperature = None,
    top_p: options.TopP = None,
    top_k: options.TopK = None,
    min_p: options.MinP = None,
    repetition_penalty: options.RepetitionPenalty = None,
    beams: options.Beams = None,
    seed: options.Seed = None,
    cache: options.Cache = options.DEFAULT_CACHE,
) -> None:
    """Talk with a run's tuned model, or with any other model; turns are kept.

    A run is asked in the shape that it was trained with. From a pipe each line is a turn.
    """
    from espalier.runs.chatting import speaker_of
    from espalier.runs.talkers import Sampling

    sampling = Sampling(limit, temperature, top_p, seed, 1, top_k, min_p, repetition_penalty, beams)
    given = media_given(image or (), audio or (), "the first turn")
    speaker = speaker_of(name, sampling, cache, system=system, plain=plain, base=base, changes=override or ())
    speaker.show(given.listed)
    if not _converse(speaker):
        raise typer.Exit(2)


def _converse(speaker: Speaker) -> bool:
    """Take turns until the input ends; return whether all went well, which in a terminal is always so."""
    well = True
    if _is_terminal():
        say("/help lists commands. Ctrl-C stops an answer, Ctrl-D ends the chat.")
    for line in _lines():
        try:
            if line.startswith("/") and not line.startswith("//"):
                say(speaker.command(line))
            else:
                _answer(speaker, line.removeprefix("/") if line.startswith("//") else line)
        except EOFError:
            break
        except EspalierError as error:
            tell_error(str(error))
            well = _is_terminal()
    return well


def _answer(speaker: Speaker, text: str) -> None:
    """Print the answer as it is written, and keep it; Ctrl-C stops it, and keeps what there is."""
    stopped = False
    try:
        for piece in speaker.answer(text):
            typer.echo(piece, nl=False)
            heard()
    except KeyboardInterrupt:
        if not _is_terminal():
            raise
        stopped = True
    typer.echo()
    if said := speaker.keep(stopped=stopped):
        say(said)


def _lines() -> Iterator[str]:
    """Yield what is said, a line each, without those that are blank."""
    if _is_terminal():
        with suppress(ImportError):
            import readline  # noqa: F401  (the line can then be edited, and the last ones come back)
    while True:
        try:
            with waiting():
                line = _line()
        except KeyboardInterrupt:
            if not _is_terminal():
                raise
            say("\nCtrl-D or /quit ends the chat.")
            continue
        except EOFError:
            if _is_terminal():
                typer.echo(err=True)
            return
        except UnicodeDecodeError:
            raise DataError("Standard input is not UTF-8.") from None
        if any("\ud800" <= character <= "\udfff" for character in line):
            raise DataError("Standard input is not UTF-8.")
        if line.strip():
            yield line.strip()


def _line() -> str:
    """Return the next line. Raises EOFError at the end."""
    if _is_terminal() and sys.stdout.isatty():
        return input("> ")
    if _is_terminal():
        typer.echo("> ", nl=False, err=True)
    line = sys.stdin.readline() if sys.stdin else ""
    if not line:
        raise EOFError
    return line


def _is_terminal() -> bool:
    return sys.stdin is not None and sys.stdin.isatty()
