"""Answers of other tools: each form that is read, and each that is refused in a sentence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from espalier.core.errors import DataError
from espalier.tasks.answer_files import ANSWERS, read_answers


@pytest.mark.parametrize("key", ANSWERS)
def test_every_tool_s_word_for_an_answer(tmp_path: Path, key: str) -> None:
    path = tmp_path / "said.jsonl"
    value = ["one"] if key == "filtered_resps" else "one"
    path.write_text(json.dumps({"id": "a", key: value}) + "\n" + json.dumps({"id": "b", key: "two"}) + "\n")
    found = read_answers(path)
    assert (found.by, found.names, found.texts, found.key) == ("id", ("a", "b"), ("one", "two"), key)


@pytest.mark.parametrize(
    ("name", "text", "by", "names", "texts"),
    [
        ("p.txt", "yes\nno\n", "order", (), ("yes", "no")),
        ("p.txt", "yes\r\n\r\nno", "order", (), ("yes", "", "no")),
        ("p.txt", '{"x": 1}\n[2\n', "order", (), ('{"x": 1}', "[2")),
        ("p", "yes\nno", "order", (), ("yes", "no")),
        (
            "p.json",
            '["yes", null, 3, true, NaN, ["a", "b"]]',
            "order",
            (),
            ("yes", None, "3", "true", None, "a"),
        ),
        ("p.json", '{"q1": "a", "q2": "b"}', "id", ("q1", "q2"), ("a", "b")),
        ("p.json", '[{"text": "a"}, {"text": null}]', "order", (), ("a", None)),
        ("p.json", '{"predictions": ["a"]}', "order", (), ("a",)),
        ("p.jsonl", '{"index": 1, "output": "a"}', "index", ("1",), ("a",)),
        ("p.jsonl", '{"id": 7, "index": 0, "answer": "gold", "prediction": "a"}', "id", ("7",), ("a",)),
        ("p.csv", 'id,prediction\n4,"a, b"\n5,\n', "id", ("4", "5"), ("a, b", "")),
        ("p.tsv", "response\tidx\na\t0\n", "index", ("0",), ("a",)),
        ("p.jsonl", '{"system": "Be brief.", "output": "a"}\n', "order", (), ("a",)),
    ],
)
def test_every_form(
    tmp_path: Path, name: str, text: str, by: str, names: tuple[str, ...], texts: tuple[str | None, ...]
) -> None:
    path = tmp_path / name
    path.write_text(text, newline="")
    found = read_answers(path)
    assert (found.by, found.names, found.texts) == (by, names, texts)


def test_lm_eval_s_samples_are_read_for_one_filter(tmp_path: Path) -> None:
    path = tmp_path / "samples_gsm8k.jsonl"
    lines = [
        {
            "doc_id": doc,
            "target": "#### 7",
            "filter": name,
            "resps": [["long"]],
            "filtered_resps": [name[0] + str(doc)],
        }
        for name in ("strict-match", "flexible-extract")
        for doc in range(2)
    ]
    path.write_text("\n".join(map(json.dumps, lines)))
    found = read_answers(path)
    assert (found.by, found.texts, found.system, found.skipped) == ("index", ("s0", "s1"), "strict-match", 2)
    assert read_answers(path, "flexible-extract").texts == ("f0", "f1")
    with pytest.raises(DataError, match="Did you mean 'strict-match'"):
        read_answers(path, "strict")


@pytest.mark.parametrize(
    ("name", "text", "message", "where"),
    [
        ("p.txt", "", "The file is empty", ""),
        ("p.jsonl", "\n \n", "The file is empty", ""),
        ("p.csv", "", "The file is empty", ""),
        ("p.json", "[]", "The file is empty", ""),
        ("p.json", "3", "neither a list nor lines", ""),
        ("p.jsonl", '{"id": "a", "prediction": "x"}\n{"id": "b"}\n', "this one has id", ":2"),
        ("p.jsonl", '{"id": "a", "prediction": "x"}\n{"prediction": "x"}\n', "this one has prediction", ":2"),
        ("p.jsonl", '{"id": "a", "said": "x"}\n', "An answer is called prediction", ":1"),
        ("p.jsonl", '{"id": "a", "prediction": "x"}\nx\n', "not JSON", ":2"),
        ("p.jsonl", '{"id": "a", "prediction": {"a": 1}}\n', "a text was expected", ":1"),
        ("p.jsonl", '{"id": 1.5, "prediction": "x"}\n', "neither a text nor a number", ":1"),
        ("p.jsonl", '{"index": 1.5, "prediction": "x"}\n', "no place counted from 0", ":1"),
        ("p.json", '["a", {"text": "b"}]', "Some predictions are objects", ""),
        ("p.csv", "a,b\n1,2\n", "No column holds the predictions", ":1"),
        ("p.csv", "id,text\n1\n", "The row has 1 cells, and the table 2 columns", ", row 1"),
        ("p.csv", 'id,text\n1,"x\n', "The table cannot be read", ""),
    ],
)
def test_what_cannot_be_used_is_said(tmp_path: Path, name: str, text: str, message: str, where: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(DataError, match=message) as error:
        read_answers(path)
    assert error.value.where == f"{path}{where}"
