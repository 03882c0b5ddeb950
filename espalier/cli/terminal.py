"""A command's standard streams, as they may be: closed, full, cut off by a reader, or of a small encoding.

What goes wrong with them is no bug and shows no traceback. A reader that has seen enough, as in `espalier
inspect … | head`, ends the command in silence, with the status that a shell gives for it.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import sys
from typing import TYPE_CHECKING, TextIO

import typer

if TYPE_CHECKING:
    from collections.abc import Iterator

CUT_OFF = 128 + signal.SIGPIPE
FAILED = 2


def prepare_streams() -> None:
    """Hold the places of streams that were closed, and let no character be one too many for an encoding."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:  # or the next file that is opened would be written to as standard output
            os.open(os.devnull, os.O_RDWR)
    for stream in _open():
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def identity() -> object:
    """Return what tells standard output from another.

    Where its reader is gone, typer and rich, each in its own way, put another in its place and end with 1.
    """
    return id(sys.stdout), os.fstat(1)[:3]


def is_output(error: OSError) -> bool:
    """Say whether an error is of a standard stream: of one that takes no line more."""
    return error.filename is None and any(_failure(stream, "\n") for stream in _open())


def close_streams(status: int) -> int:
    """Write out what is held back, and return the exit status: another one where it cannot be written.

    What cannot be written is dropped, or the interpreter would complain of it at its end.
    """
    for stream in _open():
        error = _failure(stream)
        if error is None:
            continue
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        if isinstance(error, BrokenPipeError):
            status = status or CUT_OFF  # what went wrong before stays what is told
        else:
            status = FAILED
            tell_error(f"The output cannot be written: {error.strerror}.")
    return status


def tell_error(sentence: str) -> None:
    """Print an error as a sentence, in red where there are colours, and if anyone is there to see it."""
    with contextlib.suppress(OSError):
        typer.secho(f"Error: {sentence}", fg=None if os.environ.get("NO_COLOR") else "red", err=True)


def as_json(value: object) -> str:
    """Return a line of JSON that standard output can show: what its encoding lacks is escaped."""
    encoding = sys.stdout.encoding if isinstance(sys.stdout, io.TextIOWrapper) else "utf-8"
    return json.dumps(value, ensure_ascii=not encoding.lower().startswith("utf"))


def _open() -> Iterator[TextIO]:
    """Yield standard output and standard error as the interpreter made them, where they are not closed."""
    yield from (stream for stream in (sys.__stdout__, sys.__stderr__) if stream is not None)


def _failure(stream: TextIO, text: str = "") -> OSError | None:
    try:
        stream.write(text)
        stream.flush()
    except OSError as error:
        return error
    return None
