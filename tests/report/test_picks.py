from __future__ import annotations

from espalier.report.gather import Material
from espalier.report.picks import pick, picked_by


def material(gains: list[float]) -> Material:
    """One row per gain of the check; odd rows tie on checks and differ in ROUGE-L."""
    rows = [
        {
            "id": str(i),
            "systems": {
                "base": {"values": {"rouge_l": 0.5, "kept": 0.0, "all_checks": 0.0}, "why": {"kept": "No."}},
                "tuned": {"values": {"rouge_l": 0.5 + i / 100, "kept": gain, "all_checks": gain}, "why": {}},
            },
        }
        for i, gain in enumerate(gains)
    ]
    outputs = {
        (s, r["id"]): {"text": f"{s} {r['id']}", "finish": "stop"} for r in rows for s in ("base", "tuned")
    }
    known = {"scores": {"rouge_l": {}}, "checks": {"kept": {}}, "all_checks": {"value": 0.5}}
    scores = {"examples": rows, "seed": 0, "systems": {"tuned": known, "base": known}}
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
    known = {"scores": {"rouge_l": {}, "exact_match": {}}, "checks": {}, "all_checks": None}
    closed.scores |= {"systems": {"tuned": known, "base": known}, "references": {"closed": True}}
    for number, row in enumerate(closed.scores["examples"]):
        for system in row["systems"]:
            row["systems"][system] = {"values": {"rouge_l": 0.5, "exact_match": 0.0}, "why": {}}
        row["systems"]["tuned"]["values"]["exact_match"] = float(number == 1)
    assert picked_by(closed.scores) == "by exact match"
    assert pick(closed)[0].tuned.text == "tuned 1"
    assert picked_by(material([0]).scores) == "by checks passed, then by ROUGE-L"
    assert picked_by({}) == ""
