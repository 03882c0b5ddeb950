"""Files as people have them: the real ones load whole, and whatever is wrong with one is said where it is."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from espalier.core.errors import DataError, RecipeError
from espalier.core.files import jsonl
from espalier.core.records import message
from espalier.formats.format import Format, Row, example
from espalier.formats.load import formats, load_rows

if TYPE_CHECKING:
    from pathlib import Path

ALPACA = {"instruction": "Name a colour.", "input": "", "output": "Blue"}


def write(path: Path, content: object) -> Path:
    data = content if isinstance(content, bytes) else json.dumps(content).encode()
    path.write_bytes(data)
    return path


def lines(*rows: object) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def refusal(path: Path) -> DataError:
    with pytest.raises(DataError) as caught:
        load_rows(path)
    return caught.value


@pytest.mark.parametrize(
    ("file", "examples", "trained", "rejected"),
    [
        ("llamafactory/alpaca_en_demo.json", 999, 999, 0),
        ("llamafactory/identity.json", 91, 91, 0),
        ("llamafactory/dpo_en_demo.json", 300, 300, 300),
        ("llamafactory/kto_en_demo.json", 300, 150, 150),
        ("llamafactory/glaive_toolcall_en_demo.json", 300, 957, 0),
        ("fastchat/dummy_conversation.json", 500, 1000, 0),
        ("openassistant/en_100_tree.jsonl", 546, 687, 0),
        ("self-instruct/seed_tasks.jsonl", 175, 175, 0),
        ("self-instruct/user_oriented_instructions.jsonl", 252, 252, 0),
        ("gsm8k/train.head1000.jsonl", 1000, 1000, 0),
    ],
)
def test_real_files_load_whole(
    shared_data: Path, file: str, examples: int, trained: int, rejected: int
) -> None:
    loaded = load_rows(shared_data / file)
    assert len(loaded) == len({item.id for item in loaded}) == examples
    assert sum(turn.trained for item in loaded for turn in item.messages) == trained
    assert sum(len(item.rejected) for item in loaded) == rejected
    assert all(item.references or item.rejected for item in loaded)


def test_every_turn_of_a_real_file_is_kept(shared_data: Path) -> None:
    path = shared_data / "llamafactory" / "glaive_toolcall_en_demo.json"
    for row, item in zip(json.loads(path.read_text()), load_rows(path), strict=True):
        turns = [turn for turn in item.messages if turn.role != "system"]
        assert len(turns) == len(row["conversations"])
        said = [turn.text for turn in turns if turn.role != "assistant" or "<tool_call>" not in turn.text]
        assert said == [turn["value"] for turn in row["conversations"] if turn["from"] != "function_call"]
        assert (item.messages[0].role == "system") == (row["tools"] != "[]")


@pytest.mark.parametrize(
    "content",
    [
        [ALPACA],
        lines(ALPACA),
        b"\xef\xbb\xbf" + lines(ALPACA),
        lines(ALPACA).replace(b"\n", b"\r\n") + b"\r\n\r\n",
        json.dumps(ALPACA, indent=2).encode(),
        b"\xef\xbb\xbf" + json.dumps([ALPACA], indent=2).encode().replace(b"\n", b"\r\n"),
        [{**ALPACA, "messages": None, "chosen": None}],
    ],
    ids=["list", "lines", "bom", "crlf", "one-object", "bom-crlf-list", "filled-up"],
)
def test_json_however_it_is_written(tmp_path: Path, content: object) -> None:
    (loaded,) = load_rows(write(tmp_path / "rows", content))
    assert [turn.text for turn in loaded.messages] == ["Name a colour.", "Blue"]
    assert (loaded.references, loaded.input, loaded.task) == (("Blue",), "Name a colour.", "rows")
    assert loaded.origin == {"file": str(tmp_path / "rows"), "row": "1"}


@pytest.mark.parametrize(
    ("content", "where", "said"),
    [
        (b"", "", "The file is empty."),
        ([], "", "The file has no rows."),
        ([3, 4], ", row 1", "an object {…}; it is a number"),
        (b"a,b\n1,2\n", "", "neither JSON nor JSONL: it begins with 'a'"),
        (b'{"instruction": "caf\xe9"}', ":1", "not UTF-8"),
        (b'[{"instruction": "a", ', ":1", "not JSON"),
        (lines(ALPACA) + b'{"instruction": "a', ":2", "not JSON"),
        ({"data": [ALPACA], "version": "1"}, "", "save that list as the file"),
        ([{"instrution": "a", "output": "b"}], "", "The nearest format is 'alpaca'"),
        ([{"prompt": "a", "candidates": []}], "", "they have the keys candidates, prompt."),
        ([{"prompt": "a", "completions": []}], ", row 1", "a list of completions; it is empty"),
        ([{"rounds": ["a"]}], "", "Known: preference, kto, openassistant"),
        ([ALPACA, {**ALPACA, "output": 3}], ", row 2, output", "it is a number. Write it in quotes."),
        ([ALPACA, {**ALPACA, "output": " "}], ", row 2, output", "The text is empty."),
        ([ALPACA, {**ALPACA, "output": "\ud83d"}], ", row 2, output", "half a character"),
        ([ALPACA, {"instruction": "a"}], ", row 2", "'output' is missing. The row has: instruction."),
        ([ALPACA, {**ALPACA, "output": None}], ", row 2", "'output' is null."),
        ([{**ALPACA, "videos": ["a.mp4"]}], ", row 1, videos", "pictures and sounds can be trained on"),
        ([{**ALPACA, "images": ["a.png"]}], ", row 1, images[0]", "There is no file 'a.png'"),
    ],
)
def test_what_is_wrong_is_said_where_it_is(tmp_path: Path, content: object, where: str, said: str) -> None:
    error = refusal(write(tmp_path / "rows.json", content))
    assert error.where == f"{tmp_path / 'rows.json'}{where}"
    assert said in str(error)


def test_an_error_shows_the_format_and_the_way_out(tmp_path: Path) -> None:
    error = refusal(write(tmp_path / "rows.json", [ALPACA, {"instruction": "a"}]))
    assert "A row of the format 'alpaca': {" in error.hint
    assert 'task.on_bad = "reject"' in error.hint


def test_bad_rows_go_to_the_rejects_with_their_reason(tmp_path: Path) -> None:
    rejects: list[dict[str, Any]] = []
    content = lines(ALPACA, {**ALPACA, "output": ""}, [1], ALPACA) + b'{"instruction": '
    loaded = load_rows(write(tmp_path / "rows.jsonl", content), on_reject=rejects.append)
    assert [item.origin["row"] for item in loaded] == ["1", "4"]
    assert [reject["where"].removeprefix(str(tmp_path)) for reject in rejects] == [
        "/rows.jsonl:2, output",
        "/rows.jsonl:3",
        "/rows.jsonl:5",
    ]
    assert rejects[0]["row"] == {**ALPACA, "output": ""}
    assert rejects[2]["row"] == '{"instruction": '
    with pytest.raises(DataError, match=r"None of the 1 rows can be used\. The first: 'output' is missing"):
        load_rows(write(tmp_path / "a.json", [{"instruction": "a"}]), "alpaca", rejects.append)


def test_half_characters_are_rejected_and_can_be_written(tmp_path: Path) -> None:
    call = {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"name": "f", "arguments": '{"a": "\\ud83d"}'}],
    }
    rejects: list[dict[str, Any]] = []
    content = lines({**ALPACA, "output": "\ud83d"}, ALPACA)
    load_rows(write(tmp_path / "rows.jsonl", content), on_reject=rejects.append)
    assert jsonl(rejects).encode().count(b"ud83d") == 1
    error = refusal(write(tmp_path / "rows.json", [{"messages": [{"role": "user", "content": "a"}, call]}]))
    assert "row 1: The row holds half a character" in str(error)


def test_a_repetition_is_a_row_of_its_own(tmp_path: Path) -> None:
    loaded = load_rows(write(tmp_path / "rows.json", [ALPACA, ALPACA, ALPACA]))
    assert len({item.id for item in loaded}) == 3
    assert len({item.source for item in loaded}) == 1


def test_most_rows_tell_the_format(tmp_path: Path) -> None:
    chat = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]}
    error = refusal(write(tmp_path / "rows.json", [ALPACA, chat, chat]))
    assert "row 1: 'messages' is missing" in str(error)


def test_a_format_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "rows.json", [{"messages": [], "prompt": "a", "completion": "b"}])
    assert load_rows(path, "prompt-completion")[0].answer == "b"
    with pytest.raises(RecipeError, match=r"task\.format: .*Did you mean 'alpaca'"):
        load_rows(path, "alpca")
    (tmp_path / "mine.py").write_text(
        "from espalier.core.records import message\n"
        "from espalier.formats.format import Format, example\n"
        "def shouted() -> Format:\n"
        "    def read(row):\n"
        "        turns = [message('user', row.value['a']), message('assistant', 'NO', trained=True)]\n"
        "        return [example(row, turns)]\n"
        "    return Format(('a',), read, '{}')\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    assert load_rows(write(tmp_path / "rows.json", [{"a": "b"}]), "mine:shouted")[0].answer == "NO"


def test_ids_come_from_the_content() -> None:
    row = Row("a.json", "a", 1, "a.json, row 1", {})
    turns = [message("user", "Hi"), message("assistant", "Hello", trained=True)]
    one = example(row, turns)
    assert one.id == example(Row("b.json", "a", 7, "", {}), turns).id
    assert one.id != example(row, turns, rejected=(message("assistant", "Bye"),)).id
    assert isinstance(formats.find("kto")(), Format)
