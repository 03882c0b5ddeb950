"""IFEval on files: how replies find their prompts, what the rates are, and what cannot be read."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from espalier.core.errors import DataError, RecipeError
from espalier.evaluate.instruction_following import score_files
from espalier.evaluate.statistics import mean

if TYPE_CHECKING:
    from pathlib import Path

NO_COMMA, TITLE = "punctuation:no_comma", "detectable_format:title"
WORDS = "length_constraints:number_words"
PROMPTS: list[dict[str, Any]] = [
    {"key": 7, "prompt": "Name a bird.", "instruction_id_list": [NO_COMMA], "kwargs": [{}]},
    {
        "key": 1,
        "prompt": "Write of wrens.",
        "instruction_id_list": [NO_COMMA, TITLE, WORDS],
        "kwargs": [{}, None, {"relation": "at least", "num_words": 3, "keywords": None}],
    },
    {"key": 0, "prompt": "And of owls?", "instruction_id_list": [TITLE], "kwargs": [{}]},
]
REPLIES = ["A wren", "<<Wrens>>\nSmall, and brown.", "Here:\n<<*Owls*>>"]


def files(folder: Path, replies: list[dict[str, Any]], prompts: list[dict[str, Any]] = PROMPTS) -> list[Path]:
    made = [folder / "prompts.jsonl", folder / "replies.jsonl"]
    for path, rows in zip(made, (prompts, replies), strict=True):
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return made


def by(name: str, *values: object) -> list[dict[str, Any]]:
    return [{name: value, "prediction": text} for value, text in zip(values, REPLIES, strict=True)]


@pytest.mark.parametrize(
    ("replies", "how"),
    [
        (
            [{"prompt": row["prompt"], "response": text} for row, text in zip(PROMPTS, REPLIES, strict=True)],
            "prompt",
        ),
        (by("key", 7, 1, 0), "key"),
        (by("id", "7", "1", "0"), "id"),
        (by("index", 0, 1, 2), "index"),
        ([{"text": text} for text in REPLIES], "order"),
    ],
)
@pytest.mark.parametrize("mode", ["official", "repaired"])
def test_replies_find_their_prompts(
    tmp_path: Path, replies: list[dict[str, Any]], how: str, mode: str
) -> None:
    found = score_files(*files(tmp_path, replies), mode)
    backwards = score_files(*files(tmp_path, replies[::-1] if how != "order" else replies), mode)
    assert found == backwards
    assert (found["mode"], found["n"], found["instructions"]) == (mode, 3, 5)
    assert (found["missing"], found["extra"], found["empty"], found["aligned_by"]) == (0, 0, 0, how)
    assert [one["key"] for one in found["verdicts"]] == ["7", "1", "0"]
    assert found["verdicts"][1] == {
        "key": "1",
        "prompt": "Write of wrens.",
        "follow_all_strict": False,
        "follow_all_loose": True,
        "instructions": [
            {"id": NO_COMMA, "strict": False, "loose": True, "why": "it has a comma"},
            {"id": TITLE, "strict": True, "loose": True, "why": ""},
            {"id": WORDS, "strict": True, "loose": True, "why": ""},
        ],
    }
    assert found["kinds"][NO_COMMA] == {"n": 2, "strict": 1, "loose": 2}


def test_rates_have_intervals_clustered_by_prompt(tmp_path: Path) -> None:
    found = score_files(*files(tmp_path, by("key", 7, 1, 0)))
    expected = mean([1, 0, 1, 1, 1], ["a", "b", "b", "b", "c"])
    assert found["instruction_strict"] == {
        "value": 80.0,
        "low": round(100 * expected.low, 4),
        "high": round(100 * expected.high, 4),
    }
    assert found["prompt_strict"]["value"] == 66.6667
    assert found["prompt_loose"]["value"] == 100.0
    json.dumps(found, allow_nan=False)


def test_what_is_missing_empty_or_too_much_is_counted(tmp_path: Path) -> None:
    replies = [{"key": 7, "response": None}, {"key": 1, "response": "<<a>>"}, {"key": 9, "response": "so"}]
    found = score_files(*files(tmp_path, replies))
    assert (found["n"], found["missing"], found["extra"], found["empty"]) == (2, 1, 1, 1)
    assert found["verdicts"][0]["instructions"] == [
        {"id": NO_COMMA, "strict": False, "loose": False, "why": "there is no reply"}
    ]


def test_one_reply_answers_a_prompt_that_stands_twice(tmp_path: Path) -> None:
    twice = [*PROMPTS, {**PROMPTS[0], "key": 70}]
    replies = [{"prompt": f"{row['prompt']} ", "output": "So"} for row in PROMPTS]
    assert score_files(*files(tmp_path, replies, twice))["n"] == 4


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"instruction_id_list": ["punctuation:no_coma"]}, "Did you mean 'punctuation:no_comma'"),
        ({"instruction_id_list": [WORDS]}, "has no 'num_words'"),
        ({"instruction_id_list": [WORDS], "kwargs": [{"num_words": "3"}]}, "'num_words' of .* is '3'"),
        ({"instruction_id_list": None}, "should be lists"),
        ({"instruction_id_list": []}, "0 instructions and 1 kwargs"),
        ({"kwargs": None}, "should be lists"),
        ({"kwargs": [{}, {}]}, "1 instructions and 2 kwargs"),
        ({"kwargs": ["{}"]}, "are str, not an object"),
        ({"prompt": 3}, "no text as its 'prompt'"),
        ({"prompt": " "}, "no text as its 'prompt'"),
        ({"key": 1}, "key 1 comes twice"),
    ],
)
def test_prompts_that_are_none_are_refused(tmp_path: Path, change: dict[str, Any], why: str) -> None:
    paths = files(tmp_path, by("key", 7, 1, 0), [PROMPTS[1], {**PROMPTS[0], **change}])
    with pytest.raises(DataError, match=why) as caught:
        score_files(*paths)
    assert caught.value.where == f"{paths[0]}:2"


@pytest.mark.parametrize(
    ("replies", "why"),
    [
        ([], "no replies"),
        ([{"response": "a"}], "1 replies to 3 prompts"),
        ([{"key": 7, "response": "a"}, {"key": 7, "response": "b"}], "'7' has two replies"),
        ([{"key": 7, "answer": "a"}], "no reply: none of response"),
        ([{"key": 7, "response": ["a"]}], "'response' is list, not text"),
        ([{"key": 8, "response": "a"}, {"key": 9, "response": "b"}], "2 of 2 replies .* such as '8'"),
        ([{"prompt": "Another?", "response": "a"}], "the first prompt's is 'Name a bird.'"),
    ],
)
def test_replies_that_are_none_are_refused(tmp_path: Path, replies: list[dict[str, Any]], why: str) -> None:
    with pytest.raises(DataError, match=why):
        score_files(*files(tmp_path, replies))


def test_a_mode_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="Did you mean 'official'"):
        score_files(*files(tmp_path, by("key", 7, 1, 0)), "offical")


def test_the_rates_on_real_replies(shared_data: Path) -> None:
    pytest.importorskip("langdetect")
    folder = shared_data / "ifeval"
    paths = folder / "input_data.josejg.jsonl", folder / "example_en_responses.jsonl"
    found = score_files(*paths, "official")
    assert (found["n"], found["instructions"], found["missing"], found["extra"]) == (540, 832, 1, 1)
    rates = ("prompt_strict", "prompt_loose", "instruction_strict", "instruction_loose")
    assert [found[rate]["value"] for rate in rates] == [49.8148, 54.6296, 61.1779, 65.3846]
