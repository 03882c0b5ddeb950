"""Learning from rewards (GRPO) side by side: whole steps, in which the model answers and then learns.

Each side answers the same prompts of the bundled task, 8 times each at temperature 1, rewards each answer by
its length, and takes one step. TRL generates with transformers, all answers of a step in one batch. What is
sampled differs, so the mean number of tokens that each side wrote stands beside its seconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bench import espalier, trl
from bench.side import Job, Side, fastest, steady, take_turns
from espalier.core.records import Example
from espalier.encode.batches import schedule
from espalier.encode.tokens import encode_unit
from espalier.tasks.task_files import load_task
from espalier.tasks.templates import Show, available, to_examples

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from multiprocessing.connection import Connection

    from espalier.encode.template import Template
    from espalier.models.load import Loaded
    from espalier.models.precision import Formats
    from espalier.train.objectives import Sampler

    Say = Callable[[str], None]

PROMPTS, GROUP, LIMIT = 4, 8, 40
RATE = 1e-6
# Settings of TRL that are tried: `batch` answers a forward of the update; all answers of a step are generated
# in one batch.
WAYS = ("batch 4", "batch 8")


def main(
    model: str,
    template: Template,
    say: Say,
    *,
    formats: Formats,
    task: str | None = None,
    threads: int = 2,
    rounds: int = 2,
) -> dict[str, Any]:
    """Measure whole steps and return answers per second of both sides.

    Args:
        model: folder of the model in Hugging Face layout.
        template: its template.
        say: takes progress lines.
        formats: number formats that are the fastest here.
        task: whose prompts are answered; the bundled one where None.
        threads: threads of both sides.
        rounds: measured steps, after one to warm up.
    """
    name = task or "event-duration"
    units = [encode_unit(example, template) for example in _examples(name).values()]
    units_at = schedule(units, PROMPTS, seed=0)
    steps = [[row for unit in units_at(step) for row in unit.rows[:1]] for step in range(rounds + 1)]

    def job(settings: dict[str, Any], count: int) -> Job:
        return Job(model, steps[:count], "full", RATE, threads, {"task": name, **settings})

    prompts = sum(row.prompt for step in steps for row in step) / PROMPTS / len(steps)
    say(f"{PROMPTS} prompts of {prompts:.0f} tokens, {GROUP} answers each, at most {LIMIT} tokens")
    settings = trl.settings(formats.training, WAYS)
    chosen, trials = fastest("trl", run_trl, {name: job(own, 2) for name, own in settings.items()}, say)
    own = {"precision": formats.training, "decoding": formats.decoding}
    sides = [
        Side("espalier", run_espalier, job(own, len(steps))),
        Side("trl", run_trl, job(settings[chosen], len(steps))),
    ]
    loads = take_turns(sides, rounds, say)
    ours, theirs = (steady(side) for side in sides)
    return {
        "espalier": PROMPTS * GROUP / ours["seconds"],
        "trl": PROMPTS * GROUP / theirs["seconds"],
        "ratio": theirs["seconds"] / ours["seconds"],
        "prompt": prompts,
        "sides": {"espalier": ours, "trl": theirs},
        "trl_setting": chosen,
        "trials": trials,
        "load": loads,
    }


def length(example: Example | None, text: str) -> float:
    """Return what an answer is worth on both sides: its length in characters."""
    return float(len(text))


def run_espalier(job: Job, connection: Connection) -> None:
    """As a side: sample and learn with Espalier, one optimizer step per command."""
    from espalier.train.reinforcement import grpo
    from espalier.train.sampling import Answering

    examples = _examples(str(job.settings["task"]))
    precision = job.settings["decoding"]

    def answering(loaded: Loaded, model: Any) -> Callable[[Mapping[str, float]], Sampler]:
        return Answering(model, loaded.template, examples, precision, seed=0).sampler

    objective = grpo(rewards={"bench.reinforce:length": 1.0}, group=GROUP, limit=LIMIT)
    units = [espalier.units_of(rows) for rows in job.steps]
    espalier.follow(job, connection, objective, units, answering)


def run_trl(job: Job, connection: Connection) -> None:
    """As a side: sample and learn with TRL's GRPOTrainer, one optimizer step per command."""
    import datasets
    from trl.trainer.grpo_config import GRPOConfig
    from trl.trainer.grpo_trainer import GRPOTrainer

    def rewards(completions: list[list[dict[str, str]]], **_: Any) -> list[float | None]:
        return [length(None, turns[0]["content"]) for turns in completions]

    examples = _examples(str(job.settings["task"]))
    asked = [examples[row.example].prompt for rows in job.steps for row in rows]
    table = [{"prompt": [{"role": turn.role, "content": turn.text} for turn in prompt]} for prompt in asked]
    per_step = PROMPTS * GROUP // int(job.settings["batch"])
    config = GRPOConfig(
        **trl.arguments(job, per_step),
        num_generations=GROUP,
        max_completion_length=LIMIT,
        steps_per_generation=per_step,
        shuffle_dataset=False,
        temperature=1.0,
        beta=0.0,
        loss_type="dapo",
    )
    trainer = GRPOTrainer(
        trl.load(job),
        rewards,
        config,
        datasets.Dataset.from_list(table),
        processing_class=trl.tokenizer(job),
    )
    trl.finish(trainer, trl.gate(connection))


def _examples(task: str) -> dict[str, Example]:
    loaded = load_task(task)
    return {example.id: example for example in to_examples(loaded, available(loaded, Show()))}
