"""Each objective trains the same however its rows are laid out, and goes on bitwise wherever it stops."""

from __future__ import annotations

import copy
import shutil
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING

import pytest
import torch

from espalier.core.journal import Journal
from espalier.core.records import Example, message
from espalier.encode.batches import groups_of, steps_per_epoch
from espalier.encode.tokens import encode_unit
from espalier.encode.tree import build_tree
from espalier.models.adapters import methods
from espalier.models.forward import edge_logprobs
from espalier.train.loop import Settings, train
from espalier.train.objectives import sft
from espalier.train.optimizer import adamw
from espalier.train.preference import dpo, kto
from espalier.train.reference import make_resources
from espalier.train.reinforcement import grpo, journaled
from espalier.train.sampling import Answering
from espalier.train.steps import Step, steps_of
from espalier.train.verify import KeepDouble

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from transformers import LlamaForCausalLM

    from espalier.encode.template import Template
    from espalier.train.steps import Source

STEPS, SIZE = 4, 4
REWARDS = {"diversity": 1.0, "vowel_rules:vowels": 0.1}
KINDS = {
    "sft": [(sft(smoothing=0.1), 1.0)],
    "dpo": [(dpo(), 1.0)],
    "kto": [(kto(undesirable=0.7), 1.0)],
    "grpo": [(grpo(rewards=REWARDS, group=3, limit=6, kl=0.05, updates=2), 1.0)],
    "all": [
        (sft(), 0.3),
        (dpo(variant="ipo"), 0.5),
        (kto(), 1.0),
        (grpo(rewards=REWARDS, group=2, limit=5), 1.0),
    ],
}
by_row = partial(edge_logprobs, shared=False)


@pytest.fixture
def examples() -> list[Example]:
    """Six questions under one instruction, each with an answer and one or two that are worse."""
    found: list[Example] = []
    for number, word in enumerate(["cat", "mat", "hours", "meeting", "long", "two"]):
        turns = (
            message("user", f"How long did it last? the {word}"),
            message("assistant", word, trained=True),
        )
        worse = [message("assistant", text) for text in ("It lasted.", "on")[: 1 + number % 2]]
        found.append(Example(f"row-{number}", "task", word, turns, rejected=tuple(worse)))
    return found


@pytest.fixture(params=KINDS)
def trajectory(
    request: pytest.FixtureRequest,
    talker: LlamaForCausalLM,
    template: Template,
    examples: list[Example],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    one_thread: None,
) -> Callable[..., torch.Tensor]:
    """Train a fresh copy of the tiny model; return losses, norms and final weights in one vector.

    An `eps` that is not small keeps a step as smooth as its gradient, and rounding is not blown up.
    """
    (tmp_path / "vowel_rules.py").write_text(
        "def vowels(example, text): return sum(map(text.count, 'aeiou'))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    units = [encode_unit(example, template) for example in examples]
    by_id = {example.id: example for example in examples}

    def run(
        name: str,
        *,
        tokens: int = 10_000,
        change: Callable[[Source], Source] = lambda source: source,
        forward=edge_logprobs,
        method: str = "full",
        double: bool = True,
        device: str = "cpu",
        stop: tuple[str, int] = ("", 0),
    ) -> torch.Tensor:
        torch.manual_seed(0)
        model = methods.build(method, {})(copy.deepcopy(talker))
        model = (model.double() if double else model).to(device)
        folder = tmp_path / name
        if (folder / "checkpoints" / f"step-{STEPS:06d}").exists():
            shutil.rmtree(folder)  # a training of that name is done
        folder.mkdir(exist_ok=True)
        answering = Answering(model, template, by_id, "fp32", seed=3)
        store = Journal(folder / "journal.sqlite")
        resources = make_resources(
            model,
            forward,
            steps=steps_per_epoch(len(units), SIZE),
            tokens=tokens,
            precision="fp32",
            store=store,
            key="key",
            sampler=lambda rewards: journaled(store, "key", answering.sampler(rewards)),
        )
        settings = Settings(STEPS, 1e-2, optimizer=adamw(eps=1e-3), precision="fp32", decay=0.1, checkpoint=1)
        numbers: list[float] = []
        with KeepDouble() if double else nullcontext():
            source = change(
                steps_of(units, KINDS[request.param], resources, size=SIZE, tokens=tokens, seed=0)
            )
            for event in train(model, source, settings, folder, recipe={}, forward=forward):
                numbers += [event["loss"], event["norm"]] if event["event"] == "step" else []
                if (event["event"], event["step"]) == stop:
                    break
        weights = [weight.detach().flatten().cpu() for weight in model.parameters()]
        return torch.cat([torch.tensor(numbers, dtype=torch.float64), *weights])

    return run


def apart(source: Source) -> Source:
    """Give each group of rows a tree of its own: accumulation over batches of one."""

    def change(number: int) -> Step:
        step = source(number)
        terms = step.work[0][1]
        return Step(step.rows, [(build_tree(group), terms) for group in groups_of(step.rows)], step.log)

    return change


def gap(one: torch.Tensor, two: torch.Tensor) -> float:
    return float(torch.linalg.vector_norm(one - two) / torch.linalg.vector_norm(one))


def test_layouts_train_the_same(trajectory: Callable[..., torch.Tensor]):
    whole = trajectory("whole")
    assert gap(whole, trajectory("apart", change=apart)) < 1e-9
    assert gap(whole, trajectory("packs", tokens=130)) < 1e-9
    assert gap(whole, trajectory("rows", change=apart, forward=by_row)) < 1e-9
    assert gap(whole, trajectory("later", change=lambda source: lambda n: source(n + 2))) > 1e-6


def check_resuming(trajectory: Callable[..., torch.Tensor], *stops: tuple[str, int]) -> None:
    """Stop before a step is saved or after; within a round of answers they are not sampled again."""
    whole = trajectory("whole")
    size = len(whole) - 2 * STEPS
    for event, step in stops:
        first, rest = (trajectory("parts", stop=stop) for stop in ((event, step), ("", 0)))
        assert len(first) - size == 2 * step
        assert len(rest) - size == 2 * (STEPS - step + (event == "step"))
        assert torch.equal(rest, whole[-len(rest) :]), (event, step)


def test_a_run_that_stops_anywhere_goes_on_bitwise(trajectory: Callable[..., torch.Tensor]):
    stops = ("step", 1), ("step", 2), ("step", 3), ("checkpoint", 3)
    check_resuming(partial(trajectory, double=False), *stops)


@pytest.mark.gpu
def test_a_gpu_trains_the_same_and_goes_on(trajectory: Callable[..., torch.Tensor]):
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    whole = trajectory("whole")
    assert gap(whole, trajectory("gpu", device="cuda")) < 1e-9
    trajectory("parts", device="cuda", stop=("checkpoint", 2))
    rest = trajectory("parts", device="cuda")
    assert gap(whole[-len(rest) :], rest) < 1e-9


@pytest.mark.parametrize("trajectory", ["dpo", "grpo"], indirect=True)
def test_an_adapter_and_its_reference_go_on_bitwise(trajectory: Callable[..., torch.Tensor]):
    check_resuming(partial(trajectory, double=False, method="lora"), ("step", 2), ("checkpoint", 3))
