"""A side is a process of its own that takes one optimizer step when it is told to.

Separate processes give each side its own peak memory, and the steps can still be taken in turn: the side that
waits sleeps in `recv`. Both are started with the same allocator settings and the same number of threads.
"""

from __future__ import annotations

import os
import statistics
import time
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from espalier.core.records import Encoded

ALLOCATOR = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": "16000000000",
    "MALLOC_TOP_PAD_": "268435456",
    "THP_MEM_ALLOC_ENABLE": "1",
}


@dataclass(frozen=True)
class Job:
    """What a side trains: the model's folder, the rows of each optimizer step, and its loop's settings."""

    model: str
    steps: list[list[Encoded]]
    method: str
    rate: float
    threads: int
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Measured:
    """One optimizer step.

    Attributes:
        seconds: wall time.
        cpu: processor time of all threads, in s; well under seconds * threads where the machine was shared.
        loss: mean loss per trained token, before the step's update.
        peak: most memory that the process has held so far, in MB.
        written: mean tokens of the answers that the step sampled.
    """

    seconds: float
    cpu: float
    peak: float
    loss: float = float("nan")
    written: float = float("nan")


class Clock:
    """Measures one step, from when it is made to `stop`."""

    def __init__(self) -> None:
        self._cpu, self._wall = time.process_time(), time.perf_counter()

    def stop(self, loss: float = float("nan"), written: float = float("nan")) -> Measured:
        """Return the measurement."""
        wall, cpu = time.perf_counter() - self._wall, time.process_time() - self._cpu
        return Measured(wall, cpu, _peak(), loss, written)


class Side:
    """A running side. `step` makes it take its next step and waits for the result."""

    def __init__(self, name: str, run: Callable[[Job, Connection], None], job: Job) -> None:
        self.name = name
        self.results: list[Measured] = []
        threads = str(job.threads)
        os.environ.update(
            ALLOCATOR, OMP_NUM_THREADS=threads, TOKENIZERS_PARALLELISM="false", TQDM_DISABLE="1"
        )
        self._here, there = get_context("spawn").Pipe()
        self._process = get_context("spawn").Process(target=_serve, args=(run, job, there), daemon=True)
        self._process.start()
        there.close()
        if self._here.recv() != "ready":
            raise RuntimeError(f"{name} did not start")

    def step(self) -> Measured:
        """Take one optimizer step."""
        self.results.append(self.ask())
        return self.results[-1]

    def ask(self) -> Any:
        """Return what the process sends for one command."""
        self._here.send("step")
        return self._here.recv()

    def close(self) -> None:
        """End the process."""
        self._process.terminate()
        self._process.join()


def take_turns(
    sides: Sequence[Side],
    rounds: int,
    say: Callable[[str], None],
    between: Callable[[], None] = lambda: None,
) -> list[float]:
    """Let each side take its step in turn, once to warm up and `rounds` times; return the load after each.

    `between` is called after every step.
    """
    loads = [os.getloadavg()[0]]
    for number in range(rounds + 1):
        for side in sides:
            side.step()
            between()
        loads.append(os.getloadavg()[0])
        times = ", ".join(f"{side.name} {side.results[-1].seconds:.1f} s" for side in sides)
        say(f"  round {number}{' (warm-up)' if not number else ''}: {times}, load {loads[-1]:.1f}")
    for side in sides:
        side.close()
    return loads


def answers_in_turns(
    sides: Mapping[str, Side], rounds: int, say: Callable[[str], None]
) -> tuple[dict[str, list[tuple[Measured, Any]]], list[float]]:
    """Do as `take_turns` does with sides that send what they wrote beside each measurement.

    Returns what each side sent, the round of the warm-up first, and the load after each round.
    """
    taken: dict[str, list[tuple[Measured, Any]]] = {name: [] for name in sides}
    loads: list[float] = []
    for number in range(rounds + 1):
        for name, side in sides.items():
            taken[name].append(side.ask())
        loads.append(os.getloadavg()[0])
        times = ", ".join(f"{name} {results[-1][0].seconds:.1f} s" for name, results in taken.items())
        say(f"  round {number}{' (warm-up)' if not number else ''}: {times}, load {loads[-1]:.1f}")
    for side in sides.values():
        side.close()
    return taken, loads


def fastest(
    name: str, run: Callable[[Job, Connection], None], jobs: dict[str, Job], say: Callable[[str], None]
) -> tuple[str, dict[str, float]]:
    """Return the setting whose second step took least time, and the seconds of each."""
    if len(jobs) == 1:
        return next(iter(jobs)), {}
    seconds: dict[str, float] = {}
    for setting, job in jobs.items():
        side = Side(name, run, job)
        side.step()
        seconds[setting] = side.step().seconds
        side.close()
        say(f"  trying {name}, {setting}: {seconds[setting]:.2f} s")
    return min(seconds, key=lambda setting: seconds[setting]), seconds


def steady(side: Side) -> dict[str, Any]:
    """Return what a side measured: the median step after the first, and each step."""
    return {
        "seconds": statistics.median(result.seconds for result in side.results[1:]),
        "steps": [round(result.seconds, 2) for result in side.results],
        "cpu_seconds": [round(result.cpu, 2) for result in side.results],
        "losses": [round(result.loss, 5) for result in side.results],
        "written": [round(result.written, 1) for result in side.results],
        "peak_mb": round(max(result.peak for result in side.results)),
    }


def commands(connection: Connection) -> Iterator[None]:
    """In a side: report that it is ready, then yield once per step that is asked for."""
    _forget_peak()
    connection.send("ready")
    while connection.recv() == "step":
        yield


def _serve(run: Callable[[Job, Connection], None], job: Job, connection: Connection) -> None:
    import torch
    from transformers.utils import logging

    logging.disable_progress_bar()
    torch.set_num_threads(job.threads)
    torch.manual_seed(0)
    with suppress(EOFError):  # the measuring process is gone: end with it
        run(job, connection)


def _forget_peak() -> None:
    """Start the peak anew, so that what loading took does not count."""
    Path("/proc/self/clear_refs").write_text("5")


def _peak() -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return float("nan")
