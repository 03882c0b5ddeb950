"""Every file format loads, every file of the real collections loads, and bad files say what is wrong."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from espalier.core.errors import DataError
from espalier.tasks.task_files import is_task, load_task, task_path

if TYPE_CHECKING:
    from pathlib import Path

V2: dict[str, Any] = {
    "Definition": ["Name the colour."],
    "Positive Examples": [{"input": "grass", "output": "green", "explanation": "-"}],
    "Negative Examples": [],
    "Instances": [{"id": "a", "input": "sky", "output": ["blue"]}],
}


def write(path: Path, content: object) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def refusal(path: Path | str) -> DataError:
    with pytest.raises(DataError) as caught:
        load_task(path)
    return caught.value


def test_every_v1_file_loads(shared_data: Path) -> None:
    files = sorted((shared_data / "natural-instructions-v1").glob("subtask*.json"))
    tasks = [load_task(file) for file in files]
    assert len(tasks) == 17
    assert sum(len(task.rows) for task in tasks) == 8967
    assert all(task.definition and len(task.positive) == 2 for task in tasks)
    # "-" stands for none: as cautions, and as a whole negative example.
    by_number = {task.name[7:10]: task for task in tasks}
    assert by_number["018"].cautions == ()
    assert by_number["004"].negative == ()
    assert len(by_number["003"].cautions) == 2
    assert by_number["003"].negative[0].explanation.startswith("We DO NOT want")


def test_every_v2_file_loads(shared_data: Path) -> None:
    files = sorted((shared_data / "natural-instructions-v2" / "tasks").glob("*.json"))
    tasks = {task.name: task for task in map(load_task, files)}
    assert len(tasks) == 45
    assert sum(len(task.rows) for task in tasks.values()) == 29877
    for task, file in zip(tasks.values(), files, strict=True):
        raw = json.loads(file.read_text(encoding="utf-8"))
        assert len(task.rows) == len(raw["Instances"])
        assert [row.id for row in task.rows] == [instance["id"] for instance in raw["Instances"]]
    duration = tasks["task003_mctaco_question_generation_event_duration"]
    assert (duration.sources, duration.categories, duration.licence) == (
        ("mctaco",),
        ("Question Generation",),
        "Unknown",
    )
    assert tasks["task1319_country_by_barcode_prefix"].licence == "Public Domain"
    assert tasks["task1732_bbh_boolean_expressions"].licence == "Unknown"


def test_the_bundled_task_loads_by_name() -> None:
    task = load_task("event-duration")
    assert task.name == "event-duration"
    assert (len(task.positive), len(task.negative)) == (4, 3)
    assert len(task.rows) >= 300
    assert "answer_not_stated" in task.checks


def test_a_file_goes_before_a_bundled_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "event-duration", V2)
    assert load_task("event-duration").definition == "Name the colour."


def test_the_content_tells_the_format(tmp_path: Path) -> None:
    assert load_task(write(tmp_path / "task.txt", V2)).rows[0].outputs == ("blue",)


def test_a_missing_file_names_the_nearest(tmp_path: Path) -> None:
    write(tmp_path / "colours.json", V2)
    error = refusal(tmp_path / "colors.json")
    assert "no such task file" in error.message
    assert "Did you mean 'colours.json'?" in error.hint
    assert "event-duration" in error.hint
    assert "Did you mean 'event-duration'?" in refusal("event_duration").hint


def test_a_folder_is_refused(tmp_path: Path) -> None:
    assert "folder" in refusal(tmp_path).message


def test_not_json_names_line_and_column(tmp_path: Path) -> None:
    error = refusal(write(tmp_path / "task.json", '{"Definition": "x",\n "Instances": [}'))
    assert "not JSON" in error.message
    assert "column 16" in error.message
    assert error.where.endswith("task.json:2")


def test_an_empty_file_and_bare_rows_are_refused(tmp_path: Path) -> None:
    assert "empty" in refusal(write(tmp_path / "task.toml", " \n")).message
    error = refusal(write(tmp_path / "rows.jsonl", '{"input": "a", "output": "b"}\n'))
    assert 'rows = "rows.jsonl"' in error.hint


def test_a_wrong_encoding_names_the_byte(tmp_path: Path) -> None:
    path = tmp_path / "task.json"
    path.write_bytes('{"Definition": "café"}'.encode("latin-1"))
    error = refusal(path)
    assert "not UTF-8" in error.message
    assert "iconv" in error.hint


def test_a_bundled_task_is_a_file() -> None:
    assert task_path("event-duration").name == "event_duration.toml"


@pytest.mark.parametrize(
    ("value", "said"),
    [("9" * 5000, "a number has 5000 digits"), ("[" * 20_000 + "]" * 20_000, "nested too deeply")],
)
def test_a_file_that_says_what_nobody_could_use_is_refused_in_words(
    tmp_path: Path, value: str, said: str
) -> None:
    file = write(tmp_path / "task.json", json.dumps(V2)[:-1] + f', "more": {value}}}')
    assert not is_task(file)  # who reads its rows says where
    assert said in refusal(file).message
    toml = write(tmp_path / "task.toml", f'name = "x"\nmore = {value}\n')
    assert ("thousands of digits" if value[0] == "9" else said) in refusal(toml).message
