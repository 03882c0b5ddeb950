"""The token shift on trees, in parts, equals that of whole rows with full logits."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import pytest
import torch

from espalier.core.records import Encoded
from espalier.explain import token_shift
from espalier.explain.token_shift import Models, Moved, answer_rows, shifts
from espalier.models.adapters import method_on
from espalier.models.load import Loaded
from espalier.models.places import Place
from tests.references.naive_shift import naive_shift

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM


def loaded(model: Any) -> Loaded:
    unused: Any = None
    return Loaded(Place("tiny"), model, unused, unused, "weights")


def stirred(model: Any, seed: int = 1) -> Any:
    """Return a copy whose weights have moved."""
    torch.manual_seed(seed)
    made = copy.deepcopy(model)
    with torch.no_grad():
        for weight in made.parameters():
            weight += 0.05 * torch.randn_like(weight)
    return made


def by_row(models: Models, rows: list[Encoded], **more: int) -> list[list[Moved]]:
    found = dict(entry for tree in shifts(models, rows, **more) for entry in tree)
    return [found[number] for number in range(len(rows))]


@pytest.fixture
def answers(tiny_rows: list[Encoded]) -> list[Encoded]:
    """Rows that share heads, one of them twice."""
    rows = [*tiny_rows, tiny_rows[3]]
    return answer_rows([row.ids[: row.prompt] for row in rows], [row.ids[row.prompt :] for row in rows])


@pytest.mark.parametrize(("logits", "shared"), [(64 * 20, True), (token_shift.LOGITS, False)])
def test_as_with_full_logits(
    tiny_llama: LlamaForCausalLM,
    answers: list[Encoded],
    logits: int,
    shared: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tuned = stirred(tiny_llama)
    if not shared:
        monkeypatch.setattr("espalier.models.sharing.Sharing.why_not", lambda *_, **__: "it cannot")
    found = by_row(Models(loaded(tuned), loaded(tiny_llama)), answers, logits=logits)
    for row, moves in zip(answers, found, strict=True):
        naive = naive_shift(tuned, tiny_llama, row)
        assert [(one.token, one.rank) for one in moves] == [(token, rank) for token, rank, _ in naive]
        assert [one.kl for one in moves] == pytest.approx([kl for *_, kl in naive], abs=1e-6)
    assert any(one.rank > 3 for moves in found for one in moves)


def test_prompts_are_computed_once_and_the_head_at_answers_only(
    tiny_llama: LlamaForCausalLM, answers: list[Encoded], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, int]] = []
    call = token_shift.edge_logprobs

    def watched(model: Any, tree: Any, **more: Any) -> Any:
        read = more["read"]

        def looked(logits: torch.Tensor, places: Any, targets: Any) -> Any:
            seen.append((len(tree.ids), len(logits)))
            return read(logits, places, targets)

        return call(model, tree, **{**more, "read": looked})

    monkeypatch.setattr(token_shift, "edge_logprobs", watched)
    by_row(Models(loaded(stirred(tiny_llama)), loaded(tiny_llama)), answers)
    distinct = {row.ids[:end] for row in answers for end in range(1, len(row.ids))}
    sources = {row.ids[:end] for row in answers for end in range(row.prompt, len(row.ids))}
    assert seen == [(len(distinct), len(sources))] * 2


def test_an_adapter_is_both_models(tiny_llama: LlamaForCausalLM, answers: list[Encoded]) -> None:
    base = copy.deepcopy(tiny_llama)
    tuned: Any = method_on(tiny_llama, "lora", {"rank": 2}, 0)
    still = by_row(Models(loaded(tuned.eval()), None), answers)
    assert {one.kl for moves in still for one in moves} == {0.0}
    with torch.no_grad():
        for name, weight in tuned.named_parameters():
            if "lora_B" in name:
                weight += 0.1
    together = by_row(Models(loaded(tuned), None), answers)
    apart = by_row(Models(loaded(tuned), loaded(base)), answers)
    assert [[m.rank for m in moves] for moves in together] == [[m.rank for m in moves] for moves in apart]
    assert any(one.kl > 1e-6 for moves in together for one in moves)


def test_equals_share_the_best_of_their_ranks() -> None:
    base = torch.tensor([[1.0, 3.0, 3.0, 2.0]])
    import numpy as np

    at, targets = np.zeros(4, np.int64), np.arange(4)
    found = token_shift.moved(base, base, at, targets)
    assert found[:, 0].tolist() == [4, 1, 1, 3]
    assert found[:, 1].tolist() == [0, 1, 1, 0]
    assert found[:, 2].tolist() == [0, 0, 0, 0]
    impossible = torch.tensor([[0.0, 0.0, -torch.inf, -torch.inf]])
    assert token_shift.moved(impossible, base, at, targets)[:, 2].isfinite().all()
