"""What a person sees in a notebook: a quiet bar that moves in its place, and lines for what came of the work.

A cell keeps all that is printed into it, so that a bar printed again and again would fill the page. This one
is a single display that is updated, and it is gone when the work is.
"""

from __future__ import annotations

import sys
import time
import warnings
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from html import escape
from importlib import import_module
from typing import TYPE_CHECKING, Any

from espalier.cli.progress import beating
from espalier.core.runtime import prepare_environment
from espalier.core.text import spelt
from espalier.runs.events import Began, Ended, Moved, Said, heard, listening, say

if TYPE_CHECKING:
    from collections.abc import Generator

    from espalier.runs.events import Event

PERIOD = 0.2  # seconds between two updates: each is a message to the browser


def in_notebook() -> bool:
    """Say whether this runs in a notebook's kernel, which has imported IPython by itself."""
    ipython = sys.modules.get("IPython")
    shell: Any = ipython.get_ipython() if ipython else None
    return type(shell).__name__ == "ZMQInteractiveShell"


@contextmanager
def drawn_in_cell() -> Generator[None]:
    """Draw what is told inside into the cell that runs."""
    cell = _Cell()
    try:
        with listening(cell), warnings.catch_warnings():
            # tqdm, which the libraries import, asks for widgets that nothing here draws with.
            warnings.filterwarnings("ignore", message="IProgress not found")
            yield
    finally:
        cell.clear()


@dataclass
class _Work:
    text: str
    total: float | None
    done: float
    first: float
    note: str = ""
    since: float = field(default_factory=time.monotonic)

    def html(self) -> str:
        passed = time.monotonic() - self.since
        if self.total is None:
            return escape(f"{self.text} ({spelt(passed)})")
        left = passed / max(self.done - self.first, 1) * (self.total - self.done)
        said = (f"{self.done:.0f} of {self.total:.0f}", self.note, f"{spelt(left)} left" if left >= 1 else "")
        words = escape("  ".join(part for part in said if part))
        bar = f'<progress max="{self.total:g}" value="{self.done:g}"></progress>'
        return f"{escape(self.text)} {bar} {words}"


class _Cell:
    """Draws events; the works that are open lie within one another, and the innermost is shown."""

    def __init__(self) -> None:
        self.works: dict[int, _Work] = {}
        self.display: Any = None
        self.at = 0.0

    def __call__(self, event: Event) -> None:
        match event:
            case Said(text):
                print(text)
            case Began(work, text, total, done):
                self.works[work] = _Work(text, total, done, done)
                self.draw(now=total is not None)
            case Moved(work, steps, note, text):
                moved = self.works[work]
                moved.done += steps
                moved.note = note or moved.note
                if text:
                    moved.text, moved.since = text, time.monotonic()
                self.draw()
            case Ended(work):
                self.works.pop(work)
                self.draw()
            case _:
                pass

    def draw(self, *, now: bool = False) -> None:
        """Show the innermost work, unless something was shown a moment ago."""
        if self.works and (now or time.monotonic() >= self.at + PERIOD):
            self.show(list(self.works.values())[-1].html())

    def clear(self) -> None:
        """Take the bar away."""
        if self.display is not None:
            self.show("")

    def show(self, html: str) -> None:
        """Put this in the bar's place."""
        display: Any = import_module("IPython.display")
        self.at = time.monotonic()
        if self.display is None:
            self.display = display.display(display.HTML(html), display_id=True)
        else:
            self.display.update(display.HTML(html))


@contextmanager
def shown(what: str) -> Generator[None]:
    """Draw what is told, in a cell or as the command line does, unless somebody listens already."""
    late = prepare_environment()
    drawn = nullcontext() if heard() else drawn_in_cell() if in_notebook() else beating(what)
    with drawn:
        if late:
            say(
                f"Note: torch was loaded before espalier could set {', '.join(late)}: training takes more "
                "memory. Import espalier first and call one of its functions, or set them by hand."
            )
        yield
