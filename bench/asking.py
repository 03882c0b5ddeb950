"""One tuned model under 15 prompts: a study, and 15 evaluations one after another, as commands.

`python -m bench asking` tunes a model on a few rows, asks its test rows under five definitions with three
choices of examples in one `espalier study`, and then each of these cells again by `espalier evaluate`, a
process each. What is compared is the processor time of the commands, and every answer. The training is done
before, and the cell that is the training's own run is left out.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

OTHER = """
name = "other"
definition = "Write the sentence again so that a child of six understands it."
rows = "other.jsonl"
"""
STUDY = """
recipe = "event-duration"
seeds = 1
set = ["data.limit=64", "data.test_limit={rows}", "train.epochs=1"]
[[factor]]
kind = "definition"
levels = ["original", "shuffled", "empty", "another", "other.toml"]
at = "test"
[[factor]]
kind = "examples"
levels = ["good", "delusive", "none"]
at = "test"
"""


def main(say: Callable[[str], None], *, rows: int = 40) -> dict[str, Any]:
    """Measure both ways of asking; raises CalledProcessError where a command fails."""
    with tempfile.TemporaryDirectory() as home:
        folder = Path(home)
        (folder / "other.toml").write_text(OTHER)
        (folder / "other.jsonl").write_text('{"input": "It rained.", "output": "Water fell."}\n')
        (folder / "asked.toml").write_text(STUDY.format(rows=rows))
        _timed(folder, "study", "asked.toml", "--anyway")
        runs = folder / "studies" / "asked" / "runs"
        (model,) = [path.parent for path in runs.glob("*/model")]
        cells = sorted(path.parent for path in runs.glob("*/scores.json") if path.parent != model)
        for path in (*cells, runs / ".store"):  # the training stays
            shutil.rmtree(path)
        together = _timed(folder, "study", "asked.toml", "--anyway")
        apart = [0.0, 0.0]
        same = total = 0
        for cell in cells:
            recipe, name = str(cell / "recipe.toml"), f"apart-{cell.name}"
            taken = _timed(folder, "evaluate", str(model), recipe, "--name", name)
            apart = [one + other for one, other in zip(apart, taken, strict=True)]
            alone = next(folder.rglob(f"apart-{cell.name}/outputs.jsonl"))
            one, other = _texts(cell / "outputs.jsonl"), _texts(alone)
            total += len(one)
            same += sum(one[key] == other.get(key) for key in one)
        told = f"together {_spelt(together)}, apart {_spelt(apart)}; {same} of {total} answers the same"
        say(f"{len(cells)} cells of {rows} rows: {told}")
        return {"cells": len(cells), "together": together, "apart": apart, "same": same, "total": total}


def _espalier() -> list[str]:
    return [sys.executable, "-m", "espalier"]


def _quiet() -> dict[str, Any]:
    return {"check": True, "capture_output": True, "env": {**os.environ, "HF_HUB_OFFLINE": "1"}}


def _timed(folder: Path, *command: str) -> list[float]:
    """Run a command and return its processor and wall seconds."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([*_espalier(), *command], cwd=folder, **_quiet())
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return [spent, time.perf_counter() - began]


def _spelt(taken: list[float]) -> str:
    return f"{taken[0]:.0f} CPU s in {taken[1]:.0f} s"


def _texts(path: Path) -> dict[str, str]:
    """Return the answers of the model that was tuned, by the rows' inputs."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    ours = [line for line in lines if line["system"] in ("tuned", "model")]
    return {line["example"]: line["text"] for line in ours}
