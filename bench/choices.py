"""Multiple choice by likelihood side by side: Espalier, and lm-eval's Hugging Face backend, on the same rows.

Each question stands behind the same worked examples of about 500 tokens and has four options, each of them an
answer with its stop token. Both sides get the same rows in tokens, in fp32, and must give the same
log-probabilities. lm-eval runs at the batch size that was fastest here. What is compared is processor time,
so that a shared machine tells the truth.

Rows are made here: what is right is of no account.
"""

from __future__ import annotations

import random
import statistics
from typing import TYPE_CHECKING, Any

from bench.side import Clock, Job, Side, answers_in_turns, commands
from espalier.core.records import Example, message

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection

    from espalier.core.records import Encoded
    from espalier.encode.template import Template

QUESTIONS = 100
SHARED = 500  # tokens of the worked examples
BATCHES = (2, 8, 16)
TRIAL = 4  # questions when batch sizes are tried: one batch of the largest
FULL = 1000  # questions that a ratio is extrapolated to
WHO = ("The baker", "A nurse", "The old sailor", "My neighbour", "The committee", "A shepherd", "The tailor")
DID = ("opened the gate", "counted the coins", "painted a fence", "waited for the ferry", "mended the sail")
WHEN = ("before sunrise", "on a wet Tuesday", "after the harvest", "during the long strike", "in late March")
ASKED = ("What was needed most?", "What came of it?", "Who was told first?", "What did it cost?")
OPTIONS = ("a sharp knife", "two days of work", "nothing at all", "the mayor's cousin", "a bucket of paint",
           "a loud quarrel", "seven silver coins", "an empty barn", "more patience than time")  # fmt: skip


def questions(count: int, template: Template) -> list[Example]:
    """Return questions with four options each behind the same worked examples."""
    draw = random.Random(0)
    worked: list[str] = []
    while len(template.prompt_ids([message("user", "\n\n".join(worked))])) < SHARED:
        worked.append(f"{_question(draw)}\nAnswer: {draw.choice(OPTIONS)}")
    shown = "\n\n".join(worked)
    return [
        Example(
            str(number),
            "choices",
            str(number),
            (message("user", f"{shown}\n\n{_question(draw)}\nAnswer:"),),
            facts={"options": draw.sample(OPTIONS, 4)},
        )
        for number in range(count)
    ]


def main(
    model: str, say: Callable[[str], None], *, threads: int = 1, rounds: int = 1, count: int = QUESTIONS
) -> dict[str, Any]:
    """Measure and return processor seconds per side, their ratio, and how far log-probabilities differ.

    Args:
        model: folder of the model in Hugging Face layout.
        say: takes progress lines.
        threads: threads of both sides.
        rounds: measured rounds, without one to warm up: a side's first round is as long as its others.
        count: questions.
    """
    trials: dict[int, float] = {}
    for batch in BATCHES:
        side = Side("trial", run_harness, _job(model, threads, count=TRIAL, batch=batch))
        trials[batch] = round(side.ask()[0].cpu, 2)
        side.close()
        say(f"  trying lm-eval, batch {batch}: {trials[batch]} s for {TRIAL} questions")
    batch = min(BATCHES, key=lambda size: trials[size])
    sides = {
        "espalier": Side("espalier", run_espalier, _job(model, threads, count=count)),
        "lm-eval": Side("lm-eval", run_harness, _job(model, threads, count=count, batch=batch)),
    }
    taken, loads = answers_in_turns(sides, rounds - 1, say)
    cpu = {name: statistics.median(one.cpu for one, _ in results) for name, results in taken.items()}
    found = {name: results[-1][1] for name, results in taken.items()}
    gap = max(abs(a - b) for a, b in zip(found["espalier"], found["lm-eval"], strict=True))
    per = {name: seconds / count for name, seconds in cpu.items()}
    return {
        "questions": count,
        "batch": batch,
        "trials": trials,
        "cpu_seconds": {name: round(seconds, 2) for name, seconds in cpu.items()},
        "seconds": {name: round(results[-1][0].seconds, 2) for name, results in taken.items()},
        f"cpu_seconds_of_{FULL}": {name: round(FULL * seconds) for name, seconds in per.items()},
        "ratio": round(cpu["lm-eval"] / cpu["espalier"], 2),
        "largest_gap": gap,
        "load": loads,
    }


def run_espalier(job: Job, connection: Connection) -> None:
    """As a side: from the examples to the log-probability of each option."""
    from espalier.decode.likelihood import answer_rows, numbers

    loaded, examples, options = _loaded(job)
    for _ in commands(connection):
        clock = Clock()
        rows = [row for own in answer_rows(examples, options, loaded.template) for row in own]
        found = numbers(loaded, rows)
        connection.send((clock.stop(), found))


def run_harness(job: Job, connection: Connection) -> None:
    """As a side: the same from rows in tokens, by lm-eval's `HFLM`; reading them is not in its time."""
    from importlib import import_module

    from espalier.decode.likelihood import answer_rows

    loaded, examples, options = _loaded(job)
    peer = import_module("lm_eval.models.huggingface").HFLM(
        pretrained=loaded.model,
        tokenizer=loaded.tokenizer,
        batch_size=int(job.settings["batch"]),
        device="cpu",
    )
    rows = [row for own in answer_rows(examples, options, loaded.template) for row in own]
    requests = [(_texts(number, row), *_cut(row)) for number, row in enumerate(rows)]
    for _ in commands(connection):
        clock = Clock()
        found = peer._loglikelihood_tokens(requests, disable_tqdm=True)
        connection.send((clock.stop(), [logprob for logprob, _ in found]))


def _question(draw: random.Random) -> str:
    return f"{draw.choice(WHO)} {draw.choice(DID)} {draw.choice(WHEN)}, {draw.randint(2, 99)} in all. " \
        f"{draw.choice(ASKED)}"  # fmt: skip


def _texts(number: int, row: Encoded) -> tuple[str, str]:
    return row.example, str(number)


def _cut(row: Encoded) -> tuple[list[int], list[int]]:
    """Return a row's prompt and its answer."""
    return list(row.ids[: row.prompt]), list(row.ids[row.prompt :])


def _job(model: str, threads: int, **settings: object) -> Job:
    return Job(model, [], "full", 0.0, threads, settings)


def _loaded(job: Job) -> tuple[Any, list[Example], list[list[str]]]:
    import torch

    from espalier.models.load import load_model

    torch.set_num_threads(job.threads)
    loaded = load_model(job.model)
    loaded.model.float().eval()
    examples = questions(int(job.settings["count"]), loaded.template)
    return loaded, examples, [example.facts["options"] for example in examples]
