"""Every scorer that judges texts goes through a run's scores, its file and its findings."""

from __future__ import annotations

import json

import pytest

from espalier.core.records import Completion, Example, message
from espalier.core.scoring import Measured
from espalier.evaluate.baselines import floors
from espalier.evaluate.findings import findings
from espalier.evaluate.harness import evaluate
from espalier.evaluate.scores import Scores
from espalier.evaluate.texts import score_texts
from espalier.report.words import against_floors
from espalier.scorers.registry import TOGETHER, build_scorer, scorers

KINDS = {
    "exact_match": {},
    "quasi_exact": {},
    "token_f1": {},
    "rouge_l": {},
    "label": {},
    "macro": {"measure": "macro_f1"},
    "mctaco": {},
    "question_f1": {"measure": "f1"},
    "regex": {"pattern": "yes|no"},
    "super_ni": {},
    "chrf": {},
    "bleu": {},
    "vqa": {},
    "wer": {},
    "cider": {},
}
OF = {"macro": "label", "question_f1": "mctaco"}


def rows() -> list[Example]:
    return [
        Example(
            str(i),
            "t",
            f"question {i // 3}",
            (message("user", f"row {i}?"),),
            references=(("yes", "no", "no")[i % 3],),
            input=f"row {i}?",
            facts={"category": "textual_entailment"},
        )
        for i in range(60)
    ]


def test_they_stand_in_a_run_s_scores_beside_its_floors() -> None:
    pytest.importorskip("sacrebleu")
    examples = rows()
    found = floors(examples, examples, {"t": "no"})
    assert {"constant", "copy", "random", "example"} <= found.keys()
    systems = {
        "tuned": [Completion(e.id, f"{e.references[0].title()}.") for e in examples],
        "base": [Completion(e.id, "no") for e in examples],
        **found,
    }
    built = {name: build_scorer(OF.get(name, name), own, "x") for name, own in KINDS.items()}
    scores = evaluate(examples, systems, built, train=examples)
    again = Scores.of(json.loads(scores.to_json()))
    for name, scorer in built.items():
        assert isinstance(scorer, Measured)
        assert scores["tuned"][name].known
        assert str(again["tuned"][name]) == str(scores["tuned"][name])
        assert again.metric(name).title == scores.metric(name).title
        assert (again.metric(name).counts, again.metric(name).leans) == (
            scores.metric(name).counts,
            scores.metric(name).leans,
        )
    assert (
        scores.tally("base", "wer")
        == again.tally("base", "wer")
        == "20 substituted, 0 deleted, 0 inserted of 60 words"
    )
    assert scores["tuned"]["mctaco"].value == scores["tuned"]["question_f1"].value == 1.0
    assert scores["base"]["mctaco"].value == 0.0
    assert scores["base"]["macro"].value == pytest.approx(0.4)
    said = [finding.text for finding in findings(scores)]
    assert said
    assert "It is 100 % of the way from the best of them" in against_floors(scores, "label")


def test_they_score_a_program_s_texts() -> None:
    assert score_texts("numeric", ["It is 1,000."], ["#### 1000"]).value == 1.0
    assert score_texts("regex", ["a 1", "b"], ["", ""], settings={"pattern": r"\d"}).value == 0.5
    assert score_texts("label", ["yes", "no", "no"], ["yes", "yes", "no"]).value == pytest.approx(2 / 3)


def test_what_is_given_together_is_of_a_scorer_s_own_settings() -> None:
    for kind, variants in TOGETHER.items():
        parameters = scorers.describe(kind)[1]
        assert all(own.keys() <= parameters.keys() for own in variants.values())
