"""Both sides of local generation answer the same prompts with the same tokens, however long they may be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from bench.generation import _answered, _Recorded, _shared
from espalier.core.recipe import Choice
from espalier.core.records import Example, message
from espalier.decode.local import local_of
from espalier.models.load import Loaded

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM

    from espalier.encode.template import Template


@pytest.fixture
def recorded(talker: LlamaForCausalLM, template: Template) -> _Recorded:
    loaded: Any = Loaded("talker", talker, template._tokenizer, template, "weights")  # type: ignore[arg-type]
    talker.generation_config.eos_token_id = None
    return _Recorded(local_of(loaded, in_place=True))


def _asked(count: int) -> list[Example]:
    texts = [f"How long did {'the meeting ' * number}last?" for number in range(count)]
    return [Example(text, "t", text, (message("user", text),), ("",)) for text in texts]


@pytest.mark.parametrize("prefix", [False, True])
def test_transformers_answers_with_the_same_tokens(recorded: _Recorded, prefix: bool) -> None:
    list(recorded.generate(_asked(5), Choice.model_validate({"kind": "greedy", "limit": 6})))
    (call,) = recorded.calls
    ours = {c.example: c.ids for c in recorded.local.generate(call.examples, call.settings)}
    answers = _answered(recorded.local.loaded, call, 2, prefix=prefix)
    assert answers == [ours[name] for name in sorted(ours)]
    assert [len(answer) for answer in answers] == call.sizes


def test_answers_that_are_drawn_are_as_long(recorded: _Recorded) -> None:
    settings = Choice.model_validate({"kind": "sample", "limit": 9, "samples": 3})
    list(recorded.generate(_asked(3), settings))
    (call,) = recorded.calls
    assert len(call.prompts) == 9
    answers = _answered(recorded.local.loaded, call, 4, prefix=False)
    assert [len(answer) for answer in answers] == call.sizes


def test_a_token_of_each_prompt_is_its_own() -> None:
    assert _shared([(1, 2, 3, 4), (1, 2, 5)]) == 2
    assert _shared([(1, 2), (1, 2, 3)]) == 1
