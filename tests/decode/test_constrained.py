"""An answer is what it has to be, or was cut off; among what it can be it is the likeliest token by token."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from espalier.core.errors import DataError, EspalierError, GenerationError, MissingExtra, RecipeError
from espalier.core.records import Example, message
from espalier.decode.engine import decode_tokens, generate, stream
from espalier.decode.requests import Request
from espalier.decode.strategies.registry import strategies
from espalier.encode.template import Template
from espalier.sandbox import patterns
from espalier.scorers.json_schema import problem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast


@pytest.fixture(scope="module")
def chatty(llama: Callable[..., LlamaForCausalLM]) -> Iterator[LlamaForCausalLM]:
    """More logits than either tokenizer has tokens, as many models have."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield llama(352, initializer_range=0.3)
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def templates(
    chat_tokenizer: Callable[[str], PreTrainedTokenizerFast], sentencepiece: PreTrainedTokenizerFast
) -> dict[str, Template]:
    """One of bytes, one of SentencePiece with spaces around answers; and lines and thoughts around them."""
    return {
        "bytes": Template(chat_tokenizer("chatml")),
        "pieces": Template(sentencepiece),
        "dressed": Template(chat_tokenizer("wrapped")),
        "thinking": Template(chat_tokenizer("thinking")),
    }


def rows(count: int = 3, **changes: Any) -> list[Example]:
    words = ["the cat", "how long", "two hours"]
    return [
        replace(
            Example(f"row-{n}", "t", "s", (message("user", f"Say something.\n{words[n % 3]} {n}"),), ("x",)),
            **changes,
        )
        for n in range(count)
    ]


def answers(model: LlamaForCausalLM, template: Template, examples: Sequence[Example], **params: Any):
    strategy = strategies.build("constrained", params, "decode")
    found = list(generate(model, template, examples, strategy))
    assert len(found) == len(examples) * strategy.samples
    return found


TEMPLATES = st.sampled_from(["bytes", "pieces", "dressed", "thinking"])
CHOICE = st.text(st.sampled_from("thecatho urs\n é東{}12"), min_size=1, max_size=8)


@settings(max_examples=25)
@given(TEMPLATES, st.lists(CHOICE, min_size=1, max_size=5, unique=True), st.sampled_from([0.0, 1.0]))
def test_an_answer_is_one_of_the_choices(
    chatty: LlamaForCausalLM,
    templates: dict[str, Template],
    which: str,
    choices: list[str],
    temperature: float,
):
    for one in answers(chatty, templates[which], rows(), choices=choices, temperature=temperature, limit=40):
        assert one.finish == "stop"
        assert one.text in choices


def naively(
    model: LlamaForCausalLM, template: Template, example: Example, choices: Sequence[str]
) -> list[int]:
    """Return the ids of the choice that is taken by trying each token behind the whole row each time."""
    spelling = template.dress.spelling
    texts = [f"{spelling.lead}{choice}{spelling.ending}".encode() for choice in choices]
    prompt, ids, said = template.prompt_ids(example.prompt), [*spelling.opening], b""
    while not ids or ids[-1] not in template.stop_ids:
        with torch.no_grad():
            logits = model(torch.tensor([[*prompt, *ids]])).logits[0, -1].tolist()
        can = {t: said + text for t, text in spelling.tokens.items() if text}
        can = {t: text for t, text in can.items() if any(one.startswith(text) for one in texts)}
        can |= dict.fromkeys(template.stop_ids, said) if said in texts else {}
        ids.append(max(can, key=lambda token: logits[token]))
        said = can[ids[-1]]
    return ids


@pytest.mark.parametrize("which", ["bytes", "pieces", "dressed", "thinking"])
def test_each_token_is_the_likeliest_that_can_be(
    chatty: LlamaForCausalLM, templates: dict[str, Template], which: str
):
    choices = ["two hours", "two", "the cat", "thé", "hours and hours", "12\n"]
    for one in answers(chatty, templates[which], rows(7), choices=choices, limit=40):
        example = next(row for row in rows(7) if row.id == one.example)
        assert list(one.ids) == naively(chatty, templates[which], example, choices)


EXPRESSIONS = [
    r"[0-9]{1,3} (second|hour|day)s?",
    r"[a-h]{2,5}( [a-h]{2,3}){0,2}",
    r"(yes|no)\.",
    r"a|aa|aaa",
    r"\s?é+[^é]",
]


@settings(max_examples=20)
@given(TEMPLATES, st.sampled_from(EXPRESSIONS), st.sampled_from([0.0, 1.0]), st.integers(1, 30))
def test_an_answer_matches_or_was_cut_off(
    chatty: LlamaForCausalLM,
    templates: dict[str, Template],
    which: str,
    regex: str,
    temperature: float,
    limit: int,
):
    pytest.importorskip("outlines_core")
    for one in answers(chatty, templates[which], rows(), regex=regex, temperature=temperature, limit=limit):
        assert one.finish in ("stop", "length")
        assert (re.fullmatch(regex, one.text) is not None) or one.finish == "length"
        if limit == 30:
            assert one.finish == "stop"


SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "who": {"type": "string", "maxLength": 4},
        "kind": {"enum": ["a", "b", 3, None]},
        "minimum": {"type": "array", "items": {"type": "boolean"}, "maxItems": 2},
        "where": {"type": "object", "properties": {"on": {"type": "boolean"}}, "required": ["on"]},
    },
    "required": ["who", "kind", "where"],
    "additionalProperties": False,
}


@pytest.mark.parametrize("which", ["bytes", "pieces", "dressed"])
@pytest.mark.parametrize("form", ["table", "text"])
def test_an_answer_is_json_by_the_schema(
    chatty: LlamaForCausalLM, templates: dict[str, Template], which: str, form: str, tmp_path: Path
):
    pytest.importorskip("outlines_core")
    path = tmp_path / "schema.json"
    path.write_text(json.dumps(SCHEMA))
    schema = SCHEMA if form == "table" else str(path)
    found = answers(chatty, templates[which], rows(), schema=schema, limit=200, temperature=1.0, samples=2)
    assert {one.finish for one in found} == {"stop"}
    assert len({one.text for one in found}) > 1
    for one in found:
        assert problem(json.loads(one.text), SCHEMA) == ""


def test_rows_keep_to_what_their_own_facts_say(chatty: LlamaForCausalLM, templates: dict[str, Template]):
    pytest.importorskip("outlines_core")
    one, two, three = rows(3)
    some = [
        replace(one, facts={"options": ["A. two", "B. hours"], "answer": 0}),
        replace(one, id="again", facts={"options": ["C. cat"]}),
        replace(two, facts={"schema": '{"type": "boolean"}'}),
        replace(three, facts={}),
    ]
    found = answers(chatty, templates["bytes"], some, from_facts=True, choices=["none"])
    said = {completion.example: completion.text for completion in found}
    assert said["row-0"] in ("A. two", "B. hours")
    assert said["again"] == "C. cat"
    assert said["row-1"] in ("true", "false")
    assert said["row-2"] == "none"
    with pytest.raises(DataError, match=r"row-2: The row has neither options nor a schema"):
        answers(chatty, templates["bytes"], some, from_facts=True)
    strategy = strategies.build("constrained", {"from_facts": True})
    with pytest.raises(GenerationError, match="nothing that the answer has to keep to"):
        list(stream(chatty, templates["bytes"], one.prompt, strategy))


def test_streamed_and_without_sharing_it_is_the_same(
    chatty: LlamaForCausalLM, templates: dict[str, Template]
):
    template = templates["pieces"]
    strategy = strategies.build("constrained", {"choices": ["two hours", "the cat"]})
    for example in rows():
        (one,) = generate(chatty, template, [example], strategy)
        assert "".join(stream(chatty, template, example.prompt, strategy)) == one.text
    some = [Request(row.id, template.prompt_ids(row.prompt), 0, ()) for row in rows()]
    bound = strategy.bound(template)
    apart, together = (
        sorted(
            (token.row, token.id)
            for token in decode_tokens(chatty, some, bound, template.stop_ids, shared=shared)
        )
        for shared in (False, True)
    )
    assert apart == together


def test_requests_have_their_own_stops_limits_and_constraints(
    chatty: LlamaForCausalLM, templates: dict[str, Template]
):
    template = templates["bytes"]
    bound = strategies.build("constrained", {"choices": ["hours", "cat"]}).bound(template)
    prompt = template.prompt_ids(rows()[0].prompt)
    plain = Request("0", prompt, 0, ())
    some = [
        plain,
        replace(plain, limit=1),
        replace(plain, stop_ids=frozenset({7})),
        replace(plain, stops=("ou", "a")),
        replace(plain, own={"choices": ["mat"]}),
    ]
    ids: dict[int, list[int]] = {}
    finish = {}
    for token in decode_tokens(chatty, some, bound, template.stop_ids, text=template.decode):
        ids.setdefault(token.row, []).append(token.id)
        finish[token.row] = token.finish
    assert finish[1] == "length"
    assert ids[1] == ids[0][:1]
    assert ids[2][-1] == 7
    assert ids[3][-1] not in template.stop_ids
    assert template.decode(ids[4][:-1]) == "mat"
    with pytest.raises(GenerationError, match="complete, and no token ends it"):
        list(decode_tokens(chatty, [plain], bound, ()))


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({}, "decode.kind: .*needs choices, a regex, a schema, or from_facts"),
        ({"regex": "a", "choices": ["a"]}, "takes one of choices, regex and schema"),
        ({"choices": ["a", ""]}, "decode.choices: .*no empty text"),
        ({"choices": ["a"], "samples": 2}, "decode.samples"),
        ({"schema": {"type": "integer", "minimum": 3}}, "decode.schema: 'minimum' cannot be kept to"),
        ({"schema": {"properties": {"a": {"not": {}}}}}, "'not' cannot be kept to"),
        ({"schema": {"type": "strange"}}, "decode.schema: .*strange"),
        ({"schema": "nowhere.json"}, "nowhere.json"),
    ],
)
def test_bad_settings_are_refused(params: dict[str, Any], message: str):
    pytest.importorskip("outlines_core")
    with pytest.raises(EspalierError, match=message):
        strategies.build("constrained", params, "decode")


def test_an_expression_that_cannot_be_is_refused(chatty: LlamaForCausalLM, templates: dict[str, Template]):
    pytest.importorskip("outlines_core")
    for regex in ("a(", r"(?=a)b", r"\bword"):
        with pytest.raises(RecipeError, match=r"decode\.regex: It cannot be kept to"):
            answers(chatty, templates["bytes"], rows(1), regex=regex)


def test_what_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "outlines_core", None)
    for params in ({"regex": "a"}, {"schema": {"type": "boolean"}}):
        with pytest.raises(MissingExtra, match=r"espalier-lm\[constrain\]"):
            strategies.build("constrained", params, "decode")
    assert strategies.build("constrained", {"choices": ["a"]}).settings["choices"] == ["a"]


@pytest.mark.parametrize(
    ("which", "around"),
    [("bytes", ("", "")), ("pieces", (" ", " ")), ("dressed", ("", "\n")), ("thinking", ("", ""))],
)
def test_what_a_template_writes_around_an_answer_is_written(
    chatty: LlamaForCausalLM, templates: dict[str, Template], which: str, around: tuple[str, str]
):
    spelling = templates[which].dress.spelling
    assert (spelling.lead, spelling.ending) == around
    assert bool(spelling.opening) == (which == "thinking")
    (one,) = answers(chatty, templates[which], rows(1), choices=["two hours"])
    assert one.text == "two hours"
    assert b"".join(
        spelling.tokens[token] for token in one.ids[len(spelling.opening) : -1]
    ).decode() == "two hours".join(around)


def test_an_expression_of_too_many_states_is_refused(
    chatty: LlamaForCausalLM, templates: dict[str, Template], monkeypatch: pytest.MonkeyPatch
):
    pytest.importorskip("outlines_core")
    monkeypatch.setattr(patterns, "STATES", 0.3)
    strategy = strategies.build("constrained", {"regex": "(a|b)*a(a|b){18}"})
    with pytest.raises(RecipeError, match="too many states"):
        list(generate(chatty, templates["bytes"], rows(1), strategy))


def test_penalties_that_leave_nothing_allowed_do_not_break_the_form(
    chatty: LlamaForCausalLM, templates: dict[str, Template]
):
    for temperature in (0.0, 1.0):
        given = {"choices": ["aaaaaa"], "no_repeat": 1, "temperature": temperature, "limit": 12}
        found = list(generate(chatty, templates["bytes"], rows(2), strategies.build("constrained", given)))
        assert [one.text for one in found] == ["aaaaaa"] * 2
