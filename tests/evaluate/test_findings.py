"""What is said of a run: each kind of bad news on answers written for it, and nothing of it on good runs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from espalier.core.records import Completion, Example, message
from espalier.evaluate.baselines import floors
from espalier.evaluate.findings import findings
from espalier.evaluate.harness import evaluate
from espalier.evaluate.pairs import evaluate_pairs
from espalier.evaluate.score_records import Limit
from espalier.evaluate.scores import Scores
from espalier.scorers.registry import scorers
from espalier.tasks.checks import SetCheck, Verdict, check, checks, set_checks

N = 40
WHO = (
    "the nurse",
    "a tall boy",
    "our cook",
    "her uncle",
    "the pilot",
    "an old friend",
    "my sister",
    "the judge",
)
DID = ("repaired", "painted", "sold", "borrowed", "described")
WHAT = ("the blue kite", "a wooden boat", "the garden gate", "two heavy boxes", "an iron bridge")
WHERE = ("near the harbour", "behind the school", "in the old town", "on the second floor")

if "polite" not in checks.names():

    @check("polite")
    def polite(task_input: str, output: str) -> Verdict:
        """The answer says please somewhere."""
        return Verdict("please" in output.lower(), "It does not say please.")

    @set_checks.register("never_alike")
    def never_alike() -> SetCheck:
        """No two answers of the set are the same."""
        return lambda inputs, outputs: Verdict(len(set(outputs)) == len(outputs), "Two are the same.")


def sentence(i: int) -> str:
    return f"{WHO[i % 8]} {DID[i % 5]} {WHAT[i // 5 % 5]} {WHERE[i % 4]} on day {i}"


def rows(inputs: Sequence[str], references: Sequence[str], first: int = 0) -> list[Example]:
    return [
        Example(f"e{i}", "t", f"s{i}", (message("user", text),), references=(reference,), input=text)
        for i, (text, reference) in enumerate(zip(inputs, references, strict=True), start=first)
    ]


def judged(
    test: Sequence[Example],
    tuned: Sequence[str],
    base: Sequence[str],
    *,
    train: Sequence[Example] = (),
    cut: dict[str, set[int]] | None = None,
    named: Sequence[str] = ("rouge_l", "exact_match"),
    **more: Any,
) -> Scores:
    """Return the scores of answers, as a run would have them; `cut` names those at the limit, by system."""

    def answers(name: str, texts: Sequence[str]) -> list[Completion]:
        ends = (cut or {}).get(name, set())
        return [
            Completion(e.id, text, finish="length" if i in ends else "stop")
            for i, (e, text) in enumerate(zip(test, texts, strict=True))
        ]

    systems = {"tuned": answers("tuned", tuned), "base": answers("base", base)}
    chosen = {name: scorers.build(name, {}) for name in named}
    found = evaluate(test, {**systems, **floors(test, train)}, chosen, train=train, **more)
    assert "NaN" not in found.to_json()
    return Scores.of(json.loads(found.to_json()))


def kinds(scores: Scores, severity: str = "bad") -> list[str]:
    return [finding.kind for finding in findings(scores) if finding.severity == severity]


def said(scores: Scores, kind: str) -> str:
    (text,) = (finding.text for finding in findings(scores) if finding.kind == kind)
    return text


INPUTS = [sentence(i) for i in range(N)]
QUESTIONS = [f"Who was it that {' '.join(text.split()[2:])}?" for text in INPUTS]
OPEN = rows(INPUTS, QUESTIONS)
OPEN_TRAIN = rows(
    [sentence(i) for i in range(100, 160)],
    [f"Who was it that {' '.join(sentence(i).split()[2:])}?" for i in range(100, 160)],
    first=100,
)
RAMBLING = [f"I think that {text} because it was so, and because" for text in WHO * 5]
LABELS = ["yes" if i * 7 % 3 else "no" for i in range(N)]  # 26 of 40 yes
CLOSED = rows(INPUTS, LABELS)
CLOSED_TRAIN = rows([sentence(i) for i in range(100, 160)], ["yes", "no"] * 30, first=100)


def test_a_good_run_of_free_text_has_good_news_only() -> None:
    scores = judged(OPEN, QUESTIONS[:36] + RAMBLING[36:], RAMBLING, train=OPEN_TRAIN)
    assert [finding.severity for finding in findings(scores)] == ["good"]
    text = findings(scores)[0].text
    assert text.startswith("Tuning raised ROUGE-L from ")
    assert "points (+" in text
    assert text.split(" above the highest floor, ")[1].startswith("a copy of the input (")


def test_a_good_run_of_labels_is_led_by_exact_match() -> None:
    tuned = [*LABELS[:38], "no", "no"]
    scores = judged(CLOSED, tuned, ["yes"] * N, train=CLOSED_TRAIN)
    assert scores.leading == "exact_match"
    assert scores.measures == ["exact_match", "rouge_l"]
    assert [finding.severity for finding in findings(scores)] == ["good"]
    text = findings(scores)[0].text
    assert text.startswith("Tuning raised exact match from 65.0 % to ")


@pytest.mark.parametrize(
    ("references", "closed"),
    [
        (["positive", "negative"] * 20, True),
        (
            ["The first choice is the better one here"] * 20
            + ["The second choice is the better one here"] * 20,
            True,
        ),
        ([str(i * 37 % 1000) for i in range(N)], True),
        (["(A)", "(B)", "(C)", "(D)"] * 10, True),
        (["是", "否"] * 20, True),
        ([f"label {i % 10}" for i in range(N)], True),
        (QUESTIONS, False),
        ([f"city{i}" for i in range(N)], False),
        ([*QUESTIONS[:30], *["yes"] * 10], False),
    ],
)
def test_what_is_closed_is_told_by_the_references(references: list[str], closed: bool) -> None:
    scores = judged(rows(INPUTS, references), references, RAMBLING)
    assert scores.closed == closed
    assert scores.leading == ("exact_match" if closed else "rouge_l")


def test_a_recipe_that_leaves_out_exact_match_is_led_by_what_it_has() -> None:
    assert judged(CLOSED, LABELS, LABELS, named=["rouge_l"]).leading == "rouge_l"


def paraphrases() -> list[Example]:
    return rows(INPUTS, [f"{text.rsplit(' on day', 1)[0]} that was day {i}" for i, text in enumerate(INPUTS)])


def test_a_model_that_copies_is_not_praised() -> None:
    test = paraphrases()
    tuned = [*INPUTS[:26], *(text.replace("the", "this") for text in INPUTS[26:])]
    scores = judged(test, tuned, RAMBLING, train=rows(["x one", "x two"], ["y three", "y four"], first=100))
    bad = kinds(scores)
    assert bad[0] in ("below a floor", "not above a floor")
    assert findings(scores)[0].text.startswith("The tuned model ")
    assert "a copy of the input: ROUGE-L is " in findings(scores)[0].text
    assert "copies" in bad
    assert said(scores, "copies").startswith("26 of 40 answers are the input")
    assert not kinds(scores, "good")


def test_copies_that_are_right_are_no_copies() -> None:
    """Most inputs of a correction are right as they are, or but for a word."""
    wrong = [text.replace(" on day", " at day") if i % 3 else text for i, text in enumerate(INPUTS)]
    scores = judged(rows(wrong, INPUTS), INPUTS, RAMBLING)
    assert not {"copies", "passages"} & {*kinds(scores), *kinds(scores, "caution")}
    unchanged = judged(rows(wrong, INPUTS), wrong, RAMBLING)
    assert said(unchanged, "copies").startswith("26 of 40 answers are the input, ")
    assert "below a floor" not in kinds(unchanged)
    assert "not above a floor" in kinds(unchanged), "it is the copy"


def test_passages_of_the_input_are_told_where_no_reference_is_one() -> None:
    summaries = [f"a story of {WHO[i % 8]} and day {i}" for i in range(N)]
    lead = [" ".join(text.split()[:7]) for text in INPUTS]
    scores = judged(rows(INPUTS, summaries), lead, RAMBLING)
    assert said(scores, "passages").startswith("40 of 40 answers are a passage of the input")
    extracts = judged(rows(INPUTS, [" ".join(text.split()[1:7]) for text in INPUTS]), lead, RAMBLING)
    assert "passages" not in kinds(extracts, "caution")


def test_one_letter_for_everything_is_told_though_the_base_was_worse() -> None:
    choices = ["A" if i % 2 else "B" for i in range(N)]
    test = rows(INPUTS, choices)
    scores = judged(test, ["B"] * N, RAMBLING, train=rows(INPUTS, choices, first=100))
    bad = kinds(scores)
    assert "not above a floor" in bad
    text = said(scores, "one answer")
    assert text.startswith("All 40 answers are the same, “B”; the most frequent reference, “")
    assert "is that of 20 of 40 rows" in text
    assert not kinds(scores, "good")
    nearly = judged(test, ["B"] * 38 + ["A"] * 2, RAMBLING)
    assert said(nearly, "one answer").startswith("38 of 40 answers are the same")


def test_a_rare_label_is_no_collapse() -> None:
    rare = ["no"] * 37 + ["yes"] * 3
    scores = judged(rows(INPUTS, rare), ["no"] * 38 + ["yes"] * 2, ["yes"] * N)
    assert "one answer" not in kinds(scores)


def test_few_different_answers_where_references_are_many() -> None:
    scores = judged(OPEN, [QUESTIONS[i % 5] for i in range(N)], RAMBLING)
    assert said(scores, "few different answers") == (
        "The 40 answers are only 5 different ones; the references are 40."
    )
    varied = judged(OPEN, [QUESTIONS[i % 30] for i in range(N)], RAMBLING)
    assert "few different answers" not in kinds(varied)


def test_tuning_that_made_it_worse_comes_first() -> None:
    scores = judged(CLOSED, ["no"] * N, LABELS, train=CLOSED_TRAIN)
    assert findings(scores)[0].text.startswith(
        "Tuning made it worse: exact match fell from 100.0 % to 35.0 % ("
    )


def test_no_change_is_said_and_nothing_good() -> None:
    scores = judged(OPEN, QUESTIONS, [*QUESTIONS[:39], "?"])
    assert said(scores, "no change").startswith(
        "Whether tuning changed ROUGE-L cannot be told: it went from "
    )
    assert not kinds(scores, "good")


def test_the_most_frequent_answer_is_a_floor() -> None:
    train = rows(
        INPUTS,
        ["on the left"] * 16 + ["on the right now", "the right", "right", "on the right"] * 6,
        first=100,
    )
    test = rows(INPUTS, ["on the left"] * 30 + ["on the right now"] * 10)
    scores = judged(test, ["on the left"] * N, RAMBLING, train=train)
    assert scores["majority"]["exact_match"].value == 0.75
    assert "the most frequent training answer: exact match is 75.0 % against 75.0 %" in said(
        scores, "not above a floor"
    )


def test_one_answer_was_cut() -> None:
    limit = Limit(tokens=12, too_long=0, needed=9)
    scores = judged(OPEN[:1], QUESTIONS[:1], RAMBLING[:1], cut={"tuned": {0}}, limit=limit)
    assert said(scores, "cut") == "1 of 1 answer was cut at the limit of 12 tokens."


def test_answers_at_the_limit_are_told_of_both_models() -> None:
    limit = Limit(tokens=12, too_long=9, needed=31)
    cut = {"tuned": set(range(10)), "base": set(range(34))}
    scores = judged(OPEN, QUESTIONS, RAMBLING, cut=cut, limit=limit)
    assert said(scores, "cut") == "10 of 40 answers were cut at the limit of 12 tokens."
    assert "cut" in kinds(scores)
    assert said(scores, "base cut").startswith(
        "85 % of the base model's answers were cut at the limit of 12 tokens"
    )
    assert "base cut" in kinds(scores, "caution")
    assert said(scores, "limit too short") == (
        "9 of 40 test rows have no reference that fits into the limit of 12 tokens; "
        "-o decode.limit=31 would hold all."
    )
    few = judged(
        OPEN, QUESTIONS, RAMBLING, cut={"tuned": {1}, "base": {1, 2}}, limit=replace(limit, too_long=0)
    )
    assert not {"cut", "base cut", "limit too short"} & {*kinds(few), *kinds(few, "caution")}


def test_empty_answers_and_a_repeated_example_are_counted() -> None:
    shown = "Who was it that fell asleep in the sun?"
    tuned = [*QUESTIONS[:20], *["\u200b "] * 10, *[shown.upper()] * 10]
    scores = judged(OPEN, tuned, [""] * N, shown=[shown])
    assert said(scores, "empty") == "10 of 40 answers are empty."
    assert said(scores, "repeats the example").startswith(
        "10 of 40 answers are the answer of a worked example"
    )
    assert said(scores, "base empty") == "40 of the base model's 40 answers are empty."
    one = judged(OPEN, [*QUESTIONS[:39], ""], RAMBLING)
    assert said(one, "empty") == "1 of 40 answers is empty."
    assert kinds(one, "good"), "one empty answer takes nothing back"


def test_answers_that_are_missing_are_told() -> None:
    tuned = [Completion(e.id, e.references[0]) for e in OPEN[:30]]
    base = [Completion(e.id, text) for e, text in zip(OPEN, RAMBLING, strict=True)]
    scores = evaluate(OPEN, {"tuned": tuned, "base": base}, {"rouge_l": scorers.build("rouge_l", {})})
    assert said(scores, "missing") == "10 of 40 answers are missing and count as empty."


def test_a_base_that_did_not_know_the_form_is_told() -> None:
    base = [f"The answer is {label}." for label in LABELS]
    scores = judged(CLOSED, LABELS, base, train=CLOSED_TRAIN)
    assert said(scores, "form of base").startswith(
        "40 of the base model's 40 answers are not one of the 2 answers that the task has: its score says"
    )
    off = judged(CLOSED, [*LABELS[:36], *["perhaps"] * 4], base, train=CLOSED_TRAIN)
    assert said(off, "form of tuned").startswith(
        "4 of the tuned model's 40 answers are not one of the 2 answers"
    )
    numbers = [str(i) for i in range(N)]
    scores = judged(rows(INPUTS, numbers), ["7", *numbers[1:]], [f"It is {n}" for n in numbers])
    assert said(scores, "form of base").startswith("40 of the base model's 40 answers are not a number")
    assert "form of tuned" not in kinds(scores, "caution")


def test_answers_of_another_length_are_told() -> None:
    longer = [
        f"{question} And would you say that it was done well or badly in the end?" for question in QUESTIONS
    ]
    scores = judged(OPEN, longer, RAMBLING)
    assert said(scores, "longer answers").startswith("40 of 40 answers are longer than every reference: ")
    shorter = judged(OPEN, ["Who was it?"] * 20 + ["Who did it?"] * 20, RAMBLING)
    assert said(shorter, "shorter answers").startswith("40 of 40 answers are shorter than every reference: ")


def test_few_rows_are_told_with_what_they_could_show() -> None:
    scores = judged(OPEN[:6], QUESTIONS[:6], RAMBLING[:6])
    assert said(scores, "few rows").startswith("There are only 6 test rows of 6 sources")
    one = judged(OPEN[:1], QUESTIONS[:1], RAMBLING[:1])
    assert said(one, "few rows").startswith("There is only 1 test row of 1 source")
    assert "no interval" in " ".join(finding.text for finding in findings(one))


def test_checks_lead_and_other_measures_caution() -> None:
    tuned = ["please, please"] * N
    base = [*QUESTIONS[:39], "please"]
    scores = judged(OPEN, tuned, base, checks=["polite", "never_alike"], train=OPEN_TRAIN)
    assert scores.leading == "all_checks"
    assert said(scores, "set check") == "The answers together fail the check “Never alike”: Two are the same."
    cautions = [finding.text for finding in findings(scores) if finding.severity == "caution"]
    assert any(text.startswith("Tuning made it worse: ROUGE-L fell from") for text in cautions)
    assert not any("exact match" in text for text in cautions), "free text hardly ever matches"


def test_a_check_that_fell_is_told() -> None:
    scores = judged(OPEN, QUESTIONS, [f"{text}, please" for text in RAMBLING], checks=["polite"])
    assert said(scores, "a check fell").startswith("“Polite” fell from 100.0 % to 0.0 % (−100.0 points, ")


def test_the_last_stage_is_judged_against_the_one_before() -> None:
    by = {"tuned": RAMBLING, "stage 1": QUESTIONS, "base": ["?"] * N}
    systems = {
        name: [Completion(e.id, text) for e, text in zip(OPEN, texts, strict=True)]
        for name, texts in by.items()
    }
    scores = evaluate(OPEN, systems, {"rouge_l": scorers.build("rouge_l", {})})
    assert findings(scores)[0].text.startswith("The last stage made it worse: ROUGE-L fell from 100.0 to ")


def test_a_scorer_that_could_not_judge_is_told() -> None:
    half = [
        Example(
            e.id,
            "t",
            e.source,
            e.messages,
            references=e.references if i % 2 else (),
            rejected=(message("assistant", "x"),),
            input=e.input,
        )
        for i, e in enumerate(OPEN)
    ]
    scores = judged(half, QUESTIONS, RAMBLING)
    texts = [finding.text for finding in findings(scores) if finding.kind == "not judged"]
    assert "20 of 40 answers could not be judged by ROUGE-L." in texts
    nothing = [
        Example(e.id, "t", e.source, e.messages, rejected=(message("assistant", "x"),), input=e.input)
        for e in OPEN
    ]
    assert findings(judged(nothing, QUESTIONS, RAMBLING))[0].text.startswith("Nothing can be said of ROUGE-L")


def test_a_reward_model_is_judged_against_guessing() -> None:
    pairs = [
        Example(
            e.id,
            "t",
            e.source,
            (*e.messages, message("assistant", "good", trained=True)),
            rejected=(message("assistant", "bad"),),
        )
        for e in OPEN
    ]
    right, wrong = [1.0, 0.0], [0.0, 1.0]
    coin = [right if i % 2 else wrong for i in range(N)]
    bad = evaluate_pairs(pairs, {"tuned": coin, "base": [wrong] * N, "longer": [right] * N})
    texts = [finding.text for finding in findings(bad)]
    assert texts[0].startswith("The tuned model does worse than taking the longer answer: the share of pairs")
    assert any(text.startswith("The tuned model cannot be told from guessing") for text in texts)
    good = evaluate_pairs(pairs, {"tuned": [right] * N, "base": coin, "longer": [wrong] * N})
    assert [finding.severity for finding in findings(good)] == ["good"]


def test_the_worst_comes_first_and_what_was_written_before_is_still_read() -> None:
    scores = judged(OPEN, ["", *QUESTIONS[:3] * 13], RAMBLING, cut={"base": set(range(30))})
    order = [finding.severity for finding in findings(scores)]
    assert order == sorted(order, key=["bad", "good", "caution"].index)
    old = {
        key: value for key, value in scores.plain().items() if key not in ("metrics", "references", "limit")
    }
    for system in old["systems"].values():
        for key in ("common", "longer", "shorter", "empty", "known", "copies", "shown"):
            del system[key]
    assert findings(Scores.of(old))
    assert findings(Scores()) == []
