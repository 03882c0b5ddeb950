"""The stages of a run: each tunes the model that the one before left, and is not done twice.

The last stage's model is the run's; earlier ones are whole models in `stages/N/model`, so that what a stage
adds (an adapter, say) is always added to something that exists as a folder.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from espalier.cli import tuning
from espalier.cli.following import follow, kinds, look_ahead, told
from espalier.cli.kept import clear, is_done, keep, load_kept
from espalier.cli.prepare import askable, encode_units, special_names, stage_examples
from espalier.cli.progress import say, working
from espalier.cli.rating import rater_weights
from espalier.cli.stopping import stopping
from espalier.core.errors import RecipeError
from espalier.core.files import content_hash
from espalier.core.records import ALONE, Ranks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from transformers import PreTrainedModel

    from espalier.cli.prepare import Prepared, Units
    from espalier.core.recipe import Recipe, TrainSection
    from espalier.core.records import Example
    from espalier.core.run import RunFolder
    from espalier.encode.template import Template
    from espalier.models.load import Loaded
    from espalier.models.precision import Format, Formats
    from espalier.train.loop import Forward, Settings
    from espalier.train.objectives import Objective, Sampler
    from espalier.train.steps import Source

# Steps from which on it is worth two of them to know what all will take.
FORETOLD = 8


@dataclass(frozen=True)
class Stage:
    """One `[[train]]` of the recipe, with what it learns from.

    Attributes:
        number: counted from 0.
        name: of its records; "train" where there is only one.
        section: its part of the recipe.
        shared: its objectives, each with its share.
        examples: that it learns from.
        encoded: the same in tokens.
        folder: where its checkpoints and its samples lie.
        last: whether its model is the run's.
    """

    number: int
    name: str
    section: TrainSection
    shared: Sequence[tuple[Objective, float]]
    examples: list[Example]
    encoded: Units
    folder: Path
    last: bool

    @property
    def model(self) -> Path:
        """Where its model goes."""
        return self.folder / "model"

    @property
    def key(self) -> str:
        """Its place in the recipe."""
        return self.name.replace(" ", ".")

    @property
    def longest(self) -> int:
        """Tokens of its longest row."""
        units = self.encoded.units
        return max(len(ids) for unit in units for ids in (unit.prompt, *(row.ids for row in unit.rows)))

    @property
    def rates(self) -> bool:
        """Whether it makes a reward model."""
        return any(objective.rates for objective, _ in self.shared)


@working("Turning the rows into tokens", aloud=False)
def plan_stages(
    recipe: Recipe,
    shared: Sequence[Sequence[tuple[Objective, float]]],
    prepared: Prepared,
    template: Template,
    path: Path,
) -> list[Stage]:
    """Return the recipe's stages with their rows in tokens; nothing is written.

    Raises:
        DataError: a stage's rows cannot be used, none fits the token budget, or an objective finds nothing
            to learn from in them.
        RecipeError: a stage that is not the last has a method whose result is no whole model.
    """
    from espalier.train.objectives import check_units

    refused = prepared.rejects if recipe.task.on_bad == "reject" else None
    rates = any(objective.rates for objective, _ in shared[-1])
    prepared.test[:] = askable(prepared.test, template, refused, rates=rates)
    stages: list[Stage] = []
    for number, section in enumerate(recipe.train):
        last = number == len(recipe.train) - 1
        if not last and section.method.kind in ("prompt", "adapter"):
            raise RecipeError(
                f"The method '{section.method.kind}' adds to a model what cannot be folded into it, so no "
                "stage can follow.",
                where=f"train.{number}.method",
                hint="Make it the last stage, or take lora, which can be.",
            )
        examples = stage_examples(recipe, section, prepared)
        folder = path if last else path / "stages" / str(number)
        encoded = encode_units(examples, template, section.tokens, _written(shared[number]), refused)
        name = f"train {number}" if len(recipe.train) > 1 else "train"
        stage = Stage(number, name, section, shared[number], examples, encoded, folder, last)
        if stage.rates:
            _check_rating(stage)
        for place, (objective, _) in enumerate(shared[number]):
            check_units(objective, encoded.units, f"{stage.key}.objective.{place}")
        stages.append(stage)
    distinct = {example.id: example for stage in stages for example in stage.examples}
    distinct |= {example.id: example for example in prepared.test}
    prepared.notes.extend(special_names([*distinct.values()], template))
    return stages


def _check_rating(stage: Stage) -> None:
    """Refuse a reward model that would have to write as well. Raises RecipeError."""
    section = stage.section
    rules = {
        "objective": (len(stage.shared) == 1, "A reward model learns nothing besides."),
        "method": (section.method.kind in ("full", "lora"), "A reward model is trained by full or lora."),
    }
    for key, (fits, rule) in rules.items():
        if not fits:
            raise RecipeError(rule, where=f"{stage.key}.{key}")
    if not stage.last:
        raise RecipeError(
            "No stage can follow one that makes a reward model, which writes nothing.",
            where=f"{stage.key}.objective",
        )


def train_stages(
    recipe: Recipe, run: RunFolder, stages: Sequence[Stage], loaded: Loaded, ranks: Ranks = ALONE
) -> Iterator[tuple[Stage, Loaded]]:
    """Do every stage that is not done, in turn, and yield each with its tuned model.

    Every rank calls it; only rank 0 writes, and it decides what is done.
    """
    from espalier.train.parallel import on_first

    for stage in stages:
        ranks = replace(ranks, sharded=ranks.size > 1 and stage.section.parallel == "fsdp")
        determined = _determined(recipe, stage, loaded)
        key = content_hash(determined)
        if on_first(partial(is_done, run, stage, key), ranks):
            say(f"Training is done: {stage.model}")
        else:
            _tune(recipe, run, stage, loaded, determined, ranks)
        with working("Loading the tuned model", aloud=False):
            tuned = load_kept(stage, loaded)
        template = tuned.template.under(loaded.template.rendering)
        loaded = replace(tuned, formats=loaded.formats, template=template)
        yield stage, loaded


def _determined(recipe: Recipe, stage: Stage, loaded: Loaded) -> dict[str, Any]:
    """Return all that determines the tuned weights. Where the files lie and when to save is no part of it."""
    rows = [[(row.ids, row.weights, row.role) for row in unit.rows] for unit in stage.encoded.units]
    models = rater_weights([name for objective, _ in stage.shared for name in objective.rewards])
    sampled = any(objective.rewards for objective, _ in stage.shared)
    judged = [(e.input, e.references) for e in stage.examples if sampled]
    formats = loaded.formats
    return {
        "seed": recipe.seed,
        "model": {"precision": formats.training, "device": recipe.model.device},
        "train": stage.section.model_dump(exclude={"checkpoint", "data", "parallel"}),
        "weights": loaded.weights,
        "rows": content_hash([[unit.prompt for unit in stage.encoded.units], rows, judged]),
        **({"rewards": models} if models else {}),
        **({"sampled in": formats.decoding} if sampled and formats.decoding != formats.training else {}),
    }


def _tune(
    recipe: Recipe, run: RunFolder, stage: Stage, loaded: Loaded, determined: dict[str, Any], ranks: Ranks
) -> None:
    from espalier.train.checkpoint import latest
    from espalier.train.loop import train
    from espalier.train.noise import noisy
    from espalier.train.parallel import on_first

    started = time.monotonic()
    if len(recipe.train) > 1:
        say(f"Stage {stage.number + 1} of {len(recipe.train)}: {kinds(stage)}, {stage.section.method.kind}")
    on_first(partial(clear, stage), ranks)
    model, template, forward = ready_model(recipe, stage, loaded)
    key, formats = content_hash(determined), loaded.formats
    source = source_of(recipe, stage, model, template, forward, formats=formats, key=key, ranks=ranks)
    settings = settings_of(stage, formats.training)
    with noisy(model, source, stage.section.noise, recipe.seed) as steps:
        if ranks.size == 1 and settings.steps >= FORETOLD and latest(stage.folder / "checkpoints") is None:
            ahead = look_ahead(stage, model, steps, settings, forward)
            run.log({"event": "forecast", "stage": stage.name, **asdict(ahead)})
            say(told(stage, ahead))
        events = train(
            model, steps, settings, stage.folder, recipe=determined, forward=forward, ranks=ranks,
            asked=lambda: stopping.asked,
        )  # fmt: skip
        follow(run, stage, loaded.model.config.get_text_config().vocab_size, events, ranks)
    if ranks.sharded:
        model = _whole(recipe, stage, loaded, model, ranks)
    on_first(partial(keep, run, stage, loaded, model, key), ranks)
    if ranks.rank == 0:
        run.log_stage(stage.name, started, tuning.peak_bytes())


@working("Gathering the weights of all processes", aloud=False)
def _whole(
    recipe: Recipe, stage: Stage, loaded: Loaded, model: PreTrainedModel, ranks: Ranks
) -> PreTrainedModel:
    """Return on rank 0 a model with the weights that the ranks hold shares of."""
    from espalier.models.load import load_model
    from espalier.train.parallel import full_weights

    weights = full_weights(model, ranks)
    if ranks.rank == 0:
        model = _fresh(recipe, stage, load_model(loaded.place))
        model.load_state_dict(weights)
    return model


@working("Preparing the model", aloud=False)
def ready_model(recipe: Recipe, stage: Stage, loaded: Loaded) -> tuple[PreTrainedModel, Template, Forward]:
    """Return the model as the stage's method prepares it, the template of its rows, and its forward."""
    from espalier.models.memory import recompute_activations
    from espalier.models.reward import leaf_scores
    from espalier.models.soft_prompt import virtual_ids

    sharing = tuning.sharing(loaded.model, stage.longest)
    model = _fresh(recipe, stage, loaded)
    if stage.section.recompute:
        recompute_activations(model)
    forward = partial(leaf_scores, shared=sharing.why_not is None) if stage.rates else sharing.forward
    return model, loaded.template.prefixed(virtual_ids(model)), forward


def _fresh(recipe: Recipe, stage: Stage, loaded: Loaded) -> PreTrainedModel:
    """Return the model with the weights that the stage moves, under the head that it needs."""
    import torch

    from espalier.models.reward import reward_model

    model = loaded.model
    if stage.rates:
        torch.manual_seed(recipe.seed)
        model = reward_model(model, loaded.tokenizer, loaded.template.stop_ids)
    return tuning.to_train(stage.section, recipe.seed, model)


@working("Preparing the steps", aloud=False)
def source_of(
    recipe: Recipe,
    stage: Stage,
    model: PreTrainedModel,
    template: Template,
    forward: Forward,
    *,
    formats: Formats,
    key: str,
    judged: Callable[[Sampler], Sampler] = lambda sampler: sampler,
    ranks: Ranks = ALONE,
) -> Source:
    """Return the stage's steps.

    `key` is the hash of all that the reference's log-probabilities depend on; `judged` may change what
    samples are worth.
    """
    from espalier.cli.sampling import Answering
    from espalier.encode.batches import steps_per_epoch
    from espalier.train.reference import make_tools
    from espalier.train.reinforcement import journaled
    from espalier.train.steps import steps_of

    section, units = stage.section, stage.encoded.units
    if template.prefix:
        units = encode_units(stage.examples, template, section.tokens, _written(stage.shared), []).units
    examples = {example.id: example for example in stage.examples}
    answering = Answering(model, template, examples, formats.decoding, recipe.seed, ranks)
    samples = stage.folder / "samples.jsonl"
    tools = make_tools(
        model,
        forward,
        steps=steps_per_epoch(len(units), section.rows),
        tokens=section.tokens,
        precision=formats.training,
        keep=stage.folder / "reference.json",
        key=key,
        sampler=lambda rewards: journaled(samples, judged(answering.sampler(rewards)), ranks),
    )
    return steps_of(units, stage.shared, tools, size=section.rows, tokens=section.tokens, seed=recipe.seed)


def settings_of(stage: Stage, precision: Format) -> Settings:
    """Return the numbers of the stage's training."""
    from espalier.train.loop import Settings
    from espalier.train.optimizer import optimizers
    from espalier.train.steps import step_count

    section = stage.section
    return Settings(
        steps=step_count(len(stage.encoded.units), section.rows, section.epochs, stage.shared),
        rate=section.rate,
        warmup=section.warmup,
        schedule=section.schedule,
        clip=section.clip,
        decay=section.decay,
        optimizer=optimizers.build(section.optimizer.kind, section.optimizer.params, "train.optimizer"),
        precision=precision,
        checkpoint=section.checkpoint,
    )


def _written(shared: Sequence[tuple[Objective, float]]) -> int:
    """Return the most tokens of an answer that the model writes itself."""
    return max(objective.limit for objective, _ in shared)
