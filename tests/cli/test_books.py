"""A name belongs to one run: what differs is told, nothing is lost unasked, what is damaged is noticed."""

from __future__ import annotations

import json
import os
import shutil
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
import tomli_w
from safetensors.torch import load_file, save_file

RUN = ("run", "recipe.toml")


def contents(folder: Path) -> dict[str, bytes]:
    """Return what every file below a folder holds, by its place."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def changed(*options: str) -> tuple[str, ...]:
    return tuple(word for option in options for word in ("-o", option))


def add_row(home: Path) -> None:
    with (home / "plural.jsonl").open("a") as file:
        file.write('{"input": "a pen", "output": "pens"}\n')


def other_weights(home: Path) -> None:
    model = (home / "tiny").resolve()
    (home / "tiny").unlink()
    shutil.copytree(model, home / "tiny")
    weights = load_file(home / "tiny" / "model.safetensors")
    weights["model.norm.weight"] *= 2
    save_file(weights, home / "tiny" / "model.safetensors", {"format": "pt"})


@pytest.mark.parametrize(
    ("change", "options", "said"),
    [
        (None, ["train.rate=1e-3"], "train.rate (0.003 before, 0.001 now)"),
        (None, ["seed=1", "train.rows=4"], "seed (0 before, 1 now), train.rows (8 before, 4 now)"),
        (None, ["train.method=lora"], "train.method.kind (full before, lora now)"),
        (None, ["data.limit=9"], "data.limit (none before, 9 now)"),
        (None, ["task.negative=0", "evaluate=['rouge_l']"], "task.negative (1 before, 0 now), evaluate ("),
        (add_row, [], "what the task's file holds"),
        (other_weights, [], "model.name ("),
        (other_weights, ["train.rate=1"], "train.rate (0.003 before, 1.0 now)"),
    ],
)  # fmt: skip
def test_another_recipe_under_the_name_is_refused_and_nothing_is_touched(
    after, espalier, change: Callable[[Path], None] | None, options: list[str], said: str
) -> None:
    if change:
        assert espalier(*RUN, cwd=after.home).code == 0  # it lies elsewhere now, and knows it
        change(after.home)
    before = contents(after.folder)
    result = espalier(*RUN, *changed(*options), cwd=after.home)
    assert result.code == 2, result.err
    last = result.err.splitlines()[-1]
    assert last.startswith(f"Error: runs/plural: A finished run of another recipe has this name: {said}"), (
        last
    )
    assert "(-o name=NEW), replace the old one (--overwrite), or keep that one as plural.1 (--keep)" in last
    assert contents(after.folder) == before
    assert [path.name for path in (after.home / "runs").glob("[!.]*")] == ["plural"]


def test_the_recipe_is_refused_before_a_model_is_loaded(after, espalier) -> None:
    assert "Loading" not in espalier(*RUN, *changed("train.rate=1"), cwd=after.home).err


def test_the_old_run_is_kept_under_a_number(after, espalier) -> None:
    before = contents(after.folder)
    for number, rate in ((1, "1e-3"), (2, "1e-4")):
        result = espalier(*RUN, *changed(f"train.rate={rate}", "train.epochs=0.5"), "--keep", cwd=after.home)
        assert result.code == 0, result.err
        assert f"The run that had this name is kept as runs/plural.{number}." in result.err
    assert contents(after.home / "runs" / "plural.1") == before
    assert tomllib.loads((after.folder / "recipe.toml").read_text())["train"][0]["rate"] == 1e-4
    assert espalier("generate", after.home / "runs" / "plural.1", "a cow", cwd=after.home).code == 0
    both = espalier(*RUN, "--keep", "--overwrite", cwd=after.home)
    assert "--overwrite and --keep contradict each other" in both.err


def test_the_old_run_is_replaced_when_asked_and_the_same_command_needs_no_asking(after, espalier) -> None:
    slower = (*RUN, *changed("train.rate=1e-3"))
    result = espalier(*slower, "--overwrite", cwd=after.home)
    assert result.code == 0
    assert "is replaced. What differs: train.rate (0.003 before, 0.001 now)." in result.err
    for again in (slower, (*slower, "--overwrite")):
        assert "Training is done" in espalier(*again, cwd=after.home).err


def test_a_scorer_is_added_without_training_and_the_scores_of_before_are_kept(after, espalier) -> None:
    trained = (after.folder / "model" / "model.safetensors").stat().st_mtime_ns
    scores, answers = (after.folder / "scores.json").read_bytes(), (after.folder / "generations.jsonl").stat()
    checks = "evaluate=['rouge_l', {kind = 'checks', names = ['asks_duration']}]"
    result = espalier(*RUN, *changed(checks), cwd=after.home)
    assert result.code == 0, result.err
    assert "Kept: model and answers. Made again: scores and report." in result.err
    assert (after.folder / "model" / "model.safetensors").stat().st_mtime_ns == trained
    assert (after.folder / "generations.jsonl").stat().st_mtime_ns == answers.st_mtime_ns
    assert (after.folder / "earlier" / "1" / "scores.json").read_bytes() == scores
    assert "checks" in json.loads((after.folder / "scores.json").read_text())["systems"]["tuned"]["scores"]
    started = json.loads((after.folder / "provenance.json").read_text())["started"]
    assert espalier(*RUN, *changed(checks), cwd=after.home).code == 0
    assert [path.name for path in (after.folder / "earlier").iterdir()] == ["1"]
    assert json.loads((after.folder / "provenance.json").read_text())["started"] == started


@pytest.mark.parametrize(
    "options",
    [
        ["train.checkpoint=3", "train.parallel='fsdp'"],
        ["train.optimizer={kind = 'adamw', eps = 1e-8}", "train.objective=[{kind = 'sft', weight = 1.0}]"],
        ["decode={kind = 'greedy', limit = 6}", "evaluate=[{kind = 'rouge_l'}, 'exact_match']"],
    ],
)
def test_what_makes_no_difference_is_not_one(after, espalier, options: list[str]) -> None:
    result = espalier(*RUN, *changed(*options), cwd=after.home)
    assert result.code == 0, result.err
    assert "Training is done" in result.err
    assert "differs" not in result.err
    assert not (after.folder / "earlier").exists()


def test_a_run_that_an_earlier_version_finished_is_not_trained_again(after, espalier) -> None:
    """It knew fewer keys, hashed otherwise, and wrote down nothing but the key of a stage."""
    recipe = tomllib.loads((after.folder / "recipe.toml").read_text())
    del recipe["train"][0]["noise"], recipe["data"]["train"], recipe["task"]["explanations"]
    recipe["data"]["train"] = 0.7
    (after.folder / "recipe.toml").write_text(tomli_w.dumps(recipe))
    known = json.loads((after.folder / "provenance.json").read_text())
    known["inputs"]["recipe"] = "0123456789abcdef"
    (after.folder / "provenance.json").write_text(json.dumps(known))
    (after.folder / "stages.json").write_text('{"train": "fedcba9876543210"}')
    trained = (after.folder / "model" / "model.safetensors").stat().st_mtime_ns
    result = espalier(*RUN, cwd=after.home)
    assert result.code == 0, result.err
    assert "Training is done" in result.err
    assert (after.folder / "model" / "model.safetensors").stat().st_mtime_ns == trained
    assert len(json.loads((after.folder / "stages.json").read_text())["train"]["files"]) > 3


@pytest.fixture(scope="module")
def cut(tmp_path_factory: pytest.TempPathFactory, new_home, espalier) -> Path:
    """A user's folder with a run that has stopped after its first checkpoint: its second step diverges."""
    home = new_home(tmp_path_factory.mktemp("cut") / "home")
    assert espalier(*RUN, *changed("train.rate=1e18", "train.clip=1e30"), cwd=home).code == 2
    assert list((home / "runs" / "plural" / "checkpoints").iterdir())
    return home


@pytest.fixture
def unfinished(cut: Path, tmp_path: Path) -> Path:
    """A copy of that folder."""
    shutil.copytree(cut, tmp_path / "unfinished", symlinks=True)
    return tmp_path / "unfinished"


def test_an_unfinished_run_is_gone_on_with_by_the_same_recipe_only(unfinished: Path, espalier) -> None:
    before = contents(unfinished / "runs")
    result = espalier(*RUN, *changed("train.clip=1e30"), cwd=unfinished)
    assert result.code == 2
    assert "An unfinished run of another recipe has this name: train.rate (1e+18 before," in result.err
    assert "Change it back to go on with that run, or " in result.err
    assert contents(unfinished / "runs") == before
    assert (
        espalier(*RUN, *changed("train.clip=1e30", "train.epochs=0.5"), "--overwrite", cwd=unfinished).code
        == 0
    )


def test_before_anything_is_trained_the_recipe_may_change(home: Path, espalier) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "espalier.runs.execute.train_stages", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt)
        )
        assert espalier(*RUN, cwd=home).code == 130
    result = espalier(*RUN, *changed("train.epochs=0.5"), cwd=home)
    assert result.code == 0, result.err
    assert "What differs from the start before: train.epochs (2.0 before, 0.5 now)." in result.err


def _truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def _empty(path: Path) -> None:
    os.truncate(path, 0)


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-20] ^= 1
    path.write_bytes(data)


DAMAGE = [
    ("model.safetensors", _truncate, r" bytes and not "),
    ("model.safetensors", _empty, "has 0 bytes and not "),
    ("model.safetensors", _flip, "does not hold what was saved"),
    ("model.safetensors", Path.unlink, "is missing"),
    ("config.json", _truncate, " bytes and not "),
    ("tokenizer.json", Path.unlink, "is missing"),
]


@pytest.mark.parametrize(("name", "damage", "said"), DAMAGE)
def test_a_damaged_model_is_noticed_by_every_command(
    after, espalier, name: str, damage: Callable[[Path], None], said: str
) -> None:
    trained = (after.folder / "model" / "model.safetensors").read_bytes()
    damage(after.folder / "model" / name)
    for command in (RUN, ("generate", after.folder, "a cow"), ("export", after.folder)):
        result = espalier(*command, cwd=after.home)
        assert result.code == 2
        assert f"{name} {said}".replace("  ", " ") in result.err or (
            name in result.err and said in result.err
        )
        assert "damaged" in result.err
        assert "Traceback" not in result.err
    assert "Remove that folder, and the same command trains again." in espalier(*RUN, cwd=after.home).err
    shutil.rmtree(after.folder / "model")
    assert espalier(*RUN, cwd=after.home).code == 0
    assert (after.folder / "model" / "model.safetensors").read_bytes() == trained


def test_a_damaged_model_is_made_again_from_its_checkpoint(home: Path, finished, espalier) -> None:
    with pytest.MonkeyPatch.context() as patch:  # a kill between the mark and the removal
        patch.setattr("espalier.runs.kept._remove_checkpoints", lambda _: None)
        assert espalier(*RUN, cwd=home).code == 0
    run = home / "runs" / "plural"
    _truncate(run / "model" / "model.safetensors")
    result = espalier(*RUN, cwd=home)
    assert result.code == 0, result.err
    assert "it is made again from the checkpoint" in result.err
    assert "Training: 6 of 6" not in result.err
    trained = (finished.folder / "model" / "model.safetensors").read_bytes()
    assert (run / "model" / "model.safetensors").read_bytes() == trained
    assert not (run / "checkpoints").exists()


def test_a_damaged_adapter_is_noticed(home: Path, espalier) -> None:
    command = (*RUN, *changed("train.method={kind = 'lora', rank = 2}", "train.epochs=0.5"))
    assert espalier(*command, cwd=home).code == 0
    model = home / "runs" / "plural" / "model"
    for name, damage in (("adapter_model.safetensors", _flip), ("adapter_config.json", _truncate)):
        kept = (model / name).read_bytes()
        damage(model / name)
        for again in (command, ("generate", home / "runs" / "plural", "a cow")):
            result = espalier(*again, cwd=home)
            assert result.code == 2
            assert f"damaged: {name} " in result.err
        (model / name).write_bytes(kept)
    (home / "runs" / "plural" / "stages.json").write_text('{"train": "of an earlier version"}')
    _truncate(model / "adapter_model.safetensors")
    assert "Remove that folder, and the same command trains again." in espalier(*command, cwd=home).err


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("stages.json", b'{"train": ', "stages.json is damaged: it is written again."),
        ("stages.json", b"[1]", "stages.json is damaged: it is written again."),
        ("stages.json", None, "Training is done"),
        ("provenance.json", b"", "provenance.json is damaged: it is written again."),
        ("provenance.json", b'{"inputs": 3}', "provenance.json is damaged: it is written again."),
        ("provenance.json", None, "Training is done"),
        ("recipe.toml", b"name = ", "recipe.toml is damaged ("),
        ("recipe.toml", b"\xff\xfe", "recipe.toml is damaged ("),
        ("data/train.parquet", b"PAR1", "Training is done"),
        ("data/test.parquet", None, "Training is done"),
        ("outputs.jsonl", b'{"system": "ba', "Training is done"),
        ("scores.json", b"{", "Training is done"),
        ("rejects.jsonl", b"{", "Training is done"),
        ("events.jsonl", b'\xff\xfe{"event"\n[3]\n', "Training is done"),
    ],
)
def test_what_is_damaged_is_written_again(
    after, finished, espalier, name: str, content: bytes | None, said: str
) -> None:
    path = after.folder / name
    path.unlink() if content is None else path.write_bytes(content)
    assert "Traceback" not in espalier("generate", after.folder, "a cow", cwd=after.home).err
    assert "Traceback" not in espalier("report", after.folder, cwd=after.home).err
    trained = (after.folder / "model" / "model.safetensors").stat().st_mtime_ns
    result = espalier(*RUN, cwd=after.home)
    assert result.code == 0, result.err
    assert said in result.err
    assert (after.folder / "model" / "model.safetensors").stat().st_mtime_ns == trained
    again = espalier(*RUN, cwd=after.home)
    assert again.code == 0
    assert "damaged" not in again.err
    if name in ("stages.json", "rejects.jsonl", "scores.json"):
        assert path.read_bytes() == (finished.folder / name).read_bytes()


def test_a_damaged_generation_is_named_with_its_line(after, espalier) -> None:
    journal = after.folder / "generations.jsonl"
    lines = journal.read_bytes().split(b"\n")
    journal.write_bytes(b"\n".join([lines[0], b"\x00\xff", *lines[2:]]))
    result = espalier(*RUN, cwd=after.home)
    assert result.code == 2
    assert "generations.jsonl:2: The line is no generation" in result.err
    assert "Remove the line" in result.err


def test_stages_that_cannot_be_read_are_named_where_training_goes_on(unfinished: Path, espalier) -> None:
    (unfinished / "runs" / "plural" / "stages.json").write_text("{")
    result = espalier(*RUN, *changed("train.rate=1e18", "train.clip=1e30"), cwd=unfinished)
    assert result.code == 2
    assert "stages.json: Which stages are done cannot be read: " in result.err
    assert "Remove the file" in result.err


def test_a_damaged_checkpoint_gives_way_to_an_older_one(unfinished: Path, espalier) -> None:
    command = (*RUN, *changed("train.rate=1e18", "train.clip=1e30"))
    (old,) = (unfinished / "runs" / "plural" / "checkpoints").iterdir()
    new = old.with_name("step-000003")
    shutil.copytree(old, new)
    _truncate(new / "state.safetensors")
    said = espalier(*command, cwd=unfinished).err
    assert "A checkpoint is damaged, so that the one before it is taken: " in said
    assert "Training stopped at step" in said
    _empty(old / "state.json")
    result = espalier(*command, cwd=unfinished)
    assert result.code == 2
    assert "step-000003: The checkpoint is damaged: " in result.err
    assert "Remove it to start again" in result.err


def test_a_folder_that_is_no_run_is_not_written_to(home: Path, espalier) -> None:
    other = home / "runs" / "plural"
    (other / "data").mkdir(parents=True)
    (other / "data" / "mine.csv").write_text("precious")
    result = espalier(*RUN, cwd=home)
    assert result.code == 2
    assert "The folder holds data but no recipe.toml, so it is no run's." in result.err
    assert contents(other) == {"data/mine.csv": b"precious"}
    (other / "data" / "mine.csv").unlink()
    (other / "data").rmdir()
    (other / "slurm.log").write_text("what is in nobody's way may stay")
    assert espalier(*RUN, *changed("train.epochs=0.5"), cwd=home).code == 0
    assert (other / "slurm.log").exists()


def test_a_run_that_was_moved_or_linked_is_the_same_run(after, espalier, tmp_path: Path) -> None:
    (tmp_path / "big disk").mkdir()
    after.folder.rename(tmp_path / "big disk" / "renamed")
    after.folder.symlink_to(tmp_path / "big disk" / "renamed")
    result = espalier(*RUN, cwd=after.home)
    assert result.code == 0, result.err
    assert "Training is done" in result.err
    after.folder.unlink()
    place = changed(f"folder={tmp_path / 'big disk'}", "name=renamed")
    assert "Training is done" in espalier(*RUN, *place, cwd=after.home).err
    after.folder.symlink_to(tmp_path / "nowhere")
    assert "it is a link to " in espalier(*RUN, cwd=after.home).err
