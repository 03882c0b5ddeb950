"""Local generation side by side: rows an hour of the step `respond`, by Espalier and by `generate`.

Both sides run the same step on the same sentences: the bundled task's definition and good examples as turns,
and each sentence last. Only what answers differs. Transformers runs at the batch size that was fastest here,
on prompts sorted by length. Both decode greedily in fp32, so that the rows must be the same.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.decoding import BATCHES
from bench.side import Clock, Job, Side, answers_in_turns, commands
from espalier.core.records import Completion, Example, Generator, message
from espalier.tasks.task_files import load_task

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from multiprocessing.connection import Connection

    from bench.side import Measured
    from espalier.core.recipe import Choice
    from espalier.models.load import Loaded

    Say = Callable[[str], None]
    Row = tuple[str, str]

TASK = "event-duration"
ROWS, TRIAL_ROWS = 192, 64
LIMIT = 24
SHOTS = 8


def main(model: str, say: Say, *, threads: int = 2, rounds: int = 3) -> dict[str, Any]:
    """Measure and return rows an hour of each side, their ratio, and whether the rows are the same.

    Args:
        model: folder of the model in Hugging Face layout.
        say: takes progress lines.
        threads: threads of both sides.
        rounds: measured rounds, after one to warm up.
    """
    trials: dict[int, float] = {}
    for batch in BATCHES:
        side = Side("trial", run_transformers, _job(model, threads, batch=batch, rows=TRIAL_ROWS))
        trials[batch] = round(side.ask()[0].seconds, 2)
        side.close()
        say(f"  trying generate, batch {batch}: {trials[batch]} s for {TRIAL_ROWS} prompts")
    batch = min(trials, key=lambda one: trials[one])
    sides = {
        "espalier": Side("espalier", run_espalier, _job(model, threads)),
        "transformers": Side("transformers", run_transformers, _job(model, threads, batch=batch)),
    }
    taken, loads = answers_in_turns(sides, rounds, say)
    return {**_compared(taken), "batch": batch, "trials": trials, "load": loads}


def run_espalier(job: Job, connection: Connection) -> None:
    """As a side: the step with Espalier's decoder."""
    from espalier.decode.local import local_of

    loaded = _loaded(job)
    _serve(job, connection, local_of(loaded, in_place=True))


def run_transformers(job: Job, connection: Connection) -> None:
    """As a side: the step with transformers' `generate`, in left-padded batches."""
    loaded = _loaded(job)
    _serve(job, connection, _Batches(loaded, int(str(job.settings["batch"]))))


@dataclass
class _Batches:
    """A generator that calls `generate` on batches of prompts of similar length."""

    loaded: Loaded
    batch: int

    def generate(self, examples: Sequence[Example], settings: Choice) -> Iterator[Completion]:
        """Yield the greedy answer to each prompt."""
        import torch

        template = self.loaded.template
        model: Any = self.loaded.model
        stops = sorted(template.stop_ids)
        prompts = [template.prompt_ids(example.prompt) for example in examples]
        order = sorted(range(len(prompts)), key=lambda row: len(prompts[row]))
        for start in range(0, len(order), self.batch):
            rows = order[start : start + self.batch]
            width = max(len(prompts[row]) for row in rows)
            ids = [[stops[0]] * (width - len(prompts[row])) + list(prompts[row]) for row in rows]
            mask = [[0] * (width - len(prompts[row])) + [1] * len(prompts[row]) for row in rows]
            output = model.generate(
                torch.tensor(ids),
                attention_mask=torch.tensor(mask),
                max_new_tokens=settings.params["limit"],
                do_sample=False,
                eos_token_id=stops,
                pad_token_id=stops[0],
            )
            for row, answer in zip(rows, output[:, width:].tolist(), strict=True):
                end = next((place for place, token in enumerate(answer) if token in stops), None)
                text = template.decode(answer[:end])
                yield Completion(examples[row].id, text, finish="length" if end is None else "stop")


def _serve(job: Job, connection: Connection, generator: Generator) -> None:
    from espalier.core.recipe import Choice
    from espalier.generate.author import Author, steps, unanswered

    settings = Choice.model_validate({"kind": "greedy", "limit": LIMIT})
    author = Author(generator, Path(job.model).name, settings)
    task = load_task(TASK)
    asked = [
        unanswered([message("user", row.input)], task.name, source=row.source, input=row.input)
        for row in task.rows[: int(str(job.settings["rows"]))]
    ]
    step = steps.build("respond", {"task": TASK, "shots": SHOTS}, "generate")
    for _ in commands(connection):
        clock = Clock()
        made = list(step(asked, author))
        rows = [(one.input, one.answer) for one in made if isinstance(one, Example)]
        connection.send((clock.stop(), rows))


def _loaded(job: Job) -> Loaded:
    from espalier.models.load import load_model

    loaded = load_model(job.model)
    loaded.model.float().eval()
    return loaded


def _compared(taken: dict[str, list[tuple[Measured, list[Row]]]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, results in taken.items():
        seconds = statistics.median(measured.seconds for measured, _ in results[1:])
        made = len(results[-1][1])
        found[name] = {
            "seconds": round(seconds, 2),
            "rows": made,
            "rows_an_hour": round(3600 * made / seconds),
        }
    ours, theirs = (taken[name][-1][1] for name in ("espalier", "transformers"))
    ratio = found["transformers"]["seconds"] / found["espalier"]["seconds"]
    return {**found, "ratio": round(ratio, 2), "same_rows": sorted(ours) == sorted(theirs)}


def _job(model: str, threads: int, **own: Any) -> Job:
    return Job(model, [], "", 0.0, threads, {"rows": ROWS, **own})
