"""The generations of a run: one JSON line for each, written as it is made, so that none is made twice.

What other runs have made with the same weights, settings and prompt is taken from the store that they share.
A kill can leave the last line torn. It is recognised by the missing line end, ignored, and overwritten.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from espalier.core.errors import DataError, RunError
from espalier.core.files import disk_hint
from espalier.core.records import Completion

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from espalier.core.journal import Journal


class Generations:
    """The generations that a file holds, by request key, and the appending of more.

    Args:
        path: the file.
        store: what the run shares with others.

    Raises:
        DataError: a line that is complete but holds no completion.
    """

    def __init__(self, path: Path, store: Journal | None = None) -> None:
        self._path = path
        self._store = store
        self.made = 0  # here, and not taken over
        self.done: dict[str, Completion] = {}
        text = path.read_bytes() if path.exists() else b""
        self._size = text.rfind(b"\n") + 1
        for number, line in enumerate(text[: self._size].split(b"\n"), start=1):
            if line.strip():
                completion = _completion(line, f"{path}:{number}")
                self.done[completion.request] = completion

    def fetch(self, keys: Iterable[str]) -> None:
        """Take over from the store what others have made of these requests. Raises RunError."""
        if self._store is None:
            return
        for key, fields in self._store.find(key for key in keys if key not in self.done).items():
            self._write(_completion_of(fields, f"{self._store.path}, {key}"))

    def share(self, keys: Iterable[str]) -> None:
        """Give the store what was made of these requests. Raises RunError."""
        if self._store is not None:
            made = {key: self.done[key].plain() for key in keys if key in self.done}
            self._store.add(made)

    def append(self, completion: Completion) -> None:
        """Write a completion to the file before it counts as done.

        Raises:
            RunError: it cannot be written; what was written before still stands.
        """
        self._write(completion)
        self.made += 1

    def _write(self, completion: Completion) -> None:
        line = json.dumps(completion.plain(), ensure_ascii=False).encode() + b"\n"
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
        fields: Any = json.loads(line)
    except ValueError:
        fields = None
    return _completion_of(fields if isinstance(fields, dict) else {}, where)


def _completion_of(fields: Any, where: str) -> Completion:
    try:
        weighed = tuple((float(logprob), int(tokens)) for logprob, tokens in fields.get("options", ()))
        return Completion(**{**fields, "ids": tuple(fields["ids"]), "options": weighed})
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"The line is no generation of Espalier: {error}.",
            where=where,
            hint="Remove the line; its generation is then made again.",
        ) from None
