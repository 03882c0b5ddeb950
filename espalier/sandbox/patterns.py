"""Patterns of somebody else's on texts that nobody knows, each within a time: one can take for ever.

A pattern with several repetitions or alternatives may try exponentially many ways to match a text. Such a
one is matched by a process that is killed when it is late; what has at most one of them, as most have, is
matched here.
"""

from __future__ import annotations

import atexit
import os
import re
from collections import Counter
from functools import lru_cache
from threading import Lock
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from espalier.sandbox.pattern_process import looked_for
from espalier.sandbox.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Sequence

SECONDS = 2.0  # for a text, or a batch of them
STARTS = 10.0  # seconds that the process may need to begin
STATES = 20.0  # seconds for an automaton
BATCH = 256
LATE = 3  # texts, after which a pattern is not tried again
BRANCHES = re.compile(r"[*+?{|]")
_LOCK = Lock()


class Ask(NamedTuple):
    """A pattern that compiles, and a text: its first match is looked for, one of all of it, or every one."""

    pattern: str
    text: str
    flags: int = 0
    how: Literal["search", "full", "all"] = "search"


class Found(NamedTuple):
    """How often a pattern was found, and the span of the first; `late` where that took too long to say."""

    times: int
    start: int = 0
    end: int = 0
    late: bool = False


def matched(asks: Sequence[Ask]) -> list[Found]:
    """Return what is found of each."""
    found = [Found(0)] * len(asks)
    hard: list[int] = []
    for place, ask in enumerate(asks):
        if len(BRANCHES.findall(ask.pattern)) > 1:
            hard.append(place)
        else:
            found[place] = _found(looked_for(*ask))
    late: Counter[str] = Counter()
    for start in range(0, len(hard), BATCH):
        places = hard[start : start + BATCH]
        for place, one in zip(places, _within([asks[place] for place in places], late), strict=True):
            found[place] = one
    return found


def _found(one: Sequence[int]) -> Found:
    times, start, end = one
    return Found(times, start, end)


def _within(asks: list[Ask], late: Counter[str]) -> list[Found]:
    """Return what is found of a batch; where that is late, of each by itself."""
    trying = [ask for ask in asks if late[ask.pattern] < LATE]
    if len(trying) == len(asks) and (reply := _ask(asks)) is not None:
        return [_found(one) for one in reply]
    found: list[Found] = []
    for ask in asks:
        reply = _ask([ask]) if late[ask.pattern] < LATE else None
        late[ask.pattern] += reply is None
        found.append(_found(reply[0]) if reply else Found(0, late=True))
    return found


def _ask(asks: list[Ask]) -> list[list[int]] | None:
    with _LOCK:
        reply = _asked(_worker(os.getpid()), asks, SECONDS)
    return reply["found"] if reply else None


def too_many_states(expression: str) -> bool:
    """Say whether an expression's automaton cannot be built in time and memory; needs outlines-core."""
    with Worker("espalier.sandbox.pattern_process") as worker:
        return _asked(worker, {"states": expression}, STATES) is None


def _asked(worker: Worker, job: object, seconds: float) -> dict[str, Any] | None:
    """Return the reply, of a process that has begun; None where there is none in time."""
    return worker.ask([job], seconds) if worker.ask([[]], STARTS) else None


@lru_cache(1)
def _worker(process: int) -> Worker:
    """Return the one worker of this process."""
    worker = Worker("espalier.sandbox.pattern_process")
    atexit.register(worker.close)
    return worker
