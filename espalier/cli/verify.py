"""`espalier verify`: each fast path against its slow twin, on a few of the user's own rows."""

from __future__ import annotations

import copy
import json
import math
import random
import tempfile
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from espalier.cli.progress import working
from espalier.cli.settings import DEFAULT_CACHE, Cache, Json, Overrides, RecipeFile

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from transformers import PreTrainedModel

    from espalier.cli.stages import Stage
    from espalier.core.recipe import Recipe
    from espalier.encode.tokens import Unit
    from espalier.models.load import Loaded
    from espalier.train.objectives import Sampled, Sampler
    from espalier.train.verify import Check

UNITS = 6


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
    from espalier.cli import tuning
    from espalier.cli.precision import settle
    from espalier.cli.prepare import prepare
    from espalier.cli.stages import plan_stages
    from espalier.core.recipe import load_recipe

    plan = load_recipe(recipe, override or ())
    prepared = prepare(plan)
    with working("Getting ready"):
        from espalier.cli.run import choose

        choices = choose(plan)
    loaded = settle(plan, tuning.load(plan.model, cache))
    loaded = tuning.rendered(plan, loaded, tuning.folder_of(plan))
    checks: list[Check] = []
    with tempfile.TemporaryDirectory(prefix="espalier-verify-") as folder:
        stages = plan_stages(plan, choices.objectives, prepared, loaded.template, Path(folder))
        tuning.say_sharing(loaded.model, max(stage.longest for stage in stages))
        for stage in stages:
            prefix = f"{stage.name}: " if len(stages) > 1 else ""
            with working("Comparing on a few rows") as tell:
                for check in _checks(plan, stage, loaded):
                    checks.append(replace(check, name=prefix + check.name))
                    tell(f"Comparing on a few rows: {len(checks)} checks are done", aloud=False)
                    if not as_json:
                        typer.echo(_line(checks[-1]))
    if as_json:
        typer.echo(
            json.dumps({"precision": asdict(loaded.formats), "checks": [_plain(check) for check in checks]})
        )
    if not all(check.ok for check in checks):
        raise typer.Exit(1)


def _checks(plan: Recipe, stage: Stage, loaded: Loaded) -> Iterator[Check]:
    """Yield the checks of a stage, on units that are its nearest neighbours and on others."""
    from espalier.cli.stages import ready_model, settings_of, source_of
    from espalier.encode.tokens import foreign_answers
    from espalier.models.adapters import is_plain, merged
    from espalier.models.forward import edge_logprobs
    from espalier.models.reward import leaf_scores
    from espalier.train.verify import Check, Elsewhere
    from espalier.train.verify import verify as compare

    few = _few(stage)
    foreign = sum(foreign_answers(example, loaded.template) for example in few.examples)
    yield Check("answers with other ids than the tokenizer's", float(foreign), 0.0)
    # A method changes the model that it prepares, and the next stage is to begin with this one.
    fresh = replace(loaded, model=copy.deepcopy(loaded.model))
    model, template, forward = ready_model(plan, few, fresh)
    formats = loaded.formats
    source = source_of(plan, few, model, template, forward, formats=formats, key="verify", judged=_by_chance)
    plain = not stage.rates and is_plain(merged(copy.deepcopy(model)))
    yield from compare(
        model,
        source(0),
        elsewhere=Elsewhere(
            None if stage.rates else cached_greedy,
            lambda changed: _reloaded(changed, loaded),
            lambda changed: merged(copy.deepcopy(changed)),
            (lambda changed: _exported(changed, loaded)) if plain else None,
        ),
        forward=forward,
        by_row=partial(leaf_scores if stage.rates else edge_logprobs, shared=False),
        settings=settings_of(few, formats.training),
    )


def _few(stage: Stage) -> Stage:
    """Return the stage with `UNITS` of its units in one step; with samples fewer, as each is many rows."""
    samples = any(objective.rewards for objective, _ in stage.shared)
    ordered = sorted(stage.encoded.units, key=lambda unit: unit.prompt)
    count = min(2 if samples else UNITS, len(ordered))
    spread = [ordered[len(ordered) * part // count] for part in range(count)]
    units = list({unit.example: unit for unit in [*ordered[:2], *spread]}.values())[:count]
    names = {unit.example for unit in units}
    return replace(
        stage,
        section=stage.section.model_copy(update={"rows": count}),
        examples=[example for example in stage.examples if example.id in names],
        encoded=replace(stage.encoded, units=units),
    )


def _by_chance(sampler: Sampler) -> Sampler:
    """Return the sampler with a number between 0 and 1 as every answer's reward.

    A model that is not tuned is seldom rewarded, and where all answers to a prompt are worth the same, there
    is no gradient to compare.
    """

    def sample(turn: int, units: Sequence[Unit], samples: int, limit: int) -> list[list[Sampled]]:
        draw = random.Random(0)
        groups = sampler(turn, units, samples, limit)
        return [[replace(answer, reward=draw.random()) for answer in group] for group in groups]

    return sample


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


def _exported(model: PreTrainedModel, base: Loaded) -> PreTrainedModel:
    from espalier.models.adapters import merged
    from espalier.models.export import load_hf, save_hf

    with tempfile.TemporaryDirectory(prefix="espalier-verify-") as folder:
        plain = merged(copy.deepcopy(model))
        save_hf(Path(folder) / "model", plain, base.tokenizer, base.template, "f32", {})
        return load_hf(Path(folder) / "model")


def _line(check: Check) -> str:
    verdict = "ok" if check.ok else "TOO LARGE"
    return f"{verdict:<9}  {check.name:<36}  gap {check.gap:<8.2g} bound {check.bound:.2g}"


def _plain(check: Check) -> dict[str, Any]:
    """Return a check as JSON has it: a gap that is not a number is null."""
    gap = check.gap if math.isfinite(check.gap) else None
    return {"name": check.name, "gap": gap, "bound": check.bound, "ok": check.ok}
