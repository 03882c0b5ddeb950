"""Files of inputs: lines, rows of every format, and such rows without their answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from espalier.core.errors import DataError
from espalier.data.inputs import read_questions


def test_lines_are_counted_with_the_blank_ones(tmp_path: Path) -> None:
    file = tmp_path / "texts.txt"
    file.write_text("one\n\n  \nfour\u2028still four\n")
    assert [(q.index, q.text) for q in read_questions(file)] == [(0, "one"), (3, "four\u2028still four")]


SYSTEM = [
    ({"input": "cup"}, "cup"),
    ({"question": "cup", "answer": "cups"}, "cup"),
    ({"instruction": "Plural."}, "Plural."),
    ({"prompt": "cup"}, "cup"),
    ({"question": "Which?", "choices": ["cup", "hat"]}, "Which?\nA. cup\nB. hat"),
    ({"question": "Which?", "context": "A cup."}, "A cup.\nWhich?"),
]


@pytest.mark.parametrize(
    ("row", "asked"),
    [
        ({"input": "cup"}, "cup"),
        ({"text": "cup", "note": 1}, "cup"),
        ({"question": "cup", "answer": "cups"}, "cup"),
        ({"instruction": "Plural.", "input": "cup"}, "Plural.\ncup"),
        ({"instruction": "Plural.", "input": "cup", "output": ""}, "Plural.\ncup"),
        ({"prompt": "cup"}, "cup"),
        ({"prompt": [{"role": "user", "content": "cup"}]}, "cup"),
        ({"messages": [{"role": "user", "content": "cup"}]}, "cup"),
        ({"messages": [{"role": "user", "content": "cup"}, {"role": "assistant", "content": "cups"}]}, "cup"),
        ({"conversations": [{"from": "human", "value": "cup"}], "system": "Be brief."}, "cup"),
        ({"prompt": "cup", "chosen": None, "rejected": None}, "cup"),
        ({"question": "Which?", "choices": ["cup", "hat"]}, "Which?\nA. cup\nB. hat"),
        ({"question": "Which?", "context": "A cup."}, "A cup.\nWhich?"),
        ({"dialogue": [{"role": "user", "content": "cup"}]}, "cup"),
        ({"Question": "cup"}, "cup"),
        ({"article": "cup", "highlights": "A cup."}, "cup"),
        *(({**row, "system": "Be brief."}, asked) for row, asked in SYSTEM),
    ],
)
def test_a_row_is_asked_with_and_without_its_answer(tmp_path: Path, row: dict[str, Any], asked: str) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text(f"\n{json.dumps({'id': 7, **row})}\n")
    (question,) = read_questions(file)
    assert (question.text or question.prompt[-1].text) == asked
    assert (question.index, question.id) == (0, "7")
    turns = (*question.frame, *question.prompt[:-1])
    assert [(turn.role, turn.text) for turn in turns] == [("system", "Be brief.")] * ("system" in row)


def test_rows_are_counted_from_0_whatever_line_they_stand_on(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text('sep=;\nquestion;note\n"cup\nhat";a\nbox;b\n')
    assert [(q.index, q.id) for q in read_questions(tmp_path / "rows.csv")] == [(0, "0"), (1, "1")]


def test_a_task_files_rows_are_its_inputs(tmp_path: Path) -> None:
    rows = [
        {"id": "a-1", "input": "cup", "output": ["cups"]},
        {"id": "a-2", "input": "hat", "output": ["hats"]},
    ]
    (tmp_path / "task.json").write_text(json.dumps({"Definition": ["Write the plural."], "Instances": rows}))
    found = read_questions(tmp_path / "task.json")
    assert [(q.index, q.id, q.text) for q in found] == [(0, "a-1", "cup"), (1, "a-2", "hat")]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"answer": "cups"}', "The row asks nothing: it has answer."),
        ('{"input": 3}', "Here should be a text; it is a number."),
        ("[1]", "it is a list"),
        ('{"messages": [{"role": "user", "content": ""}]}', "The text is empty"),
    ],
)
def test_a_row_that_asks_nothing_is_named(tmp_path: Path, line: str, said: str) -> None:
    (tmp_path / "rows.jsonl").write_text(f'{{"input": "cup"}}\n{line}\n')
    with pytest.raises(DataError) as caught:
        read_questions(tmp_path / "rows.jsonl")
    assert said in str(caught.value)
    assert "rows.jsonl:2" in str(caught.value)
