"""Espalier's own training loop as a side, handed the rows of each step as a run of a recipe hands them."""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from bench.side import Clock, Job, commands

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from multiprocessing.connection import Connection

    from transformers import PreTrainedModel

    from espalier.core.records import Encoded
    from espalier.encode.tokens import Unit
    from espalier.models.load import Loaded
    from espalier.train.objectives import Objective, Sampler

TOKENS = 4096


def run(job: Job, connection: Connection) -> None:
    """Train on the rows' answers with `espalier.train.loop`, one optimizer step per command."""
    from espalier.train.objectives import sft

    follow(job, connection, sft(), [units_of(rows) for rows in job.steps])


def follow(
    job: Job,
    connection: Connection,
    objective: Objective,
    steps: Sequence[Sequence[Unit]],
    answering: Callable[[Loaded, Any], Callable[[Mapping[str, float]], Sampler]] | None = None,
) -> None:
    """Train by an objective on the units of each step; building the trees is timed, and sampling too.

    What the objective computes beforehand is not, such as log-probabilities under a reference. As the peers
    do, a step's loss is divided by its own weight: each step is a run of one step to the objective.
    """
    from espalier.encode.batches import build_trees, groups_of
    from espalier.models.adapters import methods
    from espalier.models.forward import edge_logprobs
    from espalier.models.load import load_model
    from espalier.models.support import unsupported
    from espalier.train.loop import Settings, train
    from espalier.train.reference import make_tools
    from espalier.train.steps import Step, Term

    loaded = load_model(job.model)
    longest = max(len(row.ids) for units in steps for unit in units for row in unit.rows)
    if reason := unsupported(loaded.model, longest):
        raise SystemExit(f"The model cannot share prefixes: {reason}")
    model = cast("PreTrainedModel", methods.build(job.method, {})(loaded.model))
    forward = partial(edge_logprobs, shared=True)
    precision = job.settings["precision"]
    asked = commands(connection)
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        tools = make_tools(
            model,
            forward,
            steps=1,
            tokens=TOKENS,
            precision=precision,
            keep=Path(folder) / "kept.json",
            key="",
            sampler=answering(loaded, model) if answering else _nothing,
        )
        begun = [objective.begin(units, tools) for units in steps]
        written = float("nan")

        def source(number: int) -> Step:
            nonlocal clock, written
            next(asked)
            clock = Clock()
            part = begun[number](number, steps[number])
            written = part.log.get("length", float("nan"))
            term = Term(part.loss, 1.0, part.divisor)
            return Step(part.rows, [(tree, [term]) for tree in build_trees(groups_of(part.rows), TOKENS)])

        settings = Settings(
            steps=len(steps) + 1,  # the last step, which writes a checkpoint, is never asked for
            rate=job.rate,
            warmup=0.0,
            schedule="constant",
            precision=precision,
            checkpoint=len(steps) + 1,
        )
        for event in train(model, source, settings, Path(folder), recipe={}, forward=forward):
            if event["event"] == "step":
                connection.send(clock.stop(event["loss"], written))


def units_of(rows: Sequence[Encoded]) -> list[Unit]:
    """Return the rows as units: those of one example together, in the order in which they first come."""
    from espalier.encode.tokens import Unit

    found: dict[str, list[Encoded]] = {}
    for row in rows:
        found.setdefault(row.example, []).append(row)
    return [Unit(name, own[0].ids[: own[0].prompt], tuple(own)) for name, own in found.items()]


def _nothing(rewards: Mapping[str, float]) -> Sampler:
    raise SystemExit("This objective samples, and the side was given no sampler.")
