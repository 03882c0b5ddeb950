"""A query against the reference's query: both are run, on databases that are made of the row's schema.

Zhong, Yu and Klein, "Semantic Evaluation for Text-to-SQL with Distilled Test Suites", 2020, is the idea:
one database is not enough, as different queries often agree on it. Here the databases are made from the
schema and from what the queries compare (`sandbox/databases.py`); `sandbox/queries.py` says when two
results are the same. All is run in a process of its own, as some functions of SQLite cannot be interrupted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from espalier.core.errors import RecipeError
from espalier.core.records import Completion, Example, Metric, Score, Scorer
from espalier.sandbox.worker import Worker
from espalier.scorers.blocks import block

if TYPE_CHECKING:
    from collections.abc import Sequence

STARTS = 10.0  # seconds that the process may need besides


class Sql:
    """Queries against references, all by one process, which is started anew where it hangs."""

    metric = Metric(
        "Same result in SQLite",
        phrase="the share of queries with the reference's result",
        unit="%",
        note="Queries are run on generated databases; where these cannot tell, a query is not scored.",
    )

    def __init__(self, count: int, seconds: float) -> None:
        self._count, self._seconds = count, seconds

    def score(self, examples: Sequence[Example], completions: Sequence[Completion]) -> list[Score]:
        """Return 1 or 0 for each query; not scored where the row or the databases do not tell."""
        with Worker("espalier.sandbox.query_process") as worker:
            return [self._judged(worker, *pair) for pair in zip(examples, completions, strict=True)]

    def _judged(self, worker: Worker, example: Example, completion: Completion) -> Score:
        schema = example.facts.get("schema")
        if not isinstance(schema, str) or not schema.strip():
            return Score(None, "the row has no schema")
        query = _query(completion.text)
        if not query:
            return Score(0.0, "there is no query")
        given = example.facts.get("queries") or example.references
        wanted = [given] if isinstance(given, str) else [str(one) for one in cast("Sequence[object]", given)]
        verdicts = [self._compared(worker, schema, _query(one), query) for one in wanted]
        for value in (1.0, 0.0):
            if found := [verdict for verdict in verdicts if verdict.value == value]:
                return found[0]
        return next(iter(verdicts), Score(None, "the row has no query to compare with"))

    def _compared(self, worker: Worker, schema: str, wanted: str, query: str) -> Score:
        late = STARTS + 4 * self._count * self._seconds
        settings = {"schema": schema, "wanted": wanted, "count": self._count, "seconds": self._seconds}
        reply = worker.ask([{**settings, "query": query}], late)
        if reply is not None:
            return Score(reply["value"], reply["why"], query)
        if worker.ask([{**settings, "query": wanted}], late) is None:
            return Score(None, "the reference takes too long", query)
        return Score(0.0, "the query takes too long", query)


def build_sql(*, count: int = 8, seconds: float = 1.0) -> Scorer:
    """1 where the query gives what the reference's does, on so many databases made of the row's schema."""
    if count < 2 or not 0 < seconds <= 60:
        raise RecipeError(
            f"count = {count}, seconds = {seconds:g} do not fit: at least 2, and 0 to 60.", where="sql"
        )
    return Sql(count, seconds)


def _query(text: str) -> str:
    return block(text, "sql", "sqlite").strip().rstrip(";").strip()
