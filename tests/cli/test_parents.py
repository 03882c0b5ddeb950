"""A run as the model of another: tuned further, asked, exported, and what is left when the first is gone."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest

import espalier as package
from espalier.core.recipe import as_recipe
from espalier.models.load import load_model
from espalier.models.places import find_model

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LORA = ("-o", "train.method=lora", "-o", "train.rate=1e-2")
SECOND = ("run", "recipe.toml", "-o", "name=second", "-o", "train.rate=1e-2", "-o", "train.epochs=1")
FROM = (*SECOND, "-o", "model.name=runs/plural")


def provenance(home: Path, name: str) -> dict[str, Any]:
    return json.loads((home / "runs" / name / "provenance.json").read_text())


@pytest.fixture(scope="module")
def adapted(
    tmp_path_factory: pytest.TempPathFactory, new_home: Callable[..., Path], espalier: Callable[..., Any]
) -> Path:
    """A user's folder with a run whose model is an adapter."""
    home = new_home(tmp_path_factory.mktemp("adapted") / "home")
    result = espalier("run", "recipe.toml", *LORA, cwd=home)
    assert result.code == 0, result.err
    return home


@pytest.fixture
def home_of_two(adapted: Path, tmp_path: Path) -> Path:
    """A copy of it, in a folder of its own."""
    shutil.copytree(adapted, tmp_path / "two", symlinks=True)
    return tmp_path / "two"


def test_a_run_is_tuned_further_and_the_first_adapter_is_not_lost(home_of_two: Path, espalier) -> None:
    home = home_of_two
    # The first run's recipe names its model by where it lay.
    assert espalier("run", "recipe.toml", *LORA, cwd=home).code == 0
    result = espalier(*FROM, *LORA, cwd=home)
    assert result.code == 0, result.err
    assert "Made from a run: tiny → plural → second." in result.err
    base, first, second = (
        find_model(str(home / name), home) for name in ("tiny", "runs/plural", "runs/second")
    )
    assert second.base == first
    assert second.root == str((home / "tiny").resolve())
    name = "model.layers.0.self_attn.q_proj.weight"
    weights = [load_model(place).model.state_dict()[name] for place in (base, first, second)]
    assert not weights[0].equal(weights[1])
    assert not weights[1].equal(weights[2])
    told = provenance(home, "second")
    assert [parent["name"] for parent in told["parents"]] == ["tiny", "plural"]
    before = provenance(home, "plural")["inputs"]
    assert told["parents"][1]["recipe"] == before["recipe"]
    assert told["parents"][0]["weights"] == before["weights"]
    assert told["parents"][1]["weights"] == told["inputs"]["weights"]
    assert told["asked_before"] == 0
    report = (home / "runs/second/report.html").read_text()
    assert "tiny → plural → second" in report


def test_test_rows_that_a_parent_was_trained_on_are_told(home_of_two: Path, espalier) -> None:
    home = home_of_two
    result = espalier(*FROM, "-o", "seed=5", cwd=home)
    assert result.code == 0, result.err
    asked = provenance(home, "second")["asked_before"]
    assert asked > 0
    assert f"Note: {asked} of 11 test rows ask what was trained on before" in " ".join(result.err.split())
    report = (home / "runs/second/report.html").read_text()
    assert f"{asked} of the test rows ask" in report


def test_what_a_run_made_is_asked_exported_and_judged_like_any(home_of_two: Path, espalier) -> None:
    home = home_of_two
    assert espalier(*FROM, cwd=home).code == 0
    answer = espalier("generate", "runs/second", "a kettle", cwd=home)
    assert answer.code == 0, answer.err
    model = package.load(home / "runs/second")
    assert model.generate("a kettle", limit=6)[0].text == answer.out.strip()
    assert espalier("export", "runs/second", cwd=home).code == 0
    card = (home / "runs/second/export/hf/README.md").read_text()
    assert "tiny → plural → second" in card
    for verb in ("verify", "inspect", "forecast"):
        result = espalier(verb, "recipe.toml", "-o", "model.name=runs/second", "-o", "name=third", cwd=home)
        assert result.code == 0, result.err


def test_without_the_first_run_a_whole_model_stays_and_an_adapter_says_what_it_lacks(
    home_of_two: Path, espalier
) -> None:
    home = home_of_two
    assert espalier(*FROM, cwd=home).code == 0
    assert espalier(*FROM, *LORA, "-o", "name=third", cwd=home).code == 0
    refused = espalier("export", "runs/third", "--to", "adapter", cwd=home)
    assert refused.code == 2
    assert "The run's adapter is one to the model of plural, which is an adapter itself" in refused.err
    recipe = home / "runs/plural/recipe.toml"
    told = recipe.read_text()
    recipe.write_text(told.replace(str((home / "tiny").resolve()), str(home / "runs/third")))
    assert "an adapter to itself" in espalier("generate", "runs/third", "a kettle", cwd=home).err
    shutil.rmtree(home / "runs/plural")
    for command in (
        ("generate", "runs/second", "a kettle"),
        ("export", "runs/second"),
        ("report", "runs/third"),
    ):
        result = espalier(*command, cwd=home)
        assert result.code == 0, result.err
    lacking = espalier("generate", "runs/third", "a kettle", cwd=home)
    assert lacking.code == 2
    assert (
        f"The run's model is an adapter to '{home.resolve()}/runs/plural', which is not there." in lacking.err
    )
    again = espalier(*FROM, cwd=home)
    assert again.code == 2
    assert (
        "There is no model 'runs/plural': it is no bundled name, no folder of a model or a run" in again.err
    )


def test_what_cannot_be_a_model_is_told_in_a_sentence(home_of_two: Path, espalier) -> None:
    home, run = home_of_two, home_of_two / "runs" / "plural"
    itself = espalier("run", "recipe.toml", "-o", "model.name=runs/plural", cwd=home)
    assert itself.code == 2
    assert "The run is to be made from itself." in itself.err
    assert "Did you mean 'runs/plural'?" in espalier(*SECOND, "-o", "model.name=runs/plurale", cwd=home).err
    (home / "tiny2").mkdir()
    for file in (home / "tiny").iterdir():
        shutil.copyfile(file, home / "tiny2" / file.name)
    recipe = run / "recipe.toml"
    recipe.write_text(recipe.read_text().replace(str((home / "tiny").resolve()), str(home / "tiny2")))
    weights = next((home / "tiny2").glob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-4] + b"abcd")
    assert f"an adapter to other weights than '{home}/tiny2' has now" in espalier(*FROM, cwd=home).err
    assert "an adapter to other weights" in espalier("generate", "runs/plural", "a kettle", cwd=home).err
    shutil.rmtree(run / "model")
    unfinished = espalier(*FROM, cwd=home)
    assert unfinished.code == 2
    assert "The run has no tuned model yet." in unfinished.err


@pytest.mark.parametrize("method", ["prompt", "adapter"])
def test_what_cannot_be_folded_in_is_not_tuned_on(home_of_two: Path, espalier, method: str) -> None:
    home = home_of_two
    made = espalier("run", "recipe.toml", "-o", "name=soft", "-o", f"train.method={method}", cwd=home)
    assert made.code == 0, made.err
    refused = espalier(*SECOND, "-o", "model.name=runs/soft", cwd=home)
    assert refused.code == 2
    assert "cannot be folded into it, so nothing can be tuned on top of it" in refused.err


def test_a_folder_that_is_a_run_and_a_model_is_taken_for_the_run(home_of_two: Path, espalier) -> None:
    home = home_of_two
    for file in (home / "tiny").iterdir():
        shutil.copyfile(file, home / "runs/plural" / file.name)
    result = espalier(*FROM, cwd=home)
    assert result.code == 0, result.err
    assert "runs/plural holds a run and a model beside it: the run's is taken" in result.err
    # A recipe that lies beside a model does not make a run of it.
    (home / "own").mkdir()
    for file in (home / "tiny").iterdir():
        shutil.copyfile(file, home / "own" / file.name)
    shutil.copyfile(home / "recipe.toml", home / "own" / "recipe.toml")
    assert find_model(str(home / "own"), home).folder == str(home / "own")


def test_the_adapter_of_a_run_is_a_model_by_its_own_folder_too(home_of_two: Path) -> None:
    run = home_of_two / "runs" / "plural"
    assert find_model(str(run / "model"), home_of_two) == find_model(str(run), home_of_two)
    elsewhere = home_of_two / "adapter"
    shutil.copytree(run / "model", elsewhere)
    found = find_model(str(elsewhere), home_of_two)
    assert found.root == str((home_of_two / "tiny").resolve())
    name = "model.layers.0.self_attn.q_proj.weight"
    one, two = (load_model(place).model.state_dict()[name] for place in (found, find_model(str(run), run)))
    assert one.equal(two)


def test_what_the_chat_template_is_given_travels_with_the_run(home_of_two: Path) -> None:
    home = home_of_two
    recipe = home / "runs/plural/recipe.toml"
    own = "[model.template]\n"
    recipe.write_text(recipe.read_text().replace(own, f"{own}thinking = false\nloud = true\n"))
    table = {"name": "second", "model": {"name": str(home / "runs/plural"), "template": {"loud": False}}}
    assert as_recipe(table).model.template == {"thinking": False, "loud": False}
