"""Scores of influence against their definition: one row and query at a time, by plain torch."""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig, Phi3Config, Qwen3Config

from espalier.attribution.influence import gradients
from espalier.attribution.influence.gradients import Directions, families, row_gradients, row_products
from espalier.attribution.influence.scores import Asked, scored
from espalier.attribution.influence.sketch import sketcher
from espalier.models.adapters import method_on
from espalier.train.loop import Settings, train
from espalier.train.objectives import answer_loss, sft
from espalier.train.states import keeper, states_in, tensors_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from transformers import LlamaForCausalLM, PreTrainedConfig, PreTrainedModel

    from espalier.core.records import Encoded
    from espalier.train.steps import Source

SIZES: dict[str, Any] = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 128,
    "pad_token_id": 0,
}
SETTINGS = Settings(steps=4, rate=1e-2, warmup=0.0)


def naive_gradient(model: PreTrainedModel, row: Encoded) -> dict[str, torch.Tensor]:
    """The gradient of the summed cross-entropy of a row's weighted tokens, by the model's own forward."""
    model.zero_grad(set_to_none=True)
    ids = torch.tensor(row.ids)
    logits = model(input_ids=ids[None]).logits[0]
    losses = cross_entropy(logits[:-1], ids[1:], reduction="none")
    (losses * torch.tensor(row.weights)[1:]).sum().backward()
    return {name: w.grad.clone() for name, w in model.named_parameters() if w.grad is not None}


KINDS: dict[str, PreTrainedConfig] = {
    "llama": LlamaConfig(**SIZES, num_key_value_heads=2),
    "qwen3": Qwen3Config(**SIZES, num_key_value_heads=1, head_dim=12, tie_word_embeddings=True),
    "phi3": Phi3Config(**SIZES, num_key_value_heads=4),
    "gpt2": GPT2Config(vocab_size=64, n_embd=32, n_layer=2, n_head=4, n_positions=128),
}


def made(kind: str, method: tuple[str, dict[str, Any]]) -> PreTrainedModel:
    """A random model of a kind, with a method on it whose weights are not those that it begins with."""
    torch.manual_seed(0)
    model = method_on(AutoModelForCausalLM.from_config(KINDS[kind]).eval(), *method, seed=0).eval()
    if method[0] != "full":  # many adapters begin with zeros, through which no gradient goes
        with torch.no_grad():
            for weight in model.parameters():
                weight.add_(0.02 * torch.randn_like(weight) if weight.requires_grad else 0.0)
    return model


@pytest.mark.parametrize(
    ("kind", "method"),
    [
        ("llama", ("lora", {"rank": 2})),
        ("llama", ("full", {})),
        ("qwen3", ("full", {})),
        ("phi3", ("lora", {"rank": 2, "dora": True})),
        ("gpt2", ("lora", {"rank": 2})),
    ],
    ids=lambda value: value if isinstance(value, str) else value[0],
)
@pytest.mark.usefixtures("one_thread")
def test_products_with_few_directions_are_those_of_naive_gradients(
    kind: str, method: tuple[str, dict[str, Any]], tiny_rows: list[Encoded], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = made(kind, method)
    naive = {place: flat(model, naive_gradient(model, row)) for place, row in enumerate(tiny_rows)}
    vectors = torch.stack([naive[0], naive[12], torch.randn_like(naive[0])])
    directions = Directions(3, vectors.__getitem__, lambda found: found @ vectors.T)
    asked = [(row, answer_loss()) for row in tiny_rows]
    bounds = {place: 1e-5 * vectors.norm(dim=1) * gradient.norm() for place, gradient in naive.items()}

    def wrong() -> list[int]:
        found = dict(row_products(model, asked, directions))
        assert found.keys() == naive.keys()
        return [n for n, g in naive.items() if ((found[n] - vectors @ g).abs() > bounds[n]).any()]

    with monkeypatch.context() as patch:  # beginnings of 10 and 9 rows: no row goes backward through them
        patch.setattr(gradients, "row_gradients", partial(few_rows, row_gradients, 5))
        assert not wrong()
    push = gradients._pushed
    with monkeypatch.context() as patch:  # without what goes through the beginning they would all be wrong
        patch.setattr(gradients, "_pushed", lambda *given: torch.zeros_like(unwrapped(push(*given))))
        assert len(wrong()) == 19


@pytest.mark.parametrize(
    ("kind", "method", "together"),
    [
        ("llama", ("lora", {"rank": 2}), True),
        ("gpt2", ("adapter", {"size": 4}), True),  # with biases
        ("qwen3", ("head", {}), True),
        ("llama", ("lora", {"rank": 2, "dora": True}), False),
        ("gpt2", ("bitfit", {}), False),
    ],
    ids=lambda value: value if isinstance(value, str) else str(value),
)
@pytest.mark.usefixtures("one_thread")
def test_rows_have_one_backward_where_all_trained_weights_are_linear_layers(
    kind: str,
    method: tuple[str, dict[str, Any]],
    together: bool,
    tiny_rows: list[Encoded],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = made(kind, method)
    naive = [flat(model, naive_gradient(model, row)) for row in tiny_rows]
    sizes: list[int] = []
    compute = gradients._together

    def counting(model: Any, trees: list[Any], *held: Any) -> Any:
        sizes.append(len(trees))
        return compute(model, trees, *held)

    monkeypatch.setattr(gradients, "_together", counting)
    vectors = torch.stack([naive[0], naive[12]])
    directions = Directions(2, vectors.__getitem__, lambda found: found @ vectors.T)
    asked = [(row, answer_loss()) for row in tiny_rows]

    def right() -> bool:
        found = dict(row_products(model, asked, directions))
        bounds = [1e-5 * vectors.norm(dim=1) * gradient.norm() for gradient in naive]
        return all(((found[n] - vectors @ g).abs() <= bounds[n]).all() for n, g in enumerate(naive))

    assert right()
    assert (max(sizes) > 4) == together
    monkeypatch.setattr(gradients, "sums_agree", lambda *_: False)
    assert right()  # one by one


def test_a_weight_that_works_elsewhere_too_is_seen_in_the_sum(
    tiny_llama: LlamaForCausalLM, tiny_rows: list[Encoded], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_llama.requires_grad_(False)
    model.lm_head.weight = model.model.embed_tokens.weight.requires_grad_()
    agreed: list[bool] = []
    compare = gradients.sums_agree

    def noting(*sums: torch.Tensor) -> bool:
        agreed.append(compare(*sums))
        return agreed[-1]

    monkeypatch.setattr(gradients, "sums_agree", noting)
    rows = tiny_rows[-5:]  # which share nothing
    found = dict(row_gradients(model, [(row, answer_loss()) for row in rows]))
    assert agreed == [False]
    for place, row in enumerate(rows):
        own = naive_gradient(model, row)["model.embed_tokens.weight"].reshape(-1)
        assert (found[place] - own).norm() < 1e-5 * own.norm()


def test_a_beginning_that_forward_mode_cannot_take_is_gone_through_backward(
    tiny_llama: LlamaForCausalLM, tiny_rows: list[Encoded], monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_llama.model.embed_tokens.requires_grad_(False)
    weights = sum(weight.numel() for weight in tiny_llama.parameters() if weight.requires_grad)
    vectors = torch.randn(2, weights, generator=torch.Generator().manual_seed(1))
    directions = Directions(2, vectors.__getitem__, lambda found: found @ vectors.T)
    asked = [(row, answer_loss()) for row in tiny_rows[:6]]
    fast = dict(row_products(tiny_llama, asked, directions))
    whole = dict(row_products(tiny_llama, asked, directions, shared=False))
    with monkeypatch.context() as patch:
        patch.setattr(gradients, "jvp", refuse)
        refused = dict(row_products(tiny_llama, asked, directions))
    monkeypatch.setattr(gradients, "MOST", 0)
    large = dict(row_products(tiny_llama, asked, directions))
    for place, products in whole.items():
        for found in (fast, refused, large):
            assert torch.allclose(found[place], products, rtol=1e-4, atol=1e-4)
        assert refused[place].equal(large[place])


def refuse(*_: object) -> None:
    raise NotImplementedError("no forward mode")


def few_rows(ask: Callable[..., Any], most: int, model: Any, rows: list[Any], **how: bool) -> Any:
    """Ask for whole gradients, of a few rows at most."""
    assert len(rows) <= most
    return ask(model, rows, **how)


def unwrapped(pushed: torch.Tensor | None) -> torch.Tensor:
    assert pushed is not None
    return pushed


def flat(model: PreTrainedModel, gradient: dict[str, torch.Tensor]) -> torch.Tensor:
    """A gradient by names as one vector, with zeros for weights that had no part in it."""
    return torch.cat(
        [
            gradient.get(name, torch.zeros_like(weight)).reshape(-1)
            for name, weight in model.named_parameters()
            if weight.requires_grad
        ]
    )


@pytest.mark.parametrize("method", [("lora", {"rank": 2}), ("full", {})], ids=["lora", "full"])
def test_scores_are_those_of_naive_loops(
    method: tuple[str, dict],
    tiny_llama: LlamaForCausalLM,
    tiny_rows: list[Encoded],
    source_of: Callable[..., Source],
    tmp_path: Path,
) -> None:
    rows = [*tiny_rows[:6], *tiny_rows[10:13], *tiny_rows[-2:]]
    queries = [tiny_rows[6], tiny_rows[0]]  # fewer than half of the rows that begin alike
    model = method_on(tiny_llama, *method, seed=0)
    keep = keeper(tmp_path, model, SETTINGS, "key", 2)
    list(train(model, source_of(rows, [(sft(), 1.0)]), SETTINGS, tmp_path, recipe={}, keep=keep))
    model.eval()
    states, weight = states_in(tmp_path, "key"), sum(sum(row.weights) for row in rows)
    asked = Asked(
        [[query] for query in queries],
        [[row] for row in rows],
        answer_loss(),
        answer_loss(),
        dims=0,
        shared=True,
        weight=weight,
        norms=True,
    )
    found = scored(copy.deepcopy(model), states, asked, tmp_path / "parts")
    fast = scored(copy.deepcopy(model), states, replace(asked, norms=False), tmp_path / "fast")
    assert np.isnan([*fast.cosine.flat, *fast.itself]).all()
    rough = [
        scored(copy.deepcopy(model), states, replace(asked, norms=way, dims=64), tmp_path / f"rough-{way}")
        for way in (True, False)
    ]
    assert np.allclose(rough[1].tracin, rough[0].tracin, atol=1e-5 * np.abs(rough[0].tracin).max())

    tracin, lengths = np.zeros((len(queries), len(rows))), list[np.ndarray]()
    cosine = np.zeros_like(tracin)
    total = sum(state.rate * state.clip for _, state in states)
    for path, state in states:
        kept, squares = tensors_of(path)
        model.load_state_dict(kept, strict=False)
        scale = {
            name: 1 / ((square / (1 - 0.999**state.step)).sqrt() + 1e-8) for name, square in squares.items()
        }

        def product(one: dict, other: dict, scale: dict = scale) -> float:
            return sum(float((one[n].double() * other[n].double() * scale[n].double()).sum()) for n in scale)

        lengths.append(np.zeros(len(rows)))
        asked_gradients = [naive_gradient(model, query) for query in queries]
        for place, row in enumerate(rows):
            own = naive_gradient(model, row)
            lengths[-1][place] = product(own, own)
            for number, query in enumerate(asked_gradients):
                both = product(query, own)
                tracin[number, place] += state.rate * state.clip * both / weight
                norms = (product(query, query) * product(own, own)) ** 0.5
                cosine[number, place] += state.rate * state.clip / total * both / norms
    for one in (found, fast):
        assert np.allclose(one.tracin, tracin, rtol=1e-5, atol=1e-5 * np.abs(tracin).max())
    assert np.allclose(found.itself, np.mean([each / each.mean() for each in lengths], 0), rtol=1e-5)
    assert np.allclose(found.cosine, cosine, atol=1e-5)
    assert found.cosine[1, 0] == pytest.approx(1)  # the query itself


def test_common_beginnings_change_no_gradient(tiny_llama: LlamaForCausalLM, tiny_rows: list[Encoded]) -> None:
    rows = [*tiny_rows, tiny_rows[0]]  # one twice
    groups = families(rows)
    assert sorted(place for _, places in groups for place in places) == list(range(len(rows)))
    assert sorted(trunk for trunk, _ in groups if trunk) == [71, 81]
    asked = [(row, answer_loss(0.1)) for row in rows]
    shared, alone = (dict(row_gradients(tiny_llama, asked, shared=way)) for way in (True, False))
    for place, gradient in alone.items():
        assert (shared[place] - gradient).norm() < 1e-5 * gradient.norm()


def test_sketches_keep_inner_products() -> None:
    generator = torch.Generator().manual_seed(1)
    one, noise = torch.randn(2, 20_000, generator=generator)
    other = one + noise
    sketch = sketcher(20_000, 4096)
    gap = float(sketch.of(one) @ sketch.of(other) - one @ other) / float(one.norm() * other.norm())
    assert 0 < abs(gap) < 4 * (2 / 4096) ** 0.5
    assert sketch.of(one).equal(sketcher(20_000, 4096).of(one))
    assert float(sketch.back(sketch.of(one)) @ other) == pytest.approx(
        float(sketch.of(one) @ sketch.of(other)), rel=1e-4
    )
    assert sketcher(20_000, 0).of(one) is one
