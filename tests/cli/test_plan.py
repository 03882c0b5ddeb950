"""`espalier study --plan`: what a study will take and could see; blind studies are refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from espalier.api import plan_study
from espalier.core.recipe import load_recipe
from espalier.design.recipe import as_study
from espalier.runs.prepare import prepare
from espalier.study.cells import planned
from espalier.study.price import Pace, Price, price
from espalier.tasks.once import reading_once
from espalier.tasks.toml_task import load_toml_task

if TYPE_CHECKING:
    from collections.abc import Callable

    from espalier.core.records import Task
    from espalier.tasks.raw_rows import OnReject
    from tests.cli.conftest import Result

ASKED = """
recipe = "recipe.toml"
seeds = 2
set = ["train.epochs=0.1"]
[[factor]]
kind = "decode.limit"
levels = [3, 4]
"""


@pytest.fixture
def asked(home: Path) -> Path:
    (home / "asked.toml").write_text(ASKED)
    return home


def test_a_plan_tells_price_and_power_and_begins_nothing(
    asked: Path, espalier: Callable[..., Result]
) -> None:
    done = espalier("study", "asked.toml", "--plan", "-o", "margin=5", "-o", "budget=0.001", cwd=asked)
    assert done.code == 0, done.err
    out = " ".join(done.out.split())
    for said in (
        "4 cells of 2 trainings. Scored on 6 rows of 6 sources, with 2 seeds, by rouge_l",
        "It will take about",
        "The budget will not hold the study",
        "cannot see its margin of 5 points",
        "What would do:",
        "another seed moves a training by 2.0 points (assumed)",
    ):
        assert said in out
    assert not [*(asked / "studies").rglob("model")]


def test_the_price_is_of_what_is_left(asked: Path, espalier: Callable[..., Result]) -> None:
    done = espalier("study", "asked.toml", "-o", "margin=5", cwd=asked)
    assert done.code == 2
    assert "--anyway begins it all the same" in done.err
    assert not [*(asked / "studies").rglob("model")]
    more = ("-o", "metric=reference_logprob", "-o", "margin=500", "--assume", "spread=0.1")
    done = espalier("study", "asked.toml", *more, cwd=asked)
    assert done.code == 0, done.err
    assert "log-probability of the reference" in done.out
    after = json.loads(espalier("study", "asked.toml", *more[:4], "--plan", "--json", cwd=asked).out)
    assert (after["done"], after["price"]["minutes"], after["price"]["probed"]) == (2, 0, 0)
    assert "of this study, 2 trainings" in after["assumed"]["known"]["spread"]
    assert after["effects"][0]["provable"] > after["effects"][0]["detectable"] / 2
    # What is all done is shown, whatever it could see.
    again = espalier("study", "asked.toml", *more[:2], "-o", "margin=0.01", cwd=asked)
    assert again.code == 0, again.err


def test_one_seed_promises_nothing_of_retraining(asked: Path) -> None:
    table = {
        "name": "one",
        "folder": str(asked / "studies"),
        "recipe": str(asked / "recipe.toml"),
        "seeds": 1,
        "factor": [{"kind": "rate", "levels": [1e-3, 1e-4]}],
    }
    found = plan_study(table, assume=["spread=0.3"])
    assert "says nothing about retraining" in str(found)
    assert found.promises[0].detectable > 0
    assert found.plain()["effects"][0]["provable"] is None


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("-o", "metric=choice"), "The scorer 'choice' can judge none of the 6 test rows"),
        (("-o", "metric=exact_macth"), "Did you mean 'exact_match'"),
        (("-o", "margin=0"), "greater than 0"),
        (("-o", "margin=3", "-o", "seeds=1"), "One training a side cannot show"),
        (("--assume", "seed=1"), "Did you mean 'seeds'"),
    ],
)
def test_bad_plans_are_told(
    asked: Path, espalier: Callable[..., Result], more: tuple[str, ...], said: str
) -> None:
    done = espalier("study", "asked.toml", *more, cwd=asked)
    assert done.code == 2
    assert said in done.err


def counting(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Return the list that takes each task file that is read."""
    read: list[Path] = []

    def load(path: Path, on_reject: OnReject | None = None) -> Task:
        read.append(path)
        return load_toml_task(path, on_reject)

    monkeypatch.setattr("espalier.tasks.task_files.load_toml_task", load)
    return read


def test_a_plan_reads_each_file_once_and_rewrites_each_level_once(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    factors = [
        {"kind": "rate", "levels": [1e-3, 1e-4, 1e-5]},
        {"kind": "data.size", "levels": [6, 12, 18]},
        {"kind": "definition", "levels": ["original", "shuffled", "empty"]},
    ]
    table = {"name": "wide", "folder": str(home / "studies"), "recipe": str(home / "recipe.toml")}
    asked = as_study({**table, "seeds": 1, "factor": factors})
    read = counting(monkeypatch)
    found = planned(asked)
    assert len(found.cells) == 27
    assert len(read) == len(set(read)) == 2  # the task's own file, and what is shuffled
    monkeypatch.setattr("espalier.design.factors.once", lambda key, read, size: read())
    monkeypatch.setattr("espalier.data.mixture.once", lambda key, read, size: read())
    monkeypatch.setattr("espalier.runs.prepare.once", lambda key, read, size: read())
    monkeypatch.setattr("espalier.tasks.task_files.once", lambda key, read, size: read())
    assert planned(asked).trainings == found.trainings
    assert len(read) > 50


def test_nothing_is_held_outside_and_what_is_given_is_the_callers_own(home: Path) -> None:
    recipe = load_recipe(home / "recipe.toml")
    before = prepare(recipe)
    with reading_once():
        first = prepare(recipe)
        first.train.clear()
        first.rejects.append({})
        with reading_once():
            again = prepare(recipe)
        assert (again.train, again.test, again.rejects) == (before.train, before.test, before.rejects)
        small = prepare(recipe.model_copy(update={"data": recipe.data.model_copy(update={"limit": 6})}))
        assert len(small.train) == 6
    text = (home / "plural.jsonl").read_text().splitlines()
    (home / "plural.jsonl").write_text("\n".join(text[:20]) + "\n")
    assert len(prepare(recipe).train) < len(before.train)


PACE = Pace(letter=1e-3, ahead=0.0, prompts=0.5, answer=2.0, own=1.0, load=3.0, run=10.0, evaluation=4.0)


def test_a_halving_is_priced_to_its_end_and_judged_by_what_it_tests(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("espalier.study.price._probe", lambda *_: PACE)
    table = {
        "name": "halved",
        "folder": str(home / "studies"),
        "recipe": str(home / "recipe.toml"),
        "seeds": 2,
        "set": ["data.sealed=true"],
        "margin": 5.0,
        "design": {"kind": "halving", "settings": 6},
        "factor": [
            {"kind": "rate", "levels": [1e-4, 1e-3, 1e-2]},
            {"kind": "train.schedule", "levels": ["cosine", "constant"]},
        ],
    }
    found = plan_study(table)
    # Six settings, three and two of them, two controls; the chosen and a control, twice each. A control that
    # is in the last round is there once.
    assert found.trainings in (15, 16, 17)
    assert found.price is not None
    assert found.price.besides == 10 * found.trainings
    assert found.rows == len(prepare(load_recipe(home / "recipe.toml")).test)
    assert [one.name for one in found.promises] == ["what is chosen against what was not halved"]
    assert "cannot see its margin of 5 points" in found.blind
    assert "Which of them go on, its results say" in str(found)


def test_what_cells_share_is_priced_once_and_what_a_run_does_besides_for_each(
    home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("espalier.study.price._probe", lambda *_: PACE)

    def priced(*factors: dict[str, object]) -> tuple[Price, int]:
        named = {"name": "priced", "folder": str(home / "studies"), "recipe": str(home / "recipe.toml")}
        plan = planned(as_study({**named, "seeds": 1, "factor": list(factors)}))
        return price(plan, plan.trainings, (), tmp_path), len(plan.trainings)

    rates: dict[str, object] = {"kind": "rate", "levels": [1e-3, 1e-4]}
    alone, _ = priced(rates)
    test = len(prepare(load_recipe(home / "recipe.toml")).test)
    assert alone.besides == 2 * 10
    assert alone.answering == 3 * 0.5 + test * (2.0 + 2 * 1.0)  # the base model's once
    assert alone.training == pytest.approx(2 * 2 * 1e-3 * _letters(home))
    # Where checkpoints lie makes no other training, and no other answers.
    twice, trainings = priced(rates, {"kind": "train.checkpoint", "levels": [1, 50]})
    assert trainings == 4
    assert (twice.training, twice.answering, twice.besides) == (alone.training, alone.answering, 4 * 10)
    # Cells that differ in how they are asked are evaluations beside their training's run.
    asked, trainings = priced(rates, {"kind": "decode.limit", "levels": [3, 4]})
    assert trainings == 2
    assert asked.training == alone.training
    assert asked.besides == 2 * (10 + 3 + 4)


def _letters(home: Path) -> int:
    train = prepare(load_recipe(home / "recipe.toml")).train
    return sum(len(turn.text) for row in train for turn in row.messages)
