"""`espalier verify`: each fast path against its slow twin, on a few of the user's own rows."""

from __future__ import annotations

import json
import math
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from espalier.cli.progress import working
from espalier.cli.settings import DEFAULT_CACHE, Cache, Json, Overrides, RecipeFile

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transformers import PreTrainedModel

    from espalier.models.load import Loaded
    from espalier.train.verify import Check


def verify(
    recipe: RecipeFile,
    override: Overrides = None,
    as_json: Json = False,
    cache: Cache = DEFAULT_CACHE,
) -> None:
    """Compare each fast path with its slow twin.

    A few of the recipe's rows are computed both ways; the exit status is 1 if a gap is too large.
    """
    from espalier.cli import tuning
    from espalier.cli.prepare import encode_rows, prepare
    from espalier.core.recipe import load_recipe

    plan = load_recipe(recipe, override or ())
    prepared = prepare(plan)
    with working("Getting ready"):
        from espalier.cli.run import choose
        from espalier.train.verify import verify as compare

        choose(plan)
    loaded = tuning.load(plan.model, cache)
    rows = encode_rows(prepared.train, loaded.template, plan.train[0].tokens).rows
    sharing = tuning.sharing(loaded.model, max(len(row.ids) for row in rows))
    model = tuning.to_train(plan, loaded.model)
    checks: list[Check] = []
    with working("Comparing on a few rows"):
        for check in compare(
            model,
            rows,
            forward=sharing.forward,
            generate=cached_greedy,
            reload=lambda changed: _reloaded(changed, loaded),
        ):
            checks.append(check)
            if not as_json:
                typer.echo(_line(check))
    if as_json:
        typer.echo(json.dumps({"checks": [_plain(check) for check in checks]}))
    if not all(check.ok for check in checks):
        raise typer.Exit(1)


def cached_greedy(
    model: PreTrainedModel, prompts: Sequence[tuple[int, ...]], tokens: int
) -> list[tuple[int, ...]]:
    """Return what cached greedy decoding writes after each prompt: `tokens` tokens, stop tokens or not."""
    from espalier.decode.engine import decode_tokens
    from espalier.decode.requests import Request
    from espalier.decode.strategies import greedy
    from espalier.models.support import unsupported

    requests = [Request(str(number), prompt, 0, ()) for number, prompt in enumerate(prompts)]
    answers: list[list[int]] = [[] for _ in prompts]
    shared = unsupported(model) is None
    for token in decode_tokens(model, requests, greedy(limit=tokens), frozenset(), shared=shared):
        answers[token.row].append(token.id)
    return [tuple(answer) for answer in answers]


def _reloaded(model: PreTrainedModel, base: Loaded) -> PreTrainedModel:
    from espalier.models.load import load_tuned, save_tuned

    with tempfile.TemporaryDirectory(prefix="espalier-verify-") as folder:
        save_tuned(model, base, Path(folder) / "model")
        return load_tuned(Path(folder) / "model", base.place, model.device).model


def _line(check: Check) -> str:
    verdict = "ok" if check.ok else "TOO LARGE"
    return f"{verdict:<9}  {check.name:<36}  gap {check.gap:<8.2g} bound {check.bound:.2g}"


def _plain(check: Check) -> dict[str, Any]:
    """Return a check as JSON has it: a gap that is not a number is null."""
    gap = check.gap if math.isfinite(check.gap) else None
    return {"name": check.name, "gap": gap, "bound": check.bound, "ok": check.ok}
