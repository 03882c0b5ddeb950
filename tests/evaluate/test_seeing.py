"""A model that answers by the question's text is told apart from one that looks, whole and by kind."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from espalier.cli.summary import print_summary
from espalier.core.records import Completion, Example, Media, Text, message
from espalier.evaluate.baselines import by_question, floors
from espalier.evaluate.findings import findings
from espalier.evaluate.harness import evaluate
from espalier.evaluate.kinds import NEGATED, OTHER, UNASKED, WITHOUT, YES_NO, question_kinds
from espalier.evaluate.scores import Scores
from espalier.evaluate.seeing import UNSEEN, by_kind, sight
from espalier.evaluate.unseen import BLIND, SHUFFLED, blinded, shuffled
from espalier.report.gather import Material
from espalier.report.page import render
from espalier.scorers.registry import build_scorer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

COLOURS, SHAPES = ("red", "green", "blue"), ("circle", "square")


def picture(number: int) -> Media:
    return Media("image", f"{number}.png", hashlib.sha256(bytes([number])).hexdigest())


def asked(number: int, question: str, answer: str, tags: dict[str, str] | None = None) -> Example:
    turn = replace(message("user", question), parts=(picture(number), Text(question)))
    return Example(
        f"{number} {question}", "t", picture(number).sha256,
        (turn, message("assistant", answer, trained=True)), (answer,),
        input=question, origin={"tags": tags} if tags else {},
    )  # fmt: skip


def truth(number: int, question: str) -> str:
    """What is so of a picture: 3 colours and 2 shapes, in all 6 ways."""
    colour, shape = COLOURS[number % 3], SHAPES[number // 3 % 2]
    if question.startswith("What"):
        return colour if "colour" in question else shape
    there = question.rstrip("?").split()[-1] in (colour, shape)
    return "yes" if there != ("not" in question) else "no"


QUESTIONS = ("What colour is it?", "What shape is it?", "Is there something red?", "Is there not a circle?")


def rows(numbers: range) -> list[Example]:
    return [asked(number, question, truth(number, question)) for number in numbers for question in QUESTIONS]


TRAIN, TEST = rows(range(100, 160)), rows(range(60))


def guess(row: Example) -> str:
    """What the question's text alone lets one say."""
    return {"What colour is it?": "red", "What shape is it?": "circle"}.get(row.input, "no")


def looker(row: Example) -> str:
    """Looks at whatever picture it is given; without one it guesses."""
    media = row.media
    return truth(int(media[0].uri.removesuffix(".png")), row.input) if media else guess(row)


def half_blind(row: Example) -> str:
    """Looks where it is asked for a colour or a shape, and guesses yes and no."""
    return looker(row) if row.input.startswith("What") else guess(row)


def confused(row: Example) -> str:
    """Never looks, and says nonsense where a picture is missing: it is above that by nothing else."""
    return guess(row) if row.media else "???"


def scored(
    model: Callable[[Example], str], test: Sequence[Example] = TEST, kind: str = "vqa", first: str = "tuned"
) -> Scores:
    asking = {first: test, BLIND: blinded(test), SHUFFLED: shuffled(test)}
    answers = {name: [Completion(row.id, model(row)) for row in given] for name, given in asking.items()}
    if first == "tuned":
        answers["base"] = [Completion(row.id, "") for row in test]
    found = floors(test, TRAIN)
    return evaluate(test, {**answers, **found}, {kind: build_scorer(kind, {}, "x")}, train=TRAIN)


def said(scores: Scores) -> list[str]:
    return [finding.text for finding in findings(scores)]


@pytest.mark.parametrize("model", [guess, confused])
@pytest.mark.parametrize("first", ["tuned", "model"])
def test_a_model_that_answers_by_the_text_is_said_not_to_look(
    model: Callable[[Example], str], first: str
) -> None:
    scores = scored(model, first=first)
    (text,) = [one for one in said(scores) if "does not look" in one]
    assert text.startswith("The model does not look: VQA accuracy is ")
    assert any(how in text for how in UNSEEN.values())
    assert "240 rows of 60 sources" in text
    assert findings(scores)[0].severity == "bad"
    assert not any("Tuning raised" in one for one in said(scores))


def test_a_model_that_looks_is_not_said_to_be_blind() -> None:
    scores = scored(looker)
    assert not any("not look" in one for one in said(scores))
    assert all(one.looks for one in by_kind(scores, "vqa"))
    whole = sight(scores, "vqa")
    assert whole is not None
    assert whole.reached["tuned"].value == 1.0
    assert whole.reached[SHUFFLED].value < 0.8


def test_a_mean_hides_no_kind_that_is_guessed() -> None:
    scores = scored(half_blind)
    whole = sight(scores, "vqa")
    assert whole is not None
    assert whole.looks
    looks = {one.name: one.looks for one in by_kind(scores, "vqa")}
    assert looks == {"what colour": True, "what shape": True, YES_NO: False, NEGATED: False}
    told = [one for one in said(scores) if "does not look" in one]
    assert [one.split(",")[0] for one in told] == ["Asked “yes/no”", "Asked “yes/no"]
    assert any("Tuning raised" in one for one in said(scores))  # which stays true
    read = Scores.of(json.loads(scores.to_json()))
    assert by_kind(read, "vqa") == by_kind(scores, "vqa")


def test_terminal_and_page_show_the_kinds(capsys: pytest.CaptureFixture[str]) -> None:
    scores = scored(half_blind)
    print_summary(scores)
    out = capsys.readouterr().out
    assert "By kind of question: VQA accuracy" in out
    assert "yes/no, negated" in out
    html = render(Material("seen", scores=scores, train=TRAIN, test=TEST))
    assert "By kind of question" in html
    assert html.count("does not look") >= 4  # two sentences, and two rows of the table
    assert html.count("looks: ") == 2


def test_few_rows_prove_neither_sight_nor_blindness() -> None:
    """Right on 5 of 6 where a constant is on 3: that may be chance, and is no blindness."""
    test = [asked(number, QUESTIONS[1], truth(number, QUESTIONS[1])) for number in range(6)]
    scores = scored(lambda row: guess(row) if row.id.startswith("5") else looker(row), test)
    whole = sight(scores, "vqa")
    assert whole is not None
    assert whole.looks is None
    assert any(one.startswith("The model cannot be told to look: ") for one in said(scores))


def test_the_intervals_are_of_pictures_and_not_of_rows() -> None:
    """Ten times the same question on a picture are one picture's."""
    few = [asked(number, QUESTIONS[0], truth(number, QUESTIONS[0])) for number in range(6)]
    many = [replace(row, id=f"{row.id} {i}") for row in few for i in range(10)]

    def width(test: list[Example]) -> float:
        found = scored(lambda row: "red", test)["tuned"]["vqa"]
        return found.high - found.low

    assert width(many) > 0.8 * width(few)


def test_rows_without_media_stay_as_they_are_and_are_no_kind_that_is_looked_at() -> None:
    text = [
        Example(
            f"t{i}",
            "t",
            f"t{i}",
            (message("user", "Say x."), message("assistant", "x", trained=True)),
            ("x",),
        )
        for i in range(20)
    ]
    test = [*TEST, *text]
    assert len(blinded(test)) == len(shuffled(test)) == len(test)
    assert [row.media for row in shuffled(text)] == []
    scores = scored(lambda row: "x" if not row.input else guess(row), test)
    assert scores.kinds[WITHOUT].rows == 20
    assert WITHOUT not in [one.name for one in by_kind(scores, "vqa")]
    assert blinded(text) == []
    assert question_kinds(text) == ()


def test_a_row_of_several_people_counts_all_of_them_in_the_constant_of_its_question() -> None:
    train = [replace(asked(i, "How many?", "2"), references=("2", "two")) for i in range(3)]
    train += [asked(9, "Where?", "there")]
    test = [asked(20, "how  many?", "3"), asked(21, "Where?", "here"), asked(22, "Why?", "so")]
    found = by_question(test, train)
    assert [found[row.id] for row in test] == ["2", "there", "2"]


@pytest.mark.parametrize(
    ("question", "answer", "kind"),
    [
        ("What is it?", "a dog", "what"),
        ("How many dogs are there?", "2", "how many"),
        ("Describe the picture.", "A dog.", "describe"),
        ("Is it a dog or a cat?", "dog", "is"),
        ("Isn't it red?", "no", NEGATED),
        ("Ist es rot?", "yes", YES_NO),
        ("", "A dog.", UNASKED),
    ],
)
def test_kinds_are_told_by_the_form_of_the_question(question: str, answer: str, kind: str) -> None:
    test = [asked(i, question, answer) for i in range(6)] + [asked(i, "Who?", "he") for i in range(7)]
    assert question_kinds(test)[:6] == (kind,) * 6


def test_kinds_are_the_rows_own_where_they_name_some() -> None:
    test = [
        asked(i, f"What {j}?", "x", {"picture": f"p{i}", "category": ("far", "near", "odd")[j if i else 2]})
        for i in range(12)
        for j in range(2)
    ]
    assert {*question_kinds(test)} == {
        "far",
        "near",
        OTHER,
    }  # not the pictures' names; and what is rare is one
