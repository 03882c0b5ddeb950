"""Answers by choice: the likeliest option by each option's own log-probability, weighed once."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from espalier.core.errors import DataError, RecipeError
from espalier.core.journal import store_of
from espalier.core.recipe import Choice
from espalier.core.records import Example, message
from espalier.decode import choosing
from espalier.decode.journal import Generations
from espalier.decode.likelihood import answer_row, numbers, told
from espalier.decode.local import local_of
from espalier.models.load import Loaded
from espalier.models.sharing import Sharing

if TYPE_CHECKING:
    from pathlib import Path

    from transformers import LlamaForCausalLM

    from espalier.encode.template import Template

RAW = Choice(kind="choices")
BY_TOKEN = Choice.model_validate({"kind": "choices", "normalise": "tokens"})
OPTIONS = ["two hours", "a cat", "it lasted two hours and more", "é"]


@pytest.fixture
def loaded(talker: LlamaForCausalLM, template: Template, one_thread: None) -> Loaded:
    return Loaded("talker", talker, template._tokenizer, template, "weights")  # type: ignore[arg-type]


def asked(*prompts: str) -> list[Example]:
    facts = {"options": OPTIONS}
    return [Example(str(n), "t", str(n), (message("user", p),), facts=facts) for n, p in enumerate(prompts)]


def test_the_likeliest_option_is_the_answer(loaded: Loaded):
    examples = asked("How long did it last?", "Why?")
    for settings in (RAW, BY_TOKEN):
        found = list(local_of(loaded).generate(examples, settings))
        for example, one in zip(examples, found, strict=True):
            rows = [answer_row(example, option, loaded.template) for option in OPTIONS]
            alone = [numbers(loaded, [row])[0] for row in rows]
            tokens = [sum(map(bool, row.weights)) for row in rows]
            assert [logprob for logprob, _ in one.options] == pytest.approx(alone, abs=1e-4)
            assert [count for _, count in one.options] == tokens
            each = [a / n for a, n in zip(alone, tokens, strict=True)] if settings is BY_TOKEN else alone
            best = each.index(max(each))
            assert (one.text, one.logprob) == (OPTIONS[best], one.options[best][0])
            assert loaded.template.decode(one.ids[:-1]) == OPTIONS[best]


def test_the_journal_weighs_for_every_normalisation(
    loaded: Loaded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(choosing, "TOGETHER", 2)
    examples = asked("How long did it last?", "Why?", "Why?", "The cat sat.")
    first = Generations(tmp_path / "a" / "generations.jsonl", store_of(tmp_path))
    found = list(local_of(loaded, first).generate(examples, RAW))
    assert first.made == 3  # the same row twice is one
    assert [one.example for one in found] == ["0", "1", "2", "3"]
    monkeypatch.setattr(choosing, "numbers", lambda _, rows: [] if not rows else pytest.fail("weighed again"))
    again = Generations(tmp_path / "b" / "generations.jsonl", store_of(tmp_path))
    other = list(local_of(loaded, again).generate(examples, BY_TOKEN))
    assert [one.options for one in other] == [one.options for one in found]
    kept = Generations(tmp_path / "a" / "generations.jsonl")
    assert list(local_of(loaded, kept).generate(examples, RAW)) == found


def test_what_cannot_be_chosen_from_is_refused(loaded: Loaded):
    row = replace(asked("Why?")[0], facts={"options": ["a"]})
    with pytest.raises(DataError, match=r"example 0: The row has one option"):
        list(local_of(loaded).generate([row], RAW))
    with pytest.raises(RecipeError, match="weighs the options of rows"):
        list(local_of(loaded).stream([message("user", "Why?")], RAW))


def test_what_greedy_would_say_is_told(loaded: Loaded, monkeypatch: pytest.MonkeyPatch):
    local, [example] = local_of(loaded), asked("How long did it last?")[:1]
    [said] = local.generate([example], Choice.model_validate({"kind": "greedy", "limit": 4}))
    prompt = loaded.template.prompt_ids(example.prompt)
    row = answer_row(example, "a cat", loaded.template)
    weights = (0.0,) * len(prompt) + (1.0,) * len(said.ids)
    best = replace(row, ids=(*prompt, *said.ids), weights=weights)
    for sharing in (True, False):
        if not sharing:
            monkeypatch.setattr(Sharing, "why_not", lambda *_: "to try")
        (first, greedy), (second, not_greedy) = told(loaded, [best, row])
        assert (greedy, not_greedy) == (True, False)
        assert [first, second] == pytest.approx(numbers(loaded, [best, row]), abs=1e-4)
        assert first == pytest.approx(said.logprob, abs=1e-4)
