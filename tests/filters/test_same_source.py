"""What training files have of test files: passages, and tasks of one source."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from espalier.core.errors import DataError
from espalier.core.records import Example, message
from espalier.data.judgement import filters
from espalier.filters.same_source import rows_in, shared, shared_source, texts_in
from espalier.tasks.task_files import is_task

TEXT = "The heron stood in the reeds until the boats had gone home for the night."


def task(folder: Path, name: str, inputs: list[str], source: list[str] | None = None) -> str:
    content: dict[str, Any] = {
        "Definition": "Say how long it takes, in a few words of your own and without a name.",
        "Positive Examples": [],
        "Negative Examples": [],
        "Instances": [
            {"id": f"{name}-{n}", "input": text, "output": ["Hours."]} for n, text in enumerate(inputs)
        ],
        **({"Source": source} if source else {}),
    }
    path = folder / f"{name}.json"
    path.write_text(json.dumps(content))
    return str(path)


def test_passages_and_sources_are_found(tmp_path: Path) -> None:
    train = task(tmp_path, "task003_heron_question", ["Sentence: A man sang.", f"Sentence: {TEXT}"])
    test = task(
        tmp_path, "subtask020_heron_span", [f"Sentence: {TEXT}\nQuestion: How long?", "Sentence: Snow fell."]
    )
    other = task(tmp_path, "task021_crane_span", ["Sentence: It rained on the hill for weeks."])
    found = shared([train, other], [test])
    assert (found.rows_matched, found.tests_matched) == (1, 1)
    assert found.same_source == ((train, test),)
    (match,) = found.matches
    assert (match.train, match.test, match.kind) == (f"{train}:2", f"{test}:1", "text")
    assert match.passage.startswith("the heron stood in the reeds")


def test_the_field_of_a_task_goes_before_its_name(tmp_path: Path) -> None:
    one = task(tmp_path, "task001_birds_a", ["x y"], ["Heron-Set"])
    two = task(tmp_path, "task002_reeds_b", ["x y"], ["heron set"])
    three = task(tmp_path, "task003_birds_c", ["x y"], ["Unknown"])
    four = task(tmp_path, "task004_birds_d", ["x y"])
    assert shared_source(one, two) == "heronset"
    assert shared_source(one, three) == ""
    assert shared_source(three, four) == "birds"
    assert shared_source(str(tmp_path / "rows.jsonl"), one) == ""


def test_a_build_refuses_a_task_of_the_tests_source(tmp_path: Path) -> None:
    train = task(tmp_path, "task003_heron_question", ["Sentence: A man sang.", f"Sentence: {TEXT}"])
    test = task(tmp_path, "task020_heron_span", [f"Sentence: {TEXT}\nQuestion: How long?"])
    rows = list(rows_in(train))
    with pytest.raises(DataError, match="made of the same source, 'heron'"):
        list(filters.build("contamination", {"tests": [test]})(rows))
    allowed = filters.build("contamination", {"tests": [test], "same_source": "allow"})
    first, second = allowed(rows)
    assert first.ok is True
    assert second.ok is False
    assert "the heron stood" in second.why
    assert second.near == f"{test}:1"


def test_answers_are_looked_at_and_system_turns_are_not(tmp_path: Path) -> None:
    path = tmp_path / "test.jsonl"
    path.write_text(json.dumps({"instruction": "Tell of a bird.", "output": TEXT}) + "\n")
    judge = filters.build("contamination", {"tests": [str(path)]})
    turns = [message("user", "Go on, please."), message("assistant", "It ended.", trained=True)]
    rows = [
        Example("a", "t", "s", (message("system", TEXT), *turns)),
        Example("b", "t", "s", (*turns, message("user", TEXT), turns[1])),
        Example("c", "t", "s", tuple(turns), rejected=(message("assistant", TEXT),)),
    ]
    assert [one.ok for one in judge(rows)] == [True, False, False]


def test_a_test_set_in_no_format_is_looked_at_too(tmp_path: Path) -> None:
    train = tmp_path / "train.jsonl"
    train.write_text(
        "".join(json.dumps({"prompt": f"{n}", "completion": f"{TEXT} {n}"}) + "\n" for n in (1, 2))
    )
    bench = tmp_path / "bench.jsonl"
    rows = [
        {"question_id": 1, "turns": ["Why is it?"]},
        {"question_id": 2, "turns": ["Go on.", f"So: {TEXT}"]},
    ]
    bench.write_text("".join(json.dumps(row) + "\n" for row in rows))
    bare = tmp_path / "bare.tsv"
    bare.write_text(f"{TEXT}\tHow long?\tyes\nThe sea froze over before the ships came in.\tHow long?\tno\n")
    found = shared([str(train)], [str(bench), str(bare)])
    assert [match.test for match in found.matches] == [f"{bench}:2", f"{bare}:1"]
    assert (found.rows_matched, found.tests_matched) == (2, 2)


def test_rows_that_cannot_be_used_are_looked_at_too(tmp_path: Path) -> None:
    test = tmp_path / "test.jsonl"
    test.write_text(json.dumps({"prompt": "One?", "completion": TEXT}) + "\n")
    train = tmp_path / "train.jsonl"
    train.write_text(
        '{"prompt": "a", "completion": "b"}\n' + json.dumps({"prompt": TEXT, "completion": None}) + "\n"
    )
    (match,) = shared([str(train)], [str(test)]).matches
    assert match.train == f"{train}:2"


def test_the_published_pair_of_tasks_is_found(shared_data: Path) -> None:
    folder = shared_data / "natural-instructions-v1"
    (train,), (test,) = (map(str, folder.glob(f"subtask{number}_*")) for number in ("003", "020"))
    found = shared([train], [test])
    assert found.same_source == ((train, test),)
    inputs = [row.input for row in rows_in(test)]
    sentences = {inputs[int(match.test.rpartition(":")[2]) - 1].split("\n")[0] for match in found.matches}
    assert len({text.split("\n")[0] for text in inputs}) == 240
    assert len(sentences) >= 209


# What holds no row with an answer to train on. As test sets they are read all the same.
NO_ANSWERS = {
    *(
        "question.jsonl",
        "input_data.josejg.jsonl",
        "natinst_task_meta.jsonl",
        "example_model_solutions.jsonl",
    ),
    *("dataset_info.json", "mllm_demo.json", "eval_instances_tulu_1.jsonl", "dev_3783.tsv", "test_9442.tsv"),
}


def test_every_published_file_of_rows_is_read(shared_data: Path) -> None:
    ends = (".json", ".jsonl", ".tsv")
    for path in (path for path in shared_data.rglob("*") if path.suffix in ends):
        assert next(iter(texts_in(str(path))))[1]
        bare = path.name in NO_ANSWERS or path.parent.name == "gpt3_predictions"
        if not bare and not is_task(path):  # a task's texts are those of its rows, which have been read
            assert next(iter(rows_in(str(path)))).messages
