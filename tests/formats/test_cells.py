"""Tables of texts: delimiter and quotes are told, and nothing is swallowed by a quote that never closes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from espalier.core.errors import DataError
from espalier.formats.load import load_rows

if TYPE_CHECKING:
    from pathlib import Path

TURNS = [{"role": "user", "content": "It's „so“"}, {"role": "assistant", "content": "no\nyes"}]


def written(folder: Path, name: str, text: str) -> Path:
    (folder / name).write_bytes(text.encode())
    return folder / name


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.csv", 'prompt;completion\n"a, b, c";d\n', ("a, b, c", "d")),
        ("a.csv", 'prompt;completion;"a,b,c,d"\nx;y;z\n', ("x", "y")),
        ("a.csv", "prompt|completion\nx, y|z\n", ("x, y", "z")),
        ("a.csv", 'prompt,completion\r\n"a\r\nb","say ""no"""\r\n\r\n', ("a\r\nb", 'say "no"')),
        ("a.csv", "prompt,completion\rx,y\r", ("x", "y")),
        ("a.csv", ",prompt,completion\n0,x,007\n", ("x", "007")),
        ("a.tsv", 'prompt\tcompletion\nsay\t"Hi" he said\n', ("say", '"Hi" he said')),
        ("a.tsv", 'prompt\tcompletion\n"a\nb"\tc\n', ("a\nb", "c")),
        ("a.csv", '{"prompt": "x", "completion": "y"}\n', ("x", "y")),
        ("a.csv", "sep=;\r\nprompt;completion\r\na,b;c\r\n", ("a,b", "c")),
        ("a.csv", '\ufeff"sep=,"\nprompt,completion\na,b\n', ("a", "b")),
        ("a.csv", 'prompt, completion\n"a, b", "c, d"\n', ("a, b", "c, d")),
        ("a.csv", 'prompt,completion\n"say \\"no\\", \\frac",x\n', ('say "no", \\frac', "x")),
        ("a.csv", 'prompt;completion\n1,5;"2,5"\n', ("1,5", "2,5")),
    ],
)
def test_delimiter_and_quotes_are_told(tmp_path: Path, name: str, text: str, said: tuple[str, str]) -> None:
    (loaded,) = load_rows(written(tmp_path, name, text))
    assert tuple(turn.text for turn in loaded.messages) == said


@pytest.mark.parametrize("text", [json.dumps(TURNS), repr(TURNS)], ids=["json", "pandas"])
def test_turns_in_a_cell_are_turns_under_any_column(tmp_path: Path, text: str) -> None:
    quoted = text.replace('"', '""')
    path = written(tmp_path, "a.csv", f'chat\n"{quoted}"\n')
    (loaded,) = load_rows(path, columns={"messages": "chat"})
    assert [turn.text for turn in loaded.messages] == [turn["content"] for turn in TURNS]


@pytest.mark.parametrize(
    ("text", "where", "said"),
    [
        ('prompt,completion\na,"b\nc,d\n', ":2", "never closed"),
        ('prompt,completion\n"a\nb",c\nd,e,f\n', ":4", "The row has 3 cells, and the header 2."),
        ("prompt,completion\na,b\nc\n", ":3", "The row has 1 cells, and the header 2."),
        ('prompt,completion\na,b\nc,"d"e\n', ":3", "Quotes go around a whole cell"),
        ("sep=,\nprompt,completion\na,b\nc\n", ":4", "The row has 1 cells, and the header 2."),
        ("prompt,prompt\na,b\n", ":1", "Two columns are called 'prompt'"),
    ],
)
def test_what_is_wrong_is_said_by_its_line(tmp_path: Path, text: str, where: str, said: str) -> None:
    path = written(tmp_path, "a.csv", text)
    with pytest.raises(DataError, match=said) as caught:
        load_rows(path)
    assert caught.value.where == f"{path}{where}"


def test_rows_that_are_cut_can_be_left_out(tmp_path: Path) -> None:
    rejects: list[dict[str, Any]] = []
    path = written(tmp_path, "a.csv", 'prompt,completion\na,"b"c\nd\ne,f\n')
    assert [item.origin["row"] for item in load_rows(path, on_reject=rejects.append)] == ["4"]
    assert [reject["where"] for reject in rejects] == [f"{path}:2", f"{path}:3"]
