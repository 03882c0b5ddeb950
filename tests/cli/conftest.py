"""The command line as a user has it: a tiny model, a small task, and `espalier` in a process."""

from __future__ import annotations

import contextlib
import functools
import io
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest
import typer.main

from espalier.cli.main import main

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

THINGS = """
    kettle boat ladder window violin teapot orchard lantern saddle bridge pillow compass feather anvil basket
    mitten chimney drum glacier hammock island jacket kite lemon mirror needle onion paddle quilt ribbon
"""

TASK = """
name = "plural"
definition = "Write the plural of the noun."
cautions = ["Write one word and nothing else."]
rows = "plural.jsonl"
[[positive]]
input = "a cup"
output = "cups"
[[positive]]
input = "a naïve reader"
output = "naïve readers"
"""

RECIPE = """
name = "plural"
folder = "runs"
evidence = false
[task]
path = "plural.toml"
[data]
train = 0.7
[model]
name = "tiny"
precision = "fp32"
[train]
rate = 3e-3
epochs = 2
rows = 8
checkpoint = 1
[decode]
kind = "greedy"
limit = 6
"""


@dataclass(frozen=True)
class Result:
    """What a command left: its exit status and what it printed."""

    code: int
    out: str
    err: str


# Typer makes the commands anew from the signatures of all verbs; once is enough for a process.
COMMANDS = functools.cache(typer.main.get_command)


def call(*arguments: object, stdin: str = "", cwd: Path | None = None) -> Result:
    """Run `espalier` in this process: another one needs seconds to import torch."""
    out, err = io.StringIO(), io.StringIO()
    code: object = 0
    with (
        mock.patch.object(typer.main, "get_command", COMMANDS),
        mock.patch.object(sys, "argv", ["espalier", *map(str, arguments)]),
        mock.patch.object(sys, "stdin", io.StringIO(stdin)),
        mock.patch.object(sys, "path", list(sys.path)),
        mock.patch.dict(os.environ),
        contextlib.chdir(cwd or "."),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            main()
        except SystemExit as end:
            code = end.code
    assert isinstance(code, int)
    return Result(code, out.getvalue(), err.getvalue())


@pytest.fixture(scope="session")
def espalier() -> Callable[..., Result]:
    """Runs a command in this process; see `call`."""
    return call


@pytest.fixture(scope="session")
def espalier_process(forked: Callable[..., Any]) -> Callable[..., Any]:
    """Starts a command as a process of its own; see `Forked`."""
    return functools.partial(forked, "-m", "espalier.cli.main")


def wait_for(path: Path, pattern: str, process: Any) -> None:
    """Wait until a file of the process is there, and fail where the process ends before."""
    end = time.monotonic() + 120
    while not any(path.glob(pattern)):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.001)


@pytest.fixture(scope="session", name="wait_for")
def wait_for_fixture() -> Callable[..., None]:
    """Waits for a process's file; see `wait_for`."""
    return wait_for


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> Iterator[None]:
    """At this size threads only wait for each other, and the order of sums shall not depend on cores."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def model_of(
    tmp_path_factory: pytest.TempPathFactory,
    chat_tokenizer: Callable[[str], PreTrainedTokenizerFast],
    llama: Callable[..., LlamaForCausalLM],
) -> Callable[[int], Path]:
    """Makes folders with a random Llama of so many layers, a byte-level tokenizer and the ChatML template."""
    from transformers.utils import logging

    def make(layers: int) -> Path:
        logging.disable_progress_bar()
        tokenizer = chat_tokenizer("chatml")
        model = llama(
            len(tokenizer),
            hidden_size=64,
            intermediate_size=96,
            num_hidden_layers=layers,
            max_position_embeddings=4096,
            eos_token_id=tokenizer.eos_token_id,
        )
        folder = tmp_path_factory.mktemp("models") / "tiny"
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return folder

    return make


@pytest.fixture(scope="session")
def tiny_model(model_of: Callable[[int], Path]) -> Path:
    """One layer: half of what a run of this size takes is its layers."""
    return model_of(1)


def make_home(folder: Path, model: Path) -> Path:
    """Write recipe.toml, plural.toml with its rows, and a link to the tiny model into a folder; return it."""
    folder.mkdir(exist_ok=True)
    (folder / "recipe.toml").write_text(RECIPE)
    (folder / "plural.toml").write_text(TASK)
    rows = [{"input": f"a {thing}", "output": [f"{thing}s", f"some {thing}s"]} for thing in THINGS.split()]
    (folder / "plural.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "tiny").symlink_to(model)
    return folder


@pytest.fixture
def home(tmp_path: Path, tiny_model: Path) -> Path:
    """A user's folder with a recipe, a task and a model."""
    return make_home(tmp_path / "home", tiny_model)


@pytest.fixture(scope="session")
def new_home(tiny_model: Path) -> Callable[[Path], Path]:
    """Makes a user's folder; see `make_home`."""
    return functools.partial(make_home, model=tiny_model)


@pytest.fixture
def after(finished: Finished, tmp_path: Path) -> Finished:
    """A copy of the finished run, in a folder of its own."""
    home = tmp_path / "after"
    shutil.copytree(finished.home, home, symlinks=True)
    return Finished(home, home / "runs" / "plural", finished.result)


@dataclass(frozen=True)
class Finished:
    """A run that went through: the user's folder, the run's folder, and what was printed."""

    home: Path
    folder: Path
    result: Result


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Finished:
    """One run for all tests that only look; one that changes it copies `home` first."""
    home = make_home(tmp_path_factory.mktemp("finished") / "home", tiny_model)
    result = call("run", "recipe.toml", cwd=home)
    assert result.code == 0, result.err
    return Finished(home, home / "runs" / "plural", result)
