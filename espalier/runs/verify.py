"""Each fast path against its slow twin, on a few of the user's own rows."""

from __future__ import annotations

import copy
import random
import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from espalier.core.run import RunFolder
from espalier.decode.engine import can_share, decode_tokens
from espalier.decode.requests import Request
from espalier.decode.strategies.sampling import greedy
from espalier.encode.tokens import foreign_answers
from espalier.models.adapters import is_plain, merged
from espalier.models.export import load_hf, save_hf
from espalier.models.forward import edge_logprobs
from espalier.models.load import load_tuned, save_tuned, with_pixels
from espalier.models.media import media_embedding
from espalier.models.reward import leaf_scores
from espalier.runs.events import working
from espalier.runs.execute import say_sharing
from espalier.runs.plan import make_plan
from espalier.runs.sight import swapped
from espalier.runs.stages import ready_model, settings_of, source_of
from espalier.train.verify import Check, VerifyHooks, no_media, verify

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from transformers import PreTrainedModel

    from espalier.core.records import Example
    from espalier.encode.tokens import Unit
    from espalier.models.load import Loaded
    from espalier.models.precision import Formats
    from espalier.runs.plan import Choices, Plan, Stage
    from espalier.train.objectives import Sampled, Sampler

UNITS = 6


def checks(choices: Choices, cache: Path) -> Iterator[tuple[Check, Formats]]:
    """Yield the checks of each stage, and the number formats that they are computed in.

    Every stage is checked from the recipe's own model, as if it were the first.
    """
    recipe = choices.recipe
    known = RunFolder(Path(recipe.folder) / recipe.name)
    with tempfile.TemporaryDirectory(prefix="espalier-verify-") as folder:
        plan = make_plan(choices, cache, Path(folder) / "run", known=known)
        say_sharing(plan.loaded, plan.longest)
        done = 0
        for stage in plan.stages:
            prefix = f"{stage.name}: " if len(plan.stages) > 1 else ""
            with working("Comparing on a few rows") as tell:
                for check in _of_stage(plan, stage):
                    done += 1
                    tell(f"Comparing on a few rows: {done} checks are done", aloud=False)
                    yield replace(check, name=prefix + check.name), plan.loaded.formats


def _of_stage(plan: Plan, stage: Stage) -> Iterator[Check]:
    """Yield the checks of a stage, on units that are its nearest neighbours and on others."""
    loaded, few = plan.loaded, _few(stage)
    foreign = sum(foreign_answers(example, loaded.template) for example in few.examples)
    yield Check("answers with other ids than the tokenizer's", float(foreign), 0.0)
    # A method changes the model that it prepares, and the next stage is to begin with this one.
    fresh = replace(plan, loaded=replace(loaded, model=copy.deepcopy(loaded.model)))
    ready = ready_model(fresh, few)
    source = source_of(fresh, few, ready, key="verify", judged=_by_chance)
    embedding = media_embedding(ready.model)
    exports = not stage.rates and not (embedding and embedding.projectors)  # transformers has none of ours
    plain = exports and is_plain(merged(copy.deepcopy(ready.model)))
    yield from verify(
        ready.model,
        source(0),
        hooks=VerifyHooks(
            None if stage.rates else cached_greedy,
            lambda changed: _reloaded(changed, loaded),
            lambda changed: merged(copy.deepcopy(changed)),
            (lambda changed: _exported(changed, loaded)) if plain else None,
            swapped(_taken(stage), loaded.template),
        ),
        forward=ready.forward,
        by_row=partial(leaf_scores if stage.rates else edge_logprobs, shared=False),
        settings=settings_of(few, loaded.formats.training),
    )


def _taken(stage: Stage) -> list[Example]:
    """Return the examples that a stage learns from: all but those that fit no step."""
    names = {unit.example for unit in stage.encoded.units if unit.rows}
    return [example for example in stage.examples if example.id in names]


def _few(stage: Stage) -> Stage:
    """Return the stage with `UNITS` of its units in one step; with samples fewer, as each is many rows."""
    samples = any(objective.rewards for objective, _ in stage.shared)
    ordered = sorted(stage.encoded.units, key=lambda unit: (no_media(unit.prompt), unit.prompt))
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
    requests = [Request(str(number), prompt, 0, ()) for number, prompt in enumerate(prompts)]
    answers: list[list[int]] = [[] for _ in prompts]
    strategy = greedy(limit=tokens)
    shared = can_share(model, requests, strategy)
    for token in decode_tokens(model, requests, strategy, frozenset(), shared=shared):
        answers[token.row].append(token.id)
    return [tuple(answer) for answer in answers]


def _reloaded(model: PreTrainedModel, base: Loaded) -> PreTrainedModel:
    with tempfile.TemporaryDirectory(prefix="espalier-verify-") as folder:
        save_tuned(model, base, Path(folder) / "model")
        tuned = load_tuned(Path(folder) / "model", base.place, model.device)
        return with_pixels(tuned, base.pixels).model


def _exported(model: PreTrainedModel, base: Loaded) -> PreTrainedModel:
    with tempfile.TemporaryDirectory(prefix="espalier-verify-") as folder:
        plain = merged(copy.deepcopy(model))
        save_hf(Path(folder) / "model", plain, base.tokenizer, base.template, "f32", {})
        return load_hf(Path(folder) / "model", base.pixels)
