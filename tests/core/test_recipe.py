"""Recipes: what is wrong is said at its TOML path, and a resolved recipe is the same run."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import tomli_w

from espalier.core.errors import DataError, RecipeError
from espalier.core.recipe import Recipe, load_recipe, recipe_keys
from espalier.core.sections import explained

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def load(folder: Path, text: str = "", overrides: Sequence[str] = ()) -> Recipe:
    path = folder / "recipe.toml"
    path.write_text(f'name = "trial"\n{text}')
    return load_recipe(path, overrides)


@pytest.mark.parametrize(
    ("text", "where", "said"),
    [
        ("sed = 1", "sed", "There is no key 'sed' here. Did you mean 'seed'?"),
        ("[trian]\nrate = 1", "trian", "Did you mean 'train'?"),
        ("[train]\nraet = 1", "train.raet", "Did you mean 'rate'?"),
        ("[task]\npositives = 1", "task.positives", "Did you mean 'positive'?"),
        ('[train]\nrate = "fast"', "train.rate", "'fast' does not fit: input should be a valid number"),
        ("[train]\nrows = 1.5", "train.rows", "1.5 does not fit"),
        ("[train]\nrate = -1.0", "train.rate", "greater than 0"),
        ("[train]\nrate = nan", "train.rate", "nan does not fit"),
        ("[train]\nepochs = inf", "train.epochs", "inf does not fit: input should be a finite number"),
        ("[data]\ntrain = 1", "data.train", "less than 1"),
        ('[task]\npositive = "2"', "task.positive", "'2' does not fit"),
        ("[task]\npositive = true", "task.positive", "True does not fit"),
        ('[task]\ndefinition = "yes"', "task.definition", "'yes' does not fit"),
        ("train = 3", "train", "3 does not fit"),
        ("[train]\nmethod = 3", "train.method", "3 does not fit"),
        ("[train.method]\nrank = 8", "train.method.kind", "required and missing"),
        ('evaluate = "rouge_l"', "evaluate", "'rouge_l' does not fit"),
        ("[[evaluate]]\nknd = 'rouge_l'", "evaluate.0.kind", "required and missing"),
        ("[[train.objective]]\nkind = 'sft'\nweight = 0", "train.objective.0.weight", "greater than 0"),
        ('[model]\nprecision = "fp16"', "model.precision", "'auto', 'fp32' or 'bf16'"),
    ],
)
def test_what_is_wrong_is_said_at_its_path(tmp_path: Path, text: str, where: str, said: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load(tmp_path, text)
    assert caught.value.where == where
    assert said in str(caught.value)


def test_names_are_file_names(tmp_path: Path) -> None:
    for name in ("", "../x", "a/b", ".x", "a b"):
        with pytest.raises(RecipeError, match="name: "):
            load(tmp_path, "", [f"name={json.dumps(name)}"])


def test_no_name_no_run(tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_text("seed = 1")
    with pytest.raises(RecipeError, match="name: This key is required and missing"):
        load_recipe(tmp_path / "x.toml")


def test_files_that_are_no_recipe(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        load_recipe(tmp_path / "x.toml")
    (tmp_path / "x.toml").write_text("name = trial\n")
    with pytest.raises(RecipeError, match=r"x\.toml: The recipe is not TOML: .*line 1, column"):
        load_recipe(tmp_path / "x.toml")


def test_overrides_are_toml_values(tmp_path: Path) -> None:
    recipe = load(
        tmp_path,
        "[train]\nrate = 1",
        [
            "train.rate=2e-4",
            'evaluate=["rouge_l", {kind = "check", name = "question"}]',
            "task.explanations=true",
            "data.limit = 7",
            "task.path=somewhere/task-1.json",
            "model.name='quoted'",
        ],
    )
    assert recipe.train[0].rate == 2e-4
    assert [scorer.kind for scorer in recipe.evaluate] == ["rouge_l", "check"]
    assert recipe.evaluate[1].params == {"name": "question"}
    assert recipe.task.explanations
    assert recipe.data.limit == 7
    assert recipe.task.path == "somewhere/task-1.json"
    assert recipe.model.name == "quoted"


def test_a_choice_is_overridden_by_name_and_parameter(tmp_path: Path) -> None:
    lora = load(tmp_path, "", ["train.method=lora"]).train[0].method
    assert (lora.kind, lora.params) == ("lora", {})
    text = '[train]\nmethod = "lora"'
    ranked = load(tmp_path, text, ["train.method.rank=8", "train.method.alpha=16"]).train[0].method
    assert (ranked.kind, ranked.params) == ("lora", {"rank": 8, "alpha": 16})
    both = load(tmp_path, "", ["train.method=lora", "train.method.rank=8"]).train[0].method
    assert (both.kind, both.params) == ("lora", {"rank": 8})


def test_a_text_may_look_like_a_number(tmp_path: Path) -> None:
    recipe = load(tmp_path, "", ["name=2024", "task.path=nan", "model.name='true'"])
    assert (recipe.name, recipe.task.path, recipe.model.name) == ("2024", "nan", "true")


def test_a_parameter_of_a_default_choice_is_overridden(tmp_path: Path) -> None:
    assert load(tmp_path, "", ["decode.limit=9"]).decode.params == {"limit": 9}
    assert load(tmp_path, "", ["decode.limit=9"]).decode.kind == "greedy"


@pytest.mark.parametrize(
    ("override", "where", "said"),
    [
        ("train.rate", "", "'train.rate' is not an override. Write it as key.path=value."),
        ("=3", "", "is not an override"),
        ("train.raet=1", "train.raet", "Did you mean 'rate'?"),
        ("train.rate.x=1", "train.rate.x", "'rate' is not a table"),
        ("seed=many", "seed", "'many' does not fit"),
        ("train..rate=1", "train.", "There is no key '' here"),
    ],
)
def test_a_wrong_override_is_refused(tmp_path: Path, override: str, where: str, said: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load(tmp_path, "[train]\nrate = 1", [override])
    assert caught.value.where == where
    assert said in str(caught.value)


def test_a_resolved_recipe_is_the_same_run(tmp_path: Path) -> None:
    recipe = load(
        tmp_path,
        '[train]\nmethod = {kind = "lora", rank = 8}\nobjective = ["sft"]\n[data]\nlimit = 3\n'
        '[[evaluate]]\nkind = "check"\nname = "ends \\"so\\""',
    )
    again = tmp_path / "resolved.toml"
    again.write_text(recipe.to_toml())
    assert load_recipe(again) == recipe
    assert load_recipe(again).hash == recipe.hash


def test_the_hash_knows_everything_but_where_things_lie(tmp_path: Path) -> None:
    base = load(tmp_path)
    assert load(tmp_path, "", ["folder=elsewhere"]).hash == base.hash
    here, there = (load(tmp_path, "", [f"task.path={place}/task.json"]).hash for place in ("/here", "/there"))
    assert here == there != base.hash
    for change in ("seed=1", "train.rate=1.0", "decode.limit=3", "train.method.rank=3", "name=other"):
        assert load(tmp_path, "[train]\nmethod = 'full'", [change]).hash != base.hash


def test_paths_in_the_file_start_at_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    for folder in (home, elsewhere):
        folder.mkdir()
        (folder / "task.json").write_text("{}")
    monkeypatch.chdir(elsewhere)
    text = '[task]\npath = "task.json"'
    assert load(home, text).task.path == str(home / "task.json")
    assert load(home, text, ["task.path=task.json"]).task.path == str(elsewhere / "task.json")
    assert load(home, '[task]\npath = "event-duration"').task.path == "event-duration"


def test_a_recipe_is_frozen_and_every_key_is_explained(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="frozen"):
        load(tmp_path).seed = 3  # type: ignore[misc]
    about = dict(explained(Recipe))
    assert [*about] == [key for key, _ in recipe_keys()]
    assert not [key for key, text in about.items() if not text.endswith(".")]


def test_a_table_of_python_is_a_recipe(tmp_path: Path) -> None:
    recipe = Recipe.model_validate({"name": "trial", "train": [{"method": "lora"}]})
    assert load(tmp_path, tomli_w.dumps({"train": {"method": "lora"}})) == recipe


@pytest.mark.parametrize("value", ["9" * 5000, "[" * 20_000 + "]" * 20_000])
def test_what_nobody_could_use_is_refused(tmp_path: Path, value: str) -> None:
    with pytest.raises(RecipeError, match=r"is not TOML: (a number has thousands|it is nested too deeply)"):
        load(tmp_path, f"seed = {value}")
    with pytest.raises(RecipeError, match="seed"):
        load(tmp_path, "", [f"seed={value}"])


WRITTEN = """
name = "a"
[train]
method = { kind = "lora", rank = 4 }
[decode]
kind = "sample"
limit = 9
temperature = 0.5
"""


def test_another_kind_leaves_out_what_only_the_one_before_knew(tmp_path: Path) -> None:
    file = tmp_path / "a.toml"
    file.write_text(WRITTEN)
    beam = load_recipe(file, ["decode.kind=beam"])
    assert beam.decode.params == {"limit": 9}
    assert beam.left_out == ["The recipe's decode.temperature of 'sample' does not go with 'beam': left out."]
    choices = load_recipe(file, ["decode.kind=choices"])
    assert choices.decode.params == {}
    full = load_recipe(file, ["train.0.method.kind=full"])
    assert (full.train[0].method.params, len(full.left_out)) == ({}, 1)
    same = load_recipe(file, ["decode.kind=sample", "train.method.kind=lora"])
    assert (same.decode.params["temperature"], same.left_out) == (0.5, [])


def test_what_the_command_itself_sets_stays_and_is_refused_where_it_does_not_fit(tmp_path: Path) -> None:
    file = tmp_path / "a.toml"
    file.write_text(WRITTEN)
    said = load_recipe(file, ["decode.kind=choices", "decode.limit=3"])
    assert said.decode.params == {"limit": 3}  # which the strategy refuses
    whole = load_recipe(file, ["decode={kind='sample', typical=0.5}", "decode.kind=beam"])
    assert whole.decode.params == {"typical": 0.5}
    file.write_text('name = "a"')  # the default is no word of the recipe's
    bare = load_recipe(file, ["decode.kind=choices"])
    assert (bare.decode.params, bare.left_out) == ({}, [])
    with pytest.raises(RecipeError, match=r"decode.kind: No decoding strategy is named 'beem'"):
        load_recipe(file, ["decode.kind=beem"])
