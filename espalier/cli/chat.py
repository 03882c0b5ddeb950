"""`espalier chat`: a conversation with a run or a model, in a terminal or through a pipe, a turn a line."""

from __future__ import annotations

import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from espalier.cli.progress import heard, say, waiting
from espalier.cli.settings import DEFAULT_CACHE, Cache, Limit, Seed, Talks, Temperature, TopP
from espalier.cli.terminal import tell_error
from espalier.core.errors import DataError, EspalierError
from espalier.runs.events import working

if TYPE_CHECKING:
    from collections.abc import Iterator

    from espalier.core.recipe import Choice
    from espalier.core.records import Finish
    from espalier.decode.local import Local
    from espalier.runs.conversation import Conversation
    from espalier.runs.talkers import Sampling

HELP = """/system TEXT  puts a text in place of the system turn ('' for none); without a text it is shown
/undo         takes back the last turn and its answer
/reset        begins anew, under the same system turn
/save FILE    writes the conversation as a row to train on; a file in .jsonl gets a line more
/quit         ends the chat, as Ctrl-D does; Ctrl-C stops an answer
A turn that begins with a slash is written with two."""


def chat(
    name: Talks,
    *,
    system: Annotated[
        str | None, typer.Option(help="A system turn in place of that of the run's rows; '' for none.")
    ] = None,
    plain: Annotated[
        bool, typer.Option("--plain", help="Send turns as they are, not as the run's rows were asked.")
    ] = False,
    base: Annotated[
        bool, typer.Option("--base", help="Talk with the model as it was before tuning.")
    ] = False,
    limit: Limit = None,
    temperature: Temperature = None,
    top_p: TopP = None,
    seed: Seed = None,
    cache: Cache = DEFAULT_CACHE,
) -> None:
    """Talk with a run's tuned model, or with any other model; turns are kept.

    A run is asked in the shape that it was trained with. From a pipe each line is a turn.
    """
    from espalier.decode.local import strategy_of
    from espalier.runs.asking import tell_asking, words_in_first_only
    from espalier.runs.conversation import Conversation
    from espalier.runs.talkers import Sampling, find_talker

    talker = find_talker(name, plain=plain)
    sampling = Sampling(limit, temperature, top_p, seed)
    strategy_of(sampling.over(talker.answers(2)))  # what does not fit is told before anything is loaded
    first = talker.run is not None and words_in_first_only(talker.run, talker.asking)
    talk = Conversation(talker.asking, first)
    if talker.run and not plain:
        tell_asking(talker.asking, system, chat=True)
    if system is not None:
        talk.set_system(system)
    local = talker.load(cache, base=base)
    decode = talker.answers(local.template.context)
    if not _converse(_Speaker(local, decode, sampling, talk)):
        raise typer.Exit(2)


class _Speaker:
    """Answers the turns of a conversation, and does what commands say."""

    def __init__(self, local: Local, decode: Choice, sampling: Sampling, talk: Conversation) -> None:
        self.local, self.talk = local, talk
        self.decode, self.sampling = decode, sampling

    def answer(self, text: str) -> None:
        """Print the answer as it is written, and keep it; Ctrl-C stops it, and keeps what there is."""
        from espalier.decode.local import strategy_of

        room = self.talk.room(text, self.local.template)
        settings = self._sampling().over(self.decode)
        limit = min(strategy_of(settings).limit, room)
        pieces: list[str] = []
        finish: Finish | None = None
        stopped = False
        try:
            for piece, end in self._pieces(text, settings, limit):
                pieces.append(piece)
                finish = end
                typer.echo(piece, nl=False)
                heard()
        except KeyboardInterrupt:
            if not _is_terminal():
                raise
            stopped = True
        typer.echo()
        said = "".join(pieces)
        if stopped and not said.strip():
            say("(stopped before a word was written; the turn is taken back)")
            return
        self.talk.add(text, said, cut=finish != "stop")
        if stopped:
            say("(stopped; what was written is kept)")
        elif finish == "length":
            more = "--limit allows more" if limit < room else "the context is full: /undo or /reset"
            say(f"(cut after {limit} tokens; {more})")

    def _sampling(self) -> Sampling:
        """Return how this answer is sampled: with a seed of its own, so that /undo gives another one."""
        seed = self.sampling.seed or 0
        drawn = self.sampling.draws(self.decode)
        self.talk.answers += 1
        return replace(self.sampling, seed=seed + self.talk.answers - 1) if drawn else self.sampling

    def _pieces(self, text: str, settings: Choice, limit: int) -> Iterator[tuple[str, Finish | None]]:
        pieces = self.local.stream(self.talk.prompt(text), settings, limit)
        with working("Reading", aloud=False):
            first = next(pieces, None)
        if first is not None:
            yield first
            yield from pieces

    def command(self, line: str) -> None:
        """Do what a line that begins with a slash says. Raises EOFError to end, and DataError."""
        word, _, rest = line.partition(" ")
        rest = rest.strip()
        match word:
            case "/quit" | "/exit":
                raise EOFError
            case "/help":
                say(HELP)
            case "/system":
                self._system(rest)
            case "/undo":
                turn = self.talk.undo()
                say(f"Taken back: {turn.text}" if turn else "There is no turn to take back.")
            case "/reset":
                self.talk.reset()
                say("The conversation begins anew, under the same system turn.")
            case "/save":
                if not rest:
                    raise DataError("/save needs a file.", hint="Write: /save talk.json")
                self.talk.save(Path(rest).expanduser())
                say(f"Saved to {rest}.")
            case _:
                raise DataError(f"There is no command {word}.", hint="/help lists them all.")

    def _system(self, text: str) -> None:
        if text:
            self.talk.set_system("" if text in ("''", '""') else text)
        say(f"The system turn: {self.talk.system or '(none)'}")


def _converse(speaker: _Speaker) -> bool:
    """Take turns until the input ends; return whether all went well, which in a terminal is always so."""
    well = True
    if _is_terminal():
        say("/help lists commands. Ctrl-C stops an answer, Ctrl-D ends the chat.")
    for line in _lines():
        try:
            if line.startswith("/") and not line.startswith("//"):
                speaker.command(line)
            else:
                speaker.answer(line.removeprefix("/") if line.startswith("//") else line)
        except EOFError:
            break
        except EspalierError as error:
            tell_error(str(error))
            well = _is_terminal()
    return well


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
