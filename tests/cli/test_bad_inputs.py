"""What a user can do wrong: each ends with exit status 2 and one sentence on standard error, no traceback."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest


def refused(result, *said: str) -> None:
    assert result.code == 2, result
    last = result.err.splitlines()[-1]
    assert last.startswith("Error: ")
    assert "Traceback" not in result.err
    for text in said:
        assert text in last


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("train.rat=1", ["train.rat: ", "Did you mean 'rate'?"]),
        ("trian.rate=1", ["trian: ", "Did you mean 'train'?"]),
        ("train.rate=fast", ["train.rate: 'fast' does not fit"]),
        ("train.rate=-1", ["train.rate: -1 does not fit", "greater than 0"]),
        ("train.rows=1.5", ["train.rows: ", "integer"]),
        ("train.rate", ["'train.rate' is not an override", "key.path=value"]),
        ("model.precision=fp16", ["model.precision: ", "'auto', 'fp32' or 'bf16'"]),
        ("train.method=lara", ["train.method.kind: ", "Did you mean 'lora'?"]),
        ("train.method.rnak=4", ["train.method.rnak: ", "takes no 'rnak'"]),
        ("decode.kind=beem", ["decode.kind: ", "Did you mean 'beam'?"]),
        ("train.objective=['dop']", ["train.objective.0.kind: ", "Did you mean 'dpo'?"]),
        ("evaluate=rouge_l", ["evaluate: ", 'Write a list: ["rouge_l"]']),
        ("evaluate=['rouge']", ["evaluate.0.kind: ", "Did you mean 'rouge_l'?"]),
        ("task.checks=['asks_durtion']", ["task.checks: ", "Did you mean 'asks_duration'?"]),
        ("task.path=plurl.toml", ["plurl.toml: ", "Did you mean 'plural.toml'?"]),
        ("task.path=rows.jsonl", ["rows.jsonl: "]),
        ("model.name=smollm", ["model.name: ", "Did you mean 'smollm2-135m'?"]),
        ("model.device=gpu", ["model.device: There is no device 'gpu'"]),
        ("train.tokens=50", ["train.tokens: None of the 24 training rows fits the budget of 50 tokens"]),
        ("data.train=1.0", ["data.train: ", "less than 1"]),
        ("name=a/b", ["name: "]),
        (f"task.path={'long' * 99}", ["There is no such task file"]),
        (f"model.name={'long' * 99}", ["There is no model"]),
    ],
)
def test_a_wrong_value_is_named(home: Path, espalier, override: str, said: list[str]) -> None:
    refused(espalier("run", "recipe.toml", "-o", override, cwd=home), *said)
    assert not (home / "runs" / "plural" / "recipe.toml").exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"Definition: none", "neither rows nor a task"),
        (b'{"Definition": hello}', ":1: The file is not JSON"),
        (b"", "The file is empty"),
        (b'{"Definition": ["Do."], "Instances": []}', "no instances"),
        (b'{"Definition": ["Do."]}', "no 'Instances'"),
        (
            b'{"Definition": ["Do."], "Instances": [{"input": "a", "output": [""]}]}',
            "instance 0: The output is empty",
        ),
        ('{"Definition": ["Café."]}'.encode("latin-1"), ":1: The file is not UTF-8: byte 0xe9"),
        ('{"Definition": ["Do."]}'.encode("utf-16"), "no 'Instances'"),
        (
            b'{"Definition": ["Do."], "Instances": [{"input": "a", "output": ["b"]}]}',
            "cannot be split into train and test",
        ),
    ],
)
def test_a_bad_task_file_is_named(home: Path, espalier, content: bytes, said: str) -> None:
    (home / "task").write_bytes(content)
    refused(espalier("run", "recipe.toml", "-o", "task.path=task", cwd=home), said)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"name = = 3", "recipe.toml: The recipe is not TOML"),
        ("name = 'café'".encode("latin-1"), "recipe.toml:1: The file is not UTF-8"),
        (b"[task]\npath = 'plural.toml'", "name: This key is required and missing"),
        (b"name = 'x'\ntask = 3", "task: 3 does not fit"),
    ],
)
def test_a_bad_recipe_file_is_named(home: Path, espalier, content: bytes, said: str) -> None:
    (home / "recipe.toml").write_bytes(content)
    refused(espalier("run", "recipe.toml", cwd=home), said)


@pytest.mark.parametrize("verb", ["run", "inspect", "verify"])
def test_a_missing_recipe_is_named_with_its_neighbour(home: Path, espalier, verb: str) -> None:
    refused(espalier(verb, "recip.toml", cwd=home), "recip.toml: There is no such file", "'recipe.toml'")


@pytest.mark.parametrize(
    ("verb", "said"),
    [
        ("generate", "There is no 'runs/nothing': it is no folder of a run or of a model"),
        ("chat", "There is no 'runs/nothing': it is no folder of a run or of a model"),
        ("report", "runs/nothing: This is not a run folder"),
        ("export", "runs/nothing: This is not a run folder"),
    ],
)
def test_a_folder_that_is_no_run_is_named(home: Path, espalier, verb: str, said: str) -> None:
    (home / "runs").mkdir()
    refused(espalier(verb, "runs/nothing", cwd=home), said)


def _no_tokenizer(model: Path) -> None:
    for file in model.glob("tokenizer*"):
        file.unlink()


def _no_weights(model: Path) -> None:
    (model / "model.safetensors").unlink()


def _cut_weights(model: Path) -> None:
    os.truncate(model / "model.safetensors", 100_000)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (_no_tokenizer, "The model folder holds no tokenizer"),
        (lambda model: (model / "chat_template.jinja").unlink(), "The tokenizer has no chat template"),
        (lambda model: (model / "chat_template.jinja").write_text("{{ messages[0].content }}"), "template"),
        (_no_weights, "The model folder holds no weights"),
        (_cut_weights, "The model cannot be loaded"),
        (lambda model: (model / "config.json").unlink(), "holds no config.json"),
    ],
)
def test_a_damaged_model_folder_is_named(
    home: Path, tiny_model: Path, espalier, damage: Callable[[Path], None], said: str
) -> None:
    shutil.copytree(tiny_model, home / "broken")
    damage(home / "broken")
    refused(espalier("run", "recipe.toml", "-o", "model.name=broken", cwd=home), said, "broken")


def test_a_loss_that_is_not_a_number_stops_with_the_batch_saved(home: Path, espalier) -> None:
    result = espalier("run", "recipe.toml", "-o", "train.rate=1e30", "-o", "train.clip=1e30", cwd=home)
    refused(result, "Training stopped at step", "A lower train.rate often helps")
    (saved,) = (home / "runs" / "plural").glob("bad-step-*.jsonl")
    rows = [json.loads(line) for line in saved.read_text().splitlines()]
    assert len(rows) == 8
    assert all(len(row["ids"]) == len(row["weights"]) for row in rows)


def test_weights_that_are_not_numbers_stop_at_the_first_step(home: Path, tiny_model: Path, espalier) -> None:
    from safetensors.torch import load_file, save_file

    shutil.copytree(tiny_model, home / "nan")
    weights = load_file(home / "nan" / "model.safetensors")
    weights["model.norm.weight"] = weights["model.norm.weight"] * float("nan")
    save_file(weights, home / "nan" / "model.safetensors", {"format": "pt"})
    refused(
        espalier("run", "recipe.toml", "-o", "model.name=nan", cwd=home), "stopped at step 1: the loss is nan"
    )


def test_a_wrong_value_leaves_a_finished_run_as_it_is(after, espalier) -> None:
    before = {path: path.read_bytes() for path in after.folder.rglob("*") if path.is_file()}
    for wrong in ("task.path=nothing", "model.name=nothing", "decode.kind=nothing", "train.tokens=3"):
        assert espalier("run", "recipe.toml", "-o", wrong, cwd=after.home).code == 2
    assert {path: path.read_bytes() for path in after.folder.rglob("*") if path.is_file()} == before


def test_a_changed_recipe_does_not_go_on_from_the_old_checkpoint(home: Path, espalier) -> None:
    command = ("run", "recipe.toml", "-o", "train.clip=1e30")
    assert espalier(*command, "-o", "train.rate=1e18", cwd=home).code == 2
    refused(
        espalier(*command, "-o", "train.rate=1e-3", cwd=home),
        "An unfinished run of another recipe has this name: train.rate (1e+18 before, 0.001 now). Change it",
    )
