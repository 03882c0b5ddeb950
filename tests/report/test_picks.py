from __future__ import annotations

from dataclasses import replace

from espalier.core.records import Estimate, Score
from espalier.evaluate.score_records import Common, References, Row, System
from espalier.evaluate.scores import Scores
from espalier.report.gather import Material
from espalier.report.picks import pick, picked_by

SOME = Estimate(0.5, 0.4, 0.6, 12)


def material(gains: list[float]) -> Material:
    """One row per gain of the check; odd rows tie on checks and differ in ROUGE-L."""
    rows = [
        Row(
            str(i),
            str(i),
            {
                "base": {"rouge_l": Score(0.5), "kept": Score(0.0, "No."), "all_checks": Score(0.0)},
                "tuned": {"rouge_l": Score(0.5 + i / 100), "kept": Score(gain), "all_checks": Score(gain)},
            },
        )
        for i, gain in enumerate(gains)
    ]
    outputs = {(s, r.id): {"text": f"{s} {r.id}", "finish": "stop"} for r in rows for s in ("base", "tuned")}
    known = System({"rouge_l": SOME}, {"kept": SOME}, SOME)
    scores = Scores(systems={"tuned": known, "base": known}, examples=tuple(rows))
    return Material("run", scores=scores, outputs=outputs)


def test_ten_rows_none_twice_best_and_worst_by_checks_then_rouge() -> None:
    picks = pick(material([0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0]))
    texts = [p.tuned.text for p in picks]
    assert [p.reason for p in picks] == ["Best"] * 3 + ["Worst"] * 3 + ["Random"] * 4
    assert len(set(texts)) == 10
    assert texts[:3] == ["tuned 5", "tuned 1", "tuned 11"]
    assert texts[3:6] == ["tuned 0", "tuned 2", "tuned 3"]
    assert picks[0].base.broken == [("kept", "No.")]
    assert (picks[0].tuned.passes, picks[0].tuned.scores) == (1, {"rouge_l": 0.55})


def test_few_rows_and_unanswered_rows_are_no_trouble() -> None:
    few = material([1, 0])
    assert [p.reason for p in pick(few)] == ["Best", "Best"]
    del few.outputs["base", "1"]
    assert [p.tuned.text for p in pick(few)] == ["tuned 0"]
    assert pick(Material("empty")) == []


def test_the_scorer_that_leads_decides_where_checks_do_not() -> None:
    closed = material([0, 0, 0])
    known = System({"rouge_l": SOME, "exact_match": SOME}, {}, None)
    closed.scores = Scores(
        systems={"tuned": known, "base": known},
        references=References(3, 2, Common(), 1.0, closed=True, known=2),
        examples=tuple(
            replace(
                row,
                systems={
                    "base": {"rouge_l": Score(0.5), "exact_match": Score(0.0)},
                    "tuned": {"rouge_l": Score(0.5), "exact_match": Score(float(number == 1))},
                },
            )
            for number, row in enumerate(closed.scores.examples)
        ),
    )
    assert picked_by(closed.scores) == "by exact match"
    assert pick(closed)[0].tuned.text == "tuned 1"
    assert picked_by(material([0]).scores) == "by checks passed, then by ROUGE-L"
    assert picked_by(Scores()) == ""
