"""What a person asks on the command line: a text, a file, or standard input."""

from __future__ import annotations

import io
import sys
from typing import TYPE_CHECKING

from espalier.cli.progress import say, waiting
from espalier.core.errors import DataError
from espalier.data.inputs import Question, about, read_questions

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from espalier.formats.placing import Given


def questions_of(
    text: str | None, file: Path | None, columns: Mapping[str, str], given: Given | None = None
) -> list[Question]:
    """Return what is asked on the command line, in a file with these columns, or on standard input.

    `given` are media that all of it is about; of those nothing need be asked in words.

    Raises:
        DataError: nothing is asked, or by two of them; the file cannot be read; the input is not UTF-8.
    """
    if text is not None and file is not None:
        raise DataError("Both a text and --file are given.", hint="Give one of them.")
    if file is not None:
        found = read_questions(file, columns)
    else:
        said = text
        if said is None:
            with waiting():
                said = _typed(aloud=not given)
        if not said.isprintable() and any("\ud800" <= character <= "\udfff" for character in said):
            raise DataError("The text is not UTF-8, as this terminal sends it.")
        found = [Question(0, "0", "the text", said)] if said.strip() or given else []
    if not found:
        raise DataError("There is no text to answer.", hint='Write: espalier generate RUN "text"')
    return about(found, given) if given else found


def _typed(*, aloud: bool) -> str:
    """Return what stands on standard input; what is typed only where it is asked for aloud.

    Raises:
        DataError: it is not UTF-8.
    """
    if sys.stdin is None or (sys.stdin.isatty() and not aloud):
        return ""
    if sys.stdin.isatty():
        say("Type the text and end it with Ctrl-D.")
    if not isinstance(sys.stdin, io.TextIOWrapper):
        return sys.stdin.read().strip()
    try:
        return sys.stdin.buffer.read().decode().strip()
    except UnicodeDecodeError as error:
        raise DataError(
            f"Standard input is not UTF-8: byte 0x{error.object[error.start]:02x} at position {error.start}."
        ) from None
