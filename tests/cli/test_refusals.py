"""A run that is refused before it starts leaves nothing behind: no folder, no lock, no empty `runs/`."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from espalier.core.run import open_run

Act = Callable[[Path], object]


def everything(folder: Path) -> dict[str, bytes | None]:
    """Return the content of every file, and None for every folder and link, by its place."""
    found = (path for path in folder.rglob("*") if "__pycache__" not in path.parts)
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() and not path.is_symlink() else None
        for path in found
    }


def write(name: str, text: str) -> Act:
    return lambda home: (home / name).write_text(text)


def nothing(_: Path) -> None:
    pass


def unset_template(home: Path) -> None:
    """Give the home a model of its own that lacks a chat template."""
    model = home / "silent"
    model.mkdir()
    for file in (home / "tiny").iterdir():
        if file.name != "chat_template.jinja":
            (model / file.name).write_bytes(file.read_bytes())


def long_rows(home: Path) -> None:
    (home / "plural.jsonl").write_text(
        "".join(f'{{"input": "a {"long " * 9000}{n}", "output": "b"}}\n' for n in range(9))
    )


REFUSALS: list[tuple[str, Act, list[str], str]] = [
    ("no such recipe", lambda home: (home / "recipe.toml").unlink(), [], "no such file"),
    ("recipe that is not TOML", write("recipe.toml", "name ="), [], "not TOML"),
    ("unknown key", nothing, ["train.rat=1"], "Did you mean 'rate'?"),
    ("value that does not fit", nothing, ["train.rate=-1"], "greater than 0"),
    ("no such task", nothing, ["task.path=nowhere"], "nowhere"),
    ("task that cannot be read", write("plural.toml", "definition = 3"), [], "plural.toml"),
    ("rows that cannot be used", write("plural.jsonl", '{"input": ""}\n'), [], "plural.jsonl"),
    ("too few rows", write("plural.jsonl", '{"input": "a", "output": "b"}\n'), [], "cannot be split"),
    ("no such method", nothing, ["train.method=lara"], "Did you mean 'lora'?"),
    ("target that is not there", nothing, ["train.method={kind = 'lora', targets = ['qq']}"], "qq"),
    ("rank of zero", nothing, ["train.method={kind = 'lora', rank = 0}"], "The adapter cannot be made"),
    ("no such objective", nothing, ["train.objective=['stf']"], "Did you mean 'sft'?"),
    ("objective without its rows", nothing, ["train.objective=['dpo']"], "rejected"),
    ("no such optimizer", nothing, ["train.optimizer=sgd"], "No optimizer is named 'sgd'"),
    ("no such strategy", nothing, ["decode.kind=beem"], "decode.kind"),
    ("no such scorer", nothing, ["evaluate=['blue']"], "No scorer is named 'blue'"),
    ("no such check", nothing, ["task.checks=['nice']"], "No check is named 'nice'"),
    ("no such tracker", nothing, ["track=['tensorbaord']"], "Did you mean 'tensorboard'?"),
    ("no such module", nothing, ["evaluate=['nowhere:scorer']"], "cannot be imported"),
    ("no such reward model", nothing,
     ["train.objective=[{kind = 'grpo', rewards = {'model:nowhere' = 1.0}}]"], "not a run folder"),
    ("no such reward", nothing, ["train.objective=[{kind = 'grpo', rewards = {nice = 1.0}}]"], "nice"),
    ("no such model", nothing, ["model.name=nowhere"], "There is no model 'nowhere'"),
    ("model without a template", unset_template, ["model.name=silent"], "no chat template"),
    ("device that is not there", nothing, ["model.device='cuda:9'"], "model.device"),
    ("nothing fits the budget", nothing, ["train.tokens=20"], "None of the 24 training rows fits"),
    ("nothing fits the context", long_rows, ["train.tokens=99999"], "context"),
    ("stage that another cannot follow", nothing, ["train=[{method = 'prompt'}, {}]"], "no stage can follow"),
    ("4-bit weights without their package", nothing,
     ["train.method=qlora"], "pip install 'espalier-lm[qlora]'"),
    ("8-bit optimizer without its package", nothing,
     ["train.optimizer=adamw8bit"], "pip install 'espalier-lm[qlora]'"),
    ("tracker without its package", nothing, ["track=['wandb']"], "pip install 'espalier-lm[track]'"),
    ("name of a file", lambda home: write("runs", "")(home), [], "The run folder cannot be made"),
    ("name that is a file's", lambda home: ((home / "runs").mkdir(), write("runs/plural", "")(home)), [],
     "The run folder cannot be made"),
    ("folder of something else", lambda home: (home / "runs" / "plural" / "model").mkdir(parents=True), [],
     "it is no run's"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("prepare", "options", "said"), [row[1:] for row in REFUSALS], ids=[row[0] for row in REFUSALS]
)
def test_a_refused_run_leaves_nothing_behind(
    home: Path, espalier, monkeypatch: pytest.MonkeyPatch, prepare: Act, options: list[str], said: str
) -> None:
    for package in ("bitsandbytes", "wandb"):  # whatever is installed here
        monkeypatch.setitem(sys.modules, package, None)
    prepare(home)
    before = everything(home)
    result = espalier(
        "run", "recipe.toml", *(word for option in options for word in ("-o", option)), cwd=home
    )
    assert result.code == 2, result
    assert result.err.splitlines()[-1].startswith("Error: ")
    assert said in result.err
    assert "Traceback" not in result.err
    assert "Answers of" not in result.err
    assert everything(home) == before


@pytest.mark.parametrize("option", ["train.method=qlora", "train.optimizer=adamw8bit", "track=['mlflow']"])
def test_what_is_not_installed_is_told_before_a_model_is_loaded(
    home: Path, espalier, monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    for package in ("bitsandbytes", "mlflow"):
        monkeypatch.setitem(sys.modules, package, None)
    result = espalier("run", "recipe.toml", "-o", option, cwd=home)
    assert "pip install 'espalier-lm[" in result.err
    assert "Loading" not in result.err


@pytest.mark.parametrize("begins", ["before", "after"])
def test_of_two_runs_at_once_the_second_leaves_the_first_alone(
    home: Path, espalier, monkeypatch: pytest.MonkeyPatch, begins: str
) -> None:
    """The first holds the folder before the second looks, or while it loads its model."""
    run = home / "runs" / "plural"
    first = open_run(run)
    if begins == "before":
        first.__enter__()
    else:
        monkeypatch.setattr("espalier.runs.execute.inputs_of", lambda *_: first.__enter__() and {})
    result = espalier("run", "recipe.toml", cwd=home)
    assert result.code == 2
    assert "Another run is writing to this folder" in result.err
    assert ("Loading" in result.err) == (begins == "after")
    assert [path.name for path in run.iterdir()] == [".lock"]
    first.__exit__(None, None, None)
    assert not (home / "runs").exists()


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    """A folder on a file system that cannot be written to."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting needs more rights")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_folder_that_cannot_be_written_to_is_named(home: Path, espalier, read_only: Path) -> None:
    result = espalier("run", "recipe.toml", "-o", f"folder={read_only}/runs", cwd=home)
    assert result.code == 2
    assert (
        f"Error: {read_only}/runs/plural: The run folder cannot be made: Read-only file system." in result.err
    )
    assert "Loading" not in result.err
