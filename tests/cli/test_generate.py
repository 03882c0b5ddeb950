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


def test_answers_of_a_file_can_be_matched_to_its_rows(finished, espalier, tmp_path: Path) -> None:
    rows = [{"id": 7, "input": "a drum"}, {"input": "a kite", "output": ""}, {"text": "a drum"}]
    (tmp_path / "rows.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    (tmp_path / "texts.txt").write_text("a drum\n\na kite\na drum\n")
    drum, kite = (espalier("generate", finished.folder, f"a {thing}").out for thing in ("drum", "kite"))
    for name, places in (("rows.jsonl", [0, 1, 2]), ("texts.txt", [0, 2, 3])):
        result = espalier("generate", finished.folder, "--file", tmp_path / name)
        lines = [json.loads(line) for line in result.out.splitlines()]
        assert [line["index"] for line in lines] == places
        assert [line["input"] for line in lines] == ["a drum", "a kite", "a drum"]
        assert [line["text"] + "\n" for line in lines] == [drum, kite, drum]
        assert {line["finish"] for line in lines} <= {"stop", "length"}
    one = json.loads(espalier("generate", finished.folder, "a drum", "--json").out)
    assert (one["index"], one["text"] + "\n") == (0, drum)


def test_many_answers_come_in_the_order_of_their_lines(
    finished, espalier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from espalier.runs import answers

    things = ["a drum", "a kite", "many long words that say nothing", "a drum", "x", "a naïve boat", "a cup"]
    (tmp_path / "texts.txt").write_text("\n".join(things), encoding="utf-8")
    monkeypatch.setattr(answers, "TOGETHER", 3)
    many = espalier("generate", finished.folder, "--file", tmp_path / "texts.txt", "--text")
    assert many.out == "".join(espalier("generate", finished.folder, thing).out for thing in things)


def test_a_system_turn_can_be_given_and_its_effect_is_told(finished, espalier) -> None:
    for more in ((), ("--plain",)):
        command = ("generate", finished.folder, "a drum", "--base", "--limit", "30", *more)
        other = espalier(*command, "--system", "Be a poet.")
        assert espalier(*command).out != other.out
        assert ("under the system turn “Be a poet.”, behind “Write the plural" in other.err) != bool(more)


def test_a_prompt_beyond_the_context_is_refused_with_both_numbers(finished, espalier, tmp_path: Path) -> None:
    (tmp_path / "texts.txt").write_text("a drum\n" + "word " * 4000)
    result = espalier("generate", finished.folder, "--file", tmp_path / "texts.txt")
    assert (result.code, result.out) == (2, "")
    assert "texts.txt:2: The prompt has 2" in result.err
    assert "more than the model's context of 4096" in result.err


def test_what_is_not_utf8_is_said(finished, espalier) -> None:
    result = espalier("generate", finished.folder, "a \udcff drum")
    assert result.code == 2
    assert "The text is not UTF-8" in result.err


SHARED = """
name = "shared"
folder = "runs"
evidence = false
[task]
path = "rows.jsonl"
[data]
train = 0.5
[model]
name = "tiny"
precision = "fp32"
[train]
epochs = 0.2
[decode]
kind = "greedy"
limit = 6
"""


def test_a_run_of_rows_is_asked_under_what_they_share(home: Path, espalier) -> None:
    rows = [
        {
            "messages": [
                {"role": "system", "content": "You make plurals."},
                {"role": "user", "content": f"Noun:\n{n}"},
                {"role": "assistant", "content": f"{n}s"},
            ]
        }
        for n in range(8)
    ]
    (home / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (home / "shared.toml").write_text(SHARED)
    assert espalier("run", "shared.toml", cwd=home).code == 0
    example = read_examples(home / "runs/shared/data/test.parquet")[0]
    outputs = map(json.loads, (home / "runs/shared/outputs.jsonl").read_text().splitlines())
    wanted = [line["text"] for line in outputs if (line["system"], line["example"]) == ("tuned", example.id)]
    own = example.input.removeprefix("Noun:\n")
    for text in (own, example.input):
        asked = espalier("generate", "runs/shared", text, cwd=home)
        assert asked.out.removesuffix("\n") == wanted[0]
        assert "under the system turn “You make plurals.”, behind “Noun:”" in asked.err
    again = espalier("generate", "runs/shared", "--file", "rows.jsonl", cwd=home)
    found = {line["id"]: line["text"] for line in map(json.loads, again.out.splitlines())}
    assert found[example.id] == wanted[0]


def test_a_model_is_asked_in_its_own_way(finished, espalier) -> None:
    model = espalier("generate", "tiny", "a drum", "--limit", "8", cwd=finished.home)
    assert model.code == 0, model.err
    plain = espalier("generate", finished.folder, "a drum", "--base", "--plain", "--limit", "8")
    assert model.out == plain.out
    refused = espalier("generate", "tiny", "a drum", "--base", cwd=finished.home)
    assert "--base is for a run" in refused.err


def test_samples_follow_their_seed(finished, espalier) -> None:
    def lines(*more: str) -> list[dict[str, object]]:
        result = espalier("generate", finished.folder, "a drum", "--json", *more)
        assert result.code == 0, result.err
        return [json.loads(line) for line in result.out.splitlines()]

    first = lines("--samples", "3", "--temperature", "2", "--seed", "5")
    assert [line["sample"] for line in first] == [0, 1, 2]
    assert first == lines("--samples", "3", "--temperature", "2", "--seed", "5")
    assert first != lines("--samples", "3", "--temperature", "2", "--seed", "6")
    assert lines("--temperature", "0") == lines()
    (one,) = lines("--seed", "1")
    assert "sample" not in one
    assert espalier("generate", finished.folder, "a drum", "--seed", "1").out == f"{one['text']}\n"


def test_beams_are_searched_and_draws_can_be_cut(finished, espalier) -> None:
    def texts(*more: str) -> list[str]:
        result = espalier("generate", finished.folder, "a drum", "--json", "--limit", "8", *more)
        assert result.code == 0, result.err
        return [json.loads(line)["text"] for line in result.out.splitlines()]

    greedily = texts("--temperature", "0")
    assert texts("--beams", "1") == texts("--top-k", "1") == texts("--min-p", "1") == greedily
    three = texts("--beams", "3", "--samples", "3")
    assert len(set(three)) == 3
    assert texts("--beams", "3", "--temperature", "0") == three[:1]
    assert texts("--repetition-penalty", "9") != greedily


@pytest.mark.parametrize(
    ("name", "more", "said"),
    [
        ("runs/plurla", (), "Did you mean 'runs/plural'?"),
        ("plural", (), "Did you mean 'runs/plural'?"),
        ("smollm2-135", (), "Did you mean 'smollm2-135m'?"),
        ("runs", (), "Did you mean 'runs/plural'?"),
        ("runs/plural", ("--samples", "2", "--temperature", "0"), "all answers are the same"),
        ("runs/plural", ("--top-p", "2"), "top_p = 2.0 does not fit"),
        ("runs/plural", ("--min-p", "2"), "min_p = 2.0 does not fit"),
        ("runs/plural", ("--beams", "2", "--top-k", "3"), "Leave out beams, or top_k"),
        ("runs/plural", ("--beams", "2", "--samples", "3"), "samples = 3 does not fit"),
    ],
)
def test_what_cannot_be_asked_is_told(
    finished, espalier, name: str, more: tuple[str, ...], said: str
) -> None:
    result = espalier("generate", name, "a drum", *more, cwd=finished.home)
    assert result.code == 2
    assert said in result.err


def test_a_folder_that_is_no_model_says_what_it_holds(espalier, tmp_path: Path) -> None:
    for name, said in (("w.gguf", "GGUF"), ("notes.txt", "holds no config.json")):
        folder = tmp_path / name.partition(".")[0]
        folder.mkdir()
        (folder / name).touch()
        done = espalier("generate", folder, "hello", cwd=tmp_path)
        assert (done.code, said in done.err) == (2, True), done.err
