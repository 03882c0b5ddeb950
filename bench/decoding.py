"""Greedy decoding side by side: Espalier, transformers' `generate` and llama.cpp answer the same prompts.

One round is all prompts by each side in turn. Transformers runs at the batch size that was fastest here, on
prompts sorted by length. llama.cpp (with Q4_1 weights) takes one prompt after the other and keeps what it has
in common with the one before. In fp32 Espalier and transformers must write the same tokens; bf16 is measured
too where it is the faster one here.

The case `beam` is the same with beams in place of greedy decoding, in fp32 and without llama.cpp.
"""

from __future__ import annotations

import importlib.util
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.rows import cases
from bench.side import Clock, Job, Side, answers_in_turns, commands
from espalier.tasks.task_files import load_task
from espalier.tasks.templates import Show, available, to_examples

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from multiprocessing.connection import Connection

    from bench.side import Measured
    from espalier.core.records import Example
    from espalier.models.precision import Formats

    Say = Callable[[str], None]
    Run = Callable[[Job, Connection], None]

ROWS = 100
# Rows when batch sizes are tried: one batch of the largest.
TRIAL_ROWS = 64
LIMIT = 24
BATCHES = (8, 16, 32, 64)
BEAMS = 4
BEAM_ROWS = 32
LLAMA = Path(__file__).with_name("llama.py")


def main(
    model: str,
    say: Say,
    *,
    formats: Formats,
    task: str | None = None,
    threads: int = 2,
    rounds: int = 3,
    llama_python: str = sys.executable,
    gguf: str | None = None,
    beams: int = 1,
    count: int | None = None,
) -> dict[str, Any]:
    """Measure and return seconds per side and their ratios.

    Args:
        model: folder of the model in Hugging Face layout.
        say: takes progress lines.
        formats: number formats that are the fastest here.
        task: measure on this task file and not on task003.
        threads: threads of every side.
        rounds: measured rounds, after one to warm up.
        llama_python: a Python that can import llama_cpp; llama.cpp is left out where it cannot.
        gguf: the weights for llama.cpp, which is left out without them.
        beams: of a beam search; 1 is greedy decoding.
        count: of prompts, in place of `ROWS` or `BEAM_ROWS`.
    """
    settings: dict[str, Any] = {"task": task or cases()[0].task, "beams": beams}
    settings["rows"] = count or (BEAM_ROWS if beams > 1 else ROWS)
    batches: dict[str, int] = {}
    trials: dict[str, float] = {}
    dtypes = ("float32", "bfloat16") if formats.decoding == "bf16" and beams == 1 else ("float32",)
    # A batch of beams is as many rows as one of prompts times the beams.
    sizes, rows = [size // beams for size in BATCHES], TRIAL_ROWS // beams
    for dtype in dtypes:
        for batch in sizes:
            tried = f"{dtype}, batch {batch}"
            own = {"dtype": dtype, "batch": batch, "rows": rows}
            side = Side("trial", run_transformers, _job(model, threads, settings, **own))
            trials[tried] = round(side.ask()[0].seconds, 2)
            side.close()
            say(f"  trying generate, {tried}: {trials[tried]} s for {rows} rows")
        batches[dtype] = min(sizes, key=lambda batch: trials[f"{dtype}, batch {batch}"])
    runs: dict[str, tuple[Run, dict[str, Any]]] = {}
    for dtype in dtypes:
        runs[f"espalier {dtype}"] = (run_espalier, {"dtype": dtype})
        runs[f"transformers {dtype}"] = (run_transformers, {"dtype": dtype, "batch": batches[dtype]})
    if gguf and beams == 1 and _has_llama(llama_python):
        runs["llama_cpp q4_1"] = (run_llama, {"python": llama_python, "gguf": gguf})
    else:
        say("  llama.cpp is left out: it needs llama-cpp-python and the GGUF file.")
    sides = {
        name: Side(name, run, _job(model, threads, settings, **own)) for name, (run, own) in runs.items()
    }
    taken, loads = answers_in_turns(sides, rounds, say)
    return {**compared(taken), "batches": batches, "trials": trials, "load": loads}


def compared(taken: dict[str, list[tuple[Measured, list[list[int]]]]]) -> dict[str, Any]:
    """Return the median seconds of each side, the ratios, and how many answers agree."""
    seconds = {
        name: statistics.median(measured.seconds for measured, _ in results[1:])
        for name, results in taken.items()
    }
    answers = {name: results[-1][1] for name, results in taken.items()}
    found: dict[str, Any] = {"espalier": {}, "transformers": {}, "llama_cpp": {}}
    for name, results in taken.items():
        side, dtype = name.split()
        found[side][dtype] = {
            "seconds": round(seconds[name], 3),
            "cpu": round(statistics.median(m.cpu for m, _ in results[1:]), 3),
            "new_tokens": sum(map(len, answers[name])),
            # llama.cpp runs in a process below its side's, whose memory this is not.
            "peak_mb": None if side == "llama_cpp" else round(max(m.peak for m, _ in results)),
            "answers_as_fp32": _same(answers[name], answers["espalier float32"]),
        }
    found["rows"] = len(answers["espalier float32"])
    found["same_tokens"] = answers["espalier float32"] == answers["transformers float32"]
    found["same_rows"] = _same(answers["espalier float32"], answers["transformers float32"])
    cpu = {side: found[side]["float32"]["cpu"] for side in ("espalier", "transformers")}
    found["ratio_cpu"] = round(cpu["transformers"] / cpu["espalier"], 2)
    found["ratio"] = round(seconds["transformers float32"] / seconds["espalier float32"], 2)
    if "espalier bfloat16" in seconds:
        found["ratio_bf16"] = round(seconds["transformers bfloat16"] / seconds["espalier bfloat16"], 2)
    if "llama_cpp q4_1" in seconds:
        ours = min(taken for name, taken in seconds.items() if name.startswith("espalier "))
        found["ratio_llama_cpp"] = round(seconds["llama_cpp q4_1"] / ours, 2)
    return found


def run_espalier(job: Job, connection: Connection) -> None:
    """As a side: answer all prompts with `espalier.decode`, from the examples to the completions."""
    from espalier.decode.engine import generate
    from espalier.decode.strategies.beam import beam
    from espalier.decode.strategies.sampling import greedy

    loaded, examples = _loaded(job)
    beams = int(str(job.settings["beams"]))
    strategy = beam(beams=beams, limit=LIMIT) if beams > 1 else greedy(limit=LIMIT)
    for _ in commands(connection):
        clock = Clock()
        completions = {c.example: c for c in generate(loaded.model, loaded.template, examples, strategy)}
        measured = clock.stop()
        connection.send((measured, [list(completions[example.id].ids) for example in examples]))


def run_transformers(job: Job, connection: Connection) -> None:
    """As a side: answer all prompts with `generate`, in left-padded batches of prompts of similar length."""
    import torch

    loaded, examples = _loaded(job)
    stops = sorted(loaded.template.stop_ids)
    batch = int(str(job.settings["batch"]))
    for _ in commands(connection):
        clock = Clock()
        prompts = [loaded.template.prompt_ids(example.prompt) for example in examples]
        order = sorted(range(len(prompts)), key=lambda row: len(prompts[row]))
        answers: list[list[int]] = [[] for _ in prompts]
        for start in range(0, len(order), batch):
            rows = order[start : start + batch]
            width = max(len(prompts[row]) for row in rows)
            ids = [[stops[0]] * (width - len(prompts[row])) + list(prompts[row]) for row in rows]
            mask = [[0] * (width - len(prompts[row])) + [1] * len(prompts[row]) for row in rows]
            output = loaded.model.generate(
                torch.tensor(ids),
                attention_mask=torch.tensor(mask),
                max_new_tokens=LIMIT,
                do_sample=False,
                num_beams=int(str(job.settings["beams"])),
                eos_token_id=stops,
                pad_token_id=stops[0],
            )
            for row, answer in zip(rows, output[:, width:].tolist(), strict=True):
                ends = [place for place, token in enumerate(answer) if token in stops]
                answers[row] = answer[: ends[0] + 1] if ends else answer
        connection.send((clock.stop(), answers))


def run_llama(job: Job, connection: Connection) -> None:
    """As a side: answer all prompts with llama.cpp, in a Python of its own."""
    loaded, examples = _loaded(job)
    prompts = [list(loaded.template.prompt_ids(example.prompt)) for example in examples]
    stops = sorted(loaded.template.stop_ids)
    del loaded
    command = [str(job.settings["python"]), str(LLAMA), str(job.settings["gguf"]), str(job.threads)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for _ in commands(connection):
            clock = Clock()
            process.stdin.write(json.dumps({"prompts": prompts, "stops": stops, "limit": LIMIT}) + "\n")
            process.stdin.flush()
            answers = json.loads(process.stdout.readline())
            connection.send((clock.stop(), answers))


def _loaded(job: Job) -> tuple[Any, list[Example]]:
    import torch

    from espalier.models.load import load_model

    loaded = load_model(job.model)
    loaded.model.to({"bfloat16": torch.bfloat16}.get(str(job.settings.get("dtype")), torch.float32)).eval()
    task = load_task(str(job.settings["task"]), lambda _: None)
    return loaded, to_examples(task, available(task, Show(positive=2, negative=1)))[
        : int(str(job.settings["rows"]))
    ]


def _job(model: str, threads: int, settings: dict[str, Any], **own: Any) -> Job:
    return Job(model, [], "", 0.0, threads, {**settings, **own})


def _same(answers: Sequence[list[int]], others: Sequence[list[int]]) -> int:
    return sum(answer == other for answer, other in zip(answers, others, strict=True))


def _has_llama(python: str) -> bool:
    if python == sys.executable:
        return importlib.util.find_spec("llama_cpp") is not None
    return (
        subprocess.run([python, "-c", "import llama_cpp"], capture_output=True, check=False).returncode == 0
    )
