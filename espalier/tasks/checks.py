"""Cautions as code: a check says of one input and one output whether a caution was heeded, and why.

A task file names its checks; `checks` holds those of one answer and `set_checks` those of all answers
together. To add one, write a function and decorate it with `check` (or register a factory, if it takes
parameters).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias
from unicodedata import normalize

from espalier.core.registry import Registry


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a caution was heeded (None: cannot be judged), and `why` in a sentence for a person."""

    ok: bool | None
    why: str


Check: TypeAlias = Callable[[str, str | None], Verdict]
SetCheck: TypeAlias = Callable[[Sequence[str], Sequence[str | None]], Verdict]

OURS = "espalier.tasks.event_duration.cautions"  # those of the bundled task
checks: Registry[Check] = Registry("check", OURS)
set_checks: Registry[SetCheck] = Registry("set check", OURS)


def check(name: str) -> Callable[[Callable[[str, str], Verdict]], Check]:
    """Register a function of (input, output) as a check; a missing or blank answer fails before it runs."""

    def keep(judge: Callable[[str, str], Verdict]) -> Check:
        def guarded(task_input: str, output: str | None) -> Verdict:
            if output is None or not output.strip():
                return Verdict(False, "There is no answer.")
            return judge(normalize("NFC", task_input), normalize("NFC", output.strip()))

        def factory() -> Check:
            return guarded

        factory.__doc__ = guarded.__doc__ = judge.__doc__
        checks.register(name)(factory)
        return guarded

    return keep


def run_checks(names: Sequence[str], task_input: str, output: str | None) -> dict[str, Verdict]:
    """Return the verdict of each check of one answer among `names`; names of set checks are passed over."""
    return {
        name: checks.build(name, {})(task_input, output) for name in names if name not in set_checks.names()
    }
