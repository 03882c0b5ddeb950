"""BLEU and chrF against sacrebleu's public scores: of all rows, and of a bootstrap's draws."""

from __future__ import annotations

import sys

import pytest

from espalier.core.errors import MissingExtra
from espalier.core.records import Completion, Example, message
from espalier.evaluate.compare import compare_scores, estimate
from espalier.evaluate.measures import metric_of
from espalier.scorers.registry import build_scorer, fitted

REFERENCES = [
    ("The ferry leaves at nine every morning.", "Every morning the ferry leaves at nine."),
    ("She painted the fence green.",),
    ("Nobody had read the letter aloud before.",),
    ("The pump was fixed within an hour.",),
]
TEXTS = [
    "The ferry leaves at ten every morning.",
    "She painted a green fence.",
    "Nobody read the letter before.",
    "",
]


def examples() -> list[Example]:
    prompt = (message("user", "?"),)
    return [Example(str(i), "t", str(i), prompt, references=r) for i, r in enumerate(REFERENCES)]


def answers(texts: list[str]) -> list[Completion]:
    return [Completion(str(i), text) for i, text in enumerate(texts)]


@pytest.mark.parametrize(
    ("kind", "name", "settings", "theirs"),
    [
        ("bleu", "BLEU", {}, {}),
        ("bleu", "BLEU", {"tokenize": "char", "lowercase": True}, {"tokenize": "char", "lowercase": True}),
        ("chrf", "CHRF", {}, {}),
        ("chrf", "CHRF", {"words": 2}, {"word_order": 2}),
    ],
)
def test_all_rows_together_are_sacrebleu_s(
    kind: str, name: str, settings: dict[str, object], theirs: dict[str, object]
) -> None:
    metrics = pytest.importorskip("sacrebleu.metrics")
    scorer = fitted(build_scorer(kind, settings, "x"), examples())
    scores = scorer.score(examples(), answers(TEXTS))
    measure = getattr(metrics, name)(**theirs)
    columns = [[row[i] if i < len(row) else None for row in REFERENCES] for i in range(2)]
    metric = metric_of(kind, scorer)
    found = estimate(metric, scores, [e.source for e in examples()])
    assert 100 * found.value == pytest.approx(measure.corpus_score(TEXTS, columns).score, abs=1e-9)
    assert found.bounded
    assert str(measure.get_signature()) in metric.note
    assert metric.fold is not None
    for drawn in ([0, 0, 2, 3], [1, 1, 1, 2]):
        sums = [sum(part) for part in zip(*(scores[i].parts for i in drawn), strict=True)]
        columns = [[REFERENCES[i][j] if j < len(REFERENCES[i]) else None for i in drawn] for j in range(2)]
        theirs_of_draw = measure.corpus_score([TEXTS[i] for i in drawn], columns).score
        assert 100 * metric.fold(sums) == pytest.approx(theirs_of_draw, abs=1e-9)


@pytest.mark.parametrize("kind", ["bleu", "chrf"])
def test_references_are_best_and_nothing_is_0(kind: str) -> None:
    pytest.importorskip("sacrebleu")
    scorer = fitted(build_scorer(kind, {}, "x"), examples())
    best = scorer.score(examples(), answers([references[0] for references in REFERENCES]))
    null = scorer.score(examples(), answers([""] * 4))
    assert [score.value for score in best] == pytest.approx([1.0] * 4)
    assert [score.value for score in null] == [0.0] * 4
    ids = [e.id for e in examples()]
    gap = compare_scores(
        dict(zip(ids, best, strict=True)),
        dict(zip(ids, null, strict=True)),
        {e.id: e.source for e in examples()},
        metric_of(kind, scorer),
    )
    assert gap.estimate.value == pytest.approx(1.0)
    assert gap.better == 4
    unscored = Example("9", "t", "9", (message("user", "?"), message("assistant", "x", trained=True)))
    assert scorer.score([unscored], [Completion("9", "x")])[0].value is None


def test_without_sacrebleu_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sacrebleu.metrics", None)
    with pytest.raises(MissingExtra, match=r"espalier-lm\[translation\]"):
        build_scorer("bleu", {}, "x")
