"""What filters say of a row's content: its language, its difficulty, what of it is held out."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from espalier.core.errors import DataError, MissingExtra, RecipeError
from espalier.core.records import Example, Message, Text, ToolCall, example_id, message
from espalier.data.judgement import Judgement, filters, weighing
from espalier.filters.complexity import complexity
from espalier.filters.languages import main_script, scripts
from espalier.filters.masking import masked, masked_text, replaced
from espalier.filters.vectors import near_pairs, vectors

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def row(prompt: str, answer: str, input: str = "") -> Example:
    turns = (message("user", prompt), message("assistant", answer, trained=True))
    return Example(example_id(prompt, answer), "chat", prompt, turns, (answer,), input=input)


def judged(kind: str, *rows: Example, **params: Any) -> list[Judgement]:
    return list(filters.build(kind, params, "filter")(rows))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Ein Satz.", "Latin"),
        ("это предложение", "Cyrillic"),
        ("これは文です", "Han"),
        ("한국어 문장", "Hangul"),
        ("ประโยคหนึ่ง", "Thai"),
        ("वाक्य", "Devanagari"),
        ("ｆｕｌｌ", "Latin"),
        ("12 + 3 = 15 🙂", ""),
    ],
)
def test_scripts_are_told_by_unicode(text: str, found: str) -> None:
    assert main_script(text) == found


def test_a_mark_on_a_letter_is_no_other_script() -> None:
    assert set(scripts("Łódź ż é o\u0301 ß ŉ ﬁ")) == {"Latin"}


@pytest.mark.parametrize(
    ("prompt", "answer", "ok"),
    [
        (
            "How long did the meeting with the teachers last?",
            "It lasted for about three hours in the end.",
            True,
        ),
        (
            "Wie lange hat das Treffen mit den Lehrern gedauert?",
            "Es hat ungefähr drei Stunden gedauert.",
            False,
        ),
        (
            "Please translate it:\n今天的天气很好，我们去公园散步吧。",
            "The weather is fine today, so let us walk.",
            False,
        ),
        (
            "Сколько времени продолжалась эта встреча с учителями?",
            "Она продолжалась около трёх часов.",
            False,
        ),
        ("Run `SELECT * FROM birds`.", "```sql\nSELECT name, colour FROM birds ORDER BY name;\n```", None),
        ("आज मौसम कैसा है?", "आज मौसम बहुत अच्छा है।", False),
        ("2 + 2?", "4", None),
        ("Say yes.", "ok", None),
        ("🙂", "👍🏽", None),
    ],
)
def test_languages_of_prompt_and_answer(prompt: str, answer: str, ok: bool | None) -> None:
    pytest.importorskip("lingua")
    (found,) = judged("language", row(prompt, answer), wanted=["en"])
    assert found.ok is ok, found


def test_a_language_may_be_wanted_of_one_part() -> None:
    pytest.importorskip("lingua")
    one = row(
        "Translate this sentence into German, please.", "Das Treffen mit den Lehrern dauerte drei Stunden."
    )
    assert judged("language", one, wanted=["de"], of="answer")[0].ok is True
    assert "German (de)" in judged("language", one, wanted=["en"])[0].why
    with pytest.raises(RecipeError, match="No language has the code 'xx'"):
        judged("language", one, wanted=["xx"])


@pytest.mark.parametrize(
    ("kind", "module", "params"),
    [
        ("language", "lingua", {}),
        ("toxicity", "profanity_check", {}),
        ("semantic", "model2vec", {"embeddings": "x"}),
    ],
)
def test_what_is_not_installed_is_asked_for(
    kind: str, module: str, params: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from espalier.filters import languages

    languages._detector.cache_clear()
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtra, match=rf"pip install 'espalier-lm\[{kind}\]'"):
        judged(kind, row("Name a bird.", "wren"), **params)


@pytest.mark.filterwarnings("ignore")
def test_insults_are_found_and_other_scripts_not_judged() -> None:
    pytest.importorskip("profanity_check")
    rows = [
        row("Write to him.", "You are a stupid idiot."),
        row("Who won?", "The old king."),
        row("谁赢了？", "国王。"),
    ]
    assert [one.ok for one in judged("toxicity", *rows)] == [False, True, None]


def test_checks_of_a_task_judge_an_answer() -> None:
    sentence = "He cooked dinner for his friends."
    good = row("", "How long did he cook dinner?", input=sentence)
    bad = row("", "Who cooked dinner?", input=sentence)
    found = judged("checks", good, bad, names=["asks_duration", "grounded"])
    assert [(one.ok, one.score) for one in found] == [(True, 1.0), (False, 0.5)]
    assert found[1].why.startswith("asks_duration: ")
    same = judged(
        "checks",
        *[row("", "How long did it take?", input=f"{n} birds sang.") for n in range(9)],
        names=["not_constant"],
    )
    assert {one.ok for one in same} == {False}
    with pytest.raises(RecipeError, match="Did you mean 'grounded'"):
        judged("checks", good, names=["ground"])


class Weights:
    """A likelihood for which a word that the prompt has costs 1 nat, and any other 3."""

    def logprobs(self, examples: Sequence[Example], options: Sequence[Sequence[str]]) -> list[list[float]]:
        if any(len(option) > 200 for choices in options for option in choices):
            raise DataError("A prompt with its answer has 300 tokens; the model's context is 200.")
        return [
            [self._cost(example, option) for option in found]
            for example, found in zip(examples, options, strict=True)
        ]

    def _cost(self, example: Example, option: str) -> float:
        known = set(" ".join(turn.text for turn in example.prompt).split())
        return -sum(1.0 if word in known else 3.0 for word in option.split())


def test_difficulty_is_the_loss_with_the_prompt_over_that_without() -> None:
    rows = [
        row("say red fox", "red fox"),
        row("say it", "blue sky"),
        row("say red", "red sky"),
        row("a", " "),
        row("b", "x" * 201),
    ]
    found = list(weighing.build("difficulty", {"least": 0.4}, "filter")(Weights())(rows))
    assert [one.score and round(one.score, 3) for one in found] == [0.333, 1.0, 0.667, None, None]
    assert [one.ok for one in found] == [False, False, True, None, None]
    assert "context is 200" in found[4].why


def test_complexity_grows_with_what_is_asked() -> None:
    texts = [
        "Name a bird.",
        "Name a bird that sings at night, and say where it lives.",
        "Name exactly three birds that sing at night, no wren, and say in ten words where each lives.",
    ]
    found = [complexity(text) for text in texts]
    assert found == sorted(found)
    assert found[2] > found[1] + 2 > found[0] + 3
    assert complexity("") == 0
    assert complexity("说出三种夜里唱歌的鸟，并说明它们住在哪里。") > complexity("说出一种鸟。")
    assert complexity("It costs 1,000,000 or 3.14.") < complexity("It costs a lot, or so; it is pi.")
    assert [one.ok for one in judged("complexity", *(row(text, "x") for text in texts), least=5)] == [
        False,
        True,
        True,
    ]


def test_rows_of_a_held_out_file_are_told_with_the_passage(tmp_path: Path) -> None:
    held = tmp_path / "test.jsonl"
    lines = [{"prompt": "Which bird sings in the garden at night?", "completion": "A nightingale."}]
    held.write_text("".join(json.dumps(line) + "\n" for line in lines))
    rows = [
        row("Tell me, please:\nwhich bird sings in the garden at NIGHT", "An owl."),
        row("Which bird sings in a garden by day?", "A nightingale."),
        row("Which bird sings in the garden at night?", "A wren."),
    ]
    found = judged("contamination", *rows, tests=[str(held)])
    assert [one.ok for one in found] == [False, True, False]
    assert "which bird sings in the garden at night" in found[0].why


def test_the_same_in_another_order_is_told() -> None:
    rows = [
        row("Write a poem about the sea in winter.", "…"),
        row("About the sea in winter, write a poem.", "…"),
        row("Write a letter about the mountains in summer.", "…"),
        row("写一首关于冬天的大海的诗", "…"),
        row("关于冬天的大海的诗，写一首", "…"),
        row("?!", "…"),
    ]
    found = judged("semantic", *rows, threshold=0.7)
    assert [one.near for one in found] == ["", rows[0].id, "", "", rows[3].id, ""]


def test_a_frame_and_numbers_are_no_likeness() -> None:
    frame = "Say in which country one finds the town that is named below.\n"
    towns = ["Paris", "Rome", "Oslo", "Bern", "Kyiv", "Graz", "Lima", "Riga", "Accra", "Quito", "Oslo"]
    found = judged("semantic", *[row(frame + town, town[::-1]) for town in towns])
    assert [one.ok for one in found] == [True] * 10 + [False]
    fact = "Ann went to the hall and Bo to the park, as all of us know well."
    asked = [row(f"{fact}\nVerb: {verb}", "x") for verb in ("went", "know")]
    assert [one.ok for one in judged("semantic", *asked)] == [True, True]
    rows = [row(f"not {a} and ( {b} or not not {a} ) or {b}", a) for a, b in (("yes", "no"), ("no", "yes"))]
    assert [one.ok for one in judged("semantic", *rows)] == [True, True]
    sums = [row(f"Ann has {n} red apples and eats {n - 2} of them; how many are left?", "2") for n in (7, 9)]
    assert [one.ok for one in judged("semantic", *sums)] == [True, True]


SOME = ["the", "a", "sea", "fox", "runs", "red", "over", "海", "夜", "день", "नमस्ते", "of"]
WORDS = st.lists(st.sampled_from(SOME), max_size=9).map(" ".join)


@settings(max_examples=60)
@given(st.lists(WORDS, min_size=1, max_size=12), st.sampled_from([0.3, 0.6, 0.85, 1.0]))
def test_no_near_pair_is_missed_and_none_is_made_up(texts: list[str], least: float) -> None:
    matrix, _ = vectors(texts)
    dense = (matrix @ matrix.T).toarray()
    for number, others, cosines in near_pairs(matrix, least):
        exact = np.flatnonzero(dense[number, :number] >= least - 1e-9)
        assert others.tolist() == exact.tolist()
        assert np.allclose(cosines, dense[number, exact])


def test_personal_data_is_masked_in_every_text_of_a_row() -> None:
    call = ToolCall("send", json.dumps({"to": "ada.l@post.org", "card": 4539148803436467, "n": 3}))
    turns = (
        message("user", "Write to ada.l@post.org and bo@post.org, or call +44 20 7946 0958."),
        Message("assistant", (Text("To ada.l@post.org."), call), trained=True),
    )
    one = Example(
        "id",
        "t",
        turns[0].text,
        turns,
        ("bo@post.org",),
        (message("assistant", "8.8.8.8"),),
        input=turns[0].text,
    )
    found = masked(one)
    assert found.prompt[0].text == found.input == "Write to [EMAIL] and [EMAIL], or call [PHONE]."
    assert found.messages[1].words == "To [EMAIL]."
    assert json.loads(found.messages[1].parts[1].arguments) == {"to": "[EMAIL]", "card": "[CARD]", "n": 3}  # pyright: ignore
    assert (found.references, found.rejected[0].text, found.id) == (("[EMAIL]",), "[IP]", "id")
    assert masked(found) is found
    assert masked_text("ada.l@post.org, 8.8.8.8", ("ip",)) == "ada.l@post.org, [IP]"


@given(
    st.text(alphabet="ab海\n", max_size=30),
    st.lists(st.tuples(st.integers(0, 30), st.integers(1, 5)), max_size=5),
)
def test_places_are_told_where_the_words_stand_afterwards(text: str, drawn: list[tuple[int, int]]) -> None:
    places = [(start, start + size, "[X]") for start, size in drawn if start + size <= len(text)]
    changed, moved = replaced(text, places)
    assert all(changed[start:end] == "[X]" for start, end in moved)
    assert changed.count("[X]") == len(moved)
    covered = {place for start, end, _ in places for place in range(start, end)}
    assert changed.replace("[X]", "") == "".join(c for place, c in enumerate(text) if place not in covered)
