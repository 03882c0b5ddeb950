"""What is said of a training: what it will take, how far it is, and whether it goes wrong."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any

from espalier.core.errors import RunError
from espalier.core.text import spelt
from espalier.runs.events import bar, say, working
from espalier.runs.stopping import Stopped, stopping
from espalier.train.divergence import ROWS, divergence
from espalier.train.forecast import forecast

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from espalier.core.records import Ranks
    from espalier.core.run import RunFolder
    from espalier.runs.plan import Stage
    from espalier.runs.stages import Ready
    from espalier.train.forecast import Forecast, Sight
    from espalier.train.heldout import HeldOut
    from espalier.train.loop import Event, Settings
    from espalier.train.steps import Source

# Said of the step on the progress bar where it is known, in this order.
SAID = {"reward": "reward {:.2f}", "accuracy": "pairs right {:.0%}", "kl": "KL {:.3f}"}
# Seconds from which on a training is long, and how many times longer it may seem by its first tree (`Sight`).
LONG, COLD = 1800.0, 5


def look_ahead(
    stage: Stage, ready: Ready, source: Source, settings: Settings, heldout: HeldOut | None
) -> Forecast:
    """Return what the stage's training will take; say early where that is long, and what to do about it."""
    # Samples of later rounds would be of a model that has not learned yet, and be kept.
    rewarded = any(objective.rewards for objective, _ in stage.shared)
    look = range(max(objective.hold for objective, _ in stage.shared)) if rewarded else None
    what = "Taking two steps to see what training will take"
    warned = False
    with working(what) as tell:

        def see(sight: Sight) -> None:
            nonlocal warned
            tell(f"{what}: {sight.done} of {sight.trees} trees", aloud=False)
            if not warned and sight.seconds > LONG * (COLD if sight.done == 1 else 1):
                warned = True
                say(f"The training is long: about {spelt(sight.seconds)}. {advice(stage)}")

        return forecast(
            ready.model,
            source,
            settings,
            stage.folder,
            forward=ready.forward,
            shared=ready.shared,
            look=look,
            heldout=heldout,
            tell=see,
        )


def foretold(stage: Stage, ahead: Forecast) -> str:
    """Return a forecast as a sentence."""
    name = stage.name.capitalize() if not stage.last or stage.number else "Training"
    memory = "" if ahead.peak_mb is None else f", {ahead.peak_mb / 1000:.1f} GB in the largest step"
    media = ""
    if ahead.step_media:
        media = f" A step computes {ahead.step_tokens:,.0f} tokens, {ahead.step_media:,.0f} of them of media."
    return f"{name}: about {spelt(ahead.seconds)} for {ahead.steps} steps{memory}.{media}"


def advice(stage: Stage) -> str:
    """Return what makes a stage's training shorter, as sentences."""
    section = stage.section
    ways = [
        (not section.data, f"fewer rows (-o data.limit={max(1, len(stage.examples) // 4)})"),
        (section.epochs > 1, f"fewer epochs (-o {stage.key}.epochs=1)"),
        (section.method.kind == "full", f"an adapter (-o {stage.key}.method=lora)"),
        (True, "a smaller model, or a machine with a GPU"),
    ]
    return f"Shorter: {', '.join(way for applies, way in ways if applies)}. Ctrl-C ends it here."


def follow(run: RunFolder, stage: Stage, vocabulary: int, events: Iterator[Event], ranks: Ranks) -> None:
    """Log the events of a training, show how far it is, and end one whose loss gets worse than guessing.

    Raises:
        RunError: the training has diverged; see `train/divergence.py`.
        Stopped: this process or another rank's was asked to end; a checkpoint is there.
    """
    first = next(events)
    for flaw in first["damaged"]:
        say(f"A checkpoint is damaged, so that the one before it is taken: {flaw}")
    watch, note = _watching(run, stage, vocabulary, ranks), ""
    with bar("Training", first["steps"], first["step"]) as advance, stopping.after_step():
        for event in chain([first], events):
            if ranks.rank == 0:
                run.log({**event, "stage": stage.name})
            if event["event"] == "step":
                advance(1, _progress(event) + note)
                stopping.expect(event["seconds"])
                watch(event)
            elif event["event"] == "dev":
                note = f"  held out {event['loss']:.3f}"
                stopping.expect(event["seconds"])
            elif event["event"] == "kept":
                say(_kept(event))
            elif event.get("signal"):
                raise Stopped(event["signal"])


def _watching(run: RunFolder, stage: Stage, vocabulary: int, ranks: Ranks) -> Callable[[Event], None]:
    """Return what takes the steps of a training and tells where its loss rises, once. It raises RunError."""
    steps: list[Event] = []
    answers = [choice.kind for choice in stage.section.objective] == ["sft"]
    warned = False
    lower = f"-o {stage.key}.rate={stage.section.rate / 10:g} --overwrite"
    lower = f"Lower the rate, to a tenth at first: the same command with {lower}."

    def watch(event: Event) -> None:
        nonlocal warned
        steps.append(event)
        del steps[1:-ROWS]  # what is not looked at
        # What an interrupted training began with is not known here, and its first steps were watched.
        found = divergence(steps, vocabulary if answers else None) if steps[0]["step"] == 1 else None
        if found is None or (warned and not found.hopeless):
            return
        warned = True
        if ranks.rank == 0:
            run.log({"event": "diverging", "stage": stage.name, "step": event["step"], "said": found.said})
        if found.hopeless:
            raise RunError(f"The training has diverged: {found.said}", where=f"{stage.key}.rate", hint=lower)
        say(f"Warning: the loss rises: {found.said} {lower}")

    return watch


def _kept(kept: Event) -> str:
    """Return which weights a training with held-out rows came to, as sentences."""
    step, last, steps = kept["step"], kept["last"], kept["steps"]
    early = f"Training ended early, at step {last} of {steps}. " if last < steps else ""
    if step == last:
        return f"{early}The last step's weights are kept, of the lowest held-out loss: {kept['loss']:.4f}."
    return (
        f"{early}The weights of step {step} are kept, of the lowest held-out loss: {kept['loss']:.4f}. "
        f"At the last step, {last}, it was {kept['last_loss']:.4f}."
    )


def kinds(stage: Stage) -> str:
    """Return what a stage learns by, such as "grpo + sft"."""
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
