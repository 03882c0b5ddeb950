"""The two schemas of Natural Instructions, and what is said of files of another shape."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from espalier.core.errors import DataError
from espalier.tasks.natural_instructions import load_natural_instructions

if TYPE_CHECKING:
    from pathlib import Path

ROW = {"input": "sky", "output": "blue"}


def load(folder: Path, content: object) -> Any:
    path = folder / "colours.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    return load_natural_instructions(path)


def refusal(folder: Path, content: object) -> DataError:
    with pytest.raises(DataError) as caught:
        load(folder, content)
    return caught.value


def test_v1_with_placeholders(tmp_path: Path) -> None:
    task = load(
        tmp_path,
        {
            "Title": "Colours",
            "Prompt": "Name it.",
            "Definition": " Name the colour. ",
            "Things to Avoid": "-",
            "Emphasis & Caution": "One word.",
            "Examples": {
                "Positive Examples": [
                    {"input": "grass", "output": "green", "reason": "It is.", "suggestion": " "},
                    "-",
                ],
                "Negative Examples": ["-"],
            },
            "Instances": [ROW, {"input": "snow", "output": ["white", "White"]}],
        },
    )
    assert task.name == "colours"
    assert task.definition == "Name the colour."
    assert task.cautions == ("One word.",)
    assert [(item.output, item.explanation) for item in task.positive] == [("green", "It is.")]
    assert task.negative == ()
    assert [(row.id, row.outputs) for row in task.rows] == [
        ("colours-0", ("blue",)),
        ("colours-1", ("white", "White")),
    ]
    assert task.licence == "Unknown"


def test_v2_with_lists(tmp_path: Path) -> None:
    task = load(
        tmp_path,
        {
            "Definition": ["Name it.", "In English."],
            "Categories": ["Misc."],
            "Source": ["wheel"],
            "Instance License": ["MIT"],
            "Positive Examples": "N/A",
            "Negative Examples": [{"input": "grass", "output": "red", "explanation": "N/A"}],
            "Instances": [{"id": "x-1", **ROW}],
        },
    )
    assert task.definition == "Name it.\nIn English."
    assert (task.categories, task.sources, task.licence) == (("Misc.",), ("wheel",), "MIT")
    assert task.positive == ()
    assert task.negative[0].explanation == ""
    assert task.rows[0].id == "x-1"


def test_an_answer_may_look_like_a_placeholder(tmp_path: Path) -> None:
    task = load(
        tmp_path,
        {
            "Definition": "d",
            "Instances": [{"input": "who?", "output": "None"}, {"input": "-", "output": "-"}],
        },
    )
    assert [row.outputs[0] for row in task.rows] == ["None", "-"]


@pytest.mark.parametrize(
    ("content", "message", "where"),
    [
        ([ROW], "a list […]", ".json"),
        ("text", "a text", ".json"),
        ({"Instances": [ROW]}, "no 'Definition'", ".json"),
        ({"Definition": "-", "Instances": [ROW]}, "definition is empty", ".json"),
        ({"Definition": 3, "Instances": [ROW]}, "it holds a number", ".json"),
        ({"Definition": "d"}, "no 'Instances'", ".json"),
        ({"Definition": "d", "Instances": []}, "no instances", ".json"),
        ({"Definition": "d", "Instances": {"a": ROW}}, "an object", ".json"),
        ({"Definition": "d", "Instances": [ROW, "sky"]}, "it is a text", "instance 1"),
        ({"Definition": "d", "Instances": [{"output": "x"}]}, "no 'input'", "instance 0"),
        ({"Definition": "d", "Instances": [{"input": "x"}]}, "no 'output'", "instance 0"),
        (
            {"Definition": "d", "Instances": [ROW, {"input": "x", "output": " "}]},
            "output is empty",
            "instance 1",
        ),
        (
            {"Definition": "d", "Instances": [{"input": "x", "output": ["y", ""]}]},
            "(2 of 2) is empty",
            "instance 0",
        ),
        (
            {"Definition": "d", "Instances": [{"input": "x", "output": []}]},
            "list 'output' is empty",
            "instance 0",
        ),
        (
            {"Definition": "d", "Instances": [{"input": "x", "output": 4}]},
            "should be a text; it is a number",
            "instance 0",
        ),
        ({"Definition": "d", "Instances": [{"input": " ", "output": "y"}]}, "input is empty", "instance 0"),
        (
            {"Definition": "d", "Instances": [{"input": "\u200b \ufeff", "output": "y"}]},
            "empty",
            "instance 0",
        ),
        ({"Definition": "d", "Instances": [{"input": "sea \ud83d", "output": "y"}]}, "half", "instance 0"),
        ({"Definition": "d", "Instances": [{"id": "\udc00", **ROW}]}, "half a character", "instance 0"),
        ({"Definition": "d \ud83d", "Instances": [ROW]}, "half a character", ".json"),
        ({"Definition": "d", "Categories": ["\ud83d"], "Instances": [ROW]}, "half a character", ".json"),
        (
            {
                "Definition": "d",
                "Positive Examples": [{"input": "\ud83d", "output": "y"}],
                "Instances": [ROW],
            },
            "half a character",
            "Positive Examples 0",
        ),
        (
            {"Definition": "d", "Instances": [{"id": "a", **ROW}, {"id": "a", **ROW}]},
            "'a' is that of",
            "instance 1",
        ),
        (
            {"Definition": "d", "Positive Examples": [{"input": "x"}], "Instances": [ROW]},
            "no 'output'",
            "Positive Examples 0",
        ),
        ({"Definition": "d", "Examples": [], "Instances": [ROW]}, "'Examples' should be", ".json"),
    ],
)
def test_another_shape_is_refused_in_words(tmp_path: Path, content: object, message: str, where: str) -> None:
    error = refusal(tmp_path, content)
    assert message in error.message
    assert where in error.where


def test_an_id_that_is_null_is_none(tmp_path: Path) -> None:
    rows = [{"id": None, **ROW}, {"id": None, **ROW}]
    task = load(tmp_path, {"Definition": "d", "Instances": rows})
    assert [row.id for row in task.rows] == ["colours-0", "colours-1"]


@pytest.mark.parametrize("output", ["", None, [""]])
def test_a_negative_example_may_say_nothing(tmp_path: Path, output: Any) -> None:
    bad = [{"input": "sky", "output": output}]
    task = load(tmp_path, {"Definition": "d", "Negative Examples": bad, "Instances": [ROW]})
    assert [example.output for example in task.negative] == [""]


def test_half_a_character_can_stand_in_the_rejects(tmp_path: Path) -> None:
    path = tmp_path / "colours.json"
    path.write_text(json.dumps({"Definition": "d", "Instances": [ROW, {"input": "\ud83d", "output": "x"}]}))
    rejects: list[dict[str, Any]] = []
    load_natural_instructions(path, rejects.append)
    assert "ud83d" in json.dumps(rejects, ensure_ascii=False).encode().decode()


def test_a_misspelt_key_is_guessed(tmp_path: Path) -> None:
    assert "Did you mean 'Instance'?" in refusal(tmp_path, {"Definition": "d", "Instance": [ROW]}).hint


def test_bad_rows_can_be_left_out_with_the_reason(tmp_path: Path) -> None:
    path = tmp_path / "colours.json"
    bad = {"input": "sea", "output": ""}
    path.write_text(
        json.dumps({"Definition": "d", "Instances": [ROW, bad, {"input": "coal", "output": "black"}]})
    )
    rejects: list[dict[str, Any]] = []
    task = load_natural_instructions(path, rejects.append)
    assert [row.id for row in task.rows] == ["colours-0", "colours-2"]  # the others keep their place
    assert rejects == [{"where": f"{path}, instance 1", "reason": "The output is empty.", "row": bad}]


def test_a_file_with_only_bad_rows_is_refused_even_then(tmp_path: Path) -> None:
    path = tmp_path / "colours.json"
    path.write_text(json.dumps({"Definition": "d", "Instances": [{"input": "sea", "output": ""}] * 2}))
    with pytest.raises(DataError, match="None of the 2 rows can be used"):
        load_natural_instructions(path, lambda reject: None)


def test_stopping_says_how_to_go_on(tmp_path: Path) -> None:
    error = refusal(tmp_path, {"Definition": "d", "Instances": [{"input": "sea", "output": ""}]})
    assert "on_bad" in error.hint
