"""What a person sees while work goes on: a line per stage, a bar with the time left on what takes long."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

console = Console(stderr=True, soft_wrap=True)


def say(text: str) -> None:
    """Tell what is being done, or what came of it."""
    console.print(text, highlight=False, markup=False)


@contextmanager
def working(what: str) -> Generator[Callable[[str], None]]:
    """Show what is going on where its end cannot be told; the function yielded changes the text.

    Without a terminal each text is a line.
    """
    if not console.is_terminal:
        say(what)
        yield say
        return
    with console.status(what) as status:
        yield status.update


@contextmanager
def bar(what: str, total: int, done: int = 0) -> Generator[Callable[[int, str], None]]:
    """Show a bar; the function yielded advances it and sets the text at its end.

    Without a terminal a line is printed every ten seconds instead, so that logs stay readable.
    """
    if not console.is_terminal:
        yield _lines(what, total, done)
        return
    left = TimeRemainingColumn(elapsed_when_finished=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), left)
    with Progress(*columns, TextColumn("{task.fields[note]}"), console=console) as progress:
        task = progress.add_task(what, total=total, completed=done, note="")

        def advance(steps: int, note: str = "") -> None:
            progress.update(task, advance=steps, note=note)

        yield advance


def _lines(what: str, total: int, done: int) -> Callable[[int, str], None]:
    state = {"done": done, "told": time.monotonic()}

    def advance(steps: int, note: str = "") -> None:
        state["done"] += steps
        now = time.monotonic()
        if now - state["told"] > 10 or state["done"] == total:
            state["told"] = now
            say(f"{what}: {state['done']:.0f} of {total}  {note}".rstrip())

    return advance
