"""Whether what is computed beside an answer changes it: batch, order, threads and cache, on a run's own rows.

Rounding depends on the shape of a product, so that numbers move a little in every library; how far they move
here, and whether an answer turns over, belongs beside the scores. Rows of a batch have different lengths, so
that padding is tried with the batch.
"""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import TYPE_CHECKING

import torch

from espalier.core.files import content_hash
from espalier.core.journal import store_of
from espalier.core.records import Encoded
from espalier.decode.choosing import choose
from espalier.decode.engine import generate
from espalier.decode.likelihood import numbers
from espalier.decode.local import strategy_of
from espalier.evaluate.score_records import Invariance
from espalier.runs.events import working
from espalier.train.peak import peak_bytes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from espalier.core.recipe import Choice
    from espalier.core.records import Completion, Example
    from espalier.core.run import RunFolder
    from espalier.decode.local import Local
    from espalier.models.load import Loaded

ROWS = 4


def try_invariance(
    run: RunFolder,
    local: Local,
    examples: Sequence[Example],
    completions: Sequence[Completion],
    settings: Choice,
) -> Invariance:
    """Return how far log-probabilities of some answers move, and how many texts change; kept in the store.

    Args:
        run: whose folder has the store.
        local: the model that wrote the answers.
        examples: what was asked.
        completions: the answers; of several samples the first is tried.
        settings: of the decoding.
    """
    loaded = local.loaded
    answered = {one.example: one for one in completions if one.sample == 0 and one.ids}
    rows = [example for example in examples if example.id in answered][:ROWS]
    written = [answered[example.id] for example in rows]
    threads = torch.get_num_threads()
    store, asked = store_of(run.path.parent), [[one.request, one.ids] for one in written]
    key = f"invariance:{content_hash([1, loaded.weights, loaded.formats.training, threads, asked])}"
    if found := store.find([key]):
        return Invariance(**found[key])
    started = time.monotonic()
    with working("Trying whether batch, order, threads and cache change answers"):
        made = Invariance(len(rows), _moved(loaded, rows, written), _changed(local, rows, written, settings))
    store.add({key: asdict(made)})
    run.log_stage("invariance", started, peak_bytes())
    return made


def _moved(loaded: Loaded, examples: Sequence[Example], written: Sequence[Completion]) -> dict[str, float]:
    """Return by how many nats the log-probability of an answer moves at most."""
    rows = [_row(loaded, *pair) for pair in zip(examples, written, strict=True)]
    together = numbers(loaded, rows)
    other = 1 if torch.get_num_threads() > 1 else 2
    ways = {
        "batch": [numbers(loaded, [row])[0] for row in rows],
        "order": numbers(loaded, rows[::-1])[::-1],
        "threads": _with_threads(other, loaded, rows),
        "cache": [together[n] if one.logprob is None else one.logprob for n, one in enumerate(written)],
    }
    return {
        way: max((abs(a - b) for a, b in zip(values, together, strict=True)), default=0.0)
        for way, values in ways.items()
    }


def _with_threads(threads: int, loaded: Loaded, rows: Sequence[Encoded]) -> list[float]:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        return numbers(loaded, rows)
    finally:
        torch.set_num_threads(before)


def _row(loaded: Loaded, example: Example, completion: Completion) -> Encoded:
    """Return an answer's own tokens behind its prompt."""
    prompt = loaded.template.prompt_ids(example.prompt)
    weights = (0.0,) * len(prompt) + (1.0,) * len(completion.ids)
    return Encoded((*prompt, *completion.ids), weights, len(prompt), example.id)


def _changed(
    local: Local, examples: Sequence[Example], written: Sequence[Completion], settings: Choice
) -> dict[str, int]:
    """Return how many texts are others when their rows are written alone, or in another order."""
    strategy, weights = strategy_of(settings), local.loaded.weights

    def texts(some: Sequence[Example]) -> dict[str, str]:
        if strategy.weighs is not None:
            made = choose(local.loaded, some, strategy.weighs)
        else:
            made = generate(local.writer, local.template, some, strategy, weights=weights)
        return {one.example: one.text for one in made if one.sample == 0}

    alone = {name: text for example in examples for name, text in texts([example]).items()}
    turned = texts(examples[::-1])
    return {
        way: sum(found[one.example] != one.text for one in written)
        for way, found in (("batch", alone), ("order", turned))
    }
