"""The number formats of a run: chosen at its first start, told with the reason, and kept in its folder."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from espalier.cli.progress import say
from espalier.core.files import read_json, write_atomic
from espalier.core.records import ALONE, Ranks

if TYPE_CHECKING:
    from espalier.core.recipe import ModelSection, Recipe
    from espalier.core.run import RunFolder
    from espalier.models.load import Loaded
    from espalier.models.precision import Formats, Rates, Use

# How many times slower than fp32 bf16 has to be, for a person to be told, and for answers to take fp32.
TOLD, FAR = 1.5, 2.0


def settle(recipe: Recipe, loaded: Loaded, run: RunFolder | None = None, ranks: Ranks = ALONE) -> Loaded:
    """Return the model with its number formats: those of the run's first start, else those to choose here.

    Every rank has to call it; rank 0 decides. Nothing is written, see `keep`.
    """
    from espalier.train.parallel import on_first

    return replace(loaded, formats=on_first(partial(_settled, recipe.model, loaded, run), ranks))


def keep(recipe: Recipe, run: RunFolder, loaded: Loaded) -> None:
    """Write the formats down, once: a run that goes on elsewhere goes on in them."""
    if _kept(recipe.model, loaded.weights, run) == loaded.formats:
        return
    table = {**_of(recipe.model, loaded.weights), **asdict(loaded.formats)}
    write_atomic(run.precision, json.dumps(table, indent=1) + "\n")
    run.log({"event": "precision", **table})


def of_run(recipe: Recipe, run: RunFolder, loaded: Loaded, use: Use) -> Loaded:
    """Return a model of a run with the formats that it is answered or rated with, as its own answers were.

    Where that is bf16 and this machine is far slower in it, it is fp32, and that is said.
    """
    from espalier.models.precision import Formats, choose, compared, gain, measure

    if run.precision.exists():
        formats = _read(run)
        rates = measure(loaded.model, (use,)) if "bf16" in (formats.training, formats.decoding) else {}
        if rates and gain(rates, use) < 1 / FAR:
            say(f"Computing in fp32, and not in bf16 as the run did: {compared(rates)} on this machine.")
            formats = Formats("fp32", "fp32", rates=rates)
    else:
        formats = choose(recipe.model.precision, measure(loaded.model), loaded.model.device)
    return replace(loaded, formats=formats)


def _settled(section: ModelSection, loaded: Loaded, run: RunFolder | None) -> Formats:
    from espalier.models.precision import choose, measure

    kept = _kept(section, loaded.weights, run) if run else None
    rates = measure(loaded.model) if section.precision != "fp32" else {}
    formats = kept or choose(section.precision, rates, loaded.model.device)
    if section.precision == "auto":
        say(f"As at the run's first start: {formats.why}" if kept else formats.why)
    _tell_cost(section, formats, rates)
    return formats


def _tell_cost(section: ModelSection, formats: Formats, rates: Rates) -> None:
    """Say what bf16 costs where it was asked for, or chosen on another machine, and is slower here."""
    from espalier.models.precision import compared, gain

    slow = rates and any(
        form == "bf16" and gain(rates, use) < 1 / TOLD
        for use, form in (("training", formats.training), ("decoding", formats.decoding))
    )
    if slow:
        advice = (
            "model.precision = 'auto' takes the faster one."
            if section.precision == "bf16"
            else "The run keeps the format that it began in; one with another name can choose anew."
        )
        say(f"Warning: {compared(rates)} on this machine, and this run takes about as much longer. {advice}")


def _of(section: ModelSection, weights: str) -> dict[str, str]:
    """Return what the choice was made for."""
    return {"asked": section.precision, "device": section.device, "weights": weights}


def _kept(section: ModelSection, weights: str, run: RunFolder) -> Formats | None:
    """Return the formats that the run's folder holds, if they were chosen for this."""
    if not run.precision.exists():
        return None
    table: dict[str, Any] = read_json(run.precision)
    asked = _of(section, weights)
    return _read(run) if {key: table.get(key) for key in asked} == asked else None


def _read(run: RunFolder) -> Formats:
    from espalier.models.precision import Formats

    table = read_json(run.precision)
    return Formats(**{key: table[key] for key in ("training", "decoding", "why", "rates")})
