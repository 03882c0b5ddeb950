"""A local model's answers are the engine's, and its likelihoods those of each row by itself."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import MistralConfig, MistralForCausalLM

from espalier.core.errors import DataError, RecipeError, TemplateError
from espalier.core.recipe import Choice
from espalier.core.records import Example, Generator, Likelihood, message
from espalier.decode import likelihood
from espalier.decode.engine import generate
from espalier.decode.journal import Generations
from espalier.decode.local import Local, local_of, strategy_of
from espalier.encode.template import Template
from espalier.models import sharing
from espalier.models.adapters import methods
from espalier.models.load import Loaded
from espalier.models.precision import Formats

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

    from espalier.encode.tree import Tree

GREEDY = Choice(kind="greedy")
SAMPLE = Choice.model_validate({"kind": "sample", "limit": 6, "temperature": 0.8, "samples": 2, "seed": 3})
# Options that are prefixes of each other, the same twice, and none.
OPTIONS = st.lists(st.lists(st.sampled_from(["a", "ab", "cat", "é"]), max_size=3).map(" ".join), max_size=4)
PROMPTS = st.sampled_from(["How long did it last?", "How long did it?", "The cat sat on the mat.", "Why?"])


@pytest.fixture
def loaded(talker: LlamaForCausalLM, template: Template, one_thread: None) -> Loaded:
    """A model that nobody has asked."""
    return Loaded("talker", talker, template._tokenizer, template, "weights")  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def precise(
    llama: Callable[..., LlamaForCausalLM], chat_tokenizer: Callable[[str], PreTrainedTokenizerFast]
) -> dict[str, Local]:
    """Models in fp64: one that shares prefixes, and one whose window hides them."""
    tokenizer = chat_tokenizer("chatml")
    sizes: dict[str, Any] = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "initializer_range": 0.3}
    config = MistralConfig(vocab_size=320, sliding_window=16, **sizes, **heads)
    torch.manual_seed(1)
    models = {"shared": llama(320, initializer_range=0.3), "by row": MistralForCausalLM(config).eval()}
    return {
        name: local_of(Loaded(name, model.double(), tokenizer, Template(tokenizer), ""))  # type: ignore[arg-type]
        for name, model in models.items()
    }


def asked(*prompts: str) -> list[Example]:
    return [Example(str(n), "t", str(n), (message("user", p),), ("x",)) for n, p in enumerate(prompts)]


@torch.no_grad()
def naive(local: Local, example: Example, option: str) -> float:
    """Return an option's log-probability from its whole row and its prompt, both the tokenizer's own."""
    answer = message("assistant", option, trained=True)
    ids = local.template.answered((*example.messages, answer)).ids
    start = len(local.template.prompt_ids(example.messages))
    logits = local.loaded.model(input_ids=torch.tensor([ids]), use_cache=False).logits[0]
    logprobs = logits.log_softmax(-1)[range(start - 1, len(ids) - 1), list(ids[start:])]
    return float(logprobs.sum())


@pytest.mark.parametrize("way", ["shared", "by row"])
@settings(max_examples=30)
@given(
    prompts=st.lists(PROMPTS, max_size=4),
    options=st.lists(OPTIONS, min_size=4, max_size=4),
    budget=st.sampled_from([1, 60, 4096]),
)
def test_options_weigh_as_each_by_itself(
    precise: dict[str, Local], way: str, prompts: list[str], options: list[list[str]], budget: int
):
    local, examples = precise[way], asked(*prompts)
    options = options[: len(prompts)]
    sizes: list[int] = []

    def counted(model: Any, tree: Tree, *, shared: bool) -> Any:
        assert shared == (way == "shared")
        sizes.append(len(tree.ids))
        return forward(model, tree, shared=shared)

    with pytest.MonkeyPatch.context() as patch:
        forward = likelihood.edge_logprobs
        patch.setattr(likelihood, "edge_logprobs", counted)
        patch.setattr(likelihood, "TOKENS", budget)
        found = local.logprobs(examples, options)
    pairs = [[(example, option) for option in row] for example, row in zip(examples, options, strict=True)]
    wanted = [[naive(local, example, option) for example, option in row] for row in pairs]
    assert found == [pytest.approx(row, abs=1e-9) for row in wanted]
    rows = [likelihood.answer_row(*pair, local.template) for row in pairs for pair in row]
    assert max(sizes, default=0) <= max([budget, *(len(row.ids) for row in rows)])
    assert len(sizes) == bool(rows) or budget < 4096


def test_an_earlier_answer_is_not_weighed(precise: dict[str, Local]):
    talk = [message("user", "Hi"), message("assistant", "Hello", trained=True), message("user", "Why?")]
    plain = [message(turn.role, turn.text) for turn in talk]
    last = message("assistant", "x", trained=True)
    trained, wanted = (Example("0", "t", "0", (*turns, last)) for turns in (talk, plain))
    assert precise["shared"].logprobs([trained], [["a"]]) == precise["shared"].logprobs([wanted], [["a"]])


def test_an_option_that_makes_no_row_is_refused(loaded: Loaded):
    local = local_of(loaded)
    with pytest.raises(TemplateError, match="cannot be text in a message"):
        local.logprobs(asked("Hi"), [["yes", "<|im_end|>\U000f0000"]])  # beside a mark of transformers' own
    loaded.template.context = 20
    with pytest.raises(DataError, match=r"example 1: .* answer has \d+ tokens; the model's context is 20"):
        local.logprobs(asked("Hi", "How long did it last?"), [[], ["two hours"]])


def test_what_writes_is_a_copy_in_its_own_format_made_when_it_is_asked(loaded: Loaded):
    questions = asked("How long did it last?", "Why?")
    methods.build("lora", {})(loaded.model)  # peft puts its layers into the model itself
    before = copy.deepcopy(loaded.model.state_dict())
    local = local_of(replace(loaded, formats=Formats("fp32", "bf16")))
    weighed = local.logprobs(questions, [["a"], ["b"]])
    assert "writer" not in vars(local)
    assert len(list(local.generate(questions, GREEDY))) == 2
    assert local.writer.dtype == torch.bfloat16
    assert all(torch.equal(weight, before[name]) for name, weight in loaded.model.state_dict().items())
    assert local.logprobs(questions, [["a"], ["b"]]) == weighed


@pytest.mark.parametrize("in_place", [False, True])
def test_answers_and_their_keys_are_the_engines(loaded: Loaded, in_place: bool, tmp_path: Path):
    questions, strategy = asked("How long did it last?", "Why?"), strategy_of(SAMPLE)
    wanted = list(generate(loaded.model, loaded.template, questions, strategy))
    kept = list(generate(loaded.model, loaded.template, questions, strategy, weights="weights"))
    local = local_of(loaded, in_place=in_place)
    assert (local.writer is loaded.model) == in_place
    assert list(local.generate(questions, SAMPLE)) == wanted
    pieces, ends = zip(*local.stream(questions[0].prompt, SAMPLE), strict=True)
    first = next(c for c in wanted if (c.example, c.sample) == ("0", 0))
    assert ("".join(pieces), ends[-1]) == (first.text, first.finish)
    assert list(local.stream(questions[0].prompt, SAMPLE, 1))[-1][1] == "length"
    journal = Generations(tmp_path / "generations.jsonl")
    assert list(local_of(loaded, journal).generate(questions, SAMPLE)) == kept
    assert journal.made == 4
    again = local_of(loaded, Generations(tmp_path / "generations.jsonl"))
    assert sorted(c.request for c in again.generate(questions, SAMPLE)) == sorted(c.request for c in kept)
    assert "writer" in vars(again)


def test_settings_that_do_not_fit_are_told_at_once(loaded: Loaded):
    for ask in (local_of(loaded).generate, local_of(loaded).stream):
        with pytest.raises(RecipeError, match="limit = 0 does not fit"):
            ask([], Choice.model_validate({"kind": "greedy", "limit": 0}))


def test_a_model_is_asked_once_whether_it_shares(
    precise: dict[str, Local], loaded: Loaded, monkeypatch: pytest.MonkeyPatch
):
    asks: list[int] = []

    def counted(model: Any, longest: int, *, training: bool = False) -> str | None:
        asks.append(longest)
        return ask(model, longest, training=training)

    ask = sharing.unsupported
    monkeypatch.setattr(sharing, "unsupported", counted)
    assert {loaded.sharing.why_not(longest) for longest in (3, 300, 100_000)} == {None}
    local_of(loaded).logprobs(asked("Hi", "Why?"), [["a"], ["b"]])
    assert asks == [3]
    windowed = copy.deepcopy(precise["by row"].loaded.model)
    windowed.config.sliding_window = 32
    told = [sharing.Sharing(windowed).why_not(longest) for longest in (33, 32, 2, 99)]
    assert ["window" in str(why) for why in told] == [True, False, False, True]
    once = sharing.Sharing(windowed)
    assert [once.why_not(longest) for longest in (33, 32, 2, 99)] == told
    assert asks == [3, 33, 32, 2, 99, 33, 32]


def test_it_is_what_the_records_say(loaded: Loaded):
    def uses(generator: Generator, weigher: Likelihood) -> Sequence[object]:
        return [*generator.generate(asked("Hi"), GREEDY), weigher.logprobs(asked("Hi"), [[]])]

    answer, weighed = uses(local_of(loaded), local_of(loaded))
    assert answer
    assert weighed == [[]]
