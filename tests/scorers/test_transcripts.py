"""Error rates of transcripts: what is counted, of what, and after which normaliser."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers.models.whisper.english_normalizer import BasicTextNormalizer

from espalier.core.records import Completion, Estimate, Example, Metric, Score, message
from espalier.evaluate.compare import estimate
from espalier.evaluate.measures import metric_of
from espalier.scorers.registry import build_scorer
from espalier.scorers.transcripts import edits, whisper_basic

TEXTS = st.text(st.sampled_from(list("aB é´İß(]<>[)#,.'’- \t\n3½№ﬁ中猫")), max_size=20)
UNITS = st.lists(st.sampled_from("abc"), max_size=7)


def rows(*references: tuple[str, ...]) -> list[Example]:
    prompt = (message("user", "?"),)
    facts = {"row": "…"}
    return [Example(str(i), "t", str(i // 2), prompt, g, facts=facts) for i, g in enumerate(references)]


def judged(
    kind: str, said: list[str], *references: tuple[str, ...], **settings: str
) -> tuple[list[Score], Metric, Estimate]:
    scorer = build_scorer(kind, settings, "x")
    examples = rows(*references)
    scores = scorer.score(examples, [Completion(str(i), text) for i, text in enumerate(said)])
    metric = metric_of(kind, scorer)
    return scores, metric, estimate(metric, scores, [row.source for row in examples])


@given(TEXTS)
def test_the_normaliser_is_whisper_s(text: str) -> None:
    assert whisper_basic(text).split() == BasicTextNormalizer()(text).split()


@given(UNITS, UNITS)
def test_edits_are_as_few_as_a_table_finds(said: list[str], reference: list[str]) -> None:
    """Against Wagner and Fischer's table."""
    above = [*range(len(said) + 1)]
    for row, unit in enumerate(reference, start=1):
        line = [row]
        for column, other in enumerate(said, start=1):
            line.append(min(above[column] + 1, line[-1] + 1, above[column - 1] + (unit != other)))
        above = line
    found = edits(said, reference)
    assert found.errors == above[-1]
    assert len(said) == len(reference) - found.deleted + found.inserted


def test_the_rate_is_of_all_words_together_with_its_counts() -> None:
    said = ["One, two four", "", "five five five six"]
    scores, metric, found = judged("wer", said, ("one two three",), ("seven",), ("five six",))
    assert [score.parts for score in scores] == [(1, 0, 0, 3), (0, 1, 0, 1), (0, 0, 2, 2)]
    assert found.value == pytest.approx(4 / 6)
    assert scores[2].value == pytest.approx(1.0)
    assert scores[0].why == "1 substituted"
    assert metric.counts == ("substituted", "deleted", "inserted", "words")
    assert metric.sign == -1
    assert "whisper-basic" in metric.title


def test_more_than_all_can_be_wrong_and_silence_can_be_spoken_over() -> None:
    scores, _, found = judged("wer", ["a b c", "so it is"], ("x",), ("[noise]",))
    assert scores[0].value == 3.0
    assert "no word: 3 words inserted" in scores[1].why
    assert found.value == 6.0
    scores, _, found = judged("wer", ["", "x"], ("(coughs)",), ("...",))
    assert scores[0].value == 0
    assert not found.known  # no word to be a share of


def test_normalisers_and_units_say_themselves_what_they_are() -> None:
    for name, rate in (("whisper-basic", 0.0), ("lowercase", 0.5), ("none", 1.0)):
        _, metric, found = judged("wer", ["so what"], ("So what?",), normaliser=name)
        assert found.value == rate
        assert name in metric.title
    scores, metric, _ = judged("cer", ["the  bat"], ("the cat",))
    assert scores[0].parts == (1, 0, 0, 7)
    assert metric.counts[-1] == "letters"


def test_of_several_transcripts_the_nearest_counts_and_none_is_not_scored() -> None:
    scores, _, found = judged("wer", ["a b", "a"], ("x y z", "a b"), ())
    assert scores[0].value == 0
    assert scores[1].value is None
    assert (found.n, found.missing) == (1, 1)
