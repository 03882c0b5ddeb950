"""Our own task files, and what is said of their mistakes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from espalier.core.errors import DataError
from espalier.tasks.task_files import load_task

if TYPE_CHECKING:
    from pathlib import Path

HEAD = 'name = "colours"\ndefinition = "Name the colour."\nrows = "rows.jsonl"\n'
GOOD = '[[positive]]\ninput = "grass"\noutput = "green"\nexplanation = "It is."\n'
ROWS = (
    '{"input": "sky", "output": "blue", "domain": "weather", "trap": true}\n\n'
    '{"id": "snow", "input": "snow", "output": ["white", "pale"], "source": "winter"}\n'
)


def write(folder: Path, toml: str, rows: str | None = ROWS) -> Path:
    (folder / "task.toml").write_text(toml, encoding="utf-8")
    if rows is not None:
        (folder / "rows.jsonl").write_text(rows, encoding="utf-8")
    return folder / "task.toml"


def refusal(path: Path) -> DataError:
    with pytest.raises(DataError) as caught:
        load_task(path)
    return caught.value


def test_a_whole_file(tmp_path: Path) -> None:
    task = load_task(
        write(tmp_path, HEAD + 'cautions = ["One word."]\nchecks = ["grounded"]\nlicence = "MIT"\n' + GOOD)
    )
    assert (task.name, task.cautions, task.checks, task.licence) == (
        "colours",
        ("One word.",),
        ("grounded",),
        "MIT",
    )
    assert task.positive[0].explanation == "It is."
    assert [row.id for row in task.rows] == ["colours-1", "snow"]
    assert task.rows[0].tags == {"domain": "weather", "trap": "true"}
    assert (task.rows[1].source, task.rows[1].outputs) == ("winter", ("white", "pale"))


def test_rows_with_preferences(tmp_path: Path) -> None:
    rows = (
        '{"input": "sky", "output": "blue", "rejected": ["red", "loud"], "label": true}\n'
        '{"input": "sea", "output": "square", "label": false}\n'
        '{"input": "hat", "output": "black", "label": "clothes"}\n'
    )
    pair, down, tagged = load_task(write(tmp_path, HEAD, rows)).rows
    assert (pair.outputs, pair.rejected) == (("blue",), ("red", "loud"))
    assert (down.outputs, down.rejected) == ((), ("square",))
    assert (tagged.outputs, tagged.rejected, tagged.tags) == (("black",), (), {"label": "clothes"})
    rows = '{"input": "sky", "output": "blue", "rejected": []}\n'
    assert "The list 'rejected' is empty" in refusal(write(tmp_path, HEAD, rows)).message


def test_a_file_may_take_its_keys_from_another(tmp_path: Path) -> None:
    write(tmp_path, HEAD + GOOD)
    other = tmp_path / "other.toml"
    other.write_text('name = "sea"\nlike = "task.toml"\nrows = "other.jsonl"\n')
    (tmp_path / "other.jsonl").write_text('{"input": "sea", "output": "green"}\n')
    task = load_task(other)
    assert (task.name, task.definition, task.rows[0].outputs) == ("sea", "Name the colour.", ("green",))
    assert task.positive[0].input == "grass"
    write(tmp_path, HEAD + "name 3")
    assert refusal(other).where == str(tmp_path / "task.toml")


@pytest.mark.parametrize(
    ("toml", "message", "hint"),
    [
        (HEAD + "name 3", "not TOML", ""),
        (HEAD + 'caution = ["x"]', "no key 'caution'", "Did you mean 'cautions'?"),
        (HEAD + GOOD + 'reason = "x"', "no key 'reason'", "Known: explanation, input, output."),
        (HEAD + '[[negative]]\ninput = "x"', "'output' is required", ""),
        (HEAD + '[[positive]]\ninput = "x"\noutput = " "', "output is empty", ""),
        ('name = "x"\ndefinition = "d"', "'rows' is required", ""),
        (HEAD.replace("definition", "definiton"), "no key 'definiton'", "Did you mean 'definition'?"),
        (HEAD + "cautions = 3", "'cautions' is 3", ""),
        (HEAD + 'checks = ["groundet"]', "No check is named 'groundet'", "Did you mean 'grounded'?"),
        (HEAD.replace("Name the colour.", " "), "definition is empty", ""),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, toml: str, message: str, hint: str) -> None:
    error = refusal(write(tmp_path, toml))
    assert message in error.message
    assert hint in error.hint
    assert "task.toml" in error.where


def test_a_missing_rows_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "row.jsonl").write_text(ROWS)
    error = refusal(write(tmp_path, HEAD, rows=None))
    assert "no such file" in error.message
    assert error.where.endswith("rows.jsonl")
    assert "Did you mean 'row.jsonl'?" in error.hint


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"input": "sea"}', "no 'output'"),
        ('{"input": "sea", "output": ""}', "output is empty"),
        ('{"input": "sea", "output": "blue", "source": 3}', "'source' should be a text"),
        ("[1]", "not an object"),
        ("{", "not JSON"),
    ],
)
def test_a_bad_row_is_named_by_its_line(tmp_path: Path, line: str, message: str) -> None:
    error = refusal(write(tmp_path, HEAD, ROWS + line + "\n"))
    assert message in error.message
    assert error.where.endswith("rows.jsonl:4")


def test_a_bad_row_can_be_left_out(tmp_path: Path) -> None:
    rejects: list[dict[str, Any]] = []
    task = load_task(write(tmp_path, HEAD, '{"input": "sea"}\n' + ROWS), rejects.append)
    assert len(task.rows) == 2
    assert [(r["where"].rsplit(":", 1)[1], r["reason"]) for r in rejects] == [("1", "There is no 'output'.")]


def test_no_rows_at_all(tmp_path: Path) -> None:
    assert "no instances" in refusal(write(tmp_path, HEAD, "\n")).message
