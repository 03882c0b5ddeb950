"""The journal of generations: one JSON line for each, written as it is made, so that none is made twice.

A kill can leave the last line torn. It is recognised by the missing line end, ignored, and overwritten.
"""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING

from espalier.core.errors import DataError, RunError
from espalier.core.files import disk_hint
from espalier.core.records import Completion

if TYPE_CHECKING:
    from pathlib import Path


class Journal:
    """The generations that a file holds, by request key, and the appending of more.

    Raises:
        DataError: a line that is complete but holds no completion.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.done: dict[str, Completion] = {}
        text = path.read_bytes() if path.exists() else b""
        self._size = text.rfind(b"\n") + 1
        for number, line in enumerate(text[: self._size].split(b"\n"), start=1):
            if line.strip():
                completion = _completion(line, f"{path}:{number}")
                self.done[completion.request] = completion

    def append(self, completion: Completion) -> None:
        """Write a completion to the file before it counts as done.

        Raises:
            RunError: it cannot be written; what was written before still stands.
        """
        line = json.dumps(dataclasses.asdict(completion), ensure_ascii=False).encode() + b"\n"
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("r+b" if self._path.exists() else "wb") as file:
                file.truncate(self._size)
                file.seek(self._size)
                file.write(line)
        except OSError as error:
            raise RunError(
                f"A generation cannot be written: {error.strerror}.",
                where=str(self._path),
                hint=disk_hint(error),
            ) from None
        self._size += len(line)
        self.done[completion.request] = completion


def _completion(line: bytes, where: str) -> Completion:
    try:
        fields = json.loads(line)
        return Completion(**{**fields, "ids": tuple(fields["ids"])})
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"The line is no generation of Espalier: {error}.",
            where=where,
            hint="Remove the line; its generation is then made again.",
        ) from None
