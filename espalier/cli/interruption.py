"""How a command ends that is interrupted, or stopped by a signal, while it does what goes on next time."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from espalier.runs.events import say
from espalier.runs.stopping import Stopped

if TYPE_CHECKING:
    from collections.abc import Generator

GOES_ON = "The same command goes on from here: what is complete is not done again."


@contextmanager
def going_on() -> Generator[None]:
    """End the command with the signal's status, where what is inside is ended by one; say how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        say(f"Interrupted. {GOES_ON}")
        raise typer.Exit(130) from None
    except Stopped as stopped:
        say(f"Stopped by {stopped}. {GOES_ON}")
        raise typer.Exit(stopped.status) from None
