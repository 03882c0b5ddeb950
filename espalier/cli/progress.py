"""What a person sees while work goes on: a line per stage, a bar with the time left on what takes long.

It is drawn from the events that the work itself tells (`runs/events.py`). Nothing is still for longer than
`PERIOD`. In a terminal a spinner moves with the seconds; elsewhere, and for work that nobody announced, a
thread tells what is being done and for how long.
"""

from __future__ import annotations

import sys
import threading
import time
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rich.console import Console
from rich.live import Live
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.spinner import Spinner
from rich.text import Text

from espalier.core.text import spelt
from espalier.runs.events import Began, Ended, Moved, Said, listening

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from espalier.runs.events import Event

PERIOD = 8.0  # seconds: a person wonders after ten

console = Console(stderr=True, soft_wrap=True)


@dataclass
class _Work:
    """Something that is being done; `drawn` where a terminal shows it moving."""

    text: str
    drawn: bool
    since: float = field(default_factory=time.monotonic)

    def is_now(self, text: str) -> None:
        self.text, self.since = text, time.monotonic()

    def __str__(self) -> str:
        return f"{self.text} ({spelt(time.monotonic() - self.since)})"


@dataclass
class _Said:
    """What is being done, the innermost last, and when something was last said."""

    works: list[_Work] = field(default_factory=list[_Work])
    at: float = 0.0


_said = _Said()


def hushed() -> None:
    """Print nothing more: the terminal is gone, or another process speaks."""
    console.quiet = True


def shown() -> None:
    """Show the cursor, which a bar hides."""
    console.show_cursor()


def say(text: str) -> None:
    """Print a line."""
    console.print(text, highlight=False, markup=False)
    heard()


def _write(text: str) -> None:
    """Say it without rich, which ends the program where nobody listens; the work finds that out itself."""
    with suppress(OSError, ValueError):
        if not console.quiet:
            console.file.write(f"{text}\n")
            console.file.flush()
    heard()


def heard() -> None:
    """Note that something was said just now, by whatever way."""
    _said.at = time.monotonic()


@contextmanager
def beating(what: str) -> Generator[None]:
    """Draw what is told while this goes on, and say what is being done after each `PERIOD` of silence."""
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(max(_said.at + PERIOD - time.monotonic(), PERIOD / 100)):
            if time.monotonic() >= _said.at + PERIOD:
                if any(work.drawn for work in _said.works):
                    heard()
                else:
                    _write(str(_said.works[-1]))

    heard()
    thread = threading.Thread(target=beat, daemon=True)
    with listening(_Screen()), _doing(what, drawn=False):
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join(1)


@contextmanager
def waiting() -> Generator[None]:
    """While this goes on a person is to do something, and nothing is said."""
    with _doing("", drawn=True):
        yield


class _Screen:
    """Draws events."""

    def __init__(self) -> None:
        # By the number of a work: what closes what is shown of it, and what moves it.
        self.open: dict[int, tuple[ExitStack, Callable[[Moved], None]]] = {}

    def __call__(self, event: Event) -> None:
        match event:
            case Said(text):
                say(text)
            case Began():
                stack = ExitStack()
                drawn = _text(event) if event.total is None else _bar(event)
                self.open[event.work] = stack, stack.enter_context(drawn)
            case Moved():
                self.open[event.work][1](event)
            case Ended(work):
                self.open.pop(work)[0].close()
            case _:
                pass


@contextmanager
def _text(began: Began) -> Generator[Callable[[Moved], None]]:
    """Show what is going on where its end cannot be told; the function yielded changes the text.

    Without a terminal each text is a line; one that is not `aloud` is said when it takes long.
    """
    with ExitStack() as stack:
        work = stack.enter_context(_doing(began.text, drawn=console.is_terminal))

        def tell(moved: Moved) -> None:
            work.is_now(moved.text)
            if moved.aloud and not work.drawn:
                say(moved.text)

        if work.drawn and not any(outer.drawn for outer in _said.works[:-1]):
            stack.enter_context(_spinning())
        tell(Moved(began.work, text=began.text, aloud=began.aloud))
        yield tell


@contextmanager
def _bar(began: Began) -> Generator[Callable[[Moved], None]]:
    """Show a bar; the function yielded advances it and sets the text at its end.

    Without a terminal a line is printed every `PERIOD` instead, so that logs stay readable.
    """
    what, total, done = began.text, began.total or 0, began.done
    with _doing(f"{what}: {done:.0f} of {total:.0f}", drawn=console.is_terminal) as work:
        if not work.drawn:
            yield _lines(what, total, done, work)
            return
        left = TimeRemainingColumn(elapsed_when_finished=True)
        columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), left)
        note = TextColumn("{task.fields[note]}")
        with Progress(*columns, note, console=console, redirect_stdout=sys.stdout.isatty()) as progress:
            task = progress.add_task(what, total=total, completed=int(done), note="")

            def advance(moved: Moved) -> None:
                progress.update(task, advance=moved.steps, note=moved.note)

            yield advance


def _lines(what: str, total: float, done: float, work: _Work) -> Callable[[Moved], None]:
    begun, before = time.monotonic(), done

    def advance(moved: Moved) -> None:
        nonlocal done
        done += moved.steps
        left = (time.monotonic() - begun) / max(done - before, 1) * (total - done)
        parts = (f"{what}: {done:.0f} of {total:.0f}", moved.note, f"{spelt(left)} left" if left else "")
        work.is_now("  ".join(part for part in parts if part))
        if time.monotonic() - _said.at > PERIOD or done == total:
            say(work.text)

    return advance


@contextmanager
def _doing(what: str, *, drawn: bool) -> Iterator[_Work]:
    _said.works.append(_Work(what, drawn))
    try:
        yield _said.works[-1]
    finally:
        if _said.works.pop().drawn:
            heard()


@contextmanager
def _spinning() -> Iterator[None]:
    """Draw the innermost work, with its seconds."""
    spinner = Spinner("dots")

    def frame() -> Spinner:
        spinner.update(text=Text(str(_said.works[-1])))
        return spinner

    with Live(
        get_renderable=frame,
        console=console,
        transient=True,
        refresh_per_second=12.5,
        # What is printed to another place than this terminal must go there.
        redirect_stdout=sys.stdout.isatty(),
    ):
        yield
