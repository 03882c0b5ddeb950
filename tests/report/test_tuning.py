"""What the report says of stages, of rewards, and of what was not rewarded."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest

from espalier.core.files import jsonl
from espalier.evaluate.findings import hacking
from espalier.evaluate.scores import Scores
from espalier.report.gather import gather
from espalier.report.page import write_report
from espalier.report.tuning import how, trainings

STAGES = """
[[train]]
rate = 1e-3

[[train]]
data = "/home/somebody/pairs.jsonl"
method = { kind = "lora", rank = 8 }
objective = [{ kind = "dpo", beta = 0.1 }]

[[train]]
method = { kind = "full" }

[[train.objective]]
kind = "grpo"
rewards = { asks_how_long = 1.0, diversity = 0.5 }
"""


def _step(stage: str, number: int, loss: float, said: dict[str, float]) -> dict[str, Any]:
    return {"event": "step", "stage": stage, "step": number, "loss": loss, "said": said, "seconds": 2.0,
            "peak_mb": 700.0, "tokens": 90, "distinct_tokens": 30}  # fmt: skip


@pytest.fixture
def staged(run_folder: Path) -> Path:
    """A run of three stages, whose last one rewarded one of two checks."""
    recipe = (run_folder / "recipe.toml").read_text()
    (run_folder / "recipe.toml").write_text(recipe[: recipe.index("[train]")] + STAGES)
    events: list[dict[str, Any]] = [{"event": "stage", "stage": "train", "seconds": 99.0, "peak_bytes": 1e9}]
    for number in (1, 2, 3):
        gain = number / 10
        events += [
            _step("train 0", number, 3 - gain, {}),
            _step("train 1", number, 0.7 - gain, {"accuracy": 0.5 + gain, "margin": gain}),
            _step("train 2", number, 0.0, {
                "reward": 0.2 + gain, "reward asks_how_long": gain, "reward diversity": 0.4,
                "distinct": 1 - gain, "kl": gain / 100,
            }),
        ]  # fmt: skip
    (run_folder / "events.jsonl").write_text(jsonl(events))
    example = gather(run_folder).train[0].id
    events += [
        {"event": "samples", "stage": "train 2", "round": turn, "answers": [
            {"example": example, "number": number, "text": f"<Answer> {turn} {number}", "finish": "stop",
             "reward": 0.75 * turn, "rewards": {"asks_how_long": 1.0, "diversity": None}}
            for number in (0, 1)
        ]}
        for turn in (0, 1, 2)
    ]  # fmt: skip
    (run_folder / "events.jsonl").write_text(jsonl(events) + '{"event": "samp')
    return run_folder


def test_the_loss_of_rows_held_out_is_drawn_beside(staged: Path) -> None:
    events = (staged / "events.jsonl").read_text()
    dev = [
        {"event": "dev", "stage": "train 0", "step": step, "steps": 4, "loss": loss, "rows": 7}
        for step, loss in ((1, 9.0), (1, 3.5), (2, 2.5), (3, math.nan), (3, 3.0))
    ]
    (staged / "events.jsonl").write_text(events + jsonl(dev))
    sft, dpo, _ = trainings(gather(staged))
    assert sft.said.endswith(
        " The loss of 7 rows held out (dashed) was lowest at step 2 (the dot), 2.5000, and those weights "
        "were kept; at the last, 3, it was 3.0000. There training ended, before its 4 steps."
    )
    loss = sft.plots[0].curve
    points = [tuple(map(float, point.split(","))) for point in loss.beside.split()]
    assert [x for x, _ in points] == [0, 50, 100]
    assert points[0] == (0, 100 * 0.5 / 4)  # the axis goes to 4, where that of the steps alone goes to 3
    assert loss.mark.split() == [loss.beside.split()[1]] * 2
    assert "held out" not in dpo.said
    assert not dpo.plots[0].curve.beside
    page = write_report(staged).read_text()
    assert page.count('class="beside"') == page.count('class="mark"') == 1


def test_the_lowest_loss_may_be_the_last(staged: Path) -> None:
    events = (staged / "events.jsonl").read_text()
    dev = [
        {"event": "dev", "stage": "train 0", "step": step, "steps": 4, "loss": loss, "rows": 7}
        for step, loss in ((1, 9.0), (2, 3.5), (4, 3.0))
    ]
    (staged / "events.jsonl").write_text(events + jsonl(dev))
    said = trainings(gather(staged))[0].said
    assert said.endswith("was lowest at the last step (the dot), 3.0000, and its weights were kept.")


def test_a_training_that_another_run_did_is_told_as_its(staged: Path) -> None:
    events = (staged / "events.jsonl").read_text()
    taken = jsonl([{"event": "taken", "stage": "train 0", "run": "the-first"}])
    (staged / "events.jsonl").write_text(events + taken + taken)  # the line before is torn
    sft, dpo, _ = trainings(gather(staged))
    assert sft.said.endswith(" Another run did this, the-first, and its model was taken from there.")
    assert "the-first" not in dpo.said
    assert "in the run the-first" in write_report(staged).read_text()
    again = jsonl([{"event": "train", "stage": "train 0", "step": 0}])
    (staged / "events.jsonl").write_text(taken + again + events)
    assert "the-first" not in trainings(gather(staged))[0].said


def test_each_stage_is_told_and_drawn(staged: Path) -> None:
    material = gather(staged)
    said = how(material)
    assert said.startswith("in 3 stages, each from the weights of the one before: (1) ")
    assert "(2) lora fine-tuning on pairs of a better and a worse answer (DPO), rows of pairs.jsonl;" in said
    assert said.endswith("(GRPO), rewarded for asks how long × 1, diversity × 0.5")
    sft, dpo, grpo = trainings(material)
    assert [stage.name for stage in (sft, dpo, grpo)] == ["Stage 1: SFT", "Stage 2: DPO", "Stage 3: GRPO"]
    assert sft.said == "Mean loss in nats per answer token: 2.900 at the first step, 2.700 at the last of 3."
    assert dpo.said == "Pairs in the right order: 60% at the first step, 80% at the last of 3."
    assert [plot.name for plot in dpo.plots] == ["Loss", "Pairs in the right order"]
    assert [plot.name for plot in grpo.plots] == [
        "Mean reward",
        "Reward: asks how long",
        "Reward: diversity",
        "Share of different answers",
        "KL from before the stage",
        "Loss",
    ]
    assert [taken.name for taken in grpo.rounds] == [
        "Round 1: 2 answers, 2 of them different",
        "Round 3: 2 answers, 2 of them different",
    ]


def test_norms_and_rates_are_drawn_where_the_steps_tell_them(staged: Path) -> None:
    assert [(stage.updates, stage.clipped) for stage in trainings(gather(staged))] == [([], "")] * 3
    recipe = (staged / "recipe.toml").read_text().replace("rate = 1e-3", "rate = 1e-3\nclip = 1.5")
    (staged / "recipe.toml").write_text(recipe)
    events = [
        {**_step("train 0", n, 1.0, {}), "norm": norm, "rate": n * 1e-5}
        for n, norm in ((1, 9.0), (2, 1.5), (3, math.nan), (4, 2.0))
    ]
    (staged / "events.jsonl").write_text(jsonl(events))
    (sft,) = trainings(gather(staged))
    assert [plot.name for plot in sft.updates] == ["Norm of the gradient", "Learning rate (in 1e-5)"]
    assert [tick.label for tick in sft.updates[1].curve.y] == ["0", "1", "2", "3", "4"]
    assert sft.clipped == "At 2 of 4 steps the gradient was cut to the norm 1.5 (train.clip)."
    assert sft.clipped in write_report(staged).read_text()


def test_the_page_holds_answers_and_times_of_each_stage(staged: Path) -> None:
    html = write_report(staged).read_text()
    text = " ".join(re.sub(r"<[^>]+>", " ", html).split())
    assert "&lt;Answer&gt; 2 0" in text
    assert "reward 1.50 asks how long 1.00 diversity –" in text
    assert "train 0 6.0 s 700 MB train 1 6.0 s 700 MB train 2 6.0 s 700 MB all 18.0 s" in text
    assert "99.0" not in text, "a training of an earlier recipe"


def test_checks_that_were_rewarded_stand_apart(staged: Path) -> None:
    scores = json.loads((staged / "scores.json").read_text())
    (staged / "scores.json").write_text(json.dumps({**scores, "rewarded": ["asks_how_long", "diversity"]}))
    text = " ".join(re.sub(r"<[^>]+>", " ", write_report(staged).read_text()).split())
    rewarded = text.index("Rewarded while the model learned")
    held = text.index("Held out of the rewards")
    assert rewarded < text.index("It asks how long something lasts.") < held
    assert held < text.index("It is about something in the sentence.")


@pytest.mark.parametrize(
    ("gap", "distinct", "said"),
    [
        ((-0.3, -0.5, -0.1), 30, "rewarded fell (shares a word −30.0 points): this is what reward hacking"),
        ((0.3, 0.1, 0.5), 3, "rewarded fell (different answers from 29 to 3 of 30): this is what"),
        ((0.3, 0.1, 0.5), 29, ""),
        ((-0.3, -0.7, 0.1), 29, ""),
    ],
)
def test_reward_hacking_is_said(
    run_folder: Path, gap: tuple[float, float, float], distinct: int, said: str
) -> None:
    scores = json.loads((run_folder / "scores.json").read_text())
    scores["rewarded"] = ["asks_how_long"]
    values = scores["differences"][0]["values"]
    values["asks_how_long"].update(value=0.6, low=0.4, high=0.8)
    values["shares_a_word"].update(value=gap[0], low=gap[1], high=gap[2])
    scores["systems"]["base"]["distinct"] = {"count": 29, "n": 30}
    scores["systems"]["tuned"]["distinct"] = {"count": distinct, "n": 30}
    found = hacking(Scores.of(scores))
    assert said in found
    assert bool(found) == bool(said)
    assert not hacking(Scores.of({**scores, "rewarded": []}))
    assert not hacking(Scores())
