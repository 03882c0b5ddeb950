"""The number formats of a run: chosen at its first start, told with the reason, and kept in its folder."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from espalier.core.errors import DataError
from espalier.core.files import read_json, write_atomic
from espalier.core.recipe import load_recipe
from espalier.core.records import ALONE, Ranks
from espalier.models.precision import FORMATS, PLAIN, USES, Formats, choose, compared, gain, measure
from espalier.runs.events import say
from espalier.train.parallel import on_first

if TYPE_CHECKING:
    from collections.abc import Mapping

    from espalier.core.recipe import ModelSection
    from espalier.core.run import RunFolder
    from espalier.models.load import Loaded
    from espalier.models.precision import Rates, Use
# How many times slower than fp32 bf16 has to be, for a person to be told, and for answers to take fp32.
TOLD, FAR = 1.5, 2.0


def settle(
    section: ModelSection, loaded: Loaded, run: RunFolder | None = None, ranks: Ranks = ALONE
) -> Loaded:
    """Return the model with its number formats: those of the run's first start, else those to choose here.

    Every rank has to call it; rank 0 decides. Nothing is written, see `keep_formats`.
    """
    return replace(loaded, formats=on_first(partial(_settled, section, loaded, run), ranks))


def keep_formats(section: ModelSection, run: RunFolder, loaded: Loaded) -> None:
    """Write the formats down, once: a run that goes on elsewhere goes on in them."""
    kept = _kept(section, loaded.weights, run)
    if kept and all(kept.of(use) == loaded.formats.of(use) for use in USES):
        return
    table = {**_of(section, loaded.weights), **asdict(loaded.formats)}
    write_atomic(run.precision, json.dumps(table, indent=1) + "\n")
    run.log({"event": "precision", **table})


def of_run(run: RunFolder, loaded: Loaded, use: Use) -> Loaded:
    """Return a model of a run with the formats that it is answered or rated with, as its own answers were.

    Where that is bf16 and this machine is far slower in it, it is fp32, and that is said.
    """
    _tell_damage(run)
    table, asked = _table(run), load_recipe(run.recipe).model.precision
    if table:
        formats = _formats(table)
    else:  # of a version that did not keep them
        formats = choose(asked, measure(loaded.model) if asked == "auto" else {}, loaded.model.device)
    rates = measure(loaded.model, (use,)) if formats.of(use) == "bf16" else {}
    if rates and gain(rates, use) < 1 / FAR:
        say(f"Computing in fp32, and not in bf16 as the run did: {compared(rates)} on this machine.")
        formats = PLAIN
    return replace(loaded, formats=formats)


def _settled(section: ModelSection, loaded: Loaded, run: RunFolder | None) -> Formats:
    kept = None
    if run:
        _tell_damage(run)
        kept = _kept(section, loaded.weights, run)
    rates = measure(loaded.model) if section.precision != "fp32" else {}
    formats = kept or choose(section.precision, rates, loaded.model.device)
    if section.precision == "auto":
        say(f"As at the run's first start: {formats.why}" if kept else formats.why)
    _tell_cost(section, formats, rates)
    return formats


def _tell_cost(section: ModelSection, formats: Formats, rates: Rates) -> None:
    """Say what bf16 costs where it was asked for, or chosen on another machine, and is slower here."""
    if any(formats.of(use) == "bf16" and gain(rates, use) < 1 / TOLD for use in rates):
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
    table = _table(run)
    asked = _of(section, weights)
    return _formats(table) if table and {key: table.get(key) for key in asked} == asked else None


def _table(run: RunFolder) -> dict[str, Any] | None:
    """Return what the folder's file holds; None where it is not there, or damaged."""
    if not run.precision.exists():
        return None
    try:
        table: Any = read_json(run.precision)
    except DataError:
        table = None
    if isinstance(table, dict) and {table.get(use) for use in USES} <= {*FORMATS}:
        return cast("dict[str, Any]", table)
    return None


def _tell_damage(run: RunFolder) -> None:
    if run.precision.exists() and _table(run) is None:
        say(f"{run.precision} is damaged: the number format is chosen again.")


def _formats(table: Mapping[str, Any]) -> Formats:
    why, rates = table.get("why", ""), table.get("rates", {})
    return Formats(table["training"], table["decoding"], why, rates)
