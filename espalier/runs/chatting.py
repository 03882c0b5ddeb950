"""A chat with a run or a model: turns are answered as they are written, and commands change the conversation.

Nothing prints: what is to be said of a turn or of a command is returned.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from espalier.core.errors import DataError
from espalier.data.inputs import media_given
from espalier.decode.local import strategy_of
from espalier.runs.answers import check_media
from espalier.runs.asking import tell_asking, words_in_first_only
from espalier.runs.conversation import Conversation
from espalier.runs.events import working
from espalier.runs.talkers import find_talker

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from espalier.core.recipe import Choice
    from espalier.core.records import Finish, Media
    from espalier.decode.local import Local
    from espalier.runs.talkers import Sampling

HELP = """/system TEXT  puts a text in place of the system turn ('' for none); without a text it is shown
/image FILE   shows a picture with the next turn; /audio FILE plays a sound
/undo         takes back the last turn and its answer
/reset        begins anew, under the same system turn
/save FILE    writes the conversation as a row to train on; a file in .jsonl gets a line more
/quit         ends the chat, as Ctrl-D does; Ctrl-C stops an answer
A turn that begins with a slash is written with two."""


@dataclass
class _Answer:
    """What is being written to a text, by at most `limit` tokens of the `room` that there is."""

    text: str = ""
    limit: int = 0
    room: int = 0
    said: str = ""
    finish: Finish | None = None


class Speaker:
    """Answers the turns of a conversation, and does what commands say."""

    def __init__(self, local: Local, decode: Choice, sampling: Sampling, talk: Conversation) -> None:
        self.local, self.talk = local, talk
        self.decode, self.sampling = decode, sampling
        self._last = _Answer()

    def answer(self, text: str) -> Iterator[str]:
        """Yield the answer to a text as it is written; `keep` then makes both a turn.

        Raises:
            DataError, TemplateError: see `Conversation.room`.
        """
        room = self.talk.room(text, self.local.template)
        settings = self._sampling().over(self.decode)
        limit = min(strategy_of(settings).limit, room)
        self._last = _Answer(text, limit, room)
        pieces = self.local.stream(self.talk.prompt(text), settings, limit)
        with working("Reading", aloud=False):
            piece = next(pieces, None)
        while piece is not None:
            said, self._last.finish = piece
            self._last.said += said
            yield said
            piece = next(pieces, None)

    def keep(self, *, stopped: bool) -> str:
        """Keep the last answer with its text, and return what is to be said of it; '' for nothing.

        One that was stopped before a word was written is not kept.
        """
        last, self._last = self._last, _Answer()
        if stopped and not last.said.strip():
            return "(stopped before a word was written; the turn is taken back)"
        self.talk.add(last.text, last.said, cut=last.finish != "stop")
        if stopped:
            return "(stopped; what was written is kept)"
        if last.finish != "length":
            return ""
        more = "--limit allows more" if last.limit < last.room else "the context is full: /undo or /reset"
        return f"(cut after {last.limit} tokens; {more})"

    def show(self, media: Sequence[Media]) -> None:
        """Give pictures and sounds with the next turn.

        Raises:
            DataError: the model takes none of them, or they cannot be read.
        """
        check_media(media, self.local.template)
        self.talk.shown += media

    def command(self, line: str) -> str:
        """Do what a line that begins with a slash says, and return what is to be said of it.

        Raises:
            EOFError: it ends the chat.
            DataError: there is no such command, or it cannot be done.
        """
        word, _, rest = line.partition(" ")
        rest = rest.strip()
        match word:
            case "/quit" | "/exit":
                raise EOFError
            case "/help":
                return HELP
            case "/system":
                if rest:
                    self.talk.set_system("" if rest in ("''", '""') else rest)
                return f"The system turn: {self.talk.system or '(none)'}"
            case "/image" | "/audio":
                if not rest:
                    raise DataError(f"{word} needs a file.", hint=f"Write: {word} FILE")
                files = ([rest], []) if word == "/image" else ([], [rest])
                self.show(media_given(*files, "the next turn").listed)
                return "It goes with the next turn."
            case "/undo":
                turn = self.talk.undo()
                return f"Taken back: {turn.text}" if turn else "There is no turn to take back."
            case "/reset":
                self.talk.reset()
                return "The conversation begins anew, under the same system turn."
            case "/save":
                if not rest:
                    raise DataError("/save needs a file.", hint="Write: /save talk.json")
                self.talk.save(Path(rest).expanduser())
                return f"Saved to {rest}."
            case _:
                raise DataError(f"There is no command {word}.", hint="/help lists them all.")

    def _sampling(self) -> Sampling:
        """Return how this answer is sampled: with a seed of its own, so that /undo gives another one."""
        seed = self.sampling.seed or 0
        drawn = self.sampling.draws(self.decode)
        self.talk.answers += 1
        return replace(self.sampling, seed=seed + self.talk.answers - 1) if drawn else self.sampling


def speaker_of(
    name: str,
    sampling: Sampling,
    cache: Path,
    *,
    system: str | None,
    plain: bool,
    base: bool,
    changes: Sequence[str] = (),
) -> Speaker:
    """Load the run or the model of that name to talk with, and tell in what shape turns are asked.

    Args:
        name: see `find_talker`.
        sampling: what a person wants otherwise than the run has it.
        cache: folder of converted models.
        system: in place of the system turn of the run's rows; '' for none.
        plain: whether turns are sent as they are.
        base: whether the model is meant that a run has tuned.
        changes: see `find_talker`.

    Raises:
        ModelError, RunError, RecipeError: see `find_talker`, `Talker.load` and `Sampling.over`.
    """
    talker = find_talker(name, plain=plain, changes=changes)
    strategy_of(sampling.over(talker.answers(2)))  # what does not fit is told before anything is loaded
    first = talker.run is not None and words_in_first_only(talker.run, talker.asking)
    talk = Conversation(talker.asking, first)
    if talker.run and not plain:
        tell_asking(talker.asking, system, chat=True)
    if system is not None:
        talk.set_system(system)
    local = talker.load(cache, base=base)
    return Speaker(local, talker.answers(local.template.context), sampling, talk)
