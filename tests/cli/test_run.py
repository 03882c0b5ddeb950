from __future__ import annotations

import json
import shutil
import tomllib
from pathlib import Path

import pytest
from safetensors.numpy import load_file

from espalier.report.gather import gather
from tests.cli.drawing import dialogues, easy_vqa, stamps
from tests.cli.speaking import spoken_digits, spoken_intents

FOLDER = Path(__file__).parents[2] / "recipes"
RECIPES = sorted(path for path in FOLDER.glob("*.toml") if not path.stem.startswith("build-"))
assert RECIPES
DRAWN = {"easy-vqa": easy_vqa, "caption-stamps": stamps, "image-dialogue": dialogues}
SPOKEN = {"spoken-digits": spoken_digits, "spoken-intents": spoken_intents}
MADE = DRAWN | SPOKEN
SEEN = {
    **dict.fromkeys(DRAWN, ('model.encoders=["tests.cli.seeing:colours"]', "data.train=0.5")),
    **dict.fromkeys(SPOKEN, ('model.encoders=["tests.cli.speaking:pitches"]',)),
}


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def told(folder: Path, kind: str) -> list[dict]:
    return [event for event in lines(folder / "events.jsonl") if event["event"] == kind]


def test_a_run_leaves_all_that_the_design_names(finished) -> None:
    held = {path.name for path in finished.folder.iterdir() if not path.name.startswith(".")}
    assert held == {
        "recipe.toml", "provenance.json", "data", "rejects.jsonl", "model", "outputs.jsonl", "scores.json",
        "events.jsonl", "report.html", "generations.jsonl", "stages.json", "precision.json", "finished.json",
        "looks.jsonl",
    }  # fmt: skip
    scores = json.loads((finished.folder / "scores.json").read_text())
    outputs = lines(finished.folder / "outputs.jsonl")
    assert {line["system"] for line in outputs} == {"base", "tuned", "constant", "copy", "example"}
    assert len(outputs) == 5 * scores["rows"]
    assert "<svg" in (finished.folder / "report.html").read_text()


def test_training_does_something(finished) -> None:
    losses = [step["loss"] for step in told(finished.folder, "step")]
    assert losses[-1] < 0.9 * losses[0]
    assert all(step["distinct_tokens"] < 0.6 * step["tokens"] for step in told(finished.folder, "step"))


def test_the_table_fits_80_columns_and_names_the_systems(finished) -> None:
    printed = finished.result.out.splitlines()
    assert max(map(len, printed)) <= 80
    for word in ("base", "tuned", "change", "interval", "constant", "copy"):
        assert word in printed[1]
    assert any(line.startswith("ROUGE-L") for line in printed)


def test_what_is_said_in_between(finished) -> None:
    said = finished.result.err.splitlines()
    assert said[0] == "Run plural, in runs/plural"
    assert said[1].startswith("Task plural: ")
    assert said[-1] == "Report: runs/plural/report.html"
    assert "arning" not in finished.result.err


def test_the_same_command_does_nothing_twice(after, espalier) -> None:
    assert espalier("run", "recipe.toml", cwd=after.home).code == 0  # it lies elsewhere now, and knows it
    kept = [
        "model/model.safetensors",
        "generations.jsonl",
        "provenance.json",
        "recipe.toml",
        "data/train.parquet",
    ]
    before = {name: (after.folder / name).stat().st_mtime_ns for name in kept}
    steps, stages = told(after.folder, "step"), told(after.folder, "stage")
    result = espalier("run", "recipe.toml", cwd=after.home)
    assert result.code == 0
    assert "Training is done" in result.err
    assert {name: (after.folder / name).stat().st_mtime_ns for name in kept} == before
    assert told(after.folder, "step") == steps
    # Its cost is what it cost when it was done.
    again = [stage for stage in told(after.folder, "stage")[len(stages) :]]
    assert not {"train", "decode base", "decode tuned"} & {stage["stage"] for stage in again}
    assert result.out == after.result.out


def test_a_run_started_from_another_folder_is_the_same_run(after, espalier, tmp_path: Path) -> None:
    result = espalier(
        "run", "../after/recipe.toml", "-o", f"folder={after.home}/runs", cwd=_made(tmp_path / "elsewhere")
    )
    assert result.code == 0
    assert "Training is done" in result.err
    assert tomllib.loads((after.folder / "recipe.toml").read_text())["task"]["path"].startswith("/")


def test_a_run_can_be_repeated_from_its_own_recipe(after, espalier, tmp_path: Path) -> None:
    result = espalier(
        "run", after.folder / "recipe.toml", "-o", "name=again", cwd=_made(tmp_path / "elsewhere")
    )
    assert result.code == 0, result.err
    weights = load_file(tmp_path / "elsewhere" / "runs" / "again" / "model" / "model.safetensors")
    for name, weight in load_file(after.folder / "model" / "model.safetensors").items():
        assert (weights[name] == weight).all(), name


def test_another_answer_length_trains_nothing(after, espalier) -> None:
    trained = (after.folder / "model" / "model.safetensors").stat().st_mtime_ns
    made = len(lines(after.folder / "generations.jsonl"))
    result = espalier("run", "recipe.toml", "-o", "decode.limit=3", cwd=after.home)
    assert result.code == 0
    assert "What differs: decode.limit (6 before, 3 now). Kept: the model." in result.err
    assert (after.folder / "model" / "model.safetensors").stat().st_mtime_ns == trained
    assert len(lines(after.folder / "generations.jsonl")) > made
    cut = [line for line in lines(after.folder / "outputs.jsonl") if line["system"] == "tuned"]
    assert all(len(line["ids"]) <= 3 for line in cut)


def test_another_rate_trains_again_and_asks_the_base_model_nothing(after, espalier) -> None:
    stages = len(told(after.folder, "stage"))
    result = espalier(
        "run", "recipe.toml", "-o", "train.rate=1e-3", "-o", "train.epochs=1", "--overwrite", cwd=after.home
    )
    assert result.code == 0
    done = [stage["stage"] for stage in told(after.folder, "stage")[stages:]]
    assert "train" in done
    assert "decode base" not in done
    # The longer training before has left no steps on the new run's curve.
    assert [step["rate"] <= 1e-3 for step in gather(after.folder).steps()] == [True] * 3


def test_a_changed_run_that_stopped_shows_no_scores_of_before(after, espalier) -> None:
    with (after.home / "plural.jsonl").open("a") as file:
        file.write('{"input": "a pen", "output": "pens"}\n')
    too_fast = ("-o", "train.rate=1e30", "-o", "train.clip=1e30", "--overwrite")
    assert espalier("run", "recipe.toml", *too_fast, cwd=after.home).code == 2
    assert not (after.folder / "model").exists()
    assert not (after.folder / "scores.json").exists()
    assert espalier("report", after.folder).code == 0


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_an_adapter_stays_an_adapter(home: Path, espalier, precision: str) -> None:
    result = espalier(
        "run", "recipe.toml", "-o", "train.method.kind=lora", "-o", "train.method.rank=4",
        "-o", f"model.precision={precision}", "-o", "train.epochs=1", cwd=home,
    )  # fmt: skip
    assert result.code == 0, result.err
    model = home / "runs" / "plural" / "model"
    assert (model / "adapter_model.safetensors").exists()
    assert not (model / "model.safetensors").exists()
    assert espalier("generate", home / "runs" / "plural", "a cow").code == 0


def test_full_tuning_in_bf16_keeps_fp32_weights(home: Path, espalier) -> None:
    result = espalier("run", "recipe.toml", "-o", "model.precision=bf16", "-o", "train.epochs=1", cwd=home)
    assert result.code == 0, result.err
    weights = load_file(home / "runs" / "plural" / "model" / "model.safetensors")
    assert {str(weight.dtype) for weight in weights.values()} == {"float32"}


def test_checks_that_the_recipe_names_are_scored(after, espalier) -> None:
    result = espalier("run", "recipe.toml", "-o", 'task.checks=["grounded", "not_constant"]', cwd=after.home)
    assert result.code == 0, result.err
    assert "grounded" in result.out
    assert "Training is done" in result.err
    scores = json.loads((after.folder / "scores.json").read_text())
    assert scores["systems"]["tuned"]["all_checks"]["value"] == 0


def test_of_several_samples_the_first_is_scored(after, espalier) -> None:
    decode = 'decode={kind = "sample", samples = 2, limit = 3}'
    result = espalier("run", "recipe.toml", "-o", decode, cwd=after.home)
    assert result.code == 0, result.err
    outputs = lines(after.folder / "outputs.jsonl")
    assert sum(line["system"] == "tuned" for line in outputs) == 2 * sum(
        line["system"] == "copy" for line in outputs
    )


def test_a_row_that_is_too_long_is_left_out_with_the_reason(home: Path, espalier) -> None:
    with (home / "plural.jsonl").open("a") as file:
        for number in range(6):
            file.write(
                json.dumps({"input": f"a {'very ' * 200}long word {number}", "output": "words"}) + "\n"
            )
    result = espalier("run", "recipe.toml", "-o", "train.tokens=700", "-o", "train.epochs=0.5", cwd=home)
    assert result.code == 0, result.err
    assert "Rows left out, too long, or of no use to a stage: " in result.err
    rejects = lines(home / "runs" / "plural" / "rejects.jsonl")
    assert rejects
    assert all("the budget train.tokens is 700" in reject["reason"] for reject in rejects)
    assert all("plural.toml, row plural-3" in reject["where"] for reject in rejects)


def test_rows_that_cannot_be_used_are_left_out_when_asked(home: Path, espalier) -> None:
    with (home / "plural.jsonl").open("a") as file:
        file.write('{"input": "a hen", "output": ""}\n')
    result = espalier("run", "recipe.toml", "-o", "task.on_bad=reject", "-o", "train.epochs=0.2", cwd=home)
    assert result.code == 0, result.err
    assert "Rows left out, cannot be used: 1; see" in result.err
    assert lines(home / "runs" / "plural" / "rejects.jsonl")[0]["reason"] == "The output is empty."


@pytest.mark.parametrize(
    "name",
    [
        "natural-instructions-v1/subtask003_mctaco_question_generation_event_duration.json",
        "natural-instructions-v2/tasks/task745_ai2_arithmetic_questions_arithmetic.json",
        "natural-instructions-v2/tasks/task1732_bbh_boolean_expressions.json",
    ],
)
def test_a_published_task_runs_as_it_is(home: Path, shared_data: Path, espalier, name: str) -> None:
    changes = (f"task.path={shared_data / name}", "data.limit=6", "data.test_limit=3", "train.epochs=1")
    result = espalier(
        "run", "recipe.toml", *(word for change in changes for word in ("-o", change)), cwd=home
    )
    assert result.code == 0, result.err
    assert "ROUGE-L" in result.out


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_runs_at_toy_size(tmp_path: Path, tiny_model: Path, espalier, recipe: Path) -> None:
    if recipe.stem in MADE:  # rows that are not bundled lie beside a copy
        MADE[recipe.stem](tmp_path)
        recipe = Path(shutil.copy(recipe, tmp_path))
    train = tomllib.loads(recipe.read_text())["train"]
    stages = (
        {f"train.{n}": stage for n, stage in enumerate(train)}
        if isinstance(train, list)
        else {"train": train}
    )
    # No limit is for the rows of a stage's own file.
    epochs = {name: 0.02 if "data" in stage else 0.5 for name, stage in stages.items()}
    changes = (
        f"model.name={tiny_model}", f"folder={tmp_path}", "data.limit=6", "data.test_limit=3",
        "decode.limit=3", "evidence=false", *SEEN.get(recipe.stem, ()),
        *(f"{name}.{few}" for name in stages for few in ("rows=3", f"epochs={epochs[name]}")),
    )  # fmt: skip
    result = espalier("run", recipe, *(word for change in changes for word in ("-o", change)))
    assert result.code == 0, result.err
    assert "the loss rises" not in result.err
    assert (tmp_path / recipe.stem / "report.html").exists()


def test_the_rows_of_easy_vqa_are_all_of_the_test_set_and_balanced_in_training(tmp_path: Path) -> None:
    easy_vqa(tmp_path)
    data = tmp_path / "easy_vqa" / "data"
    asked = json.loads((data / "test" / "questions.json").read_text())
    kinds = ("colour", "shape", "plain", "negated")
    rows = [row for kind in kinds for row in lines(data / f"test-{kind}.jsonl")]
    assert sorted((row["question"], row["answer"]) for row in rows) == sorted((q, a) for q, a, _ in asked)
    for kind in ("plain", "negated"):
        said = [row["answer"] for row in lines(data / f"train-{kind}.jsonl")]
        assert said.count("yes") == said.count("no") > 0
    assert {"image": "train/images/1.png", "caption": "blue triangle"} in lines(data / "captions.jsonl")


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder
