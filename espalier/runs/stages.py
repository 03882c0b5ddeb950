"""The stages of a run: each tunes the model that the one before left, and is not done twice.

The last stage's model is the run's; earlier ones are whole models in `stages/N/model`, so that what a stage
adds (an adapter, say) is always added to something that exists as a folder.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from espalier.core.files import content_hash
from espalier.core.records import ALONE, Ranks
from espalier.encode.batches import steps_per_epoch
from espalier.models.adapters import method_on
from espalier.models.forward import edge_logprobs
from espalier.models.load import load_model
from espalier.models.memory import recompute_activations
from espalier.models.reward import leaf_scores, reward_model
from espalier.models.soft_prompt import virtual_ids
from espalier.runs.events import say, working
from espalier.runs.following import follow, foretold, kinds, look_ahead
from espalier.runs.kept import clear, is_done, keep, load_kept
from espalier.runs.plan import written
from espalier.runs.prepare import encode_units
from espalier.runs.rating import rater_weights, raters
from espalier.runs.stopping import stopping
from espalier.train.checkpoint import latest
from espalier.train.loop import Settings, train
from espalier.train.noise import noisy
from espalier.train.optimizer import optimizers
from espalier.train.parallel import full_weights, on_first
from espalier.train.peak import peak_bytes
from espalier.train.reference import make_tools
from espalier.train.reinforcement import journaled
from espalier.train.sampling import Answering
from espalier.train.steps import step_count, steps_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from transformers import PreTrainedModel

    from espalier.core.run import RunFolder
    from espalier.encode.template import Template
    from espalier.models.load import Loaded
    from espalier.models.precision import Format
    from espalier.runs.plan import Plan, Stage
    from espalier.train.loop import Forward
    from espalier.train.objectives import Sampler
    from espalier.train.steps import Source

# Steps from which on it is worth two of them to know what all will take.
FORETOLD = 8


@dataclass(frozen=True)
class Ready:
    """A stage's model, ready to be trained.

    Attributes:
        model: with the weights that the stage moves.
        template: of its rows, behind the ids of a soft prompt if it has one.
        forward: what computes its rows.
        shared: whether that computes a prefix once.
    """

    model: PreTrainedModel
    template: Template
    forward: Forward
    shared: bool


def train_stages(plan: Plan, run: RunFolder, ranks: Ranks = ALONE) -> Iterator[tuple[Stage, Loaded]]:
    """Do every stage that is not done, in turn, and yield each with its tuned model.

    Every rank calls it; only rank 0 writes, and it decides what is done.
    """
    for stage in plan.stages:
        ranks = replace(ranks, sharded=ranks.size > 1 and stage.section.parallel == "fsdp")
        determined = _determined(plan, stage)
        key = content_hash(determined)
        if on_first(partial(is_done, run, stage, key), ranks):
            say(f"Training is done: {stage.model}")
        else:
            _tune(plan, run, stage, determined, ranks)
        with working("Loading the tuned model", aloud=False):
            tuned = load_kept(stage, plan.loaded)
        template = tuned.template.under(plan.template.rendering)
        tuned = replace(tuned, formats=plan.loaded.formats, template=template)
        plan = replace(plan, loaded=tuned)
        yield stage, tuned


def _determined(plan: Plan, stage: Stage) -> dict[str, Any]:
    """Return all that determines the tuned weights. Where the files lie and when to save is no part of it."""
    rows = [[(row.ids, row.weights, row.role) for row in unit.rows] for unit in stage.encoded.units]
    models = rater_weights([name for objective, _ in stage.shared for name in objective.rewards])
    sampled = any(objective.rewards for objective, _ in stage.shared)
    judged = [(e.input, e.references) for e in stage.examples if sampled]
    formats = plan.loaded.formats
    return {
        "seed": plan.seed,
        "model": {"precision": formats.training, "device": plan.choices.recipe.model.device},
        "train": stage.section.model_dump(exclude={"checkpoint", "data", "parallel"}),
        "weights": plan.loaded.weights,
        "rows": content_hash([[unit.prompt for unit in stage.encoded.units], rows, judged]),
        **({"rewards": models} if models else {}),
        **({"sampled in": formats.decoding} if sampled and formats.decoding != formats.training else {}),
    }


def _tune(plan: Plan, run: RunFolder, stage: Stage, determined: dict[str, Any], ranks: Ranks) -> None:
    started = time.monotonic()
    if len(plan.stages) > 1:
        say(f"Stage {stage.number + 1} of {len(plan.stages)}: {kinds(stage)}, {stage.section.method.kind}")
    on_first(partial(clear, stage), ranks)
    ready = ready_model(plan, stage)
    model, forward = ready.model, ready.forward
    key = content_hash(determined)
    source = source_of(plan, stage, ready, key=key, ranks=ranks)
    settings = settings_of(stage, plan.loaded.formats.training)
    with noisy(model, source, stage.section.noise, plan.seed) as steps:
        if ranks.size == 1 and settings.steps >= FORETOLD and latest(stage.folder / "checkpoints") is None:
            ahead = look_ahead(stage, ready, steps, settings)
            run.log({"event": "forecast", "stage": stage.name, **asdict(ahead)})
            say(foretold(stage, ahead))
        events = train(
            model, steps, settings, stage.folder, recipe=determined, forward=forward, ranks=ranks,
            asked=lambda: stopping.asked,
        )  # fmt: skip
        follow(run, stage, plan.loaded.model.config.get_text_config().vocab_size, events, ranks)
    if ranks.sharded:
        model = _whole(plan, stage, model, ranks)
    on_first(partial(keep, run, stage, plan.loaded, model, key), ranks)
    if ranks.rank == 0:
        run.log_stage(stage.name, started, peak_bytes())


@working("Gathering the weights of all processes", aloud=False)
def _whole(plan: Plan, stage: Stage, model: PreTrainedModel, ranks: Ranks) -> PreTrainedModel:
    """Return on rank 0 a model with the weights that the ranks hold shares of."""
    weights = full_weights(model, ranks)
    if ranks.rank == 0:
        model = _fresh(replace(plan, loaded=load_model(plan.loaded.place)), stage)
        model.load_state_dict(weights)
    return model


@working("Preparing the model", aloud=False)
def ready_model(plan: Plan, stage: Stage) -> Ready:
    """Return the model as the stage's method prepares it, with what computes the stage's rows.

    Raises:
        ModelError: the model's code does not train on such rows.
    """
    shared = plan.loaded.sharing.why_not(stage.longest, training=True) is None
    model = _fresh(plan, stage)
    if stage.section.recompute:
        recompute_activations(model)
    forward = partial(leaf_scores if stage.rates else edge_logprobs, shared=shared)
    return Ready(model, plan.template.prefixed(virtual_ids(model)), forward, shared)


def _fresh(plan: Plan, stage: Stage) -> PreTrainedModel:
    """Return the model with the weights that the stage moves, under the head that it needs."""
    model = plan.loaded.model
    if stage.rates:
        torch.manual_seed(plan.seed)
        model = reward_model(model, plan.loaded.tokenizer, plan.template.stop_ids)
    method = stage.section.method
    return method_on(model, method.kind, method.params, plan.seed)


@working("Preparing the steps", aloud=False)
def source_of(
    plan: Plan,
    stage: Stage,
    ready: Ready,
    *,
    key: str,
    judged: Callable[[Sampler], Sampler] = lambda sampler: sampler,
    ranks: Ranks = ALONE,
) -> Source:
    """Return the stage's steps.

    `key` is the hash of all that the reference's log-probabilities depend on; `judged` may change what
    samples are worth.
    """
    section, units, template = stage.section, stage.encoded.units, ready.template
    if template.prefix:
        units = encode_units(stage.examples, template, section.tokens, written(stage.shared), []).units
    examples = {example.id: example for example in stage.examples}
    formats = plan.loaded.formats
    judges = partial(raters, cache=plan.cache)
    answering = Answering(ready.model, template, examples, formats.decoding, plan.seed, judges, ranks)
    samples = stage.folder / "samples.jsonl"
    tools = make_tools(
        ready.model,
        ready.forward,
        steps=steps_per_epoch(len(units), section.rows),
        tokens=section.tokens,
        precision=formats.training,
        keep=stage.folder / "reference.json",
        key=key,
        sampler=lambda rewards: journaled(samples, judged(answering.sampler(rewards)), ranks),
    )
    return steps_of(units, stage.shared, tools, size=section.rows, tokens=section.tokens, seed=plan.seed)


def settings_of(stage: Stage, precision: Format) -> Settings:
    """Return the numbers of the stage's training."""
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
