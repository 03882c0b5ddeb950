"""`python -m bench.methods`: the table of tuning methods, each trained for the same steps in its own process.

The bundled task and recipe: the same rows in the same steps, SFT, then the answers to the whole test set. The
rate is each method's own; adapters take ten times that of full tuning (arXiv 2405.09673, and
thinkingmachines.ai/blog/lora).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from bench.side import Clock, Job, Side, commands
from espalier.core.runtime import ENVIRONMENT

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from espalier.encode.template import Template
    from espalier.models.load import Loaded
    from espalier.models.precision import Format
    from espalier.runs.prepare import Prepared
    from espalier.train.loop import Settings
    from espalier.train.steps import Source

RECIPE = "event-duration"
ROWS, TOKENS = 32, 4096


@dataclass(frozen=True)
class Method:
    """A row of the table: a method with its parameters and its peak rate."""

    kind: str
    rate: float
    params: dict[str, Any] = field(default_factory=dict)


METHODS = {
    "full": Method("full", 5e-5),
    "lora": Method("lora", 5e-4),
    "lora, rank 64, rsLoRA": Method("lora", 5e-4, {"rank": 64, "rslora": True}),
    "lora, DoRA": Method("lora", 5e-4, {"dora": True}),
    "qlora": Method("qlora", 5e-4),
    "layers": Method("layers", 2e-4),
    "adapter": Method("adapter", 1e-3),
    "ia3": Method("ia3", 5e-3),
    "prompt": Method("prompt", 1e-2),
    "bitfit": Method("bitfit", 1e-3),
    "head": Method("head", 1e-4),
}
BASE = "none"


def main() -> None:
    options = _options()
    os.environ.update(ENVIRONMENT, HF_HUB_OFFLINE="1")
    from espalier.core.caches import default_cache
    from espalier.models.places import find_model

    place = find_model("smollm2-135m", default_cache()).folder
    found: dict[str, dict[str, Any]] = {}
    for name in options.method or [BASE, *METHODS]:
        method = METHODS.get(name, METHODS["full"])
        steps = 0 if name == BASE else options.steps
        settings = {"params": method.params, "steps": steps, "tests": options.tests}
        side = Side(name, run, Job(place, [], method.kind, method.rate, options.threads, settings))
        found[name] = side.ask()
        side.close()
        print(f"{name}: {found[name]}", file=sys.stderr, flush=True)
    print(table(found))
    print(json.dumps(found))


def table(found: dict[str, dict[str, Any]]) -> str:
    """Return the measurements as a table in Markdown."""
    lines = [
        "| method | rate | trained weights | s | peak MB | passes all checks | ROUGE-L |",
        "|---" * 7 + "|",
    ]
    for name, one in found.items():
        if "error" in one:
            lines.append(f"| {name} | {one['error']} |" + " |" * 5)
            continue
        trained = [f"{one['rate']:g}", f"{one['trained']:,}", f"{one['seconds']:.0f}", f"{one['peak']:.0f}"]
        cells = trained if one["trained"] else ["–"] * 4
        lines.append(f"| {' | '.join([name, *cells, _estimate(one['checks']), _estimate(one['rouge_l'])])} |")
    return "\n".join(lines)


def run(job: Job, connection: Connection) -> None:
    """Train by one method when told to, score its answers, and send all that was measured."""
    from espalier.core.errors import EspalierError
    from espalier.core.recipe import load_recipe
    from espalier.models.load import load_model
    from espalier.runs.prepare import prepare

    tests = job.settings["tests"]
    prepared = prepare(load_recipe(RECIPE, [f"data.test_limit={tests}"] if tests else []))
    loaded = load_model(job.model)
    for _ in commands(connection):
        try:
            connection.send(_measured(job, prepared, loaded))
        except EspalierError as error:
            connection.send({"error": str(error)})


def _measured(job: Job, prepared: Prepared, loaded: Loaded) -> dict[str, Any]:
    import torch

    from espalier.models.adapters import methods
    from espalier.models.precision import choose, measure
    from espalier.models.soft_prompt import virtual_ids
    from espalier.train.loop import Settings

    formats = choose("auto", measure(loaded.model), loaded.model.device)
    clock = Clock()
    steps: int = job.settings["steps"]
    torch.manual_seed(0)
    model: Any = methods.build(job.method, job.settings["params"])(loaded.model) if steps else loaded.model
    template = loaded.template.prefixed(virtual_ids(model))
    trained = sum(weight.numel() for weight in model.parameters() if weight.requires_grad) if steps else 0
    settings = Settings(steps, job.rate, precision=formats.training, checkpoint=steps + 1)
    losses = _train(model, _source(prepared, template), settings)
    measured = clock.stop()
    return {
        "rate": job.rate,
        "trained": trained,
        "seconds": measured.seconds,
        "cpu_seconds": measured.cpu,
        "peak": measured.peak,
        "losses": losses,
        "precision": formats.training,
        **_scores(model, template, prepared, formats.decoding),
    }


def _source(prepared: Prepared, template: Template) -> Source:
    from espalier.encode.batches import steps_per_epoch
    from espalier.runs.in_tokens import encode_units
    from espalier.train.objectives import Resources, sft
    from espalier.train.steps import steps_of

    units = encode_units(prepared.train, template, TOKENS).units
    unused = [cast("Any", None)] * 4  # SFT asks for none of the other tools
    tools = Resources(steps_per_epoch(len(units), ROWS), *unused)
    return steps_of(units, [(sft(), 1.0)], tools, size=ROWS, tokens=TOKENS, seed=0)


def _train(model: Any, source: Source, settings: Settings) -> list[float]:
    """Take the steps and return their losses; the checkpoint after the last is not waited for."""
    from espalier.models.forward import edge_logprobs
    from espalier.train.loop import train

    losses: list[float] = []
    with tempfile.TemporaryDirectory() as folder, suppress(StopIteration):
        events = train(model, source, settings, Path(folder), recipe={}, forward=partial(edge_logprobs))
        while len(losses) < settings.steps:
            event = next(events)
            if event["event"] == "step":
                losses.append(round(event["loss"], 4))
    return losses


def _scores(model: Any, template: Template, prepared: Prepared, form: Format) -> dict[str, Any]:
    from espalier.decode.engine import generate
    from espalier.decode.ready import to_decode
    from espalier.decode.strategies.sampling import greedy
    from espalier.evaluate.harness import evaluate
    from espalier.scorers.registry import scorers

    answers = list(generate(to_decode(model, form), template, prepared.test, greedy(limit=40)))
    rouge = {"rouge_l": scorers.build("rouge_l", {})}
    scores = evaluate(prepared.test, {"tuned": answers}, rouge, prepared.checks).plain()
    tuned = scores["systems"]["tuned"]
    return {
        "checks": tuned["all_checks"],
        "rouge_l": tuned["scores"]["rouge_l"],
        "distinct": tuned["distinct"],
    }


def _estimate(one: dict[str, float]) -> str:
    return f"{one['value']:.2f} [{one['low']:.2f}, {one['high']:.2f}]"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.methods", description=__doc__)
    parser.add_argument(
        "--method", action="append", choices=[BASE, *METHODS], help="only this; may come again"
    )
    parser.add_argument("--steps", type=int, default=20, help=f"optimizer steps of {ROWS} rows")
    parser.add_argument("--tests", type=int, help="at most so many test rows; by default all")
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


if __name__ == "__main__":
    main()
