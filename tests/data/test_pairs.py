"""The table of a build: what is written is read again, in batches, with its verdicts."""

from __future__ import annotations

from pathlib import Path

import pytest

from espalier.core.errors import DataError
from espalier.core.records import Example, Message, Text, ToolCall, message
from espalier.data.judgement import PASSES, Judgement
from espalier.data.pairs import BATCH, Pairs, is_pairs, join, write_pairs, write_verdicts
from espalier.formats.load import numbered

COUNT = 2 * BATCH + 7


def rows(count: int) -> list[Example]:
    return [
        Example(f"id{n}", "t", "s", (message("user", f"ask {n}"), message("assistant", "yes", trained=True)))
        for n in range(count)
    ]


def verdicts(count: int) -> list[Judgement]:
    found = Judgement(False, "It is odd.", 0.5, "id0", ((0, 1, 2),))
    return [found if n % 2 else Judgement(None) if n % 3 == 0 else PASSES for n in range(count)]


def test_rows_and_verdicts_are_read_as_they_were_written(tmp_path: Path) -> None:
    path = tmp_path / "pairs.parquet"
    assert write_pairs(path, iter(rows(COUNT))) == COUNT
    pairs = Pairs(path)
    assert list(pairs) == list(pairs) == rows(COUNT)
    assert pairs.filters == []
    write_verdicts(tmp_path / "odd.parquet", iter(verdicts(COUNT)))
    for _ in range(2):  # the second time they are there already
        join(path, {"odd": tmp_path / "odd.parquet"})
        assert pairs.filters == ["odd"]
        assert list(pairs.judged()) == [
            (example, {"odd": verdict}) for example, verdict in zip(rows(COUNT), verdicts(COUNT), strict=True)
        ]
    found, unjudged = pairs.outcome("odd")
    assert found.tolist() == [verdict.ok is False for verdict in verdicts(COUNT)]
    assert unjudged.tolist() == [verdict.ok is None for verdict in verdicts(COUNT)]
    places = [0, 5, BATCH, COUNT - 1]
    assert [example.id for example, _ in pairs.at(places)] == [f"id{place}" for place in places]
    assert pairs.places({f"id{place}" for place in places}) == places
    assert next(iter(pairs.verdicts())) == ("id0", {"odd": Judgement(None)})


def test_a_table_of_no_rows_has_verdicts_too(tmp_path: Path) -> None:
    path = tmp_path / "pairs.parquet"
    write_pairs(path, [])
    write_verdicts(tmp_path / "odd.parquet", [])
    join(path, {"odd": tmp_path / "odd.parquet"})
    assert [part.tolist() for part in Pairs(path).outcome("odd")] == [[], []]


def test_a_filter_that_judges_too_few_is_named(tmp_path: Path) -> None:
    path = tmp_path / "pairs.parquet"
    write_pairs(path, rows(3))
    write_verdicts(tmp_path / "odd.parquet", verdicts(2))
    with pytest.raises(DataError, match="'odd' has judged 2 of 3 rows"):
        join(path, {"odd": tmp_path / "odd.parquet"})
    assert Pairs(path).filters == []


def test_a_failure_leaves_the_table_that_was(tmp_path: Path) -> None:
    path = tmp_path / "pairs.parquet"
    write_pairs(path, rows(3))

    def broken():
        yield from rows(1)
        raise DataError("broken")

    with pytest.raises(DataError, match="broken"):
        write_pairs(path, broken())
    assert list(Pairs(path)) == rows(3)
    assert [file.name for file in tmp_path.iterdir()] == ["pairs.parquet"]


def test_other_files_are_no_tables(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_text("PAR1 no table")
    assert not is_pairs(tmp_path / "a.parquet")
    assert not is_pairs(tmp_path / "b.parquet")
    with pytest.raises(DataError, match="damaged or cut off"):
        list(Pairs(tmp_path / "a.parquet"))


def test_repetitions_get_ids_of_their_own() -> None:
    call = Message("assistant", (Text("x"), ToolCall("f", "{}")), trained=True)
    one = Example("a", "t", "s", (message("user", "?"), call))
    ids = [example.id for example in numbered([one] * 4)]
    assert ids[0] == "a"
    assert len({*ids}) == 4
    # One that is called like a repetition is none.
    other = Example(ids[1], "t", "s", one.messages)
    assert len({example.id for example in numbered([one, one, other, other])}) == 4
    assert len({example.id for example in numbered([other, one, one])}) == 3
