"""What settings cost in time: rounds of all of them in turn, so that what slows the machine slows all alike.

Each round answers the same rows once by each setting, with nothing taken from a journal. A first round warms
up and is left out. Rounds are kept with what they were measured on, machine included, so that an interrupted
measurement goes on, and one that is complete is not repeated.
"""

from __future__ import annotations

import json
import os
import platform
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch

from espalier.builds.code_hash import code_hash
from espalier.core.errors import DataError
from espalier.core.files import content_hash, read_json, write_atomic
from espalier.runs.events import bar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from espalier.core.records import Example
    from espalier.decode.local import Local
    from espalier.evaluate.statistics import Floats
    from espalier.trials.decoding_settings import Setting


@dataclass(frozen=True)
class Times:
    """Seconds per row, of R rounds and S settings.

    Attributes:
        seconds: on the clock [R, S].
        cpu: of all of the machine's processors [R, S].
        rows: that were answered in each round.
        taken: whether nothing was measured now.
    """

    seconds: Floats
    cpu: Floats
    rows: int
    taken: bool


def measured_on(local: Local, rows: Sequence[Example], settings: Sequence[Setting]) -> str:
    """Return the hash of all that times depend on but for what else the machine does."""
    loaded = local.loaded
    return content_hash(
        [
            [
                platform.node(),
                platform.machine(),
                os.cpu_count(),
                torch.get_num_threads(),
                str(loaded.model.device),
            ],
            [loaded.weights, str(local.writer.dtype), local.template.hash, torch.__version__],
            [row.id for row in rows],
            [[setting.choices[0].model_dump(mode="json"), setting.code] for setting in settings],
            code_hash("espalier.decode.engine"),
        ]
    )


def timed(
    local: Local,
    rows: Sequence[Example],
    settings: Sequence[Setting],
    *,
    rounds: int,
    file: Path,
    again: bool = False,
) -> Times:
    """Measure what each setting takes to answer all rows once, or take over what the file has of it.

    Args:
        local: answers.
        rows: all that is answered at a time.
        settings: those that draw are measured by their first seed: one answer to each row.
        rounds: after the one that warms up.
        file: where rounds are kept.
        again: measure anew whatever is kept.
    """
    key, fresh = measured_on(local, rows, settings), replace(local, journal=None)
    before = [] if again else kept(file, key).get("rounds", [])
    found = [*before[:rounds]]
    if len(found) < rounds:
        with bar("Timing", (rounds - len(found) + 1) * len(settings)) as advance:
            for number in range(len(found), rounds + 1):
                each = [_once(fresh, rows, setting, advance) for setting in settings]
                if number > len(before):  # the first warms up
                    found.append(each)
                    write_atomic(file, json.dumps({"key": key, "rounds": found}) + "\n")
    table = np.array(found, dtype=np.float64) / len(rows)
    return Times(table[:, :, 0], table[:, :, 1], len(rows), taken=len(before) >= rounds)


def _once(
    local: Local, rows: Sequence[Example], setting: Setting, advance: Callable[[float, str], None]
) -> tuple[float, float]:
    clock, cpu = time.perf_counter(), time.process_time()
    for _ in local.generate(rows, setting.choices[0]):
        pass
    spent = time.perf_counter() - clock, time.process_time() - cpu
    advance(1, setting.name)
    return spent


def kept(file: Path, key: str) -> Mapping[str, Any]:
    """Return what a file holds under this key; of another one, or where it is damaged, nothing."""
    try:
        found: Any = read_json(file)
    except DataError:
        return {}
    return cast("Mapping[str, Any]", found) if isinstance(found, dict) and found.get("key") == key else {}
