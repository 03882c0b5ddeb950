"""Rows with pictures through all that is done with rows: written out, compared, held against tests, asked."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import pytest

from espalier.building.faithful import as_written
from espalier.building.written import writers
from espalier.builds.built import compare_rows, rows_with_verdicts
from espalier.core.errors import DataError, TemplateError
from espalier.core.records import Media, Text
from espalier.data.asking import Asking
from espalier.data.inputs import asked, read_questions
from espalier.data.judgement import filters
from espalier.encode.media import Takes
from espalier.encode.template import Template
from espalier.filters.same_source import shared
from espalier.formats.load import load_rows
from espalier.runs.in_tokens import encode_units

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

QUESTION = "What shape is in the middle of this picture, and what colour has it got there?"


@pytest.fixture
def drawn(tmp_path: Path) -> Path:
    """Three files that begin as pictures do; nothing here opens them."""
    for number in range(3):
        (tmp_path / f"{number}.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes([number]))
    return tmp_path


def written(path: Path, *rows: dict[str, Any]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def about(number: int, question: str = QUESTION, answer: str = "A circle.") -> dict[str, Any]:
    return {"image": f"{number}.png", "question": question, "answer": answer}


@pytest.mark.parametrize("format", ["messages", "sharegpt", "alpaca", "prompt-completion", "predictions"])
def test_a_row_goes_out_and_comes_in_the_same(drawn: Path, format: str) -> None:
    rows = load_rows(written(drawn / "rows.jsonl", about(0), {"question": "<image>?", "answer": "Text."}))
    out = [*as_written(rows, format, "rows")]
    assert out[0]["images"] == [str(drawn / "0.png")]
    assert "images" not in out[1]
    again = load_rows(written(drawn / "rows.jsonl", *out), format)
    assert [replace(row, origin={}) for row in again] == [replace(row, origin={}) for row in rows]


def test_pairs_and_thumbs_go_out_too(drawn: Path) -> None:
    better = {"image": "0.png", "prompt": "<image>What?", "chosen": "A circle.", "rejected": "A dog."}
    thumb = {"image": "0.png", "prompt": "<image>What?", "completion": "A circle.", "label": True}
    for format, row in {"preference": better, "kto": thumb}.items():
        (made,) = load_rows(written(drawn / "rows.jsonl", row))
        assert made.media
        assert load_rows(written(drawn / "rows.jsonl", *as_written([made], format, "rows"))) == [made]


def test_what_cannot_be_written_is_named(drawn: Path) -> None:
    parts = [{"type": "image", "image": "0.png"}, {"type": "text", "text": "What is <image>?"}]
    turns = [{"role": "user", "content": parts}, {"role": "assistant", "content": "A tag."}]
    rows = load_rows(written(drawn / "rows.jsonl", {"messages": turns}))
    with pytest.raises(DataError, match="would not be read as the same again"):
        list(as_written(rows, "messages", "rows"))
    assert "messages" in writers.names()


def test_one_question_on_two_pictures_repeats_nothing(drawn: Path) -> None:
    rows = load_rows(written(drawn / "rows.jsonl", about(0), about(1), about(0, QUESTION.upper())))
    for name in ("duplicates", "novelty"):
        judged = list(filters.build(name, {}, "filter")(rows))
        assert [one.ok for one in judged] == [True, True, False], name
    other = load_rows(
        written(drawn / "rows.jsonl", about(0), about(1, answer="A dog."), about(0, answer="A cat."))
    )
    judged = list(filters.build("contradictions", {}, "filter")(other))
    assert [one.ok for one in judged] == [False, True, False]


def test_a_test_set_has_the_picture_and_not_the_question(drawn: Path) -> None:
    train = written(drawn / "train.jsonl", about(0), about(1))
    (drawn / "renamed.jpg").write_bytes((drawn / "1.png").read_bytes())
    test = written(
        drawn / "test.jsonl",
        {**about(1, "Is it round?", "Yes."), "image": "renamed.jpg"},
        about(2, answer="Red."),
    )
    found = shared([train], [test])
    assert [(one.test.rpartition(":")[2], one.train.rpartition(":")[2]) for one in found.matches] == [
        ("1", "2")
    ]
    assert found.matches[0].passage.startswith("the image ")


def test_rows_are_shown_and_compared_by_their_pictures(drawn: Path) -> None:
    rows = [{**about(number), "image": str(drawn / f"{number}.png")} for number in range(3)]
    for name in "ab":
        (drawn / name).mkdir()
    one = written(drawn / "a" / "rows.jsonl", rows[0], rows[1])
    other = written(drawn / "b" / "rows.jsonl", rows[0], rows[2])
    found = compare_rows(one, other)
    assert (found.same, len(found.only_first), len(found.only_second)) == (1, 1, 1)
    assert [example.media[0].uri for example, _ in rows_with_verdicts(one)] == [
        str(drawn / "0.png"),
        str(drawn / "1.png"),
    ]


def test_questions_on_pictures_are_asked_in_the_words_of_the_rows(drawn: Path) -> None:
    file = drawn / "ask.jsonl"
    turn = {
        "role": "user",
        "content": [{"type": "image", "image": "1.png"}, {"type": "text", "text": "What?"}],
    }
    written(
        file,
        {"image": "0.png", "question": "What?"},
        {"messages": [turn]},
        {"image": "2.png"},
        {"question": "No?"},
    )
    found = asked(read_questions(file), Asking(before="Say: "), None)
    shown = [
        [
            part.uri[-5:] if isinstance(part, Media) else cast("Text", part).text
            for part in one.prompt[-1].parts
        ]
        for one in found
    ]
    assert shown == [["0.png", "Say: What?"], ["1.png", "What?"], ["2.png", "Say: "], ["Say: No?"]]


def test_a_row_over_the_context_tells_what_its_media_take_and_what_would_fit(
    drawn: Path, chat_tokenizer: Callable[[str], Any]
) -> None:
    several = {"images": ["0.png", "1.png"], "question": "<image><image> Which?", "answer": "That."}
    rows = load_rows(written(drawn / "rows.jsonl", about(0, "a", "b"), several))
    template = Template(chat_tokenizer("chatml")).seeing(Takes(lambda _: 20))
    sizes = [len(unit.rows[0].ids) for unit in encode_units(rows, template, 4096).units]
    template.context = sizes[1] - 3
    units = encode_units(rows, template, 4096)
    assert [unit.example for unit in units.units] == [rows[0].id]
    told = (
        f"The row has {sizes[1]} tokens, 40 of 2 pictures and {sizes[1] - 40} of text; the model's context "
        f"is {sizes[1] - 3}. At most 18 tokens for each picture would fit; all of it does where that is "
        f"{sizes[1]}."
    )
    assert [reject["reason"] for reject in units.rejects] == [told]
    smaller = template.seeing(Takes(lambda _: 18))
    smaller.context = sizes[1] - 3
    assert len(encode_units(rows, smaller, 4096).units) == 2
    long = {**several, "question": f"<image><image> {'Which? ' * 20}"}
    rows = load_rows(written(drawn / "rows.jsonl", about(0, "a", "b"), long))
    template.context = 4096
    reason = encode_units(rows, template, sizes[0]).rejects[-1]["reason"]
    assert f"the budget train.tokens is {sizes[0]}. Its text leaves them no room" in reason


def test_a_model_of_texts_is_told_before_it_is_trained(
    drawn: Path, chat_tokenizer: Callable[[str], Any]
) -> None:
    rows = load_rows(written(drawn / "rows.jsonl", {"question": "a", "answer": "b"}, about(0)))
    with pytest.raises(TemplateError) as caught:
        encode_units(rows, Template(chat_tokenizer("chatml")), 4096)
    assert caught.value.where == f"{drawn / 'rows.jsonl'}, row 2"
    assert caught.value.message == "The row has a picture, and the model reads text only."
