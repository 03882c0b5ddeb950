"""The process that compares queries, one question after another, until its asker is gone."""

from __future__ import annotations

from espalier.sandbox import isolation
from espalier.sandbox.queries import compared
from espalier.sandbox.worker import read_part, reply

MEMORY = 1 << 30
SECONDS = 1 << 30  # of all questions together; each has its time from who asks


def main() -> None:
    """Answer {"schema", "wanted", "query", "count", "seconds"} with {"value", "why"}."""
    isolation.limit(SECONDS, MEMORY)
    while True:
        try:
            job = read_part()
        except EOFError:
            return
        value, why = compared(job["schema"], job["wanted"], job["query"], job["count"], job["seconds"])
        reply({"value": value, "why": why})
