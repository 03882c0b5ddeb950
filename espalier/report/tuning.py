"""What the report says of the training: how each stage tuned the model, and how that went."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from espalier.core.text import counted, folded
from espalier.evaluate.measures import metric_of
from espalier.report.charts import curve

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from espalier.report.charts import Curve
    from espalier.report.gather import Material

# What an objective learns from, in words.
AIMS = {
    "sft": "on answers (SFT)",
    "dpo": "on pairs of a better and a worse answer (DPO)",
    "kto": "on single thumbs, up or down (KTO)",
    "grpo": "on rewards for answers of its own (GRPO)",
    "reward": "to rate answers, from pairs of a better and a worse one (a reward model)",
}
# What a step can say of itself, in the order of the plots; each reward by name comes after the first.
SERIES = {
    "reward": "Mean reward",
    "accuracy": "Pairs in the right order",
    "distinct": "Share of different answers",
    "kl": "KL from before the stage",
}
# What a stage is summed up by, where its steps say it: in words, and the form of the number.
LEADS = {
    "reward": ("Mean reward of the model's own answers", "{:.2f}"),
    "accuracy": ("Pairs in the right order", "{:.0%}"),
}
ANSWERS = 3  # of the first round and of the last


@dataclass(frozen=True)
class Plot:
    """A curve under its name."""

    name: str
    curve: Curve


@dataclass(frozen=True)
class Round:
    """Answers that the model learned from at one time: what was asked where that is known, text, rewards."""

    name: str
    answers: list[tuple[str, dict[str, Any]]]


@dataclass(frozen=True)
class Training:
    """A stage of training: its name, what there is to say of it, its curves, its first and last answers.

    `updates` are the curves of what was done to the weights, and `clipped` says how often a gradient was cut.
    """

    name: str
    said: str
    plots: list[Plot]
    updates: list[Plot]
    clipped: str
    rounds: list[Round]


def how(material: Material) -> str:
    """Return how the model was tuned, stage by stage, as the end of a sentence."""
    sections = material.sections()
    if len(sections) == 1:
        return f"with {_described(sections[0])}"
    listed = "; ".join(f"({number}) {_described(section)}" for number, section in enumerate(sections, 1))
    return f"in {len(sections)} stages, each from the weights of the one before: {listed}"


def rewards(section: Mapping[str, Any]) -> dict[str, float]:
    """Return what a stage's answers are rewarded for, with the weights."""
    return {k: v for aim in section.get("objective", []) for k, v in aim.get("rewards", {}).items()}


def trainings(material: Material) -> list[Training]:
    """Return the stages that took at least one step."""
    found: list[Training] = []
    for number, (name, section) in enumerate(zip(material.trainings(), material.sections(), strict=True)):
        steps = material.steps(name)
        if steps:
            dev = material.steps(name, "dev")
            label = f"Stage {number + 1}: {_kinds(section)}" if len(material.sections()) > 1 else ""
            rounds = _rounds(material, material.samples.get(name, []))
            run = material.taken_from(name)
            taken = f" Another run did this, {run}, and its model was taken from there." if run else ""
            told, clipped = _said(section, steps) + _held_out(dev) + taken, _clipped(section, steps)
            found.append(Training(label, told, _plots(steps, dev), _updates(steps), clipped, rounds))
    return found


def _objectives(section: Mapping[str, Any]) -> list[dict[str, Any]]:
    return section.get("objective") or [{"kind": "sft"}]


def _kinds(section: Mapping[str, Any]) -> str:
    kinds = [aim["kind"] for aim in _objectives(section)]
    return " + ".join(kind.upper() if kind in ("sft", "dpo", "kto", "grpo") else kind for kind in kinds)


def _described(section: Mapping[str, Any]) -> str:
    aims = [AIMS.get(aim["kind"], f"by {aim['kind']}") for aim in _objectives(section)]
    rewarded = [f"{metric_of(name).title.lower()} × {weight:g}" for name, weight in rewards(section).items()]
    data = [f"rows of {Path(section['data']).name}"] if section.get("data") else []
    parts = [*([f"rewarded for {', '.join(rewarded)}"] if rewarded else []), *data]
    method = section.get("method", {}).get("kind", "an unknown method of")
    return f"{method} fine-tuning {' and '.join(aims)}{''.join(f', {part}' for part in parts)}"


def _said(section: Mapping[str, Any], steps: Sequence[Mapping[str, Any]]) -> str:
    """Return what the first and the last step say, and how many there were."""
    if len(steps) == 1:
        return f"One step was taken; its loss was {steps[0]['loss']:.3f}."
    known = [name for name in LEADS if name in steps[0].get("said", {})]
    if known:
        told, form = LEADS[known[0]]
        before, after = (form.format(step["said"][known[0]]) for step in (steps[0], steps[-1]))
    else:
        unit = " in nats per answer token" if [aim["kind"] for aim in _objectives(section)] == ["sft"] else ""
        told, before, after = f"Mean loss{unit}", f"{steps[0]['loss']:.3f}", f"{steps[-1]['loss']:.3f}"
    return f"{told}: {before} at the first step, {after} at the last of {len(steps)}."


def _held_out(dev: Sequence[Mapping[str, Any]]) -> str:
    """Return what the evaluations say, as sentences; '' where there are none."""
    finite = [event for event in dev if math.isfinite(event["loss"])]
    if not finite:
        return ""
    best, last = min(finite, key=lambda event: event["loss"]), dev[-1]
    rows = counted(best["rows"], "row")
    early = (
        f" There training ended, before its {last['steps']} steps." if last["step"] < last["steps"] else ""
    )
    lowest = f"The loss of {rows} held out (dashed) was lowest at"
    if best["step"] == last["step"]:
        return f" {lowest} the last step (the dot), {best['loss']:.4f}, and its weights were kept.{early}"
    return (
        f" {lowest} step {best['step']} (the dot), {best['loss']:.4f}, and those weights were kept; "
        f"at the last, {last['step']}, it was {last['loss']:.4f}.{early}"
    )


def _plots(steps: Sequence[Mapping[str, Any]], dev: Sequence[Mapping[str, Any]]) -> list[Plot]:
    """Return the curves of what the steps say of themselves, and of the loss: last, where rewards lead.

    The loss of rows that are held out is drawn beside it.
    """
    said = steps[0].get("said", {})
    named = [
        (name, f"Reward: {metric_of(name[7:]).title.lower()}") for name in said if name.startswith("reward ")
    ]
    series = [*SERIES.items()]
    series = [(name, label) for name, label in [*series[:1], *named, *series[1:]] if name in said]
    plots = [
        (label, curve([(step["step"], step["said"][name]) for step in steps if name in step.get("said", {})]))
        for name, label in series
    ]
    beside = [(event["step"], event["loss"]) for event in dev]
    loss = ("Loss", curve([(step["step"], step["loss"]) for step in steps], beside))
    ordered = [*plots, loss] if "reward" in said else [loss, *plots]
    return [Plot(name, drawn) for name, drawn in ordered if drawn]


def _updates(steps: Sequence[Mapping[str, Any]]) -> list[Plot]:
    """Return the curves of the gradient's norm and of the learning rate, where the steps tell them.

    The rate is drawn in units of a power of ten, which its name says.
    """
    norms = [(step["step"], step["norm"]) for step in steps if "norm" in step]
    rates = [(step["step"], step["rate"]) for step in steps if "rate" in step]
    most = max((rate for _, rate in rates), default=0.0)
    power = math.floor(math.log10(most)) if 0 < most < math.inf else 0
    scaled = [(step, rate / 10.0**power) for step, rate in rates]
    unit = f" (in 1e{power})" if power else ""
    drawn = (("Norm of the gradient", curve(norms)), (f"Learning rate{unit}", curve(scaled)))
    return [Plot(name, line) for name, line in drawn if line]


def _clipped(section: Mapping[str, Any], steps: Sequence[Mapping[str, Any]]) -> str:
    """Return at how many steps the gradient was longer than the limit, as a sentence; '' where unknown."""
    norms, limit = [step["norm"] for step in steps if "norm" in step], section.get("clip")
    if not norms or limit is None:
        return ""
    count = sum(norm > limit for norm in norms)
    steps_taken = counted(len(norms), "step")
    return f"At {count} of {steps_taken} the gradient was cut to the norm {limit:g} (train.clip)."


def _rounds(material: Material, samples: Sequence[Mapping[str, Any]]) -> list[Round]:
    """Return a few answers of the first and of the last round, one to a prompt."""
    inputs = {example.id: example.input for example in (*material.train, *material.test)}
    found: list[Round] = []
    turns = sorted({line["round"] for line in samples})
    for turn in dict.fromkeys([*turns[:1], *turns[-1:]]):
        lines = [line for line in samples if line["round"] == turn]
        different = len({folded(line["text"]) for line in lines})
        name = f"Round {turn + 1}: {counted(len(lines), 'answer')}, {different} of them different"
        shown = [line for line in lines if line["number"] == 0][:ANSWERS]
        found.append(Round(name, [(inputs.get(line["example"], ""), dict(line)) for line in shown]))
    return found
