"""For templates of any habits, tokenizers of any kind and any messages: the tokenizer's ids, or a reason."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    trainers,
)
from transformers import PreTrainedTokenizerFast

from espalier.core.errors import TemplateError
from espalier.core.records import Example, Message, Text, Thought, ToolCall, ToolList, message
from espalier.encode.template import Template
from espalier.encode.tokens import encode_unit, read_ahead
from espalier.encode.voice import Rendering

if TYPE_CHECKING:
    from collections.abc import Sequence

    from espalier.core.records import Encoded

# ---- templates


@dataclass(frozen=True)
class Habits:
    """What a template does; see `source`."""

    begin: str
    turn: str
    names: str
    trim: bool
    end: str
    last: str
    opening: str
    system: str
    order: bool
    tools: str
    calls: str
    results: str
    thoughts: str
    parts: bool
    date: str


HABITS: dict[str, Sequence[Any]] = {
    "begin": ["", "<|bos|>", "{{ bos_token }}"],
    "turn": ["<|turn|>{}\n", "### {}:\n", "{}: ", "<|turn|>{}<|mid|>", "[{}]"],
    "names": ["plain", "upper", "model"],
    "trim": [False, True],
    "end": ["<|end|>\n", "<|end|>", "\n<|end|>\n\n", "</s>", "", "\n\n", " <|end|>", "<|end|></s>"],
    "last": ["", "</s>", "\n", "bye"],
    "opening": ["header", "none", "think", "space", "always"],
    "system": ["shown", "refused", "folded", "dropped", "default"],
    "order": [False, True],
    "tools": ["ignored", "first", "last question", "named"],
    "calls": ["none", "object", "text", "python", "alone"],
    "results": ["tool", "user", "ipython", "refused"],
    "thoughts": ["kept", "stripped", "stripped before", "empty last", "apart"],
    "parts": [False, True],
    "date": ["", "{{ strftime_now('%Y') }}\n", "{{ date_string if date_string is defined else '26 Jul' }}\n"],
}


def source(habits: Habits) -> str:
    """Return a chat template with these habits."""
    names = {
        "plain": "m.role",
        "upper": "m.role|upper",
        "model": "('model' if m.role == 'assistant' else m.role)",
    }
    before, _, behind = habits.turn.partition("{}")
    if habits.results == "ipython":
        names = {key: f"('ipython' if m.role == 'tool' else {name})" for key, name in names.items()}
    if habits.results == "user":
        names = {key: f"('user' if m.role == 'tool' else {name})" for key, name in names.items()}
    header = json.dumps(before) + " + " + names[habits.names] + " + " + json.dumps(behind)
    opened = {"plain": "assistant", "upper": "ASSISTANT", "model": "model"}[habits.names]
    added = {"think": "<think>\n", "space": " "}.get(habits.opening, "")
    said = "(m.content[0].text if m.content else '')" if habits.parts else "(m.content or '')"
    said += "|trim" if habits.trim else ""
    opening = "{{ " + json.dumps(before + opened + behind + added) + " }}"
    return "".join(
        [
            habits.begin,
            habits.date,
            _listed(habits, "true") if habits.tools in ("first", "named") else "",
            "{% if messages[0].role != 'system' %}SYS{% endif %}" if habits.system == "default" else "",
            "{% for m in messages %}",
            _ordered(habits),
            _system(habits, said),
            "{% set c = " + said + " %}",
            _thoughts(habits),
            "{% if m.role == 'tool' %}{{ raise_exception('no results') }}{% endif %}"
            if habits.results == "refused"
            else "",
            _listed(habits, "loop.last") if habits.tools == "last question" else "",
            "{{ " + header + " }}{% if fold.text and m.role == 'user' %}{{ fold.text }}{% endif %}",
            "{% if m.role == 'assistant' and m.tool_calls %}"
            + _calls(habits)
            + "{% else %}{{ c }}{% endif %}",
            "{% if m.role == 'assistant' %}" + habits.end + "{% else %}\n{% endif %}",
            "{% endif %}{% endfor %}",
            {"none": "", "always": opening}.get(
                habits.opening, "{% if add_generation_prompt %}" + opening + "{% endif %}"
            ),
            "{% if not add_generation_prompt %}" + habits.last + "{% endif %}",
        ]
    )


def _listed(habits: Habits, when: str) -> str:
    return "{% if tools and " + when + " %}TOOLS {{ tools|tojson }}\n{% endif %}"


def _ordered(habits: Habits) -> str:
    if not habits.order:
        return ""
    first = "(messages[0].role == 'system')|int"
    return (
        "{% if m.role in ['user', 'assistant'] and (m.role == 'user') != ((loop.index0 - "
        + first
        + ") % 2 == 0) %}{{ raise_exception('take turns') }}{% endif %}"
    )


def _system(habits: Habits, said: str) -> str:
    does = {
        "refused": "{{ raise_exception('no system') }}",
        "dropped": "",
        "folded": "{% set fold.text = " + said + " + '\\n\\n' %}",
    }.get(habits.system)
    start = "{% set fold = namespace(text=fold.text if fold is defined else '') %}"
    if does is None:
        return start + "{% if true %}"
    return start + "{% if m.role == 'system' %}" + does + "{% else %}"


def _thoughts(habits: Habits) -> str:
    cut = "{% if m.role == 'assistant' and '</think>' in c %}{% set c = c.split('</think>')[-1] %}{% endif %}"
    thought = "m.reasoning_content if m.reasoning_content else ''"
    return {
        "stripped": cut,
        "stripped before": "{% if not loop.last %}" + cut + "{% endif %}",
        "empty last": "{% if m.role == 'assistant' and loop.last and '</think>' not in c %}"
        "{% set c = '<think>\n\n</think>\n\n' + c %}{% endif %}",
        "apart": "{% if m.role == 'assistant' and loop.last %}{% set c = '<think>' + ("
        + thought
        + ") + '</think>' + c %}{% endif %}",
    }.get(habits.thoughts, "")


def _calls(habits: Habits) -> str:
    each = {
        "none": "",
        "object": "{{ f.arguments|tojson }}",
        "text": "{{ '' + f.arguments }}",
        "python": "{{ f.arguments }}",
        "alone": "{{ f.arguments|tojson }}",
    }[habits.calls]
    refusal = "{% if m.content or m.tool_calls|length > 1 %}{{ raise_exception('one call') }}{% endif %}"
    shown = "" if habits.calls == "none" else "<call>{{ f.name }} " + each + "</call>"
    return (
        (refusal if habits.calls == "alone" else "{{ c }}")
        + "{% for call in m.tool_calls %}{% set f = call.function %}"
        + shown
        + "{% endfor %}"
    )


# ---- tokenizers

WORDS = [
    "the cat sat on the mat",
    "How long did it last? It lasted two hours.\n",
    "user: assistant: model\n\n",
]
WORDS += ["<think>\n\n</think>\n\nYes. No.", "Two. An hour.  \n", "  a\n\n\nb", "### user:\nTOOLS SYS"]
SPECIAL = ["<|bos|>", "<|turn|>", "<|mid|>", "<|end|>", "</s>"]
KINDS = ["bytes", "bytes prefixed", "lines", "first", "always", "legacy", "unigram", "words"]
BYTEWISE = ("bytes", "bytes prefixed", "lines")  # ids that say all that the text says
FLAGS = ["", "lstrip", "rstrip", "single_word", "normalized"]
LINES = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


@functools.cache
def tokenizer_of(kind: str, flag: str) -> PreTrainedTokenizerFast:
    """Return a small tokenizer of a kind, with a flag on the tokens that begin and end a turn."""
    bytewise, blank = pre_tokenizers.ByteLevel, pre_tokenizers.Metaspace
    made = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
    alphabet: list[str] = []
    if kind in BYTEWISE:
        made = Tokenizer(models.BPE())
        made.pre_tokenizer = (
            pre_tokenizers.Sequence(
                [
                    pre_tokenizers.Split(Regex(LINES), "isolated"),
                    bytewise(add_prefix_space=False, use_regex=False),
                ]
            )
            if kind == "lines"
            else bytewise(add_prefix_space=kind == "bytes prefixed")
        )
        made.decoder, alphabet = decoders.ByteLevel(), bytewise.alphabet()
    elif kind == "legacy":
        made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        made.decoder = decoders.Sequence(
            [
                decoders.Replace("▁", " "),
                decoders.ByteFallback(),
                decoders.Fuse(),
                decoders.Strip(" ", 1, 0),
            ]
        )
    elif kind in ("first", "always", "unigram"):
        scheme = "always" if kind == "always" else "first"
        made = Tokenizer(models.Unigram()) if kind == "unigram" else made
        made.pre_tokenizer = blank(prepend_scheme=scheme, split=kind != "first")
        made.decoder = decoders.Metaspace(prepend_scheme=scheme)
    else:
        made = Tokenizer(models.WordPiece(unk_token="<unk>"))
        made.normalizer = normalizers.BertNormalizer()
        made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        made.decoder = decoders.WordPiece()
    known = ["<unk>", *SPECIAL]
    if kind == "unigram":
        trainer: Any = trainers.UnigramTrainer(
            vocab_size=90, special_tokens=known, unk_token="<unk>", show_progress=False
        )
    else:
        made_trainer = trainers.WordPieceTrainer if kind == "words" else trainers.BpeTrainer
        trainer = made_trainer(
            vocab_size=360, special_tokens=known, initial_alphabet=alphabet, show_progress=False
        )
    made.train_from_iterator(WORDS * 4, trainer)
    if flag:
        marked = [AddedToken(name, special=True, **{flag: True}) for name in ("<|turn|>", "<|end|>")]
        made.add_special_tokens(marked)
    made.add_tokens(["<think>", "</think>"])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=made, bos_token="<|bos|>", eos_token="</s>", unk_token="<unk>"
    )
    fast.chat_control_tokens = []
    return fast


# ---- conversations

PIECES = [
    "Yes",
    "two",
    " hours",
    "\n",
    "\n\n",
    " ",
    "  ",
    "\t",
    "é",
    "東",
    "🙂",
    "{{ 1 }}",
    "</think>",
    "<think>",
]
NAMES = ["<|end|>", "</s>", "<|turn|>user\n"]
plain = st.lists(st.sampled_from(PIECES) | st.text(max_size=2), max_size=5).map("".join)
texts = st.one_of(
    plain, plain, st.sampled_from(NAMES).flatmap(lambda name: plain.map(lambda t: t + name + t))
)
TOOL = {"type": "function", "function": {"name": "ring", "parameters": {"type": "object"}}}


@st.composite
def conversations(draw: st.DrawFn) -> tuple[Message, ...]:
    turns: list[Message] = []
    if draw(st.booleans()):
        parts = [Text(draw(texts)), *([ToolList(json.dumps([TOOL]))] if draw(st.booleans()) else [])]
        turns.append(Message("system", tuple(draw(st.permutations(parts)))))
    for _ in range(draw(st.integers(1, 2))):
        turns.append(message("user", draw(texts)))
        if draw(st.integers(0, 5)) == 0:
            turns.append(message("user", draw(texts)))
        for _ in range(draw(st.sampled_from([0, 0, 1]))):
            calls = [
                ToolCall("ring", json.dumps({"at": draw(texts)})) for _ in range(draw(st.integers(1, 2)))
            ]
            words = [Text(draw(plain))] if draw(st.booleans()) else []
            turns.append(Message("assistant", (*words, *calls), trained=draw(st.booleans())))
            turns += [message("tool", draw(texts)) for _ in calls]
        thought = [Thought("Hm.")] if draw(st.integers(0, 3)) == 0 else []
        turns.append(Message("assistant", (*thought, Text(draw(texts))), trained=draw(st.booleans())))
    last = turns.pop()
    return (*turns, Message("assistant", last.parts, trained=True))


habits = st.builds(Habits, **{name: st.sampled_from(values) for name, values in HABITS.items()})
CHATML = Habits(
    *("", "<|turn|>{}\n", "plain", False, "<|end|>\n", "", "header", "shown", False),
    *("ignored", "none", "tool", "kept", False, ""),
)
# Most templates have a few habits only.
few = (
    st.lists(st.sampled_from([*HABITS]), max_size=4, unique=True)
    .flatmap(lambda names: st.fixed_dictionaries({name: st.sampled_from(HABITS[name]) for name in names}))
    .map(lambda some: replace(CHATML, **some))
)


def templated(habits: Habits, kind: str, flag: str) -> PreTrainedTokenizerFast:
    tokenizer = tokenizer_of(kind, flag)
    text = source(habits)
    tokenizer.chat_template = (
        {"default": text.replace("TOOLS", ""), "tool_use": text} if (habits.tools == "named") else text
    )
    return tokenizer


def check(
    tokenizer: PreTrainedTokenizerFast, chat: Template, turns: tuple[Message, ...], row: Encoded, kind: str
) -> None:
    """Compare a row with what the tokenizer makes of its turns: whole, prompt, mask, and what is said."""
    places = [place for place, turn in enumerate(turns) if turn.trained]
    if sum(row.weights) and row.number:
        places = [row.number]

    def own(asked: tuple[Message, ...], opening: bool) -> tuple[int, ...]:
        given_turns, tools = chat.turns_of(asked)
        quotes = chat.rendering.special == "text" and bool(chat.quoted(asked))
        return tuple(
            tokenizer.apply_chat_template(
                given_turns,
                tools=tools,
                add_generation_prompt=opening,
                return_dict=False,
                sanitize_control_tokens=quotes,
            )
        )

    whole = own(turns[: places[-1] + 1], False)
    size = len(row.ids)
    assert row.ids == whole[:size] or (row.ids[:-1] == whole[: size - 1] and row.ids[-1] in chat.stop_ids)
    trained: set[int] = set()
    for place in places:
        prompt = own(turns[:place], True)
        assert row.ids[: len(prompt)] == prompt == chat.prompt_ids(turns[:place])
        end = next(at for at in range(len(prompt), size) if row.ids[at] in chat.stop_ids)
        trained |= set(range(len(prompt), end + 1))
    assert {at for at, weight in enumerate(row.weights) if weight} == trained
    assert row.prompt == len(own(turns[: places[-1]], True))
    answer = turns[places[-1]]
    if kind in BYTEWISE and answer.parts == (Text(answer.text),) and not chat.quoted([answer]):
        said = chat.decode(row.ids[row.prompt : -1])
        assert "".join(said.split()).endswith("".join(answer.text.split()))


@pytest.mark.parametrize("special", ["text", "token"])
@given(
    habits=few | habits,
    kind=st.sampled_from(KINDS),
    flag=st.sampled_from(["", "", "", *FLAGS]),
    turns=conversations(),
)
@settings(
    max_examples=80,
    suppress_health_check=[HealthCheck.too_slow],
)
def test_ids_are_the_tokenizer_s_own_or_refused(
    special: Any, habits: Habits, kind: str, flag: str, turns: tuple[Message, ...]
) -> None:
    tokenizer = templated(habits, kind, flag)
    try:
        chat = Template(tokenizer, rendering=Rendering(special))
        unit = encode_unit(Example("id", "task", "source", turns), chat)
    except TemplateError as error:  # it always has a message
        event("refused: " + error.message[:50])
        return
    event(f"rows: {len(unit.rows)}")
    for row in unit.rows:
        check(tokenizer, chat, turns, row, kind)


@given(
    habits=few | habits,
    kind=st.sampled_from(KINDS),
    flag=st.sampled_from(["", "", *FLAGS]),
    talks=st.lists(conversations(), min_size=1, max_size=4),
)
@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
def test_conversations_that_are_read_together_are_as_each_by_itself(
    habits: Habits, kind: str, flag: str, talks: list[tuple[Message, ...]]
) -> None:
    tokenizer = templated(habits, kind, flag)
    examples = [Example(str(number), "task", "source", turns) for number, turns in enumerate(talks)]

    def units(chat: Template) -> list[object]:
        found: list[object] = []
        for example in examples:
            try:
                found.append(encode_unit(example, chat))
            except TemplateError as error:
                found.append((error.message, error.hint))
        return found

    try:
        alone, together = Template(tokenizer), Template(tokenizer)
    except TemplateError:
        return
    read_ahead(examples, together)
    assert units(together) == units(alone)
