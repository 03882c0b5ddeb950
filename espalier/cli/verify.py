"""`espalier verify`: each fast path against its slow twin, on a few of the user's own rows."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.table import Table

from espalier.cli.progress import console, say
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
    """Compute a few rows both ways and print the largest gaps; exit with 1 if one is too large."""
    from espalier.cli import tuning
    from espalier.cli.prepare import encode_rows, prepare
    from espalier.cli.run import choose
    from espalier.core.recipe import load_recipe
    from espalier.train.verify import verify as compare

    plan = load_recipe(recipe, override or ())
    choose(plan)
    prepared = prepare(plan)
    loaded = tuning.load(plan.model, cache)
    rows = encode_rows(prepared.train, loaded.template, plan.train.tokens).rows
    sharing = tuning.sharing(loaded.model, max(len(row.ids) for row in rows))
    model = tuning.to_train(plan, loaded.model)
    checks: list[Check] = []
    with console.status("Comparing on a few rows"):
        for check in compare(
            model,
            rows,
            forward=sharing.forward,
            generate=cached_greedy,
            reload=lambda changed: _reloaded(changed, loaded),
        ):
            verdict = "ok" if check.ok else "TOO LARGE"
            say(f"{verdict}  {check.name}: {check.gap:.2g} (bound {check.bound:.2g})")
            checks.append(check)
    _print(checks, as_json)
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


def _print(checks: list[Check], as_json: bool) -> None:
    if as_json:
        rows = [{"name": c.name, "gap": c.gap, "bound": c.bound, "ok": c.ok} for c in checks]
        typer.echo(json.dumps({"checks": rows}))
        return
    table = Table("check", "largest gap", "bound", "", box=None, pad_edge=False)
    for check in checks:
        table.add_row(check.name, f"{check.gap:.2g}", f"{check.bound:.2g}", "ok" if check.ok else "too large")
    Console(soft_wrap=True).print(table)
