"""Reward models from the command line: trained, scored, and put to use."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from espalier.core.errors import ModelError, RunError, TemplateError
from espalier.core.records import Example, message
from espalier.report.gather import gather

if TYPE_CHECKING:
    from espalier.encode.template import Template

RECIPE = """
name = "reward"
folder = "runs"
[task]
path = "pairs.jsonl"
[data]
train = 0.6
[model]
name = "tiny"
precision = "fp32"
[train]
method = METHOD
rate = 3e-3
epochs = 3
rows = 8
objective = [{ kind = "reward", center = 0.01 }]
"""


@pytest.fixture(scope="module", params=["'full'", "{ kind = 'lora', rank = 4 }"], ids=["full", "lora"])
def rated(
    tmp_path_factory: pytest.TempPathFactory,
    tiny_model: Path,
    espalier: Callable[..., Any],
    request: pytest.FixtureRequest,
) -> tuple[Path, Any]:
    """A user's folder in which a reward model was trained, and what that printed."""
    home = tmp_path_factory.mktemp("rated")
    (home / "tiny").symlink_to(tiny_model)
    (home / "reward.toml").write_text(RECIPE.replace("METHOD", request.param))
    rows = [{"prompt": f"Name thing {n}.", "chosen": f"thing {n}", "rejected": f"{n} !!!"} for n in range(40)]
    (home / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return home, espalier("run", "reward.toml", cwd=home)


def test_a_reward_model_is_scored_by_held_out_pairs(rated: tuple[Path, Any]) -> None:
    home, result = rated
    assert result.code == 0, result.err
    assert "pairs in the right order" in result.out
    assert "distinct answers" not in result.out
    scores = json.loads((home / "runs/reward/scores.json").read_text())
    found = {name: system["scores"]["pair_accuracy"] for name, system in scores["systems"].items()}
    assert list(found) == ["tuned", "base", "longer"]
    assert found["tuned"]["value"] > 0.9
    assert found["tuned"]["low"] > 0.5
    report = (home / "runs/reward/report.html").read_text()
    assert "Pairs in the right order" in report
    assert "Outputs side by side" not in report


def test_it_says_which_answer_is_best(
    rated: tuple[Path, Any], finished: Any, espalier: Callable[..., Any]
) -> None:
    reward = rated[0] / "runs" / "reward"
    best = espalier("generate", finished.folder, "a drum", "--best-of", "3", "--reward", reward)
    assert best.code == 0, best.err
    assert "The best of 3: rated" in best.err
    alone = espalier("generate", finished.folder, "a drum", "--best-of", "3")
    assert alone.code == 2
    assert "--best-of and --reward belong together" in alone.err
    for run, judge, said in ((reward, reward, "rates answers"), (finished.folder,) * 2 + ("writes answers",)):
        refused = espalier("generate", run, "a drum", "--best-of", "3", "--reward", judge)
        assert refused.code == 2
        assert said in refused.err


def test_python_does_not_ask_it_for_answers(rated: tuple[Path, Any], tmp_path: Path) -> None:
    import espalier

    run = rated[0] / "runs" / "reward"
    for place in (run, run / "model"):
        with pytest.raises(RunError, match="The run's model rates answers"):
            espalier.load(place)
    if (run / "model" / "config.json").exists():  # a whole model, which is one without its run, too
        shutil.copytree(run / "model", tmp_path / "alone")
        with pytest.raises(ModelError, match="The model rates answers; this needs one that writes them"):
            espalier.load(tmp_path / "alone")


def test_it_rewards_another_model(
    rated: tuple[Path, Any], home: Path, espalier: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from espalier.runs import rating

    def noting(path: Path, cache: Path) -> rating.Rater:
        caches.append(cache)
        return load(path, cache)

    load, caches = rating.load_rater, list[Path]()
    monkeypatch.setattr(rating, "load_rater", noting)
    reward = rated[0] / "runs" / "reward"
    recipe = (home / "recipe.toml").read_text()
    objective = (
        f'objective = [{{ kind = "grpo", group = 2, limit = 4, rewards = {{ "model:{reward}" = 1.0 }} }}]'
    )
    (home / "grpo.toml").write_text(recipe.replace("[train]", f"[train]\n{objective}"))
    result = espalier("run", "grpo.toml", "-o", "train.epochs=0.5", "--cache", "kept", cwd=home)
    assert result.code == 0, result.err
    assert caches == [Path("kept")]
    lines = gather(home / "runs" / "plural").samples["train"]
    assert lines
    assert all(line["rewards"][f"model:{reward}"] is not None for line in lines)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ('train.objective=["reward", "sft"]', "train.objective: A reward model learns nothing besides."),
        ("train.method=bitfit", "train.method: A reward model is trained by full or lora."),
    ],
)
def test_what_a_reward_model_cannot_do_is_said(
    rated: tuple[Path, Any], espalier: Callable[..., Any], change: str, said: str
) -> None:
    result = espalier("run", "reward.toml", "-o", change, "-o", "name=other", cwd=rated[0])
    assert result.code == 2
    assert said in result.err


def test_pairs_have_to_be_held_out(home: Path, espalier: Callable[..., Any]) -> None:
    result = espalier("run", "recipe.toml", "-o", 'train.objective=["reward"]', cwd=home)
    assert result.code == 2
    assert "None of the" in result.err


def test_a_rater_is_asked_in_the_shape_of_its_own_rows() -> None:
    from espalier.core.records import message
    from espalier.data.asking import Asking
    from espalier.data.inputs import Asked, Question
    from espalier.runs.rating import Rater

    own = (message("system", "Rate."),)
    asking = Asking(turns=own, before="Name a thing.\n")
    rater = Rater(loaded=None, asking=asking)  # type: ignore[arg-type]

    def asked(*prompt: tuple[Any, str], text: str = "") -> list[tuple[str, str]]:
        turns = tuple(message(role, said) for role, said in prompt)
        example = rater.asked(Asked(Question(0, "0", ""), text, turns))
        return [(turn.role, turn.text) for turn in example.prompt]

    framed = [("system", "Rate."), ("user", "Name a thing.\na drum")]
    assert asked(("user", "Other words: a drum"), text="a drum") == framed
    assert asked(("system", "Be kind."), ("user", "Name a thing.\na drum"), text="a drum") == framed
    talk = [("user", "Hi."), ("assistant", "Hi."), ("user", "More?")]
    assert asked(*talk, text="More?") == [("system", "Rate."), *talk]


def test_an_answer_that_the_template_refuses_is_not_rated(
    template: Template, monkeypatch: pytest.MonkeyPatch
) -> None:
    from espalier.runs import rating

    monkeypatch.setattr(rating, "numbers", lambda _, rows: [float(len(row.ids)) for row in rows])
    rater = rating.Rater(SimpleNamespace(template=template), asking=None)  # type: ignore[arg-type]
    asked = Example("id", "task", "source", (message("user", "Hi"),), ("x",))
    strange = "<|im_end|>\U000f0000"  # beside a mark of transformers' own
    found = rater.rate([asked] * 3, ["yes", strange, "no"])
    assert [number is None for number in found] == [False, True, False]
    with pytest.raises(TemplateError, match="cannot be text in a message"):
        rater.rate([asked], [strange])


def test_a_recipe_can_take_what_a_reward_model_rates_best(
    rated: tuple[Path, Any], new_home: Callable[[Path], Path], espalier: Callable[..., Any], tmp_path: Path
) -> None:
    home = new_home(tmp_path / "home")
    recipe = home / "recipe.toml"
    best = f'kind = "best_of"\nn = 2\nby = "model:{rated[0] / "runs" / "reward"}"'
    recipe.write_text(recipe.read_text().replace('kind = "greedy"', best).replace("epochs = 2", "epochs = 1"))
    result = espalier("run", "recipe.toml", cwd=home)
    assert result.code == 0, result.err
    folder = home / "runs" / "plural"
    lines = [json.loads(line) for line in (folder / "outputs.jsonl").read_text().splitlines()]
    answers = [line for line in lines if line["system"] in ("tuned", "base")]
    assert len((folder / "generations.jsonl").read_text().splitlines()) == 2 * len(answers)
    assert espalier("generate", folder, "a drum").code == 0
