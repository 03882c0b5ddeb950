"""What was asked of a run: to end. A step of the training that is under way is finished and saved first.

Who runs it (the command line at a signal, a program at a wish of its own) sets `stopping.asked`.
"""

from __future__ import annotations

import signal
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator

# Seconds that a step may take where none has told yet how long one takes.
FIRST_STEP = 120.0


class Stopped(BaseException):
    """A signal ends the run. Not an Exception, so that only who means it catches it."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.status = 128 + number


@dataclass
class Stopping:
    """What was asked of this process.

    Attributes:
        asked: the signal's number; 0 where none has come.
        patience: seconds that what is under way may still take; 0 where nothing has to be finished.
    """

    asked: int = 0
    patience: float = 0.0

    @contextmanager
    def after_step(self) -> Generator[None]:
        """Let a signal wait for the step that is under way; the caller looks at `asked` after each.

        Raises:
            Stopped: at the end, where one has come that the caller has not seen.
        """
        self.patience = FIRST_STEP
        try:
            yield
        finally:
            self.patience = 0.0
        if self.asked:
            raise Stopped(self.asked)

    def expect(self, seconds: float) -> None:
        """Take a step's time into account: it is longer for some, and a checkpoint has to be written too."""
        self.patience = max(self.patience, 3 * seconds)


stopping = Stopping()
