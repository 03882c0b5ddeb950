"""What needs no model: the floors, what is removed, and what a check says of numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from espalier.attribution.influence.checking import mean_correlation, rank_parts
from espalier.attribution.influence.floors import bm25, overlap
from espalier.attribution.influence.scores import check_size
from espalier.attribution.influence.subject import kept_by
from espalier.attribution.influence.subsets import ALL, halves, subsets, without
from espalier.core.errors import RecipeError, RunError
from espalier.evaluate.statistics import folded, folded_difference

ROWS = ["Rate: a cat sat", "Rate: a dog sat", "Rate: the quick fox", "Rate: a cat and a cat"]


def test_floors_know_words_that_few_rows_have() -> None:
    found = bm25(["Rate: cat", "zebra", ROWS[2]], ROWS)
    assert found.shape == (3, 4)
    assert np.argsort(-found[0])[:2].tolist() == [3, 0]
    assert not found[1].any()
    assert found[2].argmax() == 2
    alike = overlap(["Rate: a cat sat", "Rate"], ROWS)
    assert alike[0].argmax() == 0
    assert alike[0, 0] == 1
    assert not alike[1].any()  # a word that all rows have tells nothing


@given(st.lists(st.integers(1, 90), min_size=10, max_size=60), st.integers(0, 5))
def test_floors_take_no_more_tokens_than_the_score_that_is_checked(tokens: list[int], seed: int) -> None:
    scores = {name: np.random.default_rng([seed, n]).random((3, len(tokens))) for n, name in enumerate("abc")}
    gone = without(scores, "a", tokens, 0.2)
    spent = {name: sum(tokens[place] for place in places) for name, places in gone.items()}
    assert len(gone["a"]) == round(0.2 * len(tokens))
    assert max(spent.values()) == spent["a"]
    asked = subsets(scores, "a", tokens, share=0.2, seed=4, seeds=3, again=2, half=2)
    assert [one.name for one in asked] == [ALL, "a", "b", "c", "half 1", "half 2"]
    assert [len(one.seeds) for one in asked] == [3, 2, 2, 2, 1, 1]
    assert set(asked[1].places) | set(gone["a"]) == set(range(len(tokens)))
    assert {len(half) for half in halves(len(tokens), 5, seed)} == {(len(tokens) + 1) // 2}


def test_nothing_and_everything_are_not_removed() -> None:
    with pytest.raises(RecipeError, match="nothing to compare"):
        without({"a": np.ones((1, 10))}, "a", [1] * 10, 1.0)


def test_the_datamodelling_score_is_spearmans_in_the_mean_and_has_an_interval() -> None:
    rng = np.random.default_rng(0)
    predicted = rng.normal(size=(24, 5))
    reached = predicted + rng.normal(size=(24, 5))
    predicted[:, 4] = 1.0  # of which nothing is said
    names = [str(half) for half in range(24)]
    parts = rank_parts(predicted, reached)
    found = folded(parts, names, mean_correlation)
    by_hand = [float(np.asarray(spearmanr(predicted[:, query], reached[:, query]))[0]) for query in range(4)]
    assert found.value == pytest.approx(sum(by_hand) / 5)
    assert 0 < found.low < found.value < found.high < 1
    chance = rank_parts(rng.normal(size=(24, 5)), reached)
    gap = folded_difference(parts, chance, names, mean_correlation)
    assert gap.excludes_zero
    assert gap.value > 0


def test_gradients_that_do_not_fit_are_refused_with_their_size() -> None:
    check_size(2_442_240, 20, 0)
    check_size(134_515_008, 20, 8192)
    with pytest.raises(RunError, match=r"20 queries by 134,515,008 trained weights take 10.8 GB") as error:
        check_size(134_515_008, 20, 0)
    assert "--project" in error.value.hint
    assert "lora" in error.value.hint


@pytest.mark.parametrize(
    ("objective", "said"),
    [("dpo", "this run was trained by dpo"), ("reward", "this run makes a reward model")],
)
def test_other_objectives_are_refused_by_name(tmp_path: Path, objective: str, said: str) -> None:
    (tmp_path / "recipe.toml").write_text(f'name = "x"\n[train]\nobjective = ["{objective}"]\n')
    with pytest.raises(RunError, match=said):
        kept_by(tmp_path)
    (tmp_path / "recipe.toml").write_text('name = "x"\n')
    with pytest.raises(RunError, match="not trained yet"):
        kept_by(tmp_path)
