"""What planning costs: from files of rows to the first step of a training, with no model.

    python -m bench planning
    python -m bench.planning --rows 2000

Two sets of rows are made here: a task, whose words all rows share, and conversations that share nothing.
Each part of planning is timed by itself, and so is the tokenizer, whose time is within that of the tokens. A
second pass takes the memory, as looking at it takes time: the most that is held beyond the rows as read.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
import time
import tracemalloc
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from unittest import mock

from espalier.core.caches import default_cache
from espalier.core.journal import store_of
from espalier.core.recipe import Recipe, parse_recipe
from espalier.core.runtime import prepare_environment
from espalier.encode.batches import build_trees, schedule
from espalier.encode.tokenizer import Reader
from espalier.models.load import Loaded, load_template
from espalier.models.places import Place, find_model
from espalier.runs.books import inputs_of
from espalier.runs.overview import overview
from espalier.runs.plan import Plan, choose, stages_of
from espalier.runs.prepare import prepare
from espalier.runs.stages import _determined

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from espalier.encode.template import Template

    Say = Callable[[str], None]

LETTERS = "etaoinshrdlu"
# As a task says it to all rows.
DEFINITION = "Read what somebody did and say in one sentence how long it takes, and why you think so. " * 2


@dataclass
class Clock:
    """CPU and wall seconds by the names of parts."""

    seconds: dict[str, tuple[float, float]] = field(default_factory=dict[str, tuple[float, float]])

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Add what a block takes."""
        cpu, wall = time.process_time(), time.perf_counter()
        yield
        before = self.seconds.get(name, (0.0, 0.0))
        self.seconds[name] = (
            before[0] + time.process_time() - cpu,
            before[1] + time.perf_counter() - wall,
        )


def main(model: Path, say: Say, *, rows: int = 20_000) -> dict[str, Any]:
    """Return the seconds and the memory of each set of rows."""
    prepare_environment()
    template = load_template(str(model))
    found: dict[str, Any] = {"rows": rows}
    with tempfile.TemporaryDirectory() as folder:
        for name, make in (("task", write_task), ("conversations", write_conversations)):
            place = Path(folder) / name
            place.mkdir()
            recipe = parse_recipe(
                {
                    "name": name,
                    "folder": str(place / "runs"),
                    "task": {"path": str(make(place, rows))},
                    "data": {"train": rows / (rows + 100)},
                    "model": {"name": str(model)},
                }
            )
            found[name] = {**timed(recipe, template), **weighed(recipe, template)}
            say(f"  {name}: {found[name]}")
    return found


def timed(recipe: Recipe, template: Template) -> dict[str, Any]:
    """Return the CPU and wall seconds of each part, and of all besides the tokenizer."""
    clock, tokenizer = Clock(), Clock()
    read = Reader._read_together

    def watched(self: Reader, texts: Any) -> Any:
        with tokenizer.part("tokenizer"):
            return read(self, texts)

    with mock.patch.object(Reader, "_read_together", watched):
        plan_of(recipe, template, clock)
    parts = {**clock.seconds, **tokenizer.seconds}
    all_of = [sum(seconds[at] for seconds in clock.seconds.values()) for at in (0, 1)]
    besides = all_of[0] - tokenizer.seconds["tokenizer"][0]
    shown = {name: {"cpu": round(cpu, 2), "wall": round(wall, 2)} for name, (cpu, wall) in parts.items()}
    return {**shown, "cpu": round(all_of[0], 2), "wall": round(all_of[1], 2), "besides": round(besides, 2)}


def weighed(recipe: Recipe, template: Template) -> dict[str, float]:
    """Return the MB of the rows as they were read, and the most that planning holds besides."""
    sizes: list[int] = []
    tracemalloc.start()
    plan_of(recipe, template, Clock(), lambda: sizes.append(tracemalloc.get_traced_memory()[0]))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return {"rows_mb": round(sizes[0] / 1e6, 1), "more_mb": round((peak - sizes[0]) / 1e6, 1)}


def plan_of(recipe: Recipe, template: Template, clock: Clock, read: Callable[[], object] = lambda: 0) -> None:
    """Do what a run does up to its first step, but for the model; `read` is called after the rows are."""
    folder = Path(recipe.folder) / recipe.name
    with clock.part("rows"):
        prepared = prepare(recipe)
    read()
    choices = choose(recipe, prepared)
    fresh = template.under(template.rendering)
    with clock.part("tokens"):
        stages = stages_of(choices, fresh, folder)
    # Of a loaded model only the hash of its weights and the number formats are part of a key.
    loaded = Loaded(Place("."), cast("Any", None), cast("Any", None), fresh, "0" * 16)
    plan = Plan(choices, loaded, stages, folder, store_of(folder.parent))
    with clock.part("keys"):
        inputs_of(plan)
        _determined(plan, stages[0])
    with clock.part("overview"):
        overview(stages[0], recipe.seed, fresh)
    with clock.part("first step"):
        units = schedule(stages[0].encoded.units, stages[0].section.rows, recipe.seed)(0)
        build_trees([unit.rows for unit in units], stages[0].section.tokens)


def write_task(folder: Path, rows: int) -> Path:
    """Write a task of rows of some 40 words with answers of 15, and return its file."""
    say = sentences(0)
    (folder / "rows.jsonl").write_text(
        "".join(json.dumps({"input": say(40), "output": say(15)}) + "\n" for _ in range(rows + 100))
    )
    path = folder / "task.toml"
    path.write_text(f'name = "durations"\ndefinition = "{DEFINITION}"\nrows = "rows.jsonl"\n')
    return path


def write_conversations(folder: Path, rows: int) -> Path:
    """Write conversations of a question and an answer, all distinct, and return their file."""
    say = sentences(1)
    path = folder / "rows.jsonl"
    roles = (("user", 40), ("assistant", 15))
    with path.open("w") as file:
        for _ in range(rows + 100):
            turns = [{"role": role, "content": say(words)} for role, words in roles]
            file.write(json.dumps({"messages": turns}) + "\n")
    return path


def sentences(seed: int) -> Callable[[int], str]:
    """Return what makes sentences of so many words, from a vocabulary of some thousands as text has it."""
    draw = random.Random(seed)
    words = ["".join(draw.choices(LETTERS, k=draw.randint(1, 9))) for _ in range(5000)]
    weights = [1 / (rank + 10) for rank in range(len(words))]
    return lambda count: " ".join(draw.choices(words, weights, k=count)).capitalize() + "."


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m bench.planning", description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--model", default="smollm2-135m", help="a bundled model or a folder")
    options = parser.parse_args()
    os.environ["HF_HUB_OFFLINE"] = "1"
    place = find_model(options.model, default_cache(), lambda line: print(line, file=sys.stderr)).folder
    print(json.dumps(main(Path(place), lambda line: print(line, file=sys.stderr), rows=options.rows)))
