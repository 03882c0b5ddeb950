from __future__ import annotations

import json
from pathlib import Path

import pytest

from espalier.data.table import read_examples


def test_a_text_a_file_and_standard_input_are_answered_alike(finished, espalier, tmp_path: Path) -> None:
    (tmp_path / "texts.txt").write_text("a drum\n\na kite\n", encoding="utf-8")
    drum, kite = (espalier("generate", finished.folder, f"a {thing}") for thing in ("drum", "kite"))
    both = espalier("generate", finished.folder, "--file", tmp_path / "texts.txt", "--text")
    assert (drum.code, kite.code, both.code) == (0, 0, 0)
    assert both.out == drum.out + kite.out
    assert espalier("generate", finished.folder, stdin="a drum\n").out == drum.out


def test_answers_of_a_file_can_be_told_apart(finished, espalier, tmp_path: Path) -> None:
    (tmp_path / "texts.txt").write_text("a drum\n\na kite\n", encoding="utf-8")
    rows = [{"id": 7, "input": "a kite"}, {"text": "a drum"}]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    lines = espalier("generate", finished.folder, "--file", tmp_path / "texts.txt").out.splitlines()
    drum, kite = map(json.loads, lines)
    assert (drum["index"], drum["id"], kite["index"], kite["id"]) == (0, "0", 2, "2")
    named = espalier("generate", finished.folder, "--file", tmp_path / "rows.jsonl").out.splitlines()
    assert [json.loads(line) for line in named] == [
        {**kite, "index": 0, "id": "7"},
        {**drum, "index": 1, "id": "1"},
    ]


def test_a_prompt_beyond_the_context_is_refused_with_both_numbers(finished, espalier) -> None:
    result = espalier("generate", finished.folder, "a very " * 4000 + "long prompt")
    assert result.code == 2
    assert "the model's context of " in result.err


def test_the_answer_is_that_of_the_run(finished, espalier) -> None:
    example = read_examples(finished.folder / "data" / "test.parquet")[0]
    outputs = map(json.loads, (finished.folder / "outputs.jsonl").read_text().splitlines())
    (text,) = (
        line["text"] for line in outputs if line["system"] == "tuned" and line["example"] == example.id
    )
    assert espalier("generate", finished.folder, example.input).out == text + "\n"


def test_a_run_answers_from_anywhere_without_its_task_file(after, espalier, tmp_path: Path) -> None:
    (after.home / "plural.toml").unlink()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    here = espalier("generate", after.folder, "a drum", cwd=elsewhere)
    assert here.code == 0, here.err
    assert here.out == espalier("generate", "runs/plural", "a drum", cwd=after.home).out


def test_plain_and_base_ask_something_else(finished, espalier) -> None:
    tuned = espalier("generate", finished.folder, "a drum", "--limit", "30")
    base = espalier("generate", finished.folder, "a drum", "--base", "--limit", "30")
    plain = espalier("generate", finished.folder, "a drum", "--base", "--limit", "30", "--plain")
    assert "--plain sends the text as it is" in tuned.err
    assert "--plain" not in plain.err
    assert len({tuned.out, base.out, plain.out}) == 3


@pytest.mark.parametrize(
    ("arguments", "stdin", "said"),
    [
        ((), " \n", "There is no text to answer"),
        (("a drum", "--file", "texts.txt"), "", "Both a text and --file are given"),
        (("--file", "texts.txt"), "", "texts.txt: There is no such file"),
    ],
)
def test_nothing_to_answer(finished, espalier, arguments: tuple[str, ...], stdin: str, said: str) -> None:
    result = espalier("generate", finished.folder, *arguments, stdin=stdin)
    assert result.code == 2
    assert said in result.err


def test_a_run_without_a_model_says_so(after, espalier) -> None:
    (after.folder / "model").rename(after.folder / "elsewhere")
    result = espalier("generate", after.folder, "a drum")
    assert result.code == 2
    assert "no tuned model yet. Finish it with `espalier run`." in result.err
