"""Queries against queries, on databases made for them: what differs, what only looks so, and harm."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from espalier.core.errors import RecipeError
from espalier.core.records import Completion, Example, Score, message
from espalier.sandbox.databases import databases, read
from espalier.sandbox.made_rows import tokens
from espalier.sandbox.queries import is_ordered
from espalier.sandbox.worker import Worker
from espalier.scorers import sql
from espalier.scorers.sql import build_sql

SCHEMA = """
CREATE TABLE harbour (id INTEGER PRIMARY KEY, name TEXT NOT NULL, country TEXT);
CREATE TABLE boat (
    id INTEGER PRIMARY KEY, name TEXT, length REAL, built DATE, crew INT,
    harbour_id INT REFERENCES harbour(id)
);
"""


def score(wanted: str, query: str, schema: str = SCHEMA, **settings: Any) -> Score:
    row = Example("i", "t", "s", (message("user", "?"),), (wanted,), facts={"schema": schema})
    return build_sql(**settings).score([row], [Completion("i", query)])[0]


@pytest.fixture(scope="module")
def process() -> Iterator[Worker]:
    """One process for what does no harm: each score would start its own."""
    with Worker("espalier.sandbox.query_process") as worker:
        yield worker


@pytest.fixture
def one_process(process: Worker) -> Iterator[None]:
    """Let that process judge."""
    with mock.patch.object(sql, "Worker", return_value=nullcontext(process)):
        yield


SAME = [
    ("SELECT name FROM boat WHERE length > 9", "select B.name from boat as B where B.length > 9.0;"),
    ("SELECT name FROM boat WHERE length > 9", "```sql\nSELECT name FROM boat WHERE NOT length <= 9;\n```"),
    ("SELECT count(*) FROM boat", "SELECT sum(1) FROM boat"),
    (
        "SELECT h.name FROM harbour h JOIN boat b ON b.harbour_id = h.id WHERE b.crew >= 4",
        "SELECT h.name FROM boat b, harbour h WHERE h.id = b.harbour_id AND b.crew > 3",
    ),
    (
        "SELECT country, avg(length) FROM boat JOIN harbour h ON h.id = harbour_id GROUP BY country",
        "SELECT h.country, sum(b.length) / count(b.length) FROM harbour h JOIN boat b ON b.harbour_id = h.id "
        "GROUP BY 1 ORDER BY 2",
    ),
    # Ties may come in any order.
    ("SELECT name FROM boat ORDER BY crew", "SELECT name FROM boat ORDER BY crew, id DESC"),
    (
        "SELECT name FROM boat ORDER BY crew",
        "SELECT name FROM (SELECT * FROM boat ORDER BY name) ORDER BY crew",
    ),
    ("SELECT max(crew) FROM boat", "SELECT crew FROM boat ORDER BY crew DESC LIMIT 1"),
    ("SELECT name FROM boat WHERE built >= '2021-03-01'", "SELECT name FROM boat WHERE built > '2021-02-28'"),
    ('SELECT id FROM harbour WHERE country = "Malta"', "SELECT id FROM harbour WHERE country IN ('Malta')"),
]
OTHER = [
    ("SELECT name FROM boat WHERE length > 9", "SELECT name FROM boat WHERE length >= 9"),
    ("SELECT name FROM boat WHERE length > 9", "SELECT id, name FROM boat WHERE length > 9"),
    ("SELECT name FROM boat WHERE length > 9", "SELECT DISTINCT name FROM boat WHERE length > 9"),
    ("SELECT name FROM harbour WHERE country = 'Malta'", "SELECT name FROM harbour WHERE country = 'malta'"),
    ("SELECT name FROM harbour WHERE country = 'Malta'", "SELECT name FROM harbour"),
    (
        "SELECT name FROM harbour WHERE country = 'Malta'",
        "SELECT name FROM harbour WHERE country LIKE 'Malta%'",
    ),
    ("SELECT count(*) FROM boat", "SELECT count(crew) FROM boat"),
    ("SELECT count(*) FROM boat", "SELECT count(DISTINCT name) FROM boat"),
    ("SELECT name FROM boat ORDER BY crew", "SELECT name FROM boat"),
    ("SELECT name FROM boat ORDER BY crew, id", "SELECT name FROM boat ORDER BY crew"),
    ("SELECT name FROM boat ORDER BY crew", "SELECT name FROM boat ORDER BY crew DESC"),
    ("SELECT name FROM boat", "SELECT name FROM boat UNION SELECT name FROM boat"),
    (
        "SELECT h.name FROM harbour h LEFT JOIN boat b ON b.harbour_id = h.id",
        "SELECT h.name FROM harbour h JOIN boat b ON b.harbour_id = h.id",
    ),
    (
        "SELECT name FROM boat WHERE crew > 3 AND length < 8",
        "SELECT name FROM boat WHERE crew > 3 OR length < 8",
    ),
    (
        "SELECT name FROM harbour WHERE country = 'Malta'",
        "SELECT name FROM harbour WHERE country = 'Malta' AND id <> 7",
    ),
    ("SELECT max(crew) FROM boat", "SELECT min(crew) FROM boat"),
    ("SELECT name FROM boat WHERE built >= '2021-03-01'", "SELECT name FROM boat WHERE built > '2021-03-01'"),
    ("SELECT name FROM boat WHERE name LIKE '%jetty%'", "SELECT name FROM boat WHERE name LIKE 'jetty%'"),
]
HOSTILE = [
    "",
    "I do not know.",
    "SELECT nme FROM boat",
    "DROP TABLE boat",
    "DELETE FROM boat",
    "INSERT INTO boat (name) VALUES ('x')",
    "UPDATE boat SET length = 10",
    "CREATE TABLE x (a)",
    "ATTACH DATABASE 'stolen.db' AS s",
    "VACUUM INTO 'stolen.db'",
    "PRAGMA writable_schema = 1",
    "SELECT load_extension('x.so')",
    "SELECT * FROM pragma_database_list",
    "SELECT name FROM boat; SELECT name FROM boat",
    "SELECT name FROM boat WHERE length > 9; DROP TABLE boat",
    "SELECT name FROM boat WHERE length > ?",
    "SELECT name FROM boat\x00 WHERE length > 9",
    "SELECT '\ud800'",
    "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n",
    "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT x FROM n",
    "WITH RECURSIVE n(x) AS (SELECT randomblob(20000) UNION SELECT randomblob(20000) FROM n) SELECT x FROM n",
    "SELECT hex(zeroblob(1000000000))",
    "SELECT count(*) FROM boat a, boat b, boat c, boat d, boat e, boat f, boat g, boat h, boat i, boat j",
    "SELECT " + "(" * 500 + "1" + ")" * 500,
    "SELECT " + "+".join(["1"] * 5000),
    "EXPLAIN SELECT name FROM boat",
    "BEGIN",
]


@pytest.mark.usefixtures("one_process")
@pytest.mark.parametrize(("wanted", "query"), SAME)
def test_the_same_in_other_words_passes(wanted: str, query: str) -> None:
    found = score(wanted, query)
    assert found == Score(1.0, "", found.answer)


@pytest.mark.usefixtures("one_process")
@pytest.mark.parametrize(("wanted", "query"), OTHER)
def test_what_asks_for_something_else_does_not(wanted: str, query: str) -> None:
    found = score(wanted, query)
    assert found.value == 0
    assert found.why


@pytest.mark.parametrize("query", HOSTILE)
def test_a_query_that_harms_or_never_ends_does_not_pass(
    query: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sql, "STARTS", 2.0)
    begun = time.monotonic()
    found = score("SELECT name FROM boat WHERE length > 9", query, seconds=0.3, count=2)
    assert found.value == 0
    assert time.monotonic() - begun < 10
    assert not list(tmp_path.iterdir())


def test_a_function_that_cannot_be_interrupted_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sql, "STARTS", 0.7)
    never = "SELECT printf('%.*c', 2000000000, 'x')"
    row = Example("i", "t", "s", (message("user", "?"),), ("SELECT id FROM boat",), facts={"schema": SCHEMA})
    answers = [Completion("i", text) for text in (never, "SELECT id FROM boat WHERE 1")]
    found = build_sql(count=2, seconds=0.1).score([row] * 2, answers)
    assert [score.value for score in found] == [0, 1]
    reference = Example("i", "t", "s", (message("user", "?"),), (never,), facts={"schema": SCHEMA})
    assert build_sql(count=2, seconds=0.1).score([reference], answers[1:2])[0].value is None


@pytest.mark.parametrize(
    "schema",
    [
        "",
        "no schema",
        "CREATE TABLE t (a INT",
        "ATTACH 'x.db' AS x; CREATE TABLE x.t (a)",
        "CREATE VIRTUAL TABLE t USING fts5(a)",
        "CREATE TABLE t (a); CREATE TRIGGER g AFTER INSERT ON t BEGIN DELETE FROM t; END",
        "PRAGMA journal_mode = DELETE; CREATE TABLE t (a)",
        "CREATE TABLE t AS WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT x FROM n",
        "CREATE TABLE t (a); INSERT INTO t WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) "
        "SELECT hex(randomblob(9000)) FROM n",
        "SELECT 1",
    ],
)
def test_a_schema_that_cannot_be_made_is_not_scored(
    schema: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = score("SELECT a FROM t", "SELECT a FROM t WHERE 1", schema, seconds=0.3)
    assert found.value is None
    assert "schema" in found.why
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("one_process")
@pytest.mark.parametrize(
    ("wanted", "query", "why"),
    [
        ("SELECT nme FROM boat", "SELECT name FROM boat", "reference cannot be run"),
        ("DELETE FROM boat", "SELECT name FROM boat", "reference cannot be run"),
        ("SELECT random()", "SELECT 1", "order"),
        ("SELECT name, id FROM boat LIMIT 3", "SELECT name, id FROM boat LIMIT 3 OFFSET 0", "order"),
        ("SELECT id FROM boat WHERE 1 = 2", "SELECT id FROM boat WHERE 2 = 3", "the same on every"),
        ("SELECT 1", "SELECT 1 FROM (SELECT 1)", "the same on every"),
    ],
)
def test_a_reference_that_tells_nothing_is_not_scored(wanted: str, query: str, why: str) -> None:
    found = score(wanted, query)
    assert found.value is None
    assert why in found.why


def test_a_row_without_schema_or_query_is_not_scored() -> None:
    row = Example("i", "t", "s", (message("user", "?"),), ("SELECT 1",))
    assert build_sql().score([row], [Completion("i", "SELECT 1")])[0].value is None


def test_one_of_several_references_will_do() -> None:
    facts = {"schema": SCHEMA, "queries": ["SELECT id FROM boat", "SELECT name FROM boat"]}
    row = Example("i", "t", "s", (message("user", "?"),), ("x",), facts=facts)
    verdicts = build_sql().score(
        [row] * 2, [Completion("i", q) for q in ("SELECT name FROM boat", "SELECT crew FROM boat")]
    )
    assert [verdict.value for verdict in verdicts] == [1, 0]


def test_the_same_query_passes_where_no_database_tells() -> None:
    assert score("SELECT 1", "select 1").value is None
    assert score("SELECT 1", "SELECT 1 -- one").value == 1


@pytest.mark.usefixtures("one_process")
@pytest.mark.parametrize(
    "schema",
    [
        "CREATE TABLE `boat` (`id` int(11) NOT NULL AUTO_INCREMENT, `kind` enum('a','b') DEFAULT 'a', "
        "`size` int COMMENT 'x', `name` varchar(20), PRIMARY KEY (`id`)) ENGINE=InnoDB DEFAULT CHARSET=utf8;",
        "CREATE TABLE boat (id SERIAL PRIMARY KEY, name VARCHAR(9) UNIQUE CHECK (name IN ('a', 'b', 'c')));",
        "CREATE TABLE boat (id INTEGER PRIMARY KEY, name TEXT, size REAL) STRICT;",
        "CREATE TABLE boat (id INT, name TEXT COLLATE NOCASE, big TEXT AS (upper(name)) STORED);",
        "CREATE TABLE boat (id, name, PRIMARY KEY (id, name)) WITHOUT ROWID; CREATE INDEX i ON boat (name);",
        "CREATE TABLE old (id INT, name TEXT); INSERT INTO old VALUES (1, 'x'); "
        "CREATE VIEW boat AS SELECT id, name FROM old;",
        "CREATE TABLE a (id INTEGER PRIMARY KEY, b_id INT REFERENCES boat(id)); "
        "CREATE TABLE boat (id INTEGER PRIMARY KEY, name TEXT, a_id INT REFERENCES a);",
    ],
)
def test_schemas_as_people_write_them(schema: str) -> None:
    assert (
        score("SELECT name FROM boat WHERE id > 3", "SELECT name FROM boat WHERE id >= 4", schema).value == 1
    )
    assert score("SELECT name FROM boat WHERE id > 3", "SELECT name FROM boat", schema).value == 0


def test_databases_are_the_same_each_time_and_hold_what_is_asked_for() -> None:
    queries = ["SELECT name FROM harbour WHERE country = 'Malta' AND name LIKE 'La%'"]
    contents = [
        [
            (own.own.execute("SELECT * FROM boat").fetchall(), own.answers(queries[0], 1))
            for own in databases(SCHEMA, queries, 6, 1)
        ]
        for _ in range(2)
    ]
    assert contents[0] == contents[1]
    assert len({str(rows) for rows, _ in contents[0]}) == 6
    assert any(answers[0] for _, answers in contents[0])
    assert all(sorted(one) == sorted(other) for _, (one, other) in contents[0])


def test_a_reader_cannot_write() -> None:
    for database in databases(SCHEMA, [], 1, 1):
        with pytest.raises(sqlite3.Error, match="not authorized"):
            read(database.own, "DELETE FROM boat", 1)


def test_tokens_and_order() -> None:
    assert [t for _, t in tokens("a.b='x''y' -- c\n/* d */ <= 1.5e3")] == [
        "a",
        ".",
        "b",
        "=",
        "'x''y'",
        "<",
        "=",
        "1.5e3",
    ]
    assert is_ordered("SELECT 1 ORDER\n BY 1")
    assert not is_ordered("SELECT 'order by', x OVER (ORDER BY y) FROM t -- order by")


def test_settings_that_do_not_fit() -> None:
    with pytest.raises(RecipeError, match="at least 2"):
        build_sql(count=1)
