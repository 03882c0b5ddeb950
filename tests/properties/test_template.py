"""For every chat template and text: prompts are prefixes, and the mask is the answer with its stop token."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TypeVar

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from espalier.core.errors import TemplateError
from espalier.core.records import Example, Message, Text, ToolCall, ToolList, message
from espalier.encode.template import Template
from espalier.encode.tokens import encode

if TYPE_CHECKING:
    from collections.abc import Callable

TRIMMING = ("llama3", "gemma", "single")
SINGLE_TURN = ("thinking",)
WITH_TOOLS = ("hermes", "strict")
PLAIN = ("chatml", "system", "silent", "mistral", "plain", "wrapped", "reasoning")
STYLES = (*PLAIN, *SINGLE_TURN, *WITH_TOOLS, *TRIMMING)

T = TypeVar("T")
# Words, blanks, line ends, quoted control tokens and characters of every plane, in any order.
WORDS = ["the", " cat", "How", "\n", "\n\n", "  ", "\t", "é", "\u2028", "🙂", "{{ 1 }}", "\ufdd00\ufdd1"]
QUOTES = ["[INST]", "<|im_start|>user\n", "<|im_end|>", "<|eot_id|>", "</s>", "<end_of_turn>", "<bos>"]
pieces = st.sampled_from([*WORDS, *QUOTES, "<|endoftext|>", "<|im_", "end|>"])
texts = st.lists(pieces | st.text(max_size=4), max_size=6).map("".join)


@pytest.fixture(scope="session")
def chats(chat_tokenizer: Callable[[str], Any]) -> dict[str, Template]:
    return {style: Template(chat_tokenizer(style)) for style in STYLES}


@st.composite
def conversations(draw: st.DrawFn) -> tuple[Message, ...]:
    """A system turn and tools or none, then questions, each with calls and results or none, and answers."""
    names = st.text("abc_", min_size=1, max_size=4)
    arguments = st.dictionaries(names, texts | st.integers(), max_size=2).map(json.dumps)
    calls = st.lists(st.builds(ToolCall, names, arguments), min_size=1, max_size=2)
    system = [Text(draw(texts))] if draw(st.booleans()) else []
    tools = [ToolList(json.dumps([{"type": "function", "function": {"name": draw(names)}}]))]
    head = (*(tools if draw(st.booleans()) else []), *system)
    turns = [Message("system", head)] if head else []
    for _ in range(draw(st.integers(1, 3))):
        turns.append(message("user", draw(texts)))
        for _ in range(draw(st.integers(0, 2))):
            made = draw(calls)
            words = [Text(draw(st.sampled_from(WORDS[:3])))] if draw(st.booleans()) else []
            turns.append(Message("assistant", (*words, *made), trained=draw(st.booleans())))
            turns += [message("tool", draw(texts)) for _ in made]
        turns.append(message("assistant", draw(texts), trained=True))
    return tuple(turns)


def trimmed(text: str, style: str) -> str:
    return text.strip() if style in TRIMMING else text


def row(*turns: str) -> Example:
    """User and assistant in turn, every answer trained."""
    messages = [
        message("assistant", text, trained=True) if number % 2 else message("user", text)
        for number, text in enumerate(turns)
    ]
    return Example("id", "task", "source", tuple(messages))


def accepted(act: Callable[[], T]) -> T:
    """Return what comes of a row; one that is refused has to be so with a reason, and counts for nothing."""
    try:
        return act()
    except TemplateError as error:
        assume(not error.message)
        raise


@pytest.mark.parametrize("style", STYLES)
@given(prompt=texts, answer=texts)
@settings(max_examples=40, suppress_health_check=[HealthCheck.filter_too_much])
def test_one_turn(chats: dict[str, Template], style: str, prompt: str, answer: str) -> None:
    chat = chats[style]
    example = row(prompt, answer)
    encoded = accepted(lambda: encode(example, chat))
    prompted = chat.prompt_ids(example.prompt)
    trained = [token for token, weight in zip(encoded.ids, encoded.weights, strict=True) if weight]

    assert encoded.ids[: len(prompted)] == prompted
    assert encoded.prompt == len(prompted)
    assert encoded.weights == (0.0,) * len(prompted) + (1.0,) * len(trained)
    assert trained[-1] in chat.stop_ids
    assert not chat.stop_ids & set(trained[:-1])
    assert chat.decode(trained) == trimmed(answer, style)


@pytest.mark.parametrize("style", [style for style in STYLES if style not in (*SINGLE_TURN, "plain")])
@given(turns=st.tuples(texts, texts, texts, texts))
@settings(max_examples=25, suppress_health_check=[HealthCheck.filter_too_much])
def test_two_turns(chats: dict[str, Template], style: str, turns: tuple[str, str, str, str]) -> None:
    chat = chats[style]
    short, whole = accepted(lambda: (encode(row(*turns[:2]), chat), encode(row(*turns), chat)))
    history = chat.prompt_ids(row(*turns).prompt)

    assert whole.ids[: len(short.ids)] == short.ids
    assert whole.weights[: len(short.ids)] == short.weights
    assert history[: len(short.ids)] == short.ids
    assert whole.ids[: len(history)] == history
    assert whole.prompt == len(history)
    assert all(whole.weights[len(history) :])
    assert not any(whole.weights[len(short.ids) : len(history)])


@pytest.mark.parametrize("style", ["system", "silent", "gemma", "mistral", *WITH_TOOLS, "single"])
@given(turns=conversations())
@settings(max_examples=14, suppress_health_check=[HealthCheck.filter_too_much])
def test_conversations_with_tools(
    chats: dict[str, Template], chat_tokenizer: Callable[[str], Any], style: str, turns: tuple[Message, ...]
) -> None:
    chat = chats[style]
    encoded = accepted(lambda: encode(Example("id", "task", "source", turns), chat))
    spans: list[tuple[int, int]] = []
    for index, turn in enumerate(turns):
        if turn.role == "assistant":
            prompted = chat.prompt_ids(turns[:index])
            answered = accepted(lambda end=index + 1: chat.answered(turns[:end])).ids
            if not turn.trained and encoded.ids[: len(answered)] != answered:
                continue  # a history that the template renders anew
            assert encoded.ids[: len(answered)] == answered
            assert answered[: len(prompted)] == prompted
            assert answered[-1] in chat.stop_ids
            spans += [(len(prompted), len(answered))] if turn.trained else []
    trained = {place for start, end in spans for place in range(start, end)}
    assert {place for place, weight in enumerate(encoded.weights) if weight} == trained

    said = chat_tokenizer(style).decode(encoded.ids, skip_special_tokens=False)
    parts = [part for turn in turns for part in turn.parts]
    assert all(part.name in said for part in parts if isinstance(part, ToolCall))
    assert all(
        json.loads(part.schemas)[0]["function"]["name"] in said
        for part in parts
        if isinstance(part, ToolList)
    )
    assert all(
        part.text.strip() in said
        for turn in turns
        if turn.role in ("system", "user")
        for part in turn.parts
        if isinstance(part, Text)
    )


@pytest.mark.parametrize("style", STYLES)
@given(prompt=texts, answer=texts)
@settings(max_examples=25)
def test_a_text_cannot_open_or_end_a_turn(
    chats: dict[str, Template], chat_tokenizer: Callable[[str], Any], style: str, prompt: str, answer: str
) -> None:
    controls = set(chat_tokenizer(style).added_tokens_decoder)

    def used(example: Example) -> list[int]:
        ids = accepted(lambda: encode(example, chats[style])).ids
        return [token for token in ids if token in controls]

    assert used(row(prompt, answer)) == used(row("Hello", "Hi"))


@pytest.mark.parametrize("style", STYLES)
@given(prompt=texts)
@settings(max_examples=25)
def test_ids_say_what_the_text_says(
    chats: dict[str, Template], chat_tokenizer: Callable[[str], Any], style: str, prompt: str
) -> None:
    turn = [message("user", prompt)]
    ids = accepted(lambda: chats[style].prompt_ids(turn))
    said = chat_tokenizer(style).decode(ids, skip_special_tokens=False)
    assert said == chats[style].prompt_text(turn)
    assert trimmed(prompt, style) in said


@pytest.mark.parametrize("style", [*STYLES, *WITH_TOOLS])
@given(turns=conversations())
@settings(max_examples=16, suppress_health_check=[HealthCheck.filter_too_much])
def test_ids_are_the_tokenizer_s_own(
    chats: dict[str, Template], chat_tokenizer: Callable[[str], Any], style: str, turns: tuple[Message, ...]
) -> None:
    chat, tokenizer = chats[style], chat_tokenizer(style)
    found = accepted(lambda: chat.answered(turns))
    if chat.quoted(turns):
        return  # their names are text here: see the test on turns that a text opens

    def own(asked: tuple[Message, ...], opening: bool) -> tuple[int, ...]:
        given_turns, tools = chat.turns_of(asked)
        text = tokenizer.apply_chat_template(
            given_turns, tools=tools, tokenize=False, add_generation_prompt=opening
        )
        return tuple(tokenizer(text, add_special_tokens=False)["input_ids"])

    whole = own(turns, False)
    written = found.ids[:-1] if whole[: len(found.ids)] != found.ids else found.ids  # a stop that is added
    assert whole[: len(written)] == written
    assert own(turns[:-1], True) == found.ids[: found.prompt] == chat.prompt_ids(turns[:-1])
