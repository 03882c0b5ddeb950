"""The stages of a run: each tunes the model that the one before left, and is not done twice.

The last stage's model is the run's; earlier ones are whole models in `stages/N/model`, so that what a stage
adds (an adapter, say) is always added to something that exists as a folder.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any, cast

from espalier.cli import tuning
from espalier.cli.kept import clear, is_done, keep, load_kept
from espalier.cli.prepare import encode_units, stage_examples
from espalier.cli.progress import bar, say, working
from espalier.cli.rating import rater_weights
from espalier.cli.stopping import Stopped, stopping
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
    from espalier.encode.tokens import Unit
    from espalier.models.load import Loaded
    from espalier.train.forecast import Forecast
    from espalier.train.loop import Event, Forward, Settings
    from espalier.train.objectives import Objective, Sampler
    from espalier.train.steps import Source

# Said of the step on the progress bar where it is known, in this order.
SAID = {"reward": "reward {:.2f}", "accuracy": "pairs right {:.0%}", "kl": "KL {:.3f}"}

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
    def rates(self) -> bool:
        """Whether it makes a reward model."""
        return any(objective.rates for objective, _ in self.shared)


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
        encoded = encode_units(examples, template, section.tokens, _written(shared[number]))
        name = f"train {number}" if len(recipe.train) > 1 else "train"
        stage = Stage(number, name, section, shared[number], examples, encoded, folder, last)
        if stage.rates:
            _check_rating(stage)
        where = "train" if name == "train" else f"train.{number}"
        for place, (objective, _) in enumerate(shared[number]):
            check_units(objective, encoded.units, f"{where}.objective.{place}")
        stages.append(stage)
    return stages


def _check_rating(stage: Stage) -> None:
    """Refuse a reward model that would have to write as well. Raises RecipeError."""
    section = stage.section
    where = "train" if stage.name == "train" else f"train.{stage.number}"
    rules = {
        "objective": (len(stage.shared) == 1, "A reward model learns nothing besides."),
        "method": (section.method.kind in ("full", "lora"), "A reward model is trained by full or lora."),
    }
    for key, (fits, rule) in rules.items():
        if not fits:
            raise RecipeError(rule, where=f"{where}.{key}")
    if not stage.last:
        raise RecipeError(
            "No stage can follow one that makes a reward model, which writes nothing.",
            where=f"{where}.objective",
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
        loaded = load_kept(stage, loaded)
        yield stage, loaded


def _determined(recipe: Recipe, stage: Stage, loaded: Loaded) -> dict[str, Any]:
    """Return all that determines the tuned weights. Where the files lie and when to save is no part of it."""
    rows = [[(row.ids, row.weights, row.role) for row in unit.rows] for unit in stage.encoded.units]
    models = rater_weights([name for objective, _ in stage.shared for name in objective.rewards])
    judged = [(e.input, e.references) for e in stage.examples if any(o.rewards for o, _ in stage.shared)]
    return {
        **recipe.model_dump(include={"seed": True, "model": {"precision", "device"}}),
        "train": stage.section.model_dump(exclude={"checkpoint", "data", "parallel"}),
        "weights": loaded.weights,
        "rows": content_hash([[unit.prompt for unit in stage.encoded.units], rows, judged]),
        **({"rewards": models} if models else {}),
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
        say(f"Stage {stage.number + 1} of {len(recipe.train)}: {_kinds(stage)}, {stage.section.method.kind}")
    on_first(partial(clear, stage), ranks)
    model, template, forward = ready_model(recipe, stage, loaded)
    source = source_of(recipe, stage, model, template, forward, key=content_hash(determined), ranks=ranks)
    settings = settings_of(recipe, stage)
    with noisy(model, source, stage.section.noise, recipe.seed) as steps:
        if ranks.size == 1 and settings.steps >= FORETOLD and latest(stage.folder / "checkpoints") is None:
            ahead = look_ahead(stage, model, steps, settings, forward)
            run.log({"event": "forecast", "stage": stage.name, **asdict(ahead)})
            say(told(stage, ahead))
        events = train(
            model, steps, settings, stage.folder, recipe=determined, forward=forward, ranks=ranks,
            asked=lambda: stopping.asked,
        )  # fmt: skip
        _follow(run, stage, settings.steps, events, ranks)
    if ranks.sharded:
        model = _whole(recipe, stage, loaded, model, ranks)
    on_first(partial(keep, run, stage, loaded, model, content_hash(determined)), ranks)
    if ranks.rank == 0:
        run.log_stage(stage.name, started, tuning.peak_bytes())


def _follow(run: RunFolder, stage: Stage, steps: int, events: Iterator[Event], ranks: Ranks) -> None:
    """Log the events of a training and show how far it is.

    Raises:
        Stopped: this process or another rank's was asked to end; a checkpoint is there.
    """
    first = next(events)
    for flaw in first["damaged"]:
        say(f"A checkpoint is damaged, so that the one before it is taken: {flaw}")
    with bar("Training", steps, first["step"]) as advance, stopping.after_step():
        for event in chain([first], events):
            if ranks.rank == 0:
                run.log({**event, "stage": stage.name})
            if event["event"] == "step":
                advance(1, _progress(event))
                stopping.expect(event["seconds"])
            elif event.get("signal"):
                raise Stopped(event["signal"])


def look_ahead(
    stage: Stage, model: PreTrainedModel, source: Source, settings: Settings, forward: Forward
) -> Forecast:
    """Return what the stage's training will take."""
    from espalier.train.forecast import forecast

    # Samples of later rounds would be of a model that has not learned yet, and be kept.
    rewarded = any(objective.rewards for objective, _ in stage.shared)
    look = range(max(objective.hold for objective, _ in stage.shared)) if rewarded else None
    by_tree = cast("Any", forward).keywords["shared"]  # see tuning.sharing
    with working("Taking two steps to see what training will take"):
        return forecast(model, source, settings, stage.folder, forward=forward, shared=by_tree, look=look)


def told(stage: Stage, ahead: Forecast) -> str:
    """Return a forecast as a sentence."""
    minutes = ahead.seconds / 60
    time = f"{ahead.seconds:.0f} s" if minutes < 2 else f"{minutes:.0f} min"
    time = time if minutes < 120 else f"{minutes / 60:.1f} h"
    name = stage.name.capitalize() if not stage.last or stage.number else "Training"
    return f"{name}: about {time} for {ahead.steps} steps, {ahead.peak_mb / 1000:.1f} GB in the largest step."


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


def ready_model(recipe: Recipe, stage: Stage, loaded: Loaded) -> tuple[PreTrainedModel, Template, Forward]:
    """Return the model as the stage's method prepares it, the template of its rows, and its forward."""
    from espalier.models.memory import recompute_activations
    from espalier.models.reward import leaf_scores
    from espalier.models.soft_prompt import virtual_ids

    longest = max(map(_longest, stage.encoded.units))
    sharing = tuning.sharing(loaded.model, longest)
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


def source_of(
    recipe: Recipe,
    stage: Stage,
    model: PreTrainedModel,
    template: Template,
    forward: Forward,
    *,
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
        units = encode_units(stage.examples, template, section.tokens, _written(stage.shared)).units
    examples = {example.id: example for example in stage.examples}
    answering = Answering(model, template, examples, recipe.model.precision, recipe.seed, ranks)
    samples = stage.folder / "samples.jsonl"
    tools = make_tools(
        model,
        forward,
        steps=steps_per_epoch(len(units), section.rows),
        tokens=section.tokens,
        precision=recipe.model.precision,
        keep=stage.folder / "reference.json",
        key=key,
        sampler=lambda rewards: journaled(samples, judged(answering.sampler(rewards)), ranks),
    )
    return steps_of(units, stage.shared, tools, size=section.rows, tokens=section.tokens, seed=recipe.seed)


def settings_of(recipe: Recipe, stage: Stage) -> Settings:
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
        precision=recipe.model.precision,
        checkpoint=section.checkpoint,
    )


def _written(shared: Sequence[tuple[Objective, float]]) -> int:
    """Return the most tokens of an answer that the model writes itself."""
    return max(objective.limit for objective, _ in shared)


def _longest(unit: Unit) -> int:
    return max([len(unit.prompt), *(len(row.ids) for row in unit.rows)])


def _kinds(stage: Stage) -> str:
    return " + ".join(choice.kind for choice in stage.section.objective)


def _progress(event: dict[str, Any]) -> str:
    said = [form.format(event["said"][name]) for name, form in SAID.items() if name in event["said"]]
    saved = 1 - event["distinct_tokens"] / event["tokens"]
    parts = (
        f"loss {event['loss']:.3f}",
        *said,
        f"{event['rows_per_s']:.1f} rows/s",
        f"{saved:.0%} tokens saved",
    )
    return "  ".join(parts)
