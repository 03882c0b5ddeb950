"""The stages of a run: each tunes the model that the one before left, and is not done twice.

The last stage's model is the run's; earlier ones are whole models in `stages/N/model`, so that what a stage
adds (an adapter, say) is always added to something that exists as a folder.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from espalier.core.files import content_hash, file_sha256
from espalier.core.recipe import TrainSection
from espalier.core.records import ALONE, Ranks
from espalier.data.split import nested
from espalier.encode.batches import steps_per_epoch
from espalier.encode.tokens import unit_hashes
from espalier.evaluate.rewards import MODEL
from espalier.models.adapters import method_on
from espalier.models.forward import edge_logprobs
from espalier.models.load import load_model, with_encoders
from espalier.models.memory import recompute_activations
from espalier.models.reward import leaf_scores, reward_model
from espalier.models.soft_prompt import virtual_ids
from espalier.runs.events import say, working
from espalier.runs.following import follow, foretold, kinds, look_ahead
from espalier.runs.in_tokens import encode_units
from espalier.runs.kept import is_done, keep, load_kept
from espalier.runs.media import align_projectors
from espalier.runs.overview import row_by_row
from espalier.runs.plan import samples, written
from espalier.runs.rating import rater_weights, raters
from espalier.runs.stopping import stopping
from espalier.runs.taken import note, take
from espalier.runs.trunk import alone, go_on, leaving, step_keys
from espalier.train.checkpoint import latest
from espalier.train.heldout import HeldOut, take_best, watched
from espalier.train.loop import Settings, keep_nothing, train
from espalier.train.noise import noisy
from espalier.train.optimizer import optimizers
from espalier.train.parallel import full_weights, on_first
from espalier.train.peak import peak_bytes
from espalier.train.reference import make_resources
from espalier.train.reinforcement import journaled
from espalier.train.sampling import Answering
from espalier.train.states import keeper, states_in
from espalier.train.steps import step_count, steps_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from transformers import PreTrainedModel

    from espalier.core.records import Example
    from espalier.core.run import RunFolder
    from espalier.encode.template import Template
    from espalier.encode.tokens import Unit
    from espalier.models.load import Loaded
    from espalier.models.precision import Format
    from espalier.runs.plan import Plan, Stage
    from espalier.train.loop import Forward
    from espalier.train.objectives import Sampler
    from espalier.train.steps import Source

# Steps from which on it is worth two of them to know what all will take.
FORETOLD = 8
# Keys of a stage that determine nothing of its weights, or by what they lead to only.
NO_PART = {"checkpoint", "data", "parallel", "dev", "patience", "keep", "states"}
# Keys that runs of earlier versions did not have.
LATER = {"order", "projector_rate", "align"}
# Evaluations of the held-out loss, where the recipe does not say after how many steps.
EVALUATIONS = 10


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
        determined = determinants(plan, stage)
        key = content_hash(determined)
        if not on_first(partial(_is_there, plan, run, stage, key), ranks):
            _tune(plan, run, stage, determined, ranks)
            on_first(partial(_share, plan, run, stage, key), ranks)
        with working("Loading the tuned model", aloud=False):
            tuned = load_kept(stage, plan.loaded)
        template = tuned.template.under(plan.template.rendering)
        tuned = replace(tuned, formats=plan.loaded.formats, template=template)
        plan = replace(plan, loaded=tuned)
        yield stage, tuned


def _is_there(plan: Plan, run: RunFolder, stage: Stage, key: str) -> bool:
    """Say whether a stage is done, here or in another run, from where it is then taken."""
    if is_done(run, stage, key):
        if stage.section.keep and not states_in(stage.states, key):
            say("Training is done, but kept no states: it is done again, to the same weights.")
            return False
        say(f"Training is done: {stage.model}")
    elif outside(stage) or not take(run, stage, key, plan.store):
        return False
    _share(plan, run, stage, key)
    return True


def _share(plan: Plan, run: RunFolder, stage: Stage, key: str) -> None:
    """Let other runs know of a stage, but for one that code from outside takes part in."""
    if not outside(stage):
        note(run, stage, key, plan.store)


def determinants(plan: Plan, stage: Stage) -> dict[str, Any]:
    """Return all that determines the tuned weights. Where the files lie and when to save is no part of it."""
    rows, dev = (unit_hashes(units) for units in (stage.encoded.units, stage.heldout))
    watch = {"dev": stage.section.dev, "patience": stage.section.patience, "rows": content_hash(dev)}
    models = rater_weights([name for objective, _ in stage.shared for name in objective.rewards])
    sampled = samples(stage.shared)
    judged = [(e.input, e.references) for e in stage.examples if sampled]
    formats = plan.loaded.formats
    return {
        "seed": plan.seed,
        "model": {"precision": formats.training, "device": plan.choices.recipe.model.device},
        "train": _told(stage.section),
        "weights": plan.loaded.weights,
        "rows": content_hash([rows, judged]),
        **({"held out": watch} if stage.heldout else {}),
        **({"rewards": models} if models else {}),
        **({"sampled in": formats.decoding} if sampled and formats.decoding != formats.training else {}),
    }


def _told(section: TrainSection) -> dict[str, Any]:
    """Return a stage's keys as determinants; those of `LATER` only where they are not as usual."""
    usual = TrainSection()
    left = {key for key in LATER if getattr(section, key) == getattr(usual, key)}
    return section.model_dump(exclude=NO_PART | left)


def _tune(plan: Plan, run: RunFolder, stage: Stage, determined: dict[str, Any], ranks: Ranks) -> None:
    started = time.monotonic()
    if len(plan.stages) > 1:
        say(f"Stage {stage.number + 1} of {len(plan.stages)}: {kinds(stage)}, {stage.section.method.kind}")
    on_first(lambda: stage.folder.mkdir(parents=True, exist_ok=True), ranks)
    ready = ready_model(plan, stage)
    if stage.section.align:
        align_projectors(ready.model, stage, ready.template, run, ranks)
    model, forward = ready.model, ready.forward
    key = content_hash(determined)
    source = source_of(
        plan, stage, ready, key=key, ranks=ranks, tell=lambda told: run.log({**told, "stage": stage.name})
    )
    settings = settings_of(stage, plan.loaded.formats.training)
    heldout = heldout_of(plan, stage, ready, settings)
    keeps = keep_nothing
    if stage.section.keep and ranks.rank == 0:
        keeps = keeper(stage.states, model, settings, key, stage.section.states)
    if ranks.size == 1 and not alone(stage) and not outside(stage):
        keys = step_keys(stage, determined, _in_order(plan, stage, stage.encoded.units))
        go_on(run, stage, determined, keys, plan.store)
        keeps = leaving(run, stage, determined, keys, model, plan.store)
    with noisy(model, source, stage.section.noise, plan.seed) as steps:
        if ranks.size == 1 and settings.steps >= FORETOLD and latest(stage.folder / "checkpoints") is None:
            ahead = look_ahead(stage, ready, steps, settings, heldout)
            run.log({"event": "forecast", "stage": stage.name, **asdict(ahead)})
            say(foretold(stage, ahead))
        events = train(
            model, steps, settings, stage.folder, recipe=determined, forward=forward, ranks=ranks,
            asked=lambda: stopping.asked, keep=keeps,
        )  # fmt: skip
        if heldout:
            events = watched(
                events, model, heldout, stage.folder,
                forward=forward, precision=settings.precision, ranks=ranks,
            )  # fmt: skip
        events = events if ready.shared else map(row_by_row, events)
        follow(run, stage, plan.loaded.model.config.get_text_config().vocab_size, events, ranks)
    if ranks.sharded:
        model = _whole(plan, stage, model, ranks)
    if heldout:
        on_first(partial(take_best, model, stage.folder), ranks)
    on_first(partial(keep, run, stage, plan.loaded, model, key), ranks)
    if ranks.rank == 0:
        run.log_stage(stage.name, started, peak_bytes())


@working("Gathering the weights of all processes", aloud=False)
def _whole(plan: Plan, stage: Stage, model: PreTrainedModel, ranks: Ranks) -> PreTrainedModel:
    """Return on rank 0 a model with the weights that the ranks hold shares of."""
    weights = full_weights(model, ranks)
    if ranks.rank == 0:
        base = load_model(plan.loaded.place)
        if chosen := plan.choices.recipe.model.encoders:  # fresh projectors lie nowhere yet
            base = with_encoders(base, chosen, plan.seed)
        model = _fresh(replace(plan, loaded=base), stage)
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
    tell: Callable[[dict[str, Any]], object] = lambda _: None,
) -> Source:
    """Return the stage's steps.

    `key` is the hash of all that determines the stage; `judged` may change what samples are worth, and `tell`
    is told every round of them.
    """
    section, template = stage.section, ready.template
    units = _in_order(plan, stage, _behind(template, stage.encoded.units, stage.examples, stage))
    examples = {example.id: example for example in stage.examples}
    formats = plan.loaded.formats
    judges = partial(raters, cache=plan.cache)
    answering = Answering(ready.model, template, examples, formats.decoding, plan.seed, judges, ranks)
    sampled = content_hash([key, outside(stage)])

    def sampler(rewards: Mapping[str, float]) -> Sampler:
        return journaled(plan.store, sampled, judged(answering.sampler(rewards)), ranks, tell)

    return _steps(plan, stage, ready, units, size=section.rows, sampler=sampler)


def heldout_of(plan: Plan, stage: Stage, ready: Ready, settings: Settings) -> HeldOut | None:
    """Return what a training is watched by, which is no step of it; None where nothing is held out.

    The model has to be as the stage found it: objectives ask for what it says of the rows.
    """
    if not stage.heldout:
        return None
    units = _behind(ready.template, stage.heldout, stage.dev, stage)
    source = _steps(plan, stage, ready, units, size=len(units), sampler=_never)
    every = stage.section.dev or -(-settings.steps // EVALUATIONS)
    return HeldOut(partial(source, 0), every, stage.section.patience)


def _behind(template: Template, units: list[Unit], examples: list[Example], stage: Stage) -> list[Unit]:
    """Return the units as they are, or behind a soft prompt."""
    if not template.prefix:
        return units
    return encode_units(examples, template, stage.section.tokens, written(stage.shared), []).units


def _in_order(plan: Plan, stage: Stage, units: list[Unit]) -> list[Unit]:
    """Return the units as the stage's steps take them."""
    if stage.section.order != "nested":
        return units
    rows = nested(stage.examples, plan.choices.recipe.split_seed)
    places = {row.id: place for place, row in enumerate(rows)}
    return sorted(units, key=lambda unit: places[unit.example])


def _steps(
    plan: Plan,
    stage: Stage,
    ready: Ready,
    units: list[Unit],
    *,
    size: int,
    sampler: Callable[[Mapping[str, float]], Sampler],
) -> Source:
    section, formats = stage.section, plan.loaded.formats
    # All that a reference's log-probabilities depend on besides the rows.
    found = [plan.loaded.weights, section.method.model_dump(), plan.seed, formats.training, section.tokens]
    resources = make_resources(
        ready.model,
        ready.forward,
        steps=steps_per_epoch(len(units), size),
        tokens=section.tokens,
        precision=formats.training,
        store=plan.store,
        key=content_hash([*found, outside(stage), str(ready.model.device)]),
        sampler=sampler,
        nested=section.order == "nested",
    )
    return steps_of(units, stage.shared, resources, size=size, tokens=section.tokens, seed=plan.seed)


def _never(rewards: Mapping[str, float]) -> Sampler:
    raise AssertionError(rewards)


def outside(stage: Stage) -> list[str]:
    """Return the hashes of the files whose code takes part in a stage and is not ours."""
    section = stage.section
    kinds = [choice.kind for choice in (section.method, section.optimizer, *section.objective)]
    names = [*kinds, *(name for objective, _ in stage.shared for name in objective.rewards)]
    modules = sorted({name.partition(":")[0] for name in names if ":" in name} - {MODEL.removesuffix(":")})
    specs = [find_spec(module) for module in modules]
    return [file_sha256(Path(spec.origin)) for spec in specs if spec and spec.origin]


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
        projector=section.projector_rate / section.rate if section.projector_rate else 1.0,
        optimizer=optimizers.build(section.optimizer.kind, section.optimizer.params, "train.optimizer"),
        precision=precision,
        checkpoint=section.checkpoint,
    )
