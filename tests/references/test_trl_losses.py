"""The slow twin of the objectives: loss and gradient of TRL's trainers on the same rows and weights."""

from __future__ import annotations

import copy
import importlib.util
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from espalier.core.records import Encoded
from espalier.decode.likelihood import row_sums, token_logprobs
from espalier.encode.tokens import Unit
from espalier.models.forward import edge_logprobs
from espalier.train.loop import backward
from espalier.train.objectives import Objective, Resources, Sampled, sft
from espalier.train.preference import dpo, kto
from espalier.train.reinforcement import grpo

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from transformers import LlamaForCausalLM

    from espalier.train.steps import Source

    # A loss, and the gradient of every weight.
    Found = tuple[float, dict[str, torch.Tensor]]

pytestmark = [
    pytest.mark.skipif(
        importlib.util.find_spec("trl") is None, reason="trl is not installed (the extra bench)"
    ),
    pytest.mark.filterwarnings("ignore"),  # what TRL and its libraries warn of
    pytest.mark.usefixtures("one_thread"),
]
PROMPTS, GROUP, LIMIT = 4, 4, 9


def tokens(rng: np.random.Generator, low: int, high: int) -> tuple[int, ...]:
    return tuple(rng.integers(3, 64, int(rng.integers(low, high))).tolist())


def row(example: str, prompt: tuple[int, ...], answer: tuple[int, ...], role: Any = "answer") -> Encoded:
    weights = (0.0,) * len(prompt) + (1.0,) * len(answer)
    return Encoded((*prompt, *answer), weights, len(prompt), example, role)


@pytest.fixture(scope="module")
def units() -> list[Unit]:
    """Prompts of one family, each with a better and a worse answer; lengths differ."""
    rng = np.random.default_rng(0)
    head = (1, *tokens(rng, 20, 21))
    found: list[Unit] = []
    for number in range(PROMPTS):
        prompt = (*head, *tokens(rng, 2, 9))
        answers = [(*tokens(rng, 1, 8), 2) for _ in range(2)]
        rows = [
            row(f"e{number}", prompt, *pair) for pair in zip(answers, ("answer", "rejected"), strict=True)
        ]
        found.append(Unit(f"e{number}", prompt, tuple(rows)))
    return found


@pytest.fixture(scope="module")
def models(llama: Callable[..., LlamaForCausalLM]) -> tuple[LlamaForCausalLM, LlamaForCausalLM]:
    """A model, and the reference that it has moved away from."""
    reference = llama(64, initializer_range=0.2)
    model = copy.deepcopy(reference)
    torch.manual_seed(1)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.02 * torch.randn_like(weight))
    return model, reference.requires_grad_(False)


@pytest.fixture
def ours(models: tuple[LlamaForCausalLM, LlamaForCausalLM], source_of: Callable[..., Source]):
    """Return the loss and the gradient of one step on all the units."""

    def find(
        objective: Objective, units: Sequence[Unit], answers: list[list[Sampled]] | None = None
    ) -> Found:
        model, reference = copy.deepcopy(models[0]), models[1]

        def under(asked: LlamaForCausalLM, rows: Sequence[Encoded]) -> list[tuple[float, ...]]:
            return token_logprobs(asked, rows, edge_logprobs, tokens=10_000, precision="fp32")

        tools = Resources(
            steps=1,
            kept=lambda rows: row_sums(rows, under(reference, rows)),
            policy=lambda rows: row_sums(rows, under(model, rows)),
            reference=lambda: lambda rows: under(reference, rows),
            sampler=lambda _: (
                lambda turn, taken, samples, limit: [(answers or [])[units.index(unit)] for unit in taken]
            ),
        )
        step = source_of(units, [(objective, 1.0)], size=len(units), tools=tools)(0)
        (loss,) = backward(model, step, edge_logprobs, "fp32").values()
        ((_, (term,)),) = step.work
        grads = {name: weight.grad for name, weight in model.named_parameters()}
        return float(loss.total) / term.divisor, grads  # type: ignore[return-value]

    return find


@pytest.fixture
def trainer(
    models: tuple[LlamaForCausalLM, LlamaForCausalLM], chat_tokenizer: Callable[[str], Any], tmp_path: Path
):
    """Make a TRL trainer. It wants some data set; its loss is computed of the batch that it is given."""
    import trl
    from datasets import Dataset
    from datasets.utils import disable_progress_bars

    disable_progress_bars()
    columns = {
        "SFT": {"prompt": "a", "completion": "b"},
        "DPO": {"prompt": "a", "chosen": "b", "rejected": "c"},
        "KTO": {"prompt": "a", "completion": "b", "label": True},
        "GRPO": {"prompt": "a"},
    }

    def make(name: str, settings: dict[str, Any], **more: Any) -> Any:
        model, reference = copy.deepcopy(models[0]), copy.deepcopy(models[1])
        if name == "GRPO":  # which loads its reference from a folder
            reference.save_pretrained(tmp_path / "reference")
            model.config._name_or_path = str(tmp_path / "reference")
        elif name != "SFT":
            more["ref_model"] = reference
        tokenizer = copy.deepcopy(chat_tokenizer("chatml"))
        tokenizer.pad_token = tokenizer.eos_token
        made = getattr(trl, f"{name}Trainer")(
            model=model,
            args=getattr(trl, f"{name}Config")(
                str(tmp_path),
                report_to=[],
                use_cpu=True,
                bf16=False,
                gradient_checkpointing=False,
                **settings,
            ),
            train_dataset=Dataset.from_list([columns[name]] * PROMPTS * GROUP),
            processing_class=tokenizer,
            **more,
        )
        made.current_gradient_accumulation_steps = 1
        made.model.train()
        return made

    return make


def lossed(trainer: Any, batch: dict[str, torch.Tensor]) -> Found:
    """Return the loss and the gradient of a TRL trainer on a batch."""
    loss = trainer.compute_loss(trainer.model, batch)
    loss.backward()
    return loss.item(), {name: weight.grad for name, weight in trainer.model.named_parameters()}


def padded(rows: Sequence[Encoded]) -> dict[str, torch.Tensor]:
    """Return rows as a right-padded batch."""
    longest = max(len(row.ids) for row in rows)
    ids, mask, trained = (torch.zeros(len(rows), longest, dtype=torch.long) for _ in range(3))
    for place, item in enumerate(rows):
        ids[place, : len(item.ids)] = torch.tensor(item.ids)
        mask[place, : len(item.ids)] = 1
        trained[place, : len(item.ids)] = torch.tensor(item.weights).long()
    return {"input_ids": ids, "attention_mask": mask, "completion_mask": trained}


def assert_same(one: Found, two: Found) -> None:
    """Assert the bound of fp32 on the loss and on the whole gradient."""
    assert one[0] == pytest.approx(two[0], rel=1e-5, abs=1e-7)
    assert one[1].keys() == two[1].keys()
    gap = sum(float((one[1][name] - two[1][name]).square().sum()) for name in one[1])
    size = sum(float(grad.square().sum()) for grad in two[1].values())
    assert size > 1e-12
    assert (gap / size) ** 0.5 < 1e-5


def of_role(units: Sequence[Unit], role: str) -> list[Encoded]:
    return [row for unit in units for row in unit.rows if row.role == role]


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_sft(ours, trainer, units: list[Unit], smoothing: float):
    batch = padded(of_role(units, "answer"))
    labels = batch["input_ids"].masked_fill(batch.pop("completion_mask") == 0, -100)
    wanted = lossed(trainer("SFT", {"label_smoothing_factor": smoothing}), {**batch, "labels": labels})
    assert_same(ours(sft(smoothing=smoothing), units), wanted)


@pytest.mark.parametrize("variant", ["sigmoid", "ipo", "hinge"])
def test_dpo(ours, trainer, units: list[Unit], variant: Any):
    batch = padded([*of_role(units, "answer"), *of_role(units, "rejected")])
    wanted = lossed(trainer("DPO", {"beta": 0.3, "loss_type": [variant]}), batch)
    assert_same(ours(dpo(beta=0.3, variant=variant), units), wanted)


@pytest.mark.parametrize(("first", "above"), [(0, True), (1, False)])
def test_kto(ours, trainer, units: list[Unit], first: int, above: bool):
    """The data set is one batch: TRL gives a prompt the answer of the row before it, we of the one after."""
    liked = [replace(unit, rows=(unit.rows[(n + first) % 2],)) for n, unit in enumerate(units)]
    rows = [unit.rows[0] for unit in liked][::-1]
    strangers = [
        row(own.example, own.ids[: own.prompt], other.ids[other.prompt :])
        for own, other in zip(rows, [rows[-1], *rows[:-1]], strict=True)
    ]
    batch = {
        **padded(rows),
        **{f"KL_{key}": value for key, value in padded(strangers).items()},
        "label": torch.tensor([row.role == "answer" for row in rows]),
    }
    settings = {"beta": 0.3, "desirable_weight": 1.7, "undesirable_weight": 0.6}
    theirs = trainer("KTO", {**settings, "per_device_train_batch_size": 2})
    wanted = lossed(theirs, batch)
    assert (theirs._metrics["train"]["kl"][0] > 0) is above  # once on each side of its floor at zero
    assert_same(ours(kto(beta=0.3, desirable=1.7, undesirable=0.6), liked), wanted)


@pytest.fixture
def answers(units: list[Unit], models: tuple[LlamaForCausalLM, LlamaForCausalLM]) -> list[list[Sampled]]:
    """Answers to each prompt, sampled from weights that have moved since; two of one group are not judged."""
    rng = np.random.default_rng(5)
    found: list[list[Sampled]] = []
    for place, unit in enumerate(units):
        rows = [row(unit.example, unit.prompt, (*tokens(rng, 1, LIMIT), 2), "sample") for _ in range(GROUP)]
        now = token_logprobs(models[0], rows, edge_logprobs, tokens=10_000, precision="fp32")
        group = [
            Sampled(
                row.ids[row.prompt :],
                tuple((np.array(own) + rng.normal(0, 0.4, len(own))).tolist()),
                "",
                "stop",
                {"rule": None},
                float("nan") if place == 1 and number < 2 else float(rng.normal()),
            )
            for number, (row, own) in enumerate(zip(rows, now, strict=True))
        ]
        found.append(group)
    return found


def rollout(trainer, settings: dict[str, Any], units: list[Unit], answers: list[list[Sampled]]) -> Found:
    """Hand the answers to TRL as its own, with their rewards, and return what its loss is."""
    pairs = [(unit, answer) for unit, group in zip(units, answers, strict=True) for answer in group]

    def answered(prompts: list[Any], _: Any) -> dict[str, Any]:
        return {
            "prompt_ids": [list(unit.prompt) for unit, _ in pairs],
            "completion_ids": [list(answer.ids) for _, answer in pairs],
            "logprobs": [list(answer.logprobs) for _, answer in pairs],
        }

    def reward(completions: list[Any], **_: Any) -> list[float | None]:
        return [None if np.isnan(answer.reward) else answer.reward for _, answer in pairs]

    sizes = {
        "per_device_train_batch_size": len(pairs),
        "num_generations": GROUP,
        "max_completion_length": LIMIT,
        # Its default weighs the KL by the ratio (arXiv 2512.02556); GRPO as published does not.
        "use_bias_correction_kl": False,
    }
    made = trainer("GRPO", {**sizes, **settings}, reward_funcs=reward, rollout_func=answered)
    batch = made._generate_and_score_completions([{"prompt": "a"}] * len(pairs))
    batch["old_per_token_logps"] = batch["sampling_per_token_logps"]  # TRL does not know that they are older
    return lossed(made, batch)


@pytest.mark.parametrize(
    ("mine", "settings"),
    [
        ({"average": "answer"}, {"loss_type": "grpo"}),
        ({"average": "token", "clip_high": 0.28}, {"loss_type": "dapo", "epsilon_high": 0.28}),
        ({"average": "constant", "scale": "none"}, {"loss_type": "dr_grpo", "scale_rewards": "none"}),
        ({"average": "token", "scale": "step"}, {"loss_type": "dapo", "scale_rewards": "batch"}),
        (
            {"average": "answer", "ratio": "sequence", "clip": 0.05},
            {"loss_type": "grpo", "importance_sampling_level": "sequence", "epsilon": 0.05},
        ),
        ({"average": "answer", "kl": 0.1}, {"loss_type": "grpo", "beta": 0.1}),
        ({"average": "token", "kl": 0.1}, {"loss_type": "dapo", "beta": 0.1}),
        ({"average": "constant", "kl": 0.1}, {"loss_type": "dr_grpo", "beta": 0.1}),
        (
            {"average": "answer", "ratio": "sequence", "kl": 0.1},
            {"loss_type": "grpo", "importance_sampling_level": "sequence", "beta": 0.1},
        ),
    ],
)
def test_grpo(ours, trainer, units: list[Unit], answers, mine: dict[str, Any], settings: dict[str, Any]):
    found = ours(grpo(rewards={"rule": 1.0}, group=GROUP, limit=LIMIT, **mine), units, answers)
    assert_same(found, rollout(trainer, settings, units, answers))


def test_clipping_is_active_in_these_answers(ours, units: list[Unit], answers):
    for level, clip in (("token", 0.2), ("sequence", 0.05)):
        clipped, free = (
            ours(grpo(rewards={"rule": 1.0}, group=GROUP, limit=LIMIT, ratio=level, clip=c), units, answers)
            for c in (clip, 1e6)
        )
        assert abs(clipped[0] - free[0]) > 1e-3
