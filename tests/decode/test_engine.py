"""Decoding as a user sees it: the same answers whatever they are decoded with, none made twice, streamed."""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import torch
from transformers import MistralConfig, MistralForCausalLM

from espalier.core.errors import DataError, GenerationError
from espalier.core.records import Example, message
from espalier.decode import batch, engine
from espalier.decode.cache import plan_layout
from espalier.decode.draws import Draw, Penalties
from espalier.decode.engine import decode_tokens, generate, stream, try_out, written
from espalier.decode.journal import Generations
from espalier.decode.requests import Request, before, groups_of, unfinished
from espalier.decode.strategies.beam import beam
from espalier.decode.strategies.sampling import greedy, sample
from espalier.models.adapters import methods
from espalier.models.support import unsupported

if TYPE_CHECKING:
    from pathlib import Path

    from transformers import LlamaForCausalLM

    from espalier.encode.template import Template

STRATEGIES = [
    greedy(limit=12),
    sample(limit=12, draw=Draw(0.8, 0.9), samples=3),
    sample(limit=12, draw=Draw(top_k=9, min_p=0.01, typical=0.95, penalties=Penalties(1.2, no_repeat=3))),
    beam(limit=12, beams=3, samples=2),
]
KINDS = ["greedy", "sample", "filtered", "beam"]


@pytest.fixture(params=["shared", "own"])
def layout(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Hold every common run once, or hold all of each row itself."""
    least = {"shared": 1, "own": 10**9}[request.param]
    monkeypatch.setattr(batch, "plan_layout", partial(plan_layout, least=least))
    return request.param


@pytest.mark.parametrize("strategy", STRATEGIES, ids=KINDS)
def test_an_answer_does_not_depend_on_what_is_decoded_with_it(
    talker: LlamaForCausalLM, template: Template, questions: list[Example], strategy, layout: str
):
    together = _answers(generate(talker, template, questions, strategy))
    backwards = _answers(generate(talker, template, questions[::-1], strategy))
    alone = _answers(c for question in questions for c in generate(talker, template, [question], strategy))
    in_groups = _answers(generate(talker, template, questions, strategy, tokens=120))
    assert len(together) == len(questions) * strategy.samples
    assert len(set(together.values())) > 4
    assert together == backwards == alone == in_groups


@pytest.mark.parametrize("strategy", STRATEGIES, ids=KINDS)
def test_the_way_through_transformers_gives_the_same(
    talker: LlamaForCausalLM,
    template: Template,
    questions: list[Example],
    strategy,
    monkeypatch: pytest.MonkeyPatch,
):
    shared = list(generate(talker, template, questions, strategy))
    # Settings that come with a model are no part of a strategy.
    talker.generation_config.repetition_penalty = 5.0
    monkeypatch.setattr(engine, "unsupported", lambda model, longest: "as if")
    alone = list(generate(talker, template, questions, strategy))
    assert _answers(shared) == _answers(alone)
    logprobs = {(c.example, c.sample): c.logprob for c in alone}
    for completion in shared:
        assert completion.logprob == pytest.approx(logprobs[completion.example, completion.sample], abs=1e-3)
    assert talker.generation_config.repetition_penalty == 5.0


@pytest.mark.gpu
@pytest.mark.parametrize("strategy", STRATEGIES, ids=KINDS)
def test_a_gpu_answers_the_same(
    talker: LlamaForCausalLM, template: Template, questions: list[Example], strategy, layout: str
):
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    expected = _answers(generate(talker, template, questions, strategy))
    assert _answers(generate(talker.to("cuda"), template, questions, strategy)) == expected


def test_a_model_with_a_window_is_decoded_through_transformers(template: Template, questions: list[Example]):
    torch.manual_seed(1)
    config = MistralConfig(
        vocab_size=320,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        sliding_window=8,
        initializer_range=0.3,
    )
    model = MistralForCausalLM(config).eval()
    assert unsupported(model, 100) is not None
    together = _answers(generate(model, template, questions, greedy(limit=6)))
    prompt = torch.tensor([template.prompt_ids(questions[1].prompt)])
    output = model.generate(
        prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=6, do_sample=False, eos_token_id=None
    )
    assert together["row-1", 0][0] == tuple(output[0, prompt.shape[1] :].tolist())


def test_a_model_whose_cache_fails_is_decoded_without_one(
    talker: LlamaForCausalLM, template: Template, questions: list[Example], monkeypatch: pytest.MonkeyPatch
):
    wanted = _answers(generate(talker, template, questions[:3], greedy(limit=6)))
    forward = type(talker).forward

    def uncached(self: Any, input_ids: torch.Tensor, **settings: Any) -> Any:
        if settings.get("use_cache"):
            raise IndexError("list index out of range")
        return forward(self, input_ids, **settings)

    monkeypatch.setattr(type(talker), "forward", uncached)
    monkeypatch.setattr(engine, "unsupported", lambda model, longest: "as if")
    assert _answers(generate(talker, template, questions[:3], greedy(limit=6))) == wanted


def test_an_adapter_is_decoded_with_its_model(
    talker: LlamaForCausalLM, template: Template, questions: list[Example]
):
    bare = _answers(generate(talker, template, questions, greedy(limit=6)))
    tuned = methods.build("lora", {"rank": 4})(talker)
    torch.manual_seed(2)
    for name, weight in tuned.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.1)
    answers = _answers(generate(tuned, template, questions, greedy(limit=6)))
    assert answers != bare
    for question in questions[:3]:
        ids = list(template.prompt_ids(question.prompt))
        for token in answers[question.id, 0][0]:
            with torch.no_grad():
                logits = tuned.eval()(input_ids=torch.tensor([ids]), use_cache=False).logits
            assert int(logits[0, -1].argmax()) == token
            ids.append(token)


def test_finish_ids_and_text_agree(talker: LlamaForCausalLM, template: Template, questions: list[Example]):
    # Any token can end an answer: take one that the model writes in the middle of some.
    longest = next(generate(talker, template, questions[:1], greedy(limit=12)))
    template.stop_ids = frozenset({longest.ids[3]})
    completions = list(generate(talker, template, questions, greedy(limit=12)))
    assert {completion.finish for completion in completions} == {"stop", "length"}
    for completion in completions:
        ended = completion.finish == "stop"
        assert (completion.ids[-1] in template.stop_ids) == ended
        assert not set(completion.ids[:-1]) & template.stop_ids
        assert ended or len(completion.ids) == 12
        assert completion.text == template.decode(completion.ids[:-1] if ended else completion.ids)
    first = next(c for c in completions if c.example == "row-0")
    assert len(first.ids) <= 4
    assert first.ids == longest.ids[: len(first.ids)]


def test_the_logprob_is_that_of_the_answer(
    talker: LlamaForCausalLM, template: Template, questions: list[Example]
):
    completion = next(generate(talker, template, questions[:1], greedy(limit=8)))
    prompt = template.prompt_ids(questions[0].prompt)
    with torch.no_grad():
        logits = talker(torch.tensor([[*prompt, *completion.ids]])).logits[0, len(prompt) - 1 : -1]
    wanted = logits.log_softmax(-1).gather(1, torch.tensor(completion.ids)[:, None]).sum()
    assert completion.logprob == pytest.approx(float(wanted), abs=1e-4)


def test_what_the_journal_holds_is_not_made_again(
    talker: LlamaForCausalLM,
    template: Template,
    questions: list[Example],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    path = tmp_path / "outputs.jsonl"
    killed = generate(talker, template, questions, greedy(limit=12), weights="a", journal=Generations(path))
    first = [next(killed) for _ in range(3)]
    killed.close()
    rest = list(
        generate(talker, template, questions, greedy(limit=12), weights="a", journal=Generations(path))
    )
    assert set(first) <= set(rest)
    assert _answers(rest) == _answers(generate(talker, template, questions, greedy(limit=12)))
    assert len(path.read_text().splitlines()) == 8  # nine questions, of which two are the same

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a generation is made twice")

    monkeypatch.setattr(engine, "decode_tokens", refuse)
    again = list(
        generate(talker, template, questions, greedy(limit=12), weights="a", journal=Generations(path))
    )
    assert _answers(again) == _answers(rest)
    for changed in ({"weights": "b"}, {"strategy": greedy(limit=11)}):
        settings = {"weights": "a", "strategy": greedy(limit=12), **changed}
        with pytest.raises(AssertionError, match="twice"):
            list(generate(talker, template, questions, journal=Generations(path), **settings))


def test_one_search_gives_the_samples_that_the_journal_lacks(
    talker: LlamaForCausalLM, template: Template, questions: list[Example], tmp_path: Path
):
    path = tmp_path / "journal.sqlite"

    def found(samples: int) -> dict[tuple[str, int], str]:
        strategy = beam(beams=3, limit=8, samples=samples)
        return _answers(generate(talker, template, questions, strategy, journal=Generations(path)))

    one, prefills = found(1), []
    talker.register_forward_pre_hook(lambda *_: prefills.append(1))
    three = found(3)
    assert prefills
    assert len(three) == 3 * len(one)
    assert one == {key: text for key, text in three.items() if key[1] == 0}
    assert all(three[key, 0] != three[key, 1] for key, _ in one)
    prefills.clear()
    assert found(2) == {key: text for key, text in three.items() if key[1] < 2}
    assert not prefills


@pytest.mark.parametrize("limit", [1, 12, 40])
def test_a_stream_is_the_batch_answer_in_pieces(
    talker: LlamaForCausalLM, template: Template, questions: list[Example], limit: int
):
    completions = {c.example: c for c in generate(talker, template, questions, greedy(limit=limit))}
    for question in questions[:4]:
        pieces = list(stream(talker, template, question.prompt, greedy(limit=limit)))
        assert "".join(pieces) == completions[question.id].text
        assert all(pieces)
    assert limit == 1 or len(pieces) > 1


def test_what_a_model_can_do_is_asked_once(
    talker: LlamaForCausalLM, template: Template, questions: list[Example]
):
    forwards: list[int] = []
    forward = type(talker).forward

    def counted(self: Any, input_ids: torch.Tensor, **settings: Any) -> Any:
        forwards.append(input_ids.shape[1])
        return forward(self, input_ids, **settings)

    def first_token(model: LlamaForCausalLM) -> list[int]:
        forwards.clear()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(type(talker), "forward", counted)
            next(iter(stream(model, template, questions[0].prompt, greedy(limit=9))), None)
        return forwards

    try_out(talker)
    prompt = len(template.prompt_ids(questions[0].prompt))
    for model in (talker, copy.deepcopy(talker)):
        assert first_token(model)[0] == prompt  # and then one token at a time
        assert set(forwards[1:]) <= {1}
    talker.model.layers[0].mlp.register_forward_hook(lambda part, given, found: found + found.roll(1, dims=1))
    assert not engine.can_share(talker, [Request("", (1, 2, 3), 0, ())], greedy(limit=1))


def test_a_stream_never_splits_a_character(
    talker: LlamaForCausalLM, template: Template, monkeypatch: pytest.MonkeyPatch
):
    text = "naïve – 日本語 🌳!"
    ids = [token for part in text for token in template._reader.ids(part)]
    assert len(ids) > len(text)

    def spelled(*_: object, **__: object):
        for place, token in enumerate(ids):
            yield engine.Token(0, token, 0.0, None if place + 1 < len(ids) else "length")

    monkeypatch.setattr(engine, "decode_tokens", spelled)
    pieces = list(stream(talker, template, _question("say it").prompt, greedy()))
    assert "".join(pieces) == text
    assert not any("\ufffd" in piece for piece in pieces)
    ids.pop()  # an answer cut inside a character ends as the batch decodes it
    ids[-1:] = template._reader.ids("🌳")[:2]
    assert "".join(stream(talker, template, _question("say it").prompt, greedy())) == template.decode(ids)


def test_a_stop_string_ends_an_answer_and_is_not_said(
    talker: LlamaForCausalLM, template: Template, questions: list[Example]
):
    whole = "".join(stream(talker, template, questions[0].prompt, greedy(limit=30)))
    for stop in (whole[9:12], whole[20:22], whole[-1:], "never said"):
        pieces = list(written(talker, template, questions[0].prompt, greedy(limit=30), stops=[stop, "?!?"]))
        assert "".join(piece for piece, _ in pieces) == whole.split(stop)[0]
        assert [finish for _, finish in pieces if finish] == ["stop" if stop in whole else "length"]


def test_what_may_become_a_stop_string_is_held_back():
    assert unfinished("so it ends\n", ["\n\nUser", "end"]) == "so it ends"
    assert unfinished("so it ends\n\nU", ["\n\nUser", "end"]) == "so it ends"
    assert unfinished("so it ends", ["\n\n"]) == unfinished("so it ends", []) == "so it ends"
    assert before("one two three two", ["three", "two"]) == "one "
    assert before("one", ["two"]) == before("one", []) == "one"


def test_a_model_in_training_is_decoded_without_dropout_and_trains_on(
    talker: LlamaForCausalLM, template: Template, questions: list[Example]
):
    before = talker.config._attn_implementation
    talker.train()
    list(generate(talker, template, questions[:2], greedy(limit=3)))
    assert talker.training
    assert talker.config._attn_implementation == before
    assert not torch.is_inference_mode_enabled()


def test_an_empty_prompt_is_refused(
    talker: LlamaForCausalLM, template: Template, questions: list[Example], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(template, "prompt_ids", lambda messages: ())
    with pytest.raises(GenerationError, match="example row-0: The prompt has no tokens"):
        next(generate(talker, template, questions, greedy()))


def test_groups_fit_the_budget_and_lose_nothing():
    head, other = tuple(range(40)), tuple(range(50, 70))
    prompts = [(*head, 100 + i) for i in range(9)] + [(*other, 100 + i, 7) for i in range(5)] + [(1,) * 90]
    requests = [Request(str(i), prompt, 0, (str(i),)) for i, prompt in enumerate(prompts)]
    groups = list(groups_of(requests[::-1], limit=10, tokens=100))
    assert sorted(r.key for group in groups for r in group) == sorted(r.key for r in requests)
    assert [len(group) for group in groups] == [5, 4, 1, 5]
    assert len(list(groups_of(requests, limit=10, tokens=10**6))) == 1
    assert [len(group) for group in groups_of(requests, limit=10, tokens=100, rows=6)] == [1] * 15
    short = [replace(request, limit=1) for request in requests]
    assert [len(group) for group in groups_of(short, limit=10, tokens=100)] == [9, 1, 5]


def test_in_bf16_the_first_tokens_are_about_as_likely(
    talker: LlamaForCausalLM, template: Template, questions: list[Example]
):
    requests = [Request(q.id, template.prompt_ids(q.prompt), 0, (q.id,)) for q in questions[:-1]]
    exact = list(decode_tokens(talker, requests, greedy(limit=1), ()))
    rounded = list(decode_tokens(talker.bfloat16(), requests, greedy(limit=1), ()))
    gaps = [abs(one.logprob - other.logprob) for one, other in zip(exact, rounded, strict=True)]
    assert 0 < max(gaps) < 0.5


def _answers(completions) -> dict[tuple[str, int], tuple[tuple[int, ...], str, str]]:
    return {(c.example, c.sample): (c.ids, c.text, c.finish) for c in completions}


def _question(text: str) -> Example:
    return Example("id", "task", text, (message("user", text),), references=("",))


@pytest.mark.parametrize("room", [0, 3])
def test_an_answer_without_room_in_the_context_is_refused_with_both_numbers(
    talker: LlamaForCausalLM, template: Template, questions: list[Example], room: int
):
    short = copy.copy(template)
    longest = max(len(template.prompt_ids(question.prompt)) for question in questions)
    short.context = longest + room
    with pytest.raises(DataError, match=rf"{longest} tokens, .* 12 .*context of {longest + room}") as caught:
        next(generate(talker, short, questions, greedy(limit=12)))
    assert (f"Lower it to {room}" if room else "Shorten") in caught.value.hint
    with pytest.raises(DataError, match="The prompt has"):
        next(stream(talker, short, [message("user", "why " * longest)], greedy(limit=12)))
    short.context = longest + 12
    assert len(list(generate(talker, short, questions, greedy(limit=12)))) == len(questions)
