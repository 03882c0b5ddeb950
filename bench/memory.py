"""`python -m bench.memory`: peak memory and time of full tuning by optimizer, with and without recomputation.

The bundled recipe's own steps, each setting in a process of its own that has its peak for itself. The rate is
each optimizer's: that of Adafactor and lomo is relative to the weights' size.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.side import Clock, Job, Side, commands
from espalier.core.runtime import ENVIRONMENT

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from espalier.train.steps import Step

RECIPE = "event-duration"
RATES = {"adamw": 5e-5, "adamw8bit": 5e-5, "adafactor": 5e-4, "lomo": 5e-4}


def main() -> None:
    options = _options()
    os.environ.update(ENVIRONMENT, HF_HUB_OFFLINE="1")
    from espalier.core.caches import default_cache
    from espalier.models.places import find_model

    place = find_model("smollm2-135m", default_cache()).folder
    found: dict[str, dict[str, Any]] = {}
    for kind in options.optimizer or list(RATES):
        for recompute in (False, True):
            name = f"{kind}, recompute" if recompute else kind
            overrides = [f"train.optimizer={kind}", f"train.recompute={str(recompute).lower()}"]
            overrides += [f"train.rate={RATES[kind]}", *options.override]
            job = Job(place, [], "full", RATES[kind], options.threads, {"overrides": overrides})
            found[name] = measure(Side(name, run, job), options.steps)
            print(f"{name}: {found[name]}", file=sys.stderr, flush=True)
    print(table(found))
    print(json.dumps(found))


def measure(side: Side, steps: int) -> dict[str, Any]:
    """Take the steps; the first warms up, and has no optimizer state yet."""
    results = [side.ask()]
    while "error" not in results[-1] and len(results) < steps:
        results.append(side.ask())
    side.close()
    if "error" in results[-1]:
        return results[-1]
    return {
        "seconds": statistics.median(result["seconds"] for result in results[1:]),
        "peak": max(result["peak"] for result in results),
        "losses": [result["loss"] for result in results],
    }


def table(found: dict[str, dict[str, Any]]) -> str:
    """Return the measurements as a table in Markdown."""
    lines = ["| optimizer | s per step | peak MB | loss of the last 4 steps |", "|---" * 4 + "|"]
    for name, one in found.items():
        if "error" in one:
            lines.append(f"| {name} | {one['error']} | | |")
            continue
        loss = statistics.mean(one["losses"][-4:])
        lines.append(f"| {name} | {one['seconds']:.1f} | {one['peak']:.0f} | {loss:.3f} |")
    return "\n".join(lines)


def run(job: Job, connection: Connection) -> None:
    """Train as the recipe says, one optimizer step per command."""
    from espalier.core.caches import default_cache
    from espalier.core.errors import EspalierError
    from espalier.core.recipe import load_recipe
    from espalier.runs.plan import make_plan, resolve
    from espalier.runs.stages import ready_model, settings_of, source_of
    from espalier.train.loop import train

    choices = resolve(load_recipe(RECIPE, job.settings["overrides"]))
    with tempfile.TemporaryDirectory() as folder:
        plan = make_plan(choices, default_cache(), Path(folder))
        (stage,) = plan.stages
        ready = ready_model(plan, stage)
        steps = source_of(plan, stage, ready, key="")
        asked = commands(connection)
        clock: Clock | None = None  # of the step that was asked for

        def source(number: int) -> Step:
            nonlocal clock
            next(asked)
            clock = Clock()
            return steps(number)

        try:
            settings = settings_of(stage, plan.loaded.formats.training)
            events = train(ready.model, source, settings, stage.folder, recipe={}, forward=ready.forward)
            for event in events:
                if event["event"] == "step" and clock:
                    measured = clock.stop(event["loss"])
                    clock = None
                    told = {"seconds": measured.seconds, "peak": measured.peak, "loss": measured.loss}
                    connection.send(told)
        except EspalierError as error:
            if not clock:
                next(asked, None)
            connection.send({"error": str(error)})


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.memory", description=__doc__)
    parser.add_argument("--optimizer", action="append", default=[], choices=list(RATES))
    parser.add_argument("--steps", type=int, default=9, help="per setting; the first warms up")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("-o", "--override", action="append", default=[], metavar="KEY=VALUE")
    return parser.parse_args()


if __name__ == "__main__":
    main()
