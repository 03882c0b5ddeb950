"""SIGTERM and SIGHUP: a step of the training that is under way is finished and saved; all else ends at once.

Python runs a handler between two instructions, and a process can sit in one for long: in a product of large
matrices, or waiting for a rank that is gone. So a thread watches the clock besides, and ends the process
where it has not ended by itself. Nothing is lost by that: a run can be killed at any moment.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from espalier.runs.events import say
from espalier.runs.stopping import Stopped, stopping

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGHUP)
# Seconds that the process has to end: at a second signal, and at one that nothing has to be finished for.
AT_ONCE, UNWINDING = 2.0, 10.0


def nothing() -> None:
    """Do nothing."""


@contextmanager
def stoppable(hung_up: Callable[[], None] = nothing, leave: Callable[[], None] = nothing) -> Generator[None]:
    """Let SIGTERM and SIGHUP end what is inside with `Stopped`; see `Stopping.after_step`.

    A signal that is ignored, as under nohup, stays so.

    Args:
        hung_up: called at SIGHUP, when the terminal is gone.
        leave: called before the process is ended without further ado.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def asked(number: int, _: FrameType | None) -> None:
        again, stopping.asked = stopping.asked, number
        if number == signal.SIGHUP:
            hung_up()
        if again or not stopping.patience:
            raise Stopped(number)
        say("Stopping after this step, with a checkpoint. A second signal stops at once.")

    stopping.asked = 0
    here, there = socket.socketpair()
    there.setblocking(False)
    before = {number: signal.getsignal(number) for number in SIGNALS}
    wakeup = signal.set_wakeup_fd(there.fileno(), warn_on_full_buffer=False)
    for number, handler in before.items():
        if handler != signal.SIG_IGN:
            signal.signal(number, asked)
    threading.Thread(target=_watch, args=(here, leave), daemon=True).start()
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(wakeup)
        there.close()


def _watch(signals: socket.socket, leave: Callable[[], None]) -> None:
    """End the process where it has not ended in time after a signal; return once it needs no watching."""
    end: float | None = None
    number = 0
    with signals:
        while True:
            left = None if end is None else max(0.0, end - time.monotonic())
            if not select.select([signals], [], [], left)[0]:
                break
            data = signals.recv(64)
            if not data:
                return
            for byte in data:
                if byte in SIGNALS:
                    number = byte
                    end = time.monotonic() + (AT_ONCE if end else stopping.patience or UNWINDING)
    with suppress(OSError):
        leave()
    os._exit(128 + number)
