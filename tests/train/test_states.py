"""What a training keeps for later: the same states however often it was interrupted, and the same weights."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from espalier.core.errors import RecipeError, RunError
from espalier.core.recipe import TrainSection
from espalier.train.loop import Settings, keep_nothing, rate_of, train
from espalier.train.objectives import sft
from espalier.train.states import check_keep, keeper, kept_steps, middle, states_in, tensors_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from transformers import LlamaForCausalLM

    from espalier.core.records import Encoded
    from espalier.train.steps import Source

SETTINGS = Settings(steps=6, rate=3e-3, clip=0.5, checkpoint=2)


@given(st.integers(1, 300), st.integers(1, 12))
def test_spans_hold_each_step_once_and_are_equal(steps: int, count: int) -> None:
    spans = kept_steps(steps, count)
    assert [step for span in spans for step in span] == list(range(1, steps + 1))
    assert len(spans) == min(steps, count)
    assert max(map(len, spans)) - min(map(len, spans)) <= 1
    assert all(middle(span) in span for span in spans)


def test_states_are_the_same_after_an_interruption_and_change_no_weight(
    tiny_llama: LlamaForCausalLM, tiny_rows: list[Encoded], source_of: Callable[..., Source], tmp_path: Path
) -> None:
    source = source_of(tiny_rows, [(sft(), 1.0)])

    def run(name: str, stops: int, *, keeps: bool = True) -> LlamaForCausalLM:
        """Train, and begin anew in another model after so many events."""
        while True:
            model, folder = copy.deepcopy(tiny_llama), tmp_path / name
            keep = keeper(folder / "influence", model, SETTINGS, "key", 3) if keeps else keep_nothing
            events = train(model, source, SETTINGS, folder, recipe={}, keep=keep)
            for number, _ in enumerate(events):
                if number == stops:
                    break
            else:
                return model
            stops = -1

    (tmp_path / "whole" / "influence").mkdir(parents=True)
    (tmp_path / "whole" / "influence" / "000009.safetensors").write_bytes(b"of another training")
    models = run("whole", -1), run("broken", 4), run("plain", -1, keeps=False)
    for weights in zip(*(model.parameters() for model in models), strict=True):
        assert weights[0].equal(weights[1])
        assert weights[0].equal(weights[2])
    whole, broken = (sorted((tmp_path / name / "influence").iterdir()) for name in ("whole", "broken"))
    assert [path.name for path in whole] == ["000002.safetensors", "000004.safetensors", "000006.safetensors"]
    assert [path.read_bytes() for path in whole] == [path.read_bytes() for path in broken]
    found = states_in(tmp_path / "whole" / "influence", "key")
    assert states_in(tmp_path / "whole" / "influence", "another key") == []
    assert sum(state.rate for _, state in found) == pytest.approx(sum(rate_of(SETTINGS, n) for n in range(6)))
    assert all(0 < state.clip < 1 for _, state in found)
    weights, squares = tensors_of(found[-1][0])
    last = dict(models[0].named_parameters())
    assert all(weights[name].equal(weight) for name, weight in last.items())
    assert squares.keys() == last.keys()
    assert all((square >= 0).all() for square in squares.values())
    whole[0].write_bytes(whole[0].read_bytes()[:-100])
    with pytest.raises(RunError, match="cannot be read"):
        tensors_of(whole[0])
    assert len(states_in(tmp_path / "whole" / "influence", "key")) == 2


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"objective": [{"kind": "dpo"}]}, "objective sft alone, not of dpo"),
        ({"optimizer": {"kind": "adafactor"}}, "adafactor has others"),
        ({"parallel": "fsdp"}, "one piece"),
        ({}, "last stage"),
    ],
)
def test_what_cannot_be_asked_later_is_not_kept(table: dict, said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        check_keep(TrainSection.model_validate({**table, "keep": "influence"}), "train", last=bool(table))
