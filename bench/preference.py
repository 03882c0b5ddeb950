"""Learning from pairs (DPO) side by side: Espalier and TRL's DPOTrainer take the same steps in turn.

The pairs have prompts of about 300 tokens and answers of about 60: those of OpenAssistant's ranked replies
(the best and the worst one to a prompt, one pair a conversation, so that only a pair's own two rows share)
and of LLaMA-Factory's demonstration set that come nearest to this shape. Or those of a task file, under its
whole prompt. The reference's log-probabilities are computed before the first step, on both sides.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bench import espalier, trl
from bench.rows import DATA
from bench.side import Job, Side, fastest, steady, take_turns
from espalier.core.records import Example, example_id, message
from espalier.encode.tokens import encode_unit
from espalier.encode.tree import build_tree, stats
from espalier.formats.load import load_rows
from espalier.tasks.task_files import load_task
from espalier.tasks.templates import Show, available, to_examples

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from multiprocessing.connection import Connection

    from espalier.core.records import Encoded, Message
    from espalier.encode.template import Template
    from espalier.encode.tokens import Unit
    from espalier.models.precision import Format, Formats

    Say = Callable[[str], None]

PAIRS = 8
# Pairs a step when settings are tried.
TRIAL_PAIRS = 4
PROMPT, ANSWER = 300, 60
BETA = 0.1
# Settings of TRL that are tried: `batch` pairs a forward, which are twice as many rows.
WAYS = ("batch 1", "batch 2", "batch 4")


@dataclass(frozen=True)
class Case:
    """Which weights move, and the task file of the pairs; '' for those of real conversations."""

    name: str
    method: str = "full"
    task: str = ""

    @property
    def rate(self) -> float:
        """Learning rate, the same on both sides."""
        return 5e-5 if self.method == "lora" else 5e-6


CASES = (Case("dpo-full"), Case("dpo-lora", "lora"), Case("duration-pairs", task="duration-pairs"))


def main(
    model: str,
    template: Template,
    say: Say,
    *,
    formats: Formats,
    only: Sequence[str] = (),
    threads: int = 2,
    rounds: int = 2,
) -> dict[str, Any]:
    """Measure each case and return pairs per second of both sides.

    Args:
        model: folder of the model in Hugging Face layout.
        template: its template.
        say: takes progress lines.
        formats: number formats that are the fastest here.
        only: names of cases; the first where empty.
        threads: threads of both sides.
        rounds: measured steps, after one to warm up.
    """
    wanted = [case for case in CASES if case.name in only] if only else CASES[:1]
    if not wanted:
        raise SystemExit(f"No case of {list(only)}; there are {[case.name for case in CASES]}.")
    return {
        case.name: measure(model, template, say, case, threads, rounds, precision=formats.training)
        for case in wanted
    }


def measure(
    model: str,
    template: Template,
    say: Say,
    case: Case,
    threads: int,
    rounds: int,
    *,
    precision: Format,
) -> dict[str, Any]:
    """Return the figures of one case."""
    units = load_pairs(case, template, PAIRS * (rounds + 1))
    if len(units) < PAIRS * (rounds + 1):
        raise SystemExit(f"There are {len(units)} pairs; {rounds + 1} steps take {PAIRS} each.")
    # Each step has its share of every length, and its rows lie shortest first, which spares TRL padding.
    steps = [[row for unit in units[start :: rounds + 1] for row in unit.rows] for start in range(rounds + 1)]
    shape = describe(steps)
    say(f"{case.name}: {shape}")
    few = [step[: 2 * TRIAL_PAIRS] for step in steps[:2]]

    def job(rows: list[list[Encoded]], settings: dict[str, Any]) -> Job:
        return Job(model, rows, case.method, case.rate, threads, settings)

    settings = trl.settings(precision, WAYS)
    chosen, trials = fastest("trl", run_trl, {name: job(few, own) for name, own in settings.items()}, say)
    sides = [
        Side("espalier", run_espalier, job(steps, {"precision": precision})),
        Side("trl", run_trl, job(steps, settings[chosen])),
    ]
    loads = take_turns(sides, rounds, say)
    ours, theirs = (steady(side) for side in sides)
    return {
        "espalier": PAIRS / ours["seconds"],
        "trl": PAIRS / theirs["seconds"],
        "ratio": theirs["seconds"] / ours["seconds"],
        "loss_gap": max(abs(a - b) / b for a, b in zip(ours["losses"], theirs["losses"], strict=True)),
        "shape": shape,
        "sides": {"espalier": ours, "trl": theirs},
        "trl_setting": chosen,
        "trials": trials,
        "load": loads,
    }


def load_pairs(case: Case, template: Template, count: int) -> list[Unit]:
    """Return `count` pairs, from short to long: a task's first, or those nearest to the wanted shape."""
    if case.task:
        task = load_task(case.task)
        units = [encode_unit(example, template) for example in to_examples(task, available(task, Show()))]
        return sorted(units[:count], key=lambda unit: len(unit.prompt))
    lines = (DATA / "openassistant" / "en_100_tree.jsonl").read_text(encoding="utf-8").splitlines()
    trees = [json.loads(line) for line in lines]
    ranked = [example for tree in trees for example in _ranked(tree["prompt"], (), tree["message_tree_id"])]
    examples = [*ranked, *load_rows(DATA / "llamafactory" / "dpo_en_demo.json", on_reject=lambda _: None)]
    near: dict[str, tuple[float, Unit]] = {}
    for example in examples:
        unit = encode_unit(example, template)
        off = _off(unit)
        if off < near.get(example.source, (math.inf,))[0]:
            near[example.source] = (off, unit)
    nearest = sorted(near.values(), key=lambda found: found[0])[:count]
    return sorted((unit for _, unit in nearest), key=lambda unit: len(unit.prompt))


def describe(steps: Sequence[Sequence[Encoded]]) -> dict[str, float]:
    """Return a step's mean tokens, in rows and distinct, and the mean length of prompts and answers."""
    counts = [stats(build_tree(step)) for step in steps]
    rows = [row for step in steps for row in step]
    return {
        "row_tokens": sum(c.row_tokens for c in counts) / len(counts),
        "distinct_tokens": sum(c.distinct_tokens for c in counts) / len(counts),
        "prompt": sum(row.prompt for row in rows) / len(rows),
        "answer": sum(sum(row.weights) for row in rows) / len(rows),
        "token_ratio": sum(c.row_tokens for c in counts) / sum(c.distinct_tokens for c in counts),
    }


def run_espalier(job: Job, connection: Connection) -> None:
    """As a side: DPO with `espalier.train.loop`, one optimizer step per command."""
    from espalier.train.preference import dpo

    units = [espalier.units_of(rows) for rows in job.steps]
    espalier.follow(job, connection, dpo(beta=BETA), units)


def run_trl(job: Job, connection: Connection) -> None:
    """As a side: DPO with TRL's DPOTrainer on the same tokens, one optimizer step per command."""
    import datasets
    from trl.trainer.dpo_config import DPOConfig
    from trl.trainer.dpo_trainer import DPOTrainer

    class OnTokens(DPOTrainer):
        """Takes rows that are tokens already."""

        def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:
            return dataset

    batch = int(job.settings["batch"])
    table = [as_tokens(unit) for rows in job.steps for unit in espalier.units_of(rows)]
    config = DPOConfig(
        **trl.arguments(job, len(job.steps[0]) // 2 // batch),
        beta=BETA,
        max_length=None,
        precompute_ref_log_probs=True,
        precompute_ref_batch_size=batch,
        train_sampling_strategy="sequential",
    )
    model = trl.load(job)
    trainer = OnTokens(
        model,
        args=config,
        train_dataset=datasets.Dataset.from_list(table),
        processing_class=trl.tokenizer(job),
    )
    trl.finish(trainer, trl.gate(connection))


def as_tokens(unit: Unit) -> dict[str, list[int]]:
    """Return a pair as TRL's collator takes it."""
    chosen, rejected = ([t for t, w in zip(row.ids, row.weights, strict=True) if w] for row in unit.rows)
    return {"prompt_ids": list(unit.prompt), "chosen_ids": chosen, "rejected_ids": rejected}


def _ranked(item: dict[str, Any], history: tuple[Message, ...], source: str) -> Iterator[Example]:
    """Yield the best and the worst reply to each prompt of a message tree."""
    mine = (*history, message("user" if item["role"] == "prompter" else "assistant", item["text"]))
    ranked = sorted((r for r in item["replies"] if r.get("rank") is not None), key=lambda r: r["rank"])
    if item["role"] == "prompter" and len(ranked) > 1:
        best, worst = ranked[0]["text"], ranked[-1]["text"]
        trained = message("assistant", best, trained=True)
        name = example_id(source, [turn.text for turn in mine])
        yield Example(
            name, "openassistant", source, (*mine, trained), (best,), (message("assistant", worst),)
        )
    for reply in item["replies"]:
        yield from _ranked(reply, mine, source)


def _off(unit: Unit) -> float:
    """Return how far a pair is from the wanted shape; the two answers count half each."""
    answers = [abs(math.log(sum(row.weights) / ANSWER)) for row in unit.rows]
    return abs(math.log(len(unit.prompt) / PROMPT)) + sum(answers) / 2
