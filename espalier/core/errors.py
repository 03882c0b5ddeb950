"""The errors that a user can cause or mend.

    EspalierError(message, where, hint)
    ├── RecipeError        where = TOML path ("train.rate")
    ├── DataError          where = "file:line" or "file, row 3"
    ├── TemplateError      where = model or template name
    ├── ModelError         where = folder, package or hub id
    ├── CheckpointError    where = folder
    ├── RunError           where = run folder
    ├── GenerationError    retryable: whether asking again may help
    └── MissingExtra       hint = the pip line

Each is one sentence for a person: what is wrong, what was expected, where, and what to do. The command
line prints it without a traceback and exits with 2. Anything else that is raised is a bug.
"""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class EspalierError(Exception):
    """Something that the user can mend: `message`, `where` it is, and a `hint` on what to do."""

    def __init__(self, message: str, *, where: str = "", hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.where = where
        self.hint = hint

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        advice = f" {self.hint}" if self.hint else ""
        return f"{place}{self.message}{advice}"


class RecipeError(EspalierError):
    """A recipe that cannot be run; `where` is the TOML path of the key."""


class DataError(EspalierError):
    """A file or a row that cannot be used; `where` is the file with its line or row."""


class TemplateError(EspalierError):
    """A chat template that is missing or does not keep prompts as prefixes."""


class ModelError(EspalierError):
    """Weights, a tokenizer or a configuration that cannot be loaded or used."""


class CheckpointError(EspalierError):
    """A checkpoint that is missing, damaged or of another recipe."""


class RunError(EspalierError):
    """A run folder that cannot be used, or a run that had to stop."""


class GenerationError(EspalierError):
    """A generation that failed.

    `retryable` says whether asking again may help, `of_key` whether a server refuses the key it was given.
    """

    def __init__(
        self, message: str, *, where: str = "", hint: str = "", retryable: bool = False, of_key: bool = False
    ) -> None:
        super().__init__(message, where=where, hint=hint)
        self.retryable = retryable
        self.of_key = of_key


class MissingExtra(EspalierError):
    """A feature whose optional packages are not installed."""

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(
            f"{feature} needs packages that are not installed.",
            hint=f"Install them with: pip install 'espalier-lm[{extra}]'",
        )


def nearest(word: str, known: Iterable[str]) -> str:
    """Return a hint that names the known word nearest to `word`, and lists the known words."""
    names = sorted(known)
    close = get_close_matches(word, names, n=1, cutoff=0.5)
    guess = f"Did you mean '{close[0]}'? " if close else ""
    return f"{guess}Known: {', '.join(names) or 'none'}."
