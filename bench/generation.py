"""Local generation side by side: rows an hour that steps of `generate` get from Espalier and from `generate`.

A step runs once with Espalier, and what it asks is kept. All sides then answer the same prompts, in turns; an
answer of transformers ends after as many tokens as ours has, so that the work is the same whatever is drawn.
Transformers runs in the number format and at the batch size that were fastest here: left-padded batches of
prompts of similar length, with its cache, in inference mode. "prefix" is transformers with the cache of what
all prompts share made by hand once, which `generate` does not do by itself.

- respond: the bundled task's definition and good examples as turns, and each sentence last; greedy.
- candidates: the same, with four drawn answers to each sentence.
- evolve: instructions to be rewritten, behind a sentence or two that others share; greedy.
"""

from __future__ import annotations

import statistics
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from bench.side import Clock, Job, Side, answers_in_turns, commands
from espalier.core.recipe import Choice
from espalier.core.records import message
from espalier.decode.batch import prompts_tree
from espalier.decode.requests import Request
from espalier.encode.tree import stats
from espalier.tasks.task_files import load_task

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from multiprocessing.connection import Connection

    from bench.side import Measured
    from espalier.core.records import Completion, Example
    from espalier.decode.local import Local
    from espalier.models.load import Loaded
    from espalier.models.precision import Format

    Say = Callable[[str], None]
    Answers = list[tuple[int, ...]]

TASK = "event-duration"
BATCHES = (8, 16, 32, 64)
TRIAL_ROWS = 64


@dataclass(frozen=True)
class Case:
    """A step with its settings, how its author writes, and how many rows it is given."""

    step: str
    params: dict[str, Any]
    author: dict[str, Any]
    rows: int = 192


_ASKED = {"task": TASK, "shots": 8}
CASES = {
    "respond": Case("respond", _ASKED, {"kind": "greedy", "limit": 24}),
    "candidates": Case("respond", {**_ASKED, "candidates": 4}, {"kind": "sample", "limit": 24}, 64),
    "evolve": Case("evolve", {}, {"kind": "greedy", "limit": 48}, 64),
}


@dataclass(frozen=True)
class Call:
    """What a step asked at once.

    Attributes:
        examples: the prompts, as a `Generator` gets them.
        settings: the same.
        prompts: tokens of each prompt, once for each of its samples.
        sizes: tokens of the answer to each, the stop token included.
    """

    examples: list[Example]
    settings: Choice
    prompts: list[tuple[int, ...]]
    sizes: list[int]


@dataclass
class _Recorded:
    """A `Generator` that keeps what it is asked."""

    local: Local
    calls: list[Call] = field(default_factory=list[Call])

    def generate(self, examples: Sequence[Example], settings: Choice) -> Iterator[Completion]:
        """Yield the answers of the model, all at once."""
        made = list(self.local.generate(examples, settings))
        ids = {(one.example, one.sample): one.ids for one in made}
        tokens = {example.id: self.local.template.prompt_ids(example.prompt) for example in examples}
        order = sorted(ids)
        sizes = [len(ids[one]) for one in order]
        self.calls.append(Call([*examples], settings, [tokens[name] for name, _ in order], sizes))
        yield from made


def main(
    model: str,
    say: Say,
    *,
    formats: Sequence[Format],
    threads: int = 2,
    rounds: int = 3,
    only: Sequence[str] = (),
) -> dict[str, Any]:
    """Measure and return, by case, processor seconds of each side, rows an hour, and their ratios.

    Args:
        model: folder of the model in Hugging Face layout.
        say: takes progress lines.
        formats: number formats of this machine to try transformers in; ours is the first.
        threads: threads of all sides.
        rounds: measured rounds, after one to warm up.
        only: names of cases; all without.
    """
    calls: dict[str, list[Call]] = {}
    for name in only or CASES:
        side = Side("record", run_record, _job(model, threads, case=CASES[name], dtype=formats[0]))
        calls[name] = side.ask()
        side.close()
    first = next(iter(calls.values()))[0]
    trial = [Call([], first.settings, first.prompts[:TRIAL_ROWS], first.sizes[:TRIAL_ROWS])]
    trials: dict[tuple[Format, int], float] = {}

    def tried(dtype: Format, batch: int) -> float:
        side = Side("trial", run_transformers, _job(model, threads, calls=trial, dtype=dtype, batch=batch))
        trials[dtype, batch] = round(side.ask()[0].cpu, 2)
        side.close()
        say(f"  trying generate, {dtype}, batch {batch}: {trials[dtype, batch]} s for {TRIAL_ROWS} prompts")
        return trials[dtype, batch]

    fastest = min(formats, key=lambda one: tried(one, BATCHES[0]))
    for size in BATCHES[1:]:
        tried(fastest, size)
    dtype, batch = min(trials, key=lambda one: trials[one])
    found: dict[str, Any] = {}
    for name, asked in calls.items():
        say(f"{name}: {_described(asked)}")
        own = {"calls": asked, "dtype": dtype, "batch": batch}
        sides = {
            "espalier": Side("espalier", run_espalier, _job(model, threads, calls=asked, dtype=formats[0])),
            "transformers": Side("transformers", run_transformers, _job(model, threads, **own)),
            "prefix": Side("prefix", run_transformers, _job(model, threads, **own, prefix=True)),
        }
        taken, loads = answers_in_turns(sides, rounds, say)
        found[name] = {**_described(asked), **_compared(taken, CASES[name].rows), "load": loads}
    by_name = {f"{dtype}, batch {batch}": seconds for (dtype, batch), seconds in trials.items()}
    return {**found, "transformers": f"{dtype}, batch {batch}", "trials": by_name}


def run_record(job: Job, connection: Connection) -> None:
    """As a side: run the step, and send what it asked."""
    from espalier.decode.local import local_of
    from espalier.generate.author import Author, steps, unanswered

    case = _setting(job, "case", Case)
    task = load_task(TASK)
    rows = [
        unanswered([message("user", row.input)], task.name, source=row.source, input=row.input)
        for row in task.rows[: case.rows]
    ]
    step = steps.build(case.step, case.params, "generate")
    for _ in commands(connection):
        recorded = _Recorded(local_of(_loaded(job), in_place=True))
        for _ in step(rows, Author(recorded, "model", Choice.model_validate(case.author))):
            pass
        connection.send(recorded.calls)


def run_espalier(job: Job, connection: Connection) -> None:
    """As a side: answer the calls with Espalier's decoder, from the examples to the texts."""
    from espalier.decode.local import local_of

    local = local_of(_loaded(job), in_place=True)
    for _ in commands(connection):
        answers: list[Answers] = []
        clock = Clock()
        for call in _setting(job, "calls", list):
            made = {
                (one.example, one.sample): one.ids for one in local.generate(call.examples, call.settings)
            }
            answers.append([made[one] for one in sorted(made)])
        connection.send((clock.stop(), answers))


def run_transformers(job: Job, connection: Connection) -> None:
    """As a side: answer the calls with `generate`, from the tokens to the texts."""
    loaded = _loaded(job)
    loaded.model.generation_config.eos_token_id = None  # answers end by their sizes
    batch, prefix = int(str(job.settings["batch"])), bool(job.settings.get("prefix"))
    for _ in commands(connection):
        clock = Clock()
        answers = [_answered(loaded, call, batch, prefix=prefix) for call in _setting(job, "calls", list)]
        connection.send((clock.stop(), answers))


def _answered(loaded: Loaded, call: Call, batch: int, *, prefix: bool) -> Answers:
    """Return the answers to the prompts of a call, in batches of prompts of similar length."""
    import torch
    from transformers import DynamicCache

    model: Any = loaded.model
    params = call.settings.params
    how: dict[str, Any] = {"do_sample": False}
    if call.settings.kind == "sample":
        how = {"do_sample": True, "temperature": params.get("temperature", 1.0), "top_k": 0}
    prompts = call.prompts
    order = sorted(range(len(prompts)), key=lambda row: len(prompts[row]))
    shared = _shared(prompts) if prefix else 0
    cache: Any = None
    answers: Answers = [()] * len(prompts)
    with torch.inference_mode():
        if shared:
            cache = DynamicCache(config=model.config)
            model(torch.tensor([prompts[0][:shared]]), past_key_values=cache, logits_to_keep=1)
        for start in range(0, len(order), batch):
            rows = order[start : start + batch]
            width = max(len(prompts[row]) for row in rows)
            pads = [width - len(prompts[row]) for row in rows]
            # Pads lie behind what is shared, where that is in the cache already.
            ids = [
                [*prompts[row][:shared], *[0] * pad, *prompts[row][shared:]]
                for row, pad in zip(rows, pads, strict=True)
            ]
            mask = [[1] * shared + [0] * pad + [1] * (width - shared - pad) for pad in pads]
            if shared:
                how["past_key_values"] = deepcopy(cache)
                how["past_key_values"].batch_repeat_interleave(len(rows))
            sizes = [call.sizes[row] for row in rows]
            output = model.generate(
                torch.tensor(ids),
                attention_mask=torch.tensor(mask),
                max_new_tokens=max(sizes),
                stopping_criteria=[_Sizes(torch.tensor(sizes) + width)],
                pad_token_id=0,
                **how,
            )
            for row, answer, size in zip(rows, output[:, width:].tolist(), sizes, strict=True):
                answers[row] = tuple(answer[:size])
                loaded.template.decode(answer[:size])
    return answers


@dataclass(frozen=True)
class _Sizes:
    """Ends each row of a batch at its own number of tokens, the prompt's included [R]."""

    ends: Any

    def __call__(self, ids: Any, scores: Any, **settings: Any) -> Any:
        """Return which rows have ended [R]."""
        return self.ends <= ids.shape[1]


def _shared(prompts: Sequence[tuple[int, ...]]) -> int:
    """Return how many leading tokens all prompts have in common; a token of each is its own."""
    columns = zip(*prompts, strict=False)
    most = min(map(len, prompts)) - 1
    return min(most, next((place for place, one in enumerate(columns) if len(set(one)) > 1), most))


def _loaded(job: Job) -> Loaded:
    import torch

    from espalier.models.load import load_model
    from espalier.models.precision import dtype_of

    loaded, dtype = load_model(job.model), job.settings["dtype"]
    torch.nn.Module.to(loaded.model, dtype_of(dtype)).eval()
    return replace(loaded, formats=replace(loaded.formats, decoding=dtype))


def _described(calls: Sequence[Call]) -> dict[str, int]:
    """Return how many prompts there are, and the tokens of all, distinct, and of the answers."""
    trees = [
        stats(prompts_tree([Request("", prompt, 0, ()) for prompt in dict.fromkeys(call.prompts)]))
        for call in calls
    ]
    return {
        "prompts": sum(len(call.prompts) for call in calls),
        "prompt_tokens": sum(len(prompt) for call in calls for prompt in call.prompts),
        "distinct_tokens": sum(one.distinct_tokens for one in trees),
        "answer_tokens": sum(sum(call.sizes) for call in calls),
    }


def _compared(taken: dict[str, list[tuple[Measured, list[Answers]]]], rows: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    ours = [answer for call in taken["espalier"][-1][1] for answer in call]
    for name, results in taken.items():
        cpu = [measured.cpu for measured, _ in results[1:]]
        seconds = statistics.median(measured.seconds for measured, _ in results[1:])
        answers = [answer for call in results[-1][1] for answer in call]
        found[name] = {
            "cpu_seconds": [round(one, 2) for one in cpu],
            "rows_an_hour_of_cpu": round(3600 * rows / statistics.median(cpu)),
            "seconds": round(seconds, 2),
            "same_answers": sum(a == b for a, b in zip(answers, ours, strict=True)),
        }
    for peer in ("transformers", "prefix"):
        pairs = zip(found[peer]["cpu_seconds"], found["espalier"]["cpu_seconds"], strict=True)
        found[f"ratio_{peer}"] = round(statistics.median(theirs / mine for theirs, mine in pairs), 2)
    return found


def _setting(job: Job, name: str, kind: type[Any]) -> Any:
    value = job.settings[name]
    assert isinstance(value, kind)
    return value


def _job(model: str, threads: int, **own: Any) -> Job:
    return Job(model, [], "", 0.0, threads, own)
