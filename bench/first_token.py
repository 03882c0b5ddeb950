"""`python -m bench.first_token`: the time to an answer's first token beside transformers' `generate`.

One process, one model in the number format that a run would decode in here, one prompt of about 40 tokens;
the sides take turns, and each begins with the messages' text.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from typing import TYPE_CHECKING, Any

from bench import rate
from espalier.core.runtime import ENVIRONMENT

if TYPE_CHECKING:
    from collections.abc import Callable

TEXT = "Write a question on how long something lasts in this sentence: The old bridge was closed for repairs."


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.first_token", description=__doc__)
    parser.add_argument("--rounds", type=int, default=30, help="measured first tokens of each side")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    os.environ.update(ENVIRONMENT, HF_HUB_OFFLINE="1")
    import torch

    torch.set_num_threads(options.threads)
    sides, found = _sides()
    times: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(options.rounds + 3):  # three to warm up
        for name, side in sides.items():
            begun = time.perf_counter()
            side()
            if turn >= 3:
                times[name].append(time.perf_counter() - begun)
    medians = {name: statistics.median(taken) for name, taken in times.items()}
    found["milliseconds"] = {name: round(1000 * median, 2) for name, median in medians.items()}
    found["ratio"] = round(medians["espalier"] / medians["transformers"], 3)
    print(json.dumps(found))


def _sides() -> tuple[dict[str, Callable[[], object]], dict[str, Any]]:
    """Return what takes one first token on each side, and what there is to say of the setting."""
    import torch

    from espalier.core.caches import default_cache
    from espalier.core.records import message
    from espalier.decode.engine import stream, try_out
    from espalier.decode.strategies.registry import strategies
    from espalier.models.load import load_model
    from espalier.models.places import find_model
    from espalier.models.precision import dtype_of

    place = find_model("smollm2-135m", default_cache()).folder
    formats = rate.formats_of(place)
    loaded = load_model(place)
    model, template = loaded.model.eval().requires_grad_(False), loaded.template
    torch.nn.Module.to(model, dtype_of(formats.decoding))
    try_out(model)
    asked = (message("user", TEXT),)
    strategy = strategies.build("greedy", {"limit": 40}, "decode")

    def theirs() -> object:
        ids = torch.tensor([template.prompt_ids(asked)])
        return model.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=1, do_sample=False, pad_token_id=0
        )

    def ours() -> object:
        return next(stream(model, template, asked, strategy))

    about = {"precision": formats.decoding, "prompt_tokens": len(template.prompt_ids(asked))}
    return {"espalier": ours, "transformers": theirs}, about


if __name__ == "__main__":
    main()
