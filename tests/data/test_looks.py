"""The ledger of looks: what is a look, what is the same one, and what is left of it after harm."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from espalier.core.errors import RunError
from espalier.core.records import Completion, Example, message
from espalier.data.looks import (
    LOSS,
    Look,
    exposure,
    keep,
    keys_of,
    ledger_of,
    looks_in,
    model_of,
    record,
    sealed_by,
    set_of,
)

ROWS = frozenset("abcdef")


def look(
    *models: str, rows: frozenset[str] = ROWS, run: str = "a", sealed: bool = False, time: str = "1"
) -> Look:
    return Look(rows, models, 0, "run", run, "test", sealed, time)


def row(asked: str, said: str, task: str = "t", prompt: str = "Answer. ") -> Example:
    return Example(task + asked, task, asked, (message("user", prompt + asked),), (said,), input=asked)


def count(folder: Path, rows: frozenset[str] = ROWS) -> int:
    return exposure(rows, looks_in(folder)).count


def test_a_look_shows_what_none_before_has_shown(tmp_path: Path) -> None:
    for models, looks in (
        (("base", "one"), 1),
        (("base", "one"), 1),  # the same run again
        (("one",), 1),  # the same weights in another verb
        (("base", "two"), 2),
        (("base", "two", "three"), 3),
    ):
        record(tmp_path, look(*models))
        assert count(tmp_path) == looks
    record(tmp_path, look("x", "y", "z"), each=True)  # of checkpoints each is chosen from
    assert count(tmp_path) == 6


def test_a_set_is_known_by_its_rows_and_a_part_of_it_is_looked_at_with_it(tmp_path: Path) -> None:
    examples = [row("two", "2"), row("three", "3")]
    copied = [row(e.input, e.references[0], task="copy", prompt="Say: ") for e in reversed(examples)]
    assert set_of(keys_of(examples)) == set_of(keys_of(copied))
    assert keys_of(examples) != keys_of([row("two", "zwei"), row("three", "3")])
    record(tmp_path, look("one"))
    record(tmp_path, look("two", rows=frozenset("fgh")))
    assert (count(tmp_path), count(tmp_path, frozenset("gh")), count(tmp_path, frozenset("z"))) == (2, 1, 0)


def test_a_model_is_known_by_what_determines_its_answers() -> None:
    made = [Completion("r1", "yes", request="k1"), Completion("r2", "no", request="k2")]
    assert model_of(made) == model_of([replace(one, text="other") for one in reversed(made)])
    assert model_of(made) == model_of([*made, Completion("r1", "no", sample=1, request="k3")])
    written = [Completion("r1", "yes"), Completion("r2", "no")]
    assert model_of(written) != model_of([written[0], Completion("r2", "yes")])


def test_a_seal_stays_and_takes_no_look(tmp_path: Path) -> None:
    record(tmp_path, look("early"))
    record(tmp_path, look(sealed=True, run="first"))
    record(tmp_path, look(sealed=True, run="second"))
    assert len(looks_in(tmp_path)) == 2
    record(tmp_path, look("late", run="opens"))
    found = exposure(ROWS | {"z"}, looks_in(tmp_path), asks=False)
    assert (found.count, found.owner) == (2, "first")
    assert "86 % of these rows were sealed by first, and this recipe does not say so" in found.told
    assert sealed_by(frozenset("az"), looks_in(tmp_path)) == {"a": "first"}


def test_development_rows_widen_with_their_looks(tmp_path: Path) -> None:
    record(tmp_path, replace(look(*map(str, range(9))), purpose=LOSS, split="dev"), each=True)
    record(tmp_path, replace(look("scored"), split="dev"))
    found = exposure(ROWS, looks_in(tmp_path), "dev")
    assert (found.looks, found.by_loss) == (10, 9)
    assert "10 looks at them so far, 9 of them to keep the best weights" in found.told
    assert "99.5 %" in found.told
    assert exposure(ROWS, looks_in(tmp_path)).told == "", "test rows that nobody sealed tell nothing"


def test_a_line_that_a_kill_tore_costs_no_other(tmp_path: Path) -> None:
    record(tmp_path, look("one"))
    record(tmp_path, look("two", time="2"))
    ledger = ledger_of(tmp_path)
    whole = ledger.read_bytes()
    for cut in range(len(whole) - 1, len(whole) - 40, -1):
        ledger.write_bytes(whole[:cut])
        record(tmp_path, look("two", time="2"))
        assert count(tmp_path) == 2
        record(tmp_path, look("three", time="3"))
        assert count(tmp_path) == 3


def test_a_lost_ledger_is_written_again_from_what_the_runs_keep(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        assert not record(tmp_path, look(name, run=name, sealed=name == "a", time=name))
        keep(tmp_path / name, ROWS)
    ledger_of(tmp_path).unlink()
    assert count(tmp_path) == 2
    assert record(tmp_path, look("c", run="c", time="c")), "that it was lost is to be said"
    assert len(ledger_of(tmp_path).read_text().splitlines()) == 3
    assert not record(tmp_path, look("d", run="d", time="d"))
    assert sealed_by(ROWS, looks_in(tmp_path))["a"] == "a"
    elsewhere = tmp_path / "elsewhere"
    (tmp_path / "b").rename(elsewhere.mkdir() or elsewhere / "b")
    assert count(elsewhere) == 2, "a run that was copied brings what it knew"


def test_a_run_keeps_what_is_known_of_both_its_splits(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    for rows in (frozenset("xyz"), ROWS):
        record(tmp_path, look("one" + min(rows), rows=rows))
        keep(tmp_path / "a", rows)
    ledger_of(tmp_path).unlink()
    assert (count(tmp_path), count(tmp_path, frozenset("z"))) == (1, 1)


def test_rows_are_listed_once(tmp_path: Path) -> None:
    for name in "abc":
        record(tmp_path, look(name))
    lines = [json.loads(line) for line in ledger_of(tmp_path).read_text().splitlines()]
    assert ["rows" in line for line in lines] == [True, False, False]
    assert all(one.rows == ROWS for one in looks_in(tmp_path))


def test_what_cannot_be_counted_is_not_shown(tmp_path: Path) -> None:
    (tmp_path / ".store").write_text("no folder")
    with pytest.raises(RunError, match="cannot be counted, so no score is shown"):
        record(tmp_path, look("one"))


def test_who_look_at_once_lose_no_look(tmp_path: Path) -> None:
    def many(name: str) -> None:
        for number in range(20):
            record(tmp_path, look(f"{name}{number}", "shared", run=name))

    with ThreadPoolExecutor() as pool:  # a lock is of a file that is open, not of a process
        list(pool.map(many, "abc"))
    assert count(tmp_path) == 60
