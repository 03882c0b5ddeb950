"""Espalier's own training loop as a side, handed the rows of each step as a run of a recipe hands them."""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from bench.side import Clock, Job, commands

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

TOKENS = 4096


def run(job: Job, connection: Connection) -> None:
    """Train with `espalier.train.loop`, one optimizer step per command; building the trees is timed too."""
    from espalier.encode.batches import build_trees
    from espalier.models.adapters import methods
    from espalier.models.forward import edge_logprobs
    from espalier.models.load import load_model
    from espalier.models.support import unsupported
    from espalier.train.loop import Settings, train
    from espalier.train.objectives import Step, Term, sft

    model = load_model(job.model).model
    longest = max(len(row.ids) for rows in job.steps for row in rows)
    if reason := unsupported(model, longest):
        raise SystemExit(f"The model cannot share prefixes: {reason}")
    model = methods.build(job.method, {})(model)
    objective = sft()
    asked = commands(connection)
    clock = Clock()

    def source(number: int) -> Step:
        nonlocal clock
        next(asked)
        clock = Clock()
        rows = job.steps[number]
        # As the peers do, a step's loss is divided by its own trained tokens.
        terms = [Term(objective.loss, 1.0, objective.weight(rows))]
        return Step(rows, [(tree, terms) for tree in build_trees(rows, TOKENS)])

    settings = Settings(
        steps=len(job.steps) + 1,  # the last step, which writes a checkpoint, is never asked for
        rate=job.rate,
        warmup=0.0,
        schedule="constant",
        precision=str(job.settings["precision"]),
        checkpoint=len(job.steps) + 1,
    )
    forward = partial(edge_logprobs, shared=True)
    with tempfile.TemporaryDirectory() as folder:
        for event in train(model, source, settings, Path(folder), recipe={}, forward=forward):
            if event["event"] == "step":
                connection.send(clock.stop(event["loss"]))
