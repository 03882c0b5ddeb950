"""`espalier verify`: each fast path against its slow twin, on a few of the user's own rows."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import typer

from espalier.cli.settings import DEFAULT_CACHE, Cache, Json, Overrides, RecipeFile
from espalier.core.recipe import load_recipe

if TYPE_CHECKING:
    from espalier.train.verify import Check


def verify(
    recipe: RecipeFile,
    override: Overrides = None,
    as_json: Json = False,
    cache: Cache = DEFAULT_CACHE,
) -> None:
    """Compare each fast path with its slow twin.

    A few of each stage's rows are computed both ways; the exit status is 1 if a gap is too large. Every
    stage is checked from the recipe's own model, as if it were the first.
    """
    from espalier.runs.plan import resolve

    choices = resolve(load_recipe(recipe, override or ()))
    from espalier.runs.verify import checks

    found: list[Check] = []
    precision: dict[str, Any] = {}
    for check, formats in checks(choices, cache):
        found.append(check)
        precision = asdict(formats)
        if not as_json:
            typer.echo(_line(check))
    if as_json:
        typer.echo(json.dumps({"precision": precision, "checks": [_plain(check) for check in found]}))
    if not all(check.ok for check in found):
        raise typer.Exit(1)


def _line(check: Check) -> str:
    verdict = "ok" if check.ok else "TOO LARGE"
    why = f"\n{' ' * 11}{check.why}" if check.why and not check.ok else ""
    return f"{verdict:<9}  {check.name:<36}  gap {check.gap:<8.2g} bound {check.bound:.2g}{why}"


def _plain(check: Check) -> dict[str, Any]:
    """Return a check as JSON has it: a gap that is not a number is null."""
    gap = check.gap if math.isfinite(check.gap) else None
    why = {} if check.ok or not check.why else {"why": check.why}
    return {"name": check.name, "gap": gap, "bound": check.bound, "ok": check.ok, **why}
