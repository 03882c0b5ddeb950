"""The process that matches patterns and builds automata, question after question, until its asker is gone."""

from __future__ import annotations

import re
from importlib import import_module
from typing import Any

from espalier.sandbox import isolation
from espalier.sandbox.worker import read_part, reply

MEMORY = 2 << 30
SECONDS = 1 << 30  # of all questions together; each has its time from who asks


def main() -> None:
    """Answer [[pattern, text, flags, how], …] with what is `found` of each, see `patterns.looked_for`.

    {"states": expression} is answered once its automaton is built, over single bytes.
    """
    isolation.limit(SECONDS, MEMORY)
    isolation.hidden(dies_with_parent=True)
    while True:
        try:
            job: Any = read_part()
        except EOFError:
            return
        if "states" in job:
            reply({"why": _built(job["states"])})
        else:
            reply({"found": [looked_for(*ask) for ask in job]})


def looked_for(pattern: str, text: str, flags: int, how: str) -> list[int]:
    """Return how often a pattern is found in a text, and the span of the first."""
    expression = re.compile(pattern, flags)
    if how == "all":
        spans = [found.span() for found in expression.finditer(text)]
        return [len(spans), *(spans[0] if spans else (0, 0))]
    found = expression.fullmatch(text) if how == "full" else expression.search(text)
    return [1, *found.span()] if found else [0, 0, 0]


def _built(expression: str) -> str:
    core: Any = import_module("outlines_core")
    try:
        core.Index(expression, core.Vocabulary(256, {bytes([byte]): [byte] for byte in range(256)}))
    except ValueError as error:
        return str(error)
    return ""
