"""Designs of studies from their file to the page: which runs they make, what is shared, what is refused."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest

from espalier.core.recipe import load_recipe
from espalier.design.recipe import as_study
from espalier.runs.prepare import prepare
from espalier.study.cells import planned

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.cli.conftest import Result

HEAD = 'recipe = "recipe.toml"\nseeds = 1\nset = ["train.epochs=0.1"]\n'
SOURCES = '[[factor]]\nkind = "sources"\nby = "kind"\n'
KINDS = ("first", "second", "third")


@pytest.fixture
def mixed(home: Path) -> Path:
    """A user's folder whose rows say of which of three kinds they are."""
    lines = (home / "plural.jsonl").read_text().splitlines()
    rows = [{**json.loads(line), "kind": KINDS[n % 3]} for n, line in enumerate(lines)]
    (home / "plural.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return home


def test_transfer_scores_all_sources_by_one_training_each(
    mixed: Path, espalier: Callable[..., Result]
) -> None:
    (mixed / "t.toml").write_text(f'{HEAD}design = "transfer"\n{SOURCES}levels = ["first", "second"]\n')
    done = espalier("study", "t.toml", cwd=mixed)
    assert done.code == 0, done.err
    folder = mixed / "studies" / "t"
    effects = json.loads((folder / "effects.json").read_text())
    assert [one["level"] for one in effects["effects"]][:2] == ["first, on first", "first, on second"]
    (block,) = effects["design"]
    assert block["said"][0].split(":")[0] in " ".join(done.out.split())
    assert len(block["matrix"]) == 2
    assert len([*(folder / "runs").glob("*/model")]) == 2
    assert "trained on" in (folder / "study.html").read_text()


def test_a_halving_grows_with_its_results_and_goes_on_after_a_kill(
    mixed: Path, espalier: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    levels = "[1e-3, 2e-3, 3e-3, 4e-3]"
    text = f'{HEAD}design = "halving"\n[[factor]]\nkind = "rate"\nlevels = {levels}\n'
    (mixed / "h.toml").write_text(text)
    done = espalier("study", "h.toml", cwd=mixed)
    assert done.code == 0, done.err
    folder = mixed / "studies" / "h"
    known = (folder / "effects.json").read_bytes()
    cells = json.loads((folder / "study.json").read_text())["cells"]
    tests = [cell for cell in cells if cell["levels"]["round"] == "test"]
    assert [cell["seed"] for cell in tests] == [0, 0]
    assert {cell["seed"] for cell in cells if cell not in tests} == {1}
    recipes = {cell["name"]: load_recipe(folder / "runs" / cell["name"] / "recipe.toml") for cell in cells}
    kept = {e.id for e in prepare(recipes[tests[0]["name"]]).test}
    for cell in cells:
        if cell not in tests:
            made = prepare(recipes[cell["name"]])
            assert not kept & {e.id for e in (*made.train, *made.test)}  # the test set chooses nothing
    for cell in (tests[0], cells[-3]):
        shutil.rmtree(folder / "runs" / cell["name"])

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("espalier.study.carrying_out.start", killed)
        assert espalier("study", "h.toml", cwd=mixed).code == 130
    again = espalier("study", "h.toml", cwd=mixed)
    assert again.code == 0, again.err
    assert "No cells of this study" not in again.err
    assert (folder / "effects.json").read_bytes() == known


def test_sources_leave_what_is_scored_as_it_is(mixed: Path) -> None:
    table = {"name": "p", "folder": str(mixed / "studies"), "recipe": str(mixed / "recipe.toml"), "seeds": 1}
    factor = {"kind": "sources", "by": "kind", "levels": [*KINDS]}
    whole = prepare(load_recipe(mixed / "recipe.toml"))
    plan = planned(
        as_study({**table, "design": {"kind": "leave_one_out", "arms": "both"}, "factor": [factor]})
    )
    assert all(cell.run for cell in plan.cells)  # no evaluation of their own
    for cell in plan.cells:
        made = prepare(cell.recipe)
        assert [e.id for e in made.test] == [e.id for e in whole.test]
        kinds = {e.origin["tags"]["kind"] for e in made.train}
        assert kinds == {*KINDS} - {cell.labels["sources"].removeprefix("without ").split(",")[0]}
    mixes = planned(as_study({**table, "design": {"kind": "mixtures", "count": 3}, "factor": [factor]}))
    sizes = [len(prepare(cell.recipe).train) for cell in mixes.cells]
    assert len({*sizes}) == 1


def test_equal_steps_are_as_many(mixed: Path) -> None:
    from espalier.train.objectives import objectives
    from espalier.train.steps import step_count

    table = {"name": "n", "folder": str(mixed / "studies"), "recipe": str(mixed / "recipe.toml"), "seeds": 1}
    factor = {"kind": "data.size", "levels": [8, 16, 24]}
    plan = planned(as_study({**table, "design": "nested", "factor": [factor]}))
    found: dict[str, int] = {}
    for cell in plan.cells:
        stage = cell.recipe.train[0]
        rows = len(prepare(cell.recipe).train)
        sft = objectives.build("sft", {}, "train.objective")
        found[cell.labels["size"]] = step_count(rows, stage.rows, stage.epochs, [(sft, 1.0)])
    assert found == {
        "24 rows": 6, "8 rows, equal epochs": 2, "16 rows, equal epochs": 4,
        "8 rows, equal steps": 6, "16 rows, equal steps": 6,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("design", "factor", "said"),
    [
        (
            "leave_one_out",
            SOURCES + 'levels = ["first", "secnd"]',
            "No training row is of the source 'secnd'",
        ),
        ("leave_one_out", '[[factor]]\nkind = "rate"\nlevels = [1e-3, 1e-4]', "does not fit"),
        ("transfer", '[[factor]]\nkind = "rate"\nlevels = [1e-3, 1e-4]', "which rows are of which level"),
        ("nested", '[[factor]]\nkind = "rate"\nlevels = [1e-3, 1e-4]', "whole numbers of rows"),
        ("nested", '[[factor]]\nkind = "data.size"\nlevels = [8, 4000]', "is more than the 24 rows"),
        ("mixtures", SOURCES + 'rows = 90\nlevels = ["first", "second"]', "Lower rows"),
        ("halving", '[[factor]]\nkind = "rate"\nlevels = [1e-3, 1e-4]', "2 settings to halve"),
        (
            "transfer",
            SOURCES + 'levels = ["first", "second"]\n[[factor]]\nkind = "rate"\nlevels = [1e-3, 1e-4]',
            "takes one factor, and there are 2",
        ),
    ],
)
def test_what_no_design_can_be_made_of_is_told_in_a_sentence(
    mixed: Path, espalier: Callable[..., Result], design: str, factor: str, said: str
) -> None:
    (mixed / "bad.toml").write_text(f'{HEAD}design = "{design}"\n{factor}\n')
    done = espalier("study", "bad.toml", cwd=mixed)
    assert done.code == 2
    assert said in done.err
