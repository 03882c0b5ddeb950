"""Filters that run what an answer says: SQL, code, JSON and tables, by the scorers of these names.

They judge the rows that have what the scorer needs among their facts (a schema, tests); other rows pass. What
a scorer cannot judge is told as such, and is not refused.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

from espalier.core.records import Completion
from espalier.data.judgement import PASSES, Judgement, filters
from espalier.scorers.code import build_code
from espalier.scorers.sql import build_sql
from espalier.scorers.structured import build_json, build_table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from espalier.core.records import Example, Score, Scorer
    from espalier.data.judgement import Filter

BATCH = 64  # rows that are judged at once


@filters.register("sql")
def sql(*, count: int = 8, seconds: float = 1.0) -> Filter:
    """Queries that do not give what the row's queries give, on so many databases made of its schema."""
    return _judged_by(
        build_sql(count=count, seconds=seconds), lambda facts: isinstance(facts.get("schema"), str)
    )


@filters.register("code")
def code(*, seconds: float = 5.0, memory: int = 1024) -> Filter:
    """Python that does not pass the row's tests, within so many seconds and MiB."""
    return _judged_by(build_code(seconds=seconds, memory=memory), lambda facts: "tests" in facts)


@filters.register("json")
def json(*, equal: bool = False) -> Filter:
    """Answers that are not JSON by the row's schema; `equal`: and its reference's value."""
    return _judged_by(build_json(equal=equal), lambda facts: isinstance(facts.get("schema"), dict))


@filters.register("table")
def table(*, ordered: bool = True) -> Filter:
    """Tables that have not the cells of the row's table."""
    return _judged_by(build_table(ordered=ordered), lambda facts: "table" in facts)


def _judged_by(scorer: Scorer, concerns: Callable[[Mapping[str, Any]], bool]) -> Filter:
    def judge(rows: Iterable[Example]) -> Iterator[Judgement]:
        left = iter(rows)
        while batch := list(islice(left, BATCH)):
            meant = [row for row in batch if concerns(row.facts)]
            scores = iter(scorer.score(meant, [Completion(row.id, row.answer) for row in meant]))
            for row in batch:
                yield _judgement(next(scores)) if concerns(row.facts) else PASSES

    return judge


def _judgement(score: Score) -> Judgement:
    if score.value is None:
        return Judgement(None, f"It cannot be judged: {score.why}.")
    if score.value == 1:
        return Judgement(True, score=1.0)
    return Judgement(False, f"{score.why[:1].upper()}{score.why[1:]}.", score.value)
