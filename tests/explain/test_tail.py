"""A planted rare kind that is bad is named and nothing else; rows that are alike name none."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import numpy as np
import pytest

from espalier.core.errors import DataError
from espalier.core.records import Example, Metric, Score, message
from espalier.evaluate.harness import estimated
from espalier.explain.tail.kinds import NEIGHBOUR, facets
from espalier.explain.tail.page import render
from espalier.explain.tail.tail import of_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from espalier.explain.tail.record import TailPage

KINDS = ("count apples", "name birds", "sort numbers", "describe houses", "translate words", "list rivers")
BAD = len(KINDS) - 1
TRAINED = (90, 60, 40, 30, 20, 3)  # rows of each kind


def row(number: int, kind: int, part: str, tags: dict[str, str] | None = None) -> Example:
    text = f"Please {KINDS[kind]}, {part}{number}"
    turns = (message("user", text), message("assistant", "done", trained=True))
    origin = {"tags": tags} if tags else {}
    return Example(f"{part}{number}", "t", f"{part}{number}", turns, ("done",), origin=origin, input=text)


TRAIN = [row(n, kind, "train") for kind, count in enumerate(TRAINED) for n in range(count)]
TEST = [row(n, n % len(KINDS) if n % 3 else n % 5, "test") for n in range(120)]


def tail(tuned: Sequence[float], train: Sequence[Example] = TRAIN, base: bool = True) -> TailPage:
    rng = np.random.default_rng(9)
    scored = {"tuned": {"exact_match": [Score(value) for value in tuned]}}
    if base:
        scored["base"] = {"exact_match": [Score(float(v)) for v in rng.random(len(TEST)) < 0.3]}
    scores = estimated(TEST, scored, {"exact_match": Metric("Exact match", unit="%")})
    return of_rows("run", scores, TEST, train)


def named(found: TailPage) -> list[tuple[str, str]]:
    return [(told.name, group.name) for told in found.facets for group in told.groups if group.worse]


def test_a_planted_rare_kind_is_named_and_nothing_else() -> None:
    rng = np.random.default_rng(0)
    right = rng.random(len(TEST)) < np.where(["rivers" in one.input for one in TEST], 0.05, 0.8)
    found = tail(right.astype(float).tolist())
    assert named(found) == [("verb and noun", "list rivers")]
    first, slope, worst = found.sentences
    assert first.startswith("Worse than the other rows")
    assert "“list rivers”" in first
    assert "3 in training" in first
    assert "cannot be seen" in slope  # one kind of six is no law of frequency
    assert "the worst value that there is" in worst
    (told,) = [one for one in found.facets if one.name == "verb and noun"]
    (group,) = [one for one in told.groups if one.worse]
    assert group.tuned.value < group.shrunken.value < found.tuned.value
    assert group.base is not None
    assert group.gap is not None
    page = render(found)
    assert "list rivers *" in page
    assert not re.findall(r"(?:src|href)=|https?://|nan", page)
    assert json.loads(found.to_json())["facets"][0]["name"] == "verb and noun"
    assert "list rivers *" in str(found)


def test_rows_that_are_alike_name_nothing() -> None:
    for seed in range(4):
        found = tail((np.random.default_rng(seed).random(len(TEST)) < 0.6).astype(float).tolist(), base=False)
        assert named(found) == []
        assert not any(told.slope and told.slope.holds for told in found.facets)
        assert "cannot be seen" in found.sentences[0]
        assert not any(f"“{kind}”" in found.sentences[0] for kind in KINDS)


def test_a_score_that_goes_with_frequency_in_every_kind_is_told() -> None:
    rng = np.random.default_rng(3)
    counts = {kind: count for kind, count in zip(KINDS, TRAINED, strict=True)}
    often = [next(count for kind, count in counts.items() if kind in one.input) for one in TEST]
    found = tail(np.clip(np.log2(often) / 7 + rng.normal(0, 0.05, len(TEST)), 0, 1).tolist())
    held = [told.name for told in found.facets if told.slope and told.slope.holds]
    assert "verb and noun" in held
    assert "for each doubling of training rows" in found.sentences[1]


def test_without_training_rows_groups_are_all_there_is() -> None:
    found = tail([1.0, 0.0] * 60, train=(), base=False)
    assert found.sentences[1] == (
        "How the score goes with training cannot be told: no training rows are known."
    )
    assert all(group.seen is None for told in found.facets for group in told.groups)
    assert NEIGHBOUR not in [told.name for told in found.facets]
    assert "Exact match" in render(found)


def test_rare_kinds_are_put_together_and_said() -> None:
    rows = [row(n, min(n // 8, 5), "test", {"colour": "red" if n % 2 else "blue"}) for n in range(44)]
    scores = estimated(rows, {"tuned": {"exact_match": [Score(1.0)] * 44}}, {})
    found = of_rows("run", scores, rows, TRAIN)
    (told,) = [one for one in found.facets if one.name == "verb and noun"]
    assert told.pooled == "1 kind of fewer than 5 sources is put together"
    assert [group.name for group in told.groups][-1] == "rare kinds"
    assert "colour" in [one.name for one in found.facets]
    assert named(found) == []


def test_measures_of_the_whole_set_are_refused() -> None:
    fold = Metric("BLEU", fold=lambda sums: sums[0])
    scores = estimated(TEST, {"tuned": {"bleu": [Score(None, parts=(1.0,)) for _ in TEST]}}, {"bleu": fold})
    with pytest.raises(DataError, match="judges single rows"):
        of_rows("run", scores, TEST, TRAIN)


def test_an_input_that_training_had_is_told_from_one_that_it_had_not() -> None:
    seen = row(0, 0, "train")
    new = Example(
        "x", "t", "x", (message("user", "Zwölf Boxkämpfer jagen Viktor"),), ("a",), input="Zwölf X Y"
    )
    near = facets([seen, new], TRAIN)[-1]
    assert near.name == NEIGHBOUR
    assert near.kinds == ("the same words", "nothing shared")
    assert near.seen == (1.0, 0.0)
