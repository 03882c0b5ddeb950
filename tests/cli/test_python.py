"""Espalier from Python: the page about it runs, and what it promises holds."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

import espalier
from espalier.core.errors import DataError, EspalierError, RecipeError, RunError
from espalier.core.recipe import load_recipe
from espalier.runs.events import Logged, Said
from espalier.runs.run import Run

PAGE = Path(__file__).resolve().parents[2] / "docs" / "python.md"
ROWS = [
    {"prompt": f"The plural of {noun}?", "completion": f"{noun}s"}
    for noun in ("cup", "mug", "pen", "hat", "key")
]
TINY = ("train.epochs=1", "model.precision=fp32", "decode.limit=4", "evidence=false")


def test_the_page_runs(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(home)
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    assert len(blocks) >= 5
    code = "\n".join(blocks).replace("smollm2-135m", "tiny")
    names: dict[str, object] = {}
    exec(compile(code, str(PAGE), "exec"), names)
    said = capsys.readouterr()
    assert re.search(r"^\d+\.\d \(\d+\.\d to \d+\.\d\)$", said.out, re.MULTILINE)
    assert "Training: 6 of 6" in said.err
    assert "Traceback" not in said.err
    run = names["run"]
    assert isinstance(run, Run)
    assert run.report.is_file()
    assert run.scores["tuned"].keys() >= {"rouge_l"}


@pytest.mark.parametrize("name", ["x" * 5000, "a\0b", "y" * 300 + "/model"])
def test_names_that_no_folder_can_have_are_refused_in_words(name: str) -> None:
    for act in (
        lambda: espalier.load(name),
        lambda: espalier.run(name),
        lambda: espalier.compare(name, name),
        lambda: espalier.run("event-duration", f"folder={name}"),
        lambda: espalier.run("event-duration", f"model.name={name}"),
        lambda: espalier.run("event-duration", f"task.path={name}"),
    ):
        with pytest.raises(EspalierError):
            act()


@pytest.fixture
def inside(after, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A finished run, with the user's folder as the current one."""
    monkeypatch.chdir(after.home)
    return espalier.run("recipe.toml")


def test_a_finished_run_is_not_done_again_and_is_the_command_lines(inside: Run, after) -> None:
    assert inside.path.resolve() == after.folder.resolve()
    before = (inside.path / "model" / "model.safetensors").stat().st_mtime_ns
    again = espalier.run(load_recipe("recipe.toml"))
    assert (again.path / "model" / "model.safetensors").stat().st_mtime_ns == before
    assert re.fullmatch(r"Run\('runs/plural', \w+: [\d.]+ \([\d.]+ to [\d.]+\)\)", repr(again))
    with pytest.raises(RunError, match="of another recipe has this name"):
        espalier.run("recipe.toml", "train.rate=1e-5")


def test_a_runs_model_answers_as_generate_does(inside: Run, espalier_process) -> None:
    model = espalier.load(inside)
    process = espalier_process("generate", "runs/plural", "a drum", "--limit", "6", cwd=Path.cwd())
    printed, _ = process.communicate(timeout=120)
    assert model.generate("a drum", limit=6)[0].text == printed.removesuffix("\n")
    assert "".join(model.stream("a drum", limit=6)) == model.generate("a drum", limit=6)[0].text


def test_log_probabilities_are_those_of_whole_rows(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home)
    model = espalier.load("tiny", precision="fp32")
    asked, options = ["a cup", "a cup of tea"], ["cups", "cups of tea"]
    together = model.logprobs(asked, options)
    alone = [[model.logprobs(prompt, [option])[0][0] for option in options] for prompt in asked]
    assert together == [pytest.approx(row, abs=1e-4) for row in alone]
    assert all(value < 0 for row in together for value in row)
    turns = [[{"role": "user", "content": prompt}] for prompt in asked]
    assert model.logprobs(turns, [options, options]) == together
    with pytest.raises(DataError, match="options for 1 prompts, and 2 prompts"):
        model.logprobs(asked, [options])


def test_answers_come_in_order_and_samples_together(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home)
    model = espalier.load("tiny", precision="fp32")
    prompts = ["a longer prompt, for once", "a cup", "a cup"]
    found = model.generate(prompts, limit=3, temperature=1.0, samples=2, seed=4)
    assert [(answer.example, answer.sample) for answer in found] == [(n, s) for n in "012" for s in (0, 1)]
    assert [answer.text for answer in found[2:4]] == [answer.text for answer in found[4:]]
    assert len({answer.text for answer in found[:2]}) == 2
    with pytest.raises(RunError, match="At temperature 0 all answers are the same"):
        model.generate(prompts, samples=2)
    with pytest.raises(RecipeError, match="limit = 0 does not fit"):
        model.generate(prompts, limit=0)
    with pytest.raises(DataError, match="There is no prompt"):
        model.generate([])
    with pytest.raises(DataError, match="This is no turn"):
        model.generate([[{"role": "reader", "content": "a"}]])


@pytest.mark.parametrize("form", [list, pa.Table.from_pylist, iter], ids=["dicts", "arrow", "iterator"])
def test_rows_in_memory_are_tuned_on(home: Path, monkeypatch: pytest.MonkeyPatch, form) -> None:
    monkeypatch.chdir(home)
    model = espalier.tune("tiny", form(ROWS), *TINY, method="lora", name="mine")
    assert model.name == "runs/mine"
    assert (home / "runs" / "mine" / "model" / "adapter_model.safetensors").exists()
    gained = espalier.compare("runs/mine:base", "runs/mine")["rouge_l"].difference
    assert gained.value == Run(home / "runs" / "mine", home).gains["rouge_l"].value


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ("rows.jsonl", "These are no rows but a text.*task.path of a recipe"),
        ({"prompt": "a"}, "These are no rows but an object"),
        (["a", "b"], "row 1: A row should be a dict; it is a text"),
        ([{"prompt": "a", "completion": "b"}], "none can be kept for the scores"),
        ([], "empty"),
    ],
)
def test_what_is_no_rows_is_told(home: Path, monkeypatch: pytest.MonkeyPatch, rows, said: str) -> None:
    monkeypatch.chdir(home)
    with pytest.raises(DataError, match=said):
        espalier.tune("tiny", rows, *TINY)


def test_wrong_names_are_told_in_our_words(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home)
    with pytest.raises(RecipeError, match="Did you mean 'rate'"):
        espalier.run("recipe.toml", "train.rat=1")
    with pytest.raises(EspalierError, match="There is no such file"):
        espalier.run("no-such-recipe.toml")
    with pytest.raises(EspalierError, match="nowhere"):
        espalier.load("nowhere")
    with pytest.raises(RecipeError, match="There is no key 'tasks'"):
        espalier.run({"name": "x", "tasks": {}})
    with pytest.raises(DataError, match="There are 1 references to 2 predictions"):
        espalier.score("rouge_l", ["a", "b"], ["a"])
    with pytest.raises(RecipeError, match="rouge_l"):
        espalier.score("rogue_l", ["a"], ["a"])


def test_events_come_as_the_run_goes(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home)
    told = list(espalier.events("recipe.toml"))
    steps = [event.event for event in told if isinstance(event, Logged) and event.event["event"] == "step"]
    assert [step["step"] for step in steps] == [1, 2, 3, 4, 5, 6]
    assert any(isinstance(event, Said) and event.text.startswith("Task plural: ") for event in told)
    with pytest.raises(RunError, match="of another recipe has this name"):
        list(espalier.events("recipe.toml", "train.rate=1e-5"))


def test_who_stops_listening_leaves_a_checkpoint(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home)
    events = espalier.events("recipe.toml", "train.epochs=60")
    next(event for event in events if isinstance(event, Logged) and event.event["event"] == "step")
    events.close()
    assert any(home.glob("runs/plural/checkpoints/step-*"))
    assert not (home / "runs" / "plural" / "model").exists()


def test_torch_that_was_first_is_told(tmp_path: Path) -> None:
    """An empty module stands for torch: what is told follows from its name."""
    (tmp_path / "torch.py").touch()
    script = "import torch, espalier; espalier.run('no-such-recipe.toml')"
    clean = {"PATH": "", "HOME": "/tmp"}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False, env=clean
    )
    assert "Note: torch was loaded before espalier could set " in done.stderr
