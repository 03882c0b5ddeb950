"""A run with nothing to do loads nothing; whatever has changed is noticed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

RUN = ("run", "recipe.toml")
DONE = "Training is done, and so is all else"
LOADED = """import sys
from espalier.cli.main import main
try:
    main()
finally:
    print("loaded:", *{"torch", "transformers", "peft"} & {*sys.modules}, file=sys.stderr)
"""


@pytest.fixture
def ended(after, espalier):
    """A finished run that knows where it lies now."""
    assert espalier(*RUN, cwd=after.home).code == 0
    assert (after.folder / "finished.json").exists()
    return after


def test_nothing_is_loaded_where_nothing_is_to_do(ended, espalier, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("espalier.runs.execute.make_plan", lambda *_, **__: pytest.fail("a model is loaded"))
    (ended.folder / "report.html").unlink()
    result = espalier(*RUN, cwd=ended.home)
    assert result.code == 0, result.err
    assert DONE in result.err
    assert (ended.folder / "report.html").exists()


def test_nothing_to_do_takes_no_torch(ended) -> None:
    command = [sys.executable, "-c", LOADED, *RUN]
    done = subprocess.run(command, cwd=ended.home, capture_output=True, text=True, check=True)
    assert DONE in done.stderr
    assert done.stderr.splitlines()[-1] == "loaded:"


def test_a_changed_recipe_is_checked_in_full(ended, espalier) -> None:
    result = espalier(*RUN, "-o", "train.objective=[{kind='sfx'}]", cwd=ended.home)
    assert result.code == 2
    assert "No objective is named 'sfx'" in result.err


@pytest.mark.parametrize(
    "name",
    [
        *("recipe.toml", "provenance.json", "precision.json", "stages.json", "outputs.jsonl", "scores.json"),
        *("generations.jsonl", "data/test.parquet", "model/model.safetensors", "finished.json"),
    ],
)
def test_whatever_has_changed_takes_the_long_way(ended, espalier, name: str) -> None:
    path: Path = ended.folder / name
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    result = espalier(*RUN, cwd=ended.home)
    assert DONE not in result.err
    assert "Traceback" not in result.err


def test_another_model_of_that_name_takes_the_long_way(ended, espalier) -> None:
    tokenizer = ended.home / "tiny" / "generation_config.json"
    real = (ended.home / "tiny").resolve()
    (ended.home / "tiny").unlink()
    (ended.home / "tiny").mkdir()
    for file in real.iterdir():
        (ended.home / "tiny" / file.name).write_bytes(file.read_bytes())
    tokenizer.write_text(tokenizer.read_text() + "\n")
    assert DONE not in espalier(*RUN, cwd=ended.home).err


def test_code_from_outside_is_asked_again(after, espalier) -> None:
    (after.home / "elsewhere.py").write_text(
        "from espalier.core.records import Score\n"
        "class Same:\n    def score(self, examples, completions):\n"
        "        return [Score(0.5) for _ in examples]\n"
        "def same():\n    return Same()\n"
    )
    own = (*RUN, "-o", 'evaluate=["elsewhere:same"]')
    for _ in range(2):
        result = espalier(*own, cwd=after.home)
        assert result.code == 0, result.err
        assert DONE not in result.err
