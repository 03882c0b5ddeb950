"""What a run tells while it works: a stream of events. Nothing here prints; who listens draws, or forwards.

Work that is going on has a number of its own: it begins, moves and ends, and works lie within one another.
Where nobody listens, nothing is told.

    with listening(print):
        execute(...)
"""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from itertools import count
from queue import SimpleQueue
from signal import SIGTERM
from threading import Thread
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from espalier.runs.stopping import Stopped, stopping

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Mapping


@dataclass(frozen=True, slots=True)
class Said:
    """A sentence on what came of the work, for a person: a note, a warning, a choice and its reason."""

    text: str


@dataclass(frozen=True, slots=True)
class Began:
    """A work begins.

    Attributes:
        work: its number.
        text: what is being done.
        total: its steps; None where its end cannot be told.
        done: steps that are done already.
        aloud: whether it is worth a line where nothing can be drawn.
    """

    work: int
    text: str
    total: float | None = None
    done: float = 0
    aloud: bool = True


@dataclass(frozen=True, slots=True)
class Moved:
    """A work has moved on: `steps` more are done, with a `note` on them, or it is now described by `text`."""

    work: int
    steps: float = 0
    note: str = ""
    text: str = ""
    aloud: bool = True


@dataclass(frozen=True, slots=True)
class Ended:
    """A work has ended, one way or the other."""

    work: int


@dataclass(frozen=True, slots=True)
class Logged:
    """A line of the run's events.jsonl, such as a training step with its loss."""

    event: Mapping[str, Any]


Event: TypeAlias = Said | Began | Moved | Ended | Logged
Listener: TypeAlias = "Callable[[Event], object]"

_listener: ContextVar[Listener | None] = ContextVar("listener", default=None)
_numbers = count()


class Tell(Protocol):
    """Changes what is said to be done; `aloud` as in `Began`."""

    def __call__(self, text: str, *, aloud: bool = True) -> None:
        """Say it."""
        ...


@contextmanager
def listening(listener: Listener) -> Generator[None]:
    """Let the listener have all that is told inside, in this thread."""
    before = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(before)


def heard() -> bool:
    """Say whether somebody listens."""
    return _listener.get() is not None


def emit(event: Event) -> None:
    """Tell who listens."""
    listener = _listener.get()
    if listener is not None:
        listener(event)


def say(text: str) -> None:
    """Tell what came of the work, in a sentence."""
    emit(Said(text))


@contextmanager
def working(what: str, *, aloud: bool = True) -> Generator[Tell]:
    """Tell of work whose end cannot be told; the function yielded changes what it is said to be."""
    work = next(_numbers)

    def tell(text: str, *, aloud: bool = True) -> None:
        emit(Moved(work, text=text, aloud=aloud))

    emit(Began(work, what, aloud=aloud))
    try:
        yield tell
    finally:
        emit(Ended(work))


@contextmanager
def bar(what: str, total: float, done: float = 0) -> Generator[Callable[[float, str], None]]:
    """Tell of work in so many steps; the function yielded says how many more are done, with a note."""
    work = next(_numbers)

    def advance(steps: float, note: str = "") -> None:
        emit(Moved(work, steps, note))

    emit(Began(work, what, total, done))
    try:
        yield advance
    finally:
        emit(Ended(work))


def streamed(work: Callable[[], object]) -> Iterator[Event]:
    """Do work in a thread, and yield what it tells as it goes; what it raises is raised at the end.

    Who stops listening lets it end after its step.
    """
    told: SimpleQueue[Event | BaseException | None] = SimpleQueue()

    def listened() -> None:
        end: BaseException | None = None
        try:
            with listening(told.put):
                work()
        except (Exception, Stopped) as error:  # it is raised again, where somebody can see it
            end = error
        told.put(end)

    stopping.asked = 0
    thread = Thread(target=listened)
    thread.start()
    try:
        while (event := told.get()) is not None:
            if isinstance(event, BaseException):
                raise event
            yield event
    finally:
        if thread.is_alive():
            stopping.asked = SIGTERM
        thread.join()
        stopping.asked = 0
