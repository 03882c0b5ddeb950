"""What a chat template is given of a conversation, and the text that stands in for what it does not know.

Which turns a template shows is found by asking it, never by looking into it. What it would refuse or leave
out in silence becomes text, in the form of Hermes 2 Pro:

    what                   where the template does not show it
    a system turn          opens the user's next turn, before a blank line
    the list of tools      is added to the system turn: a sentence, and one tool a line inside <tools>
    a call                 <tool_call>, {"name": …, "arguments": {…}} and </tool_call> on lines of their own
    a tool's result        a user's turn with <tool_response>, the result and </tool_response>
    a thought              <think>, the thought and </think> on lines of their own, before the words

A template that lists tools but writes no calls, or the other way round, is given both as text: a list
explains the form of the calls. One that writes calls of some shapes only (one at a time, without words)
refuses the others: rows with two forms of calls would teach the form, not the call.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from espalier.core.errors import TemplateError
from espalier.core.records import Message, Text, Thought, ToolCall, ToolList
from espalier.encode.media import SHOWN_AS, in_parts, text_part

Turn: TypeAlias = dict[str, Any]
# (turns, tools, whether an answer is opened) → text; raises TemplateError where the template refuses.
Render: TypeAlias = Callable[[Sequence[Turn], list[Turn] | None, bool], str]
# A turn with calls: whether it has words too, and whether it has several calls.
Shape: TypeAlias = tuple[bool, bool]

# Under which name transformers has an answer's thought; it sets those that older templates read.
THOUGHT = "reasoning_content"
_HOW = (
    "You may call tools. Each is a line of JSON inside <tools>:\n<tools>\n{tools}\n</tools>\n"
    "A call is JSON with the tool's name and its arguments:\n"
    '<tool_call>\n{{"name": "…", "arguments": {{…}}}}\n</tool_call>'
)
# Words that no template has of its own; those of the list of tools are in no turn.
_SAID, _NAME, _KEY, _VALUE = "espalier_said", "espalier_name", "espalier_key", "espalier_value"
USER: Turn = {"role": "user", "content": _SAID}
SYSTEM: Turn = {"role": "system", "content": _KEY}
_REPLY: Turn = {"role": "assistant", "content": "Hi"}
_NEXT: list[Turn] = [{"role": "user", "content": "Hello"}, _REPLY]
_LISTED = ("espalier_tool", "espalier_does", "espalier_takes", "espalier_what")
_TOOL = {"type": "object", "properties": {_LISTED[2]: {"type": "string", "description": _LISTED[3]}}}
TOOLS: list[Turn] = [
    {"type": "function", "function": {"name": _LISTED[0], "description": _LISTED[1], "parameters": _TOOL}}
]


@dataclass(frozen=True, slots=True)
class Traits:
    """What a template shows.

    Attributes:
        system: system turns.
        tools: the list of tools that it was asked with.
        results: a tool's result after a call that is text.
        calls: calls of these shapes.
        thoughts: an answer's thought that it is given beside the words.
        as_text: whether it wants a call's arguments as JSON text, not as the object.
        bare: whether a turn of calls alone must have no content, not even an empty one.
    """

    system: bool
    tools: bool
    results: bool
    thoughts: bool = False
    calls: frozenset[Shape] = frozenset()
    as_text: bool = False
    bare: bool = False


def probe_template(render: Render, tools: list[Turn] | None) -> Traits:
    """Ask a template what it shows, with a list of tools or without."""

    def follows(turns: Sequence[Turn]) -> bool:
        """Say whether each answer follows its prompt."""
        places = [place for place, turn in enumerate(turns) if turn["role"] == "assistant"]
        return all(
            render(turns[: at + 1], tools, False).startswith(render(turns[:at], tools, True)) for at in places
        )

    def shows(turns: Sequence[Turn], *words: str) -> bool:
        try:
            text = render(turns, tools, False)
            return all(word in text for word in words) and (anyhow or follows(turns))
        except TemplateError:
            return False

    try:  # some templates' answers never do: that is no reason to withhold what they know
        anyhow = not follows([*_NEXT, *_NEXT])
    except TemplateError:
        anyhow = True
    result = _result(_VALUE, "call00000", _NAME)
    found = Traits(
        system=shows([SYSTEM, *_NEXT, *_NEXT], _KEY),
        tools=bool(tools) and shows([*_NEXT, *_NEXT], *_LISTED),
        results=shows([*_NEXT, result, _REPLY, *_NEXT], _VALUE),
        thoughts=shows([USER, {**_REPLY, THOUGHT: _VALUE}], _VALUE),
    )
    shapes = [(worded, several) for worded in (False, True) for several in (False, True)]
    for as_text, bare in ((False, False), (True, False), (False, True), (True, True)):
        form = replace(found, calls=frozenset(shapes), as_text=as_text, bare=bare)
        calls = frozenset(shape for shape in shapes if shows(*_called(form, *shape)))
        # An object in Python's own notation, which some templates write where they want JSON text.
        if calls and f"'{_KEY}'" not in render([USER, probe_call(form, _VALUE)], tools, False):
            return replace(form, calls=calls)
    return found


def probe_call(form: Traits, value: str) -> Turn:
    """Return a turn with one call that has one argument of this value."""
    return _calling("", [("call00000", _NAME, json.dumps({_KEY: value}))], form)


def lists_tools(messages: Sequence[Message]) -> bool:
    """Say whether a conversation brings a list of tools."""
    return any(isinstance(part, ToolList) for turn in messages for part in turn.parts)


def template_turns(
    messages: Sequence[Message], knows: Traits, *, listing: bool
) -> tuple[list[Turn], list[Turn] | None]:
    """Return the turns and the tools that a template is given.

    What a turn becomes depends on the turns before it and on nothing after, so that prompts stay prefixes.

    Args:
        messages: the conversation, in text and tool parts.
        knows: what the template shows.
        listing: whether the template lists the conversation's tools.

    Raises:
        TemplateError: the template writes calls, but none of a shape that there is.
    """
    turns: list[Turn] = []
    lists = [part.schemas for turn in messages for part in turn.parts if isinstance(part, ToolList)]
    native = listing or (not lists and bool(knows.calls))
    waiting: list[str] = []  # system texts, for the user's next turn
    asked: list[tuple[str, str]] = []  # calls of the last answer that have no result yet
    count = 0
    called = False
    for message in messages:
        words = message.words
        if message.role == "system":
            said = _system(message, listing, words)
            if knows.system:
                turns.extend({"role": "system", "content": text} for text in said)
            else:
                waiting.extend(said)
        elif message.role == "tool":
            asked_id, name = asked.pop(0) if asked else ("", "")
            if called or knows.results:
                turns.append(_result(words, asked_id, name))
            else:
                _stand_in(turns, f"<tool_response>\n{words}\n</tool_response>")
        elif message.role == "user":
            turns.append({"role": "user", "content": "\n\n".join([*waiting, words])})
            waiting = []
        else:
            if waiting:
                turns.append({"role": "user", "content": "\n\n".join(waiting)})
                waiting = []
            calls = [part for part in message.parts if isinstance(part, ToolCall)]
            called = bool(calls) and native
            asked = [(f"call{count + n:05d}", call.name) for n, call in enumerate(calls)]
            count += len(calls)
            turns.append(_answer(message, knows, asked if called else []))
    if waiting:
        turns.append({"role": "user", "content": "\n\n".join(waiting)})
    return turns, json.loads(lists[0]) if listing else None


def _answer(message: Message, knows: Traits, asked: list[tuple[str, str]]) -> Turn:
    """Return an answer, its calls in the template's own form where they have ids, and as text where not."""
    thoughts = [part.text for part in message.parts if isinstance(part, Thought)]
    apart = {THOUGHT: "\n\n".join(thoughts)} if thoughts and knows.thoughts else {}
    words = message.words if apart else message.thought + message.words
    if not asked:
        content = "\n".join([*([words] if words else []), *message.calls])
        return {"role": "assistant", "content": content, **apart}
    _check_shape((bool(words), len(asked) > 1), knows)
    arguments = [part.arguments for part in message.parts if isinstance(part, ToolCall)]
    made = [(*which, text) for which, text in zip(asked, arguments, strict=True)]
    return {**_calling(words, made, knows), **apart}


def formed(turns: Sequence[Turn], parts: frozenset[str], *, parted: bool = False) -> list[Turn]:
    """Return the turns with the content of these roles as lists of parts, as some templates want it.

    With `parted`, media are parts, so that contents with some are lists in any role.
    """
    return [
        {**turn, "content": in_parts(turn["content"]) if parted else [text_part(turn["content"])]}
        if "content" in turn and (turn["role"] in parts or (parted and SHOWN_AS.search(turn["content"])))
        else turn
        for turn in turns
    ]


def _check_shape(shape: Shape, knows: Traits) -> None:
    if shape in knows.calls:
        return
    worded, several = shape
    what = [*(["words"] if worded else []), "several calls" if several else "a call"]
    raise TemplateError(
        f"The chat template cannot show {' and '.join(what)} in one turn.",
        hint="Make them turns of their own, or leave the row out.",
    )


def _called(form: Traits, worded: bool, several: bool) -> tuple[Any, ...]:
    """Return a conversation with a turn of this shape, and the words that must be seen."""
    numbers = range(2 if several else 1)
    made = [(f"call{n:05d}", f"{_NAME}{n}", json.dumps({_KEY: f"{_VALUE}{n}"})) for n in numbers]
    results = [_result(f"{_KEY}{name}", number, name) for number, name, _ in made]
    turns = [_NEXT[0], _calling(_SAID if worded else "", made, form), *results, _REPLY, *_NEXT]
    words = [f"{word}{n}" for n in numbers for word in (_NAME, _VALUE, f"{_KEY}{_NAME}")]
    return (turns, *words, *([_SAID] if worded else []))


def _calling(words: str, calls: list[tuple[str, str, str]], form: Traits) -> Turn:
    """Return a turn of calls: id, name and arguments as JSON text."""
    made = [
        {
            "type": "function",
            "id": number,
            "function": {"name": name, "arguments": text if form.as_text else json.loads(text)},
        }
        for number, name, text in calls
    ]
    content = {} if form.bare and not words else {"content": words}
    return {"role": "assistant", **content, "tool_calls": made}


def _result(content: str, number: str, name: str) -> Turn:
    return {"role": "tool", "content": content, "tool_call_id": number, "name": name}


def _system(message: Message, listing: bool, words: str) -> list[str]:
    """Return what a system turn says, with the tools as text where the template does not list them.

    A turn that only brings tools which the template lists says nothing: it may have a turn of its own then.
    """
    lists = [part.schemas for part in message.parts if isinstance(part, ToolList)]
    if not lists:
        return [words]
    if listing:
        return [words] if any(isinstance(part, Text) for part in message.parts) else []
    return ["\n\n".join([*([words] if words else []), _listed(lists[0])])]


def _stand_in(turns: list[Turn], text: str) -> None:
    """Add a result as the user's turn; several in a row are one turn, for many templates insist on that."""
    if turns and turns[-1]["role"] == "user":
        turns[-1]["content"] += f"\n{text}"
    else:
        turns.append({"role": "user", "content": text})


def _listed(schemas: str) -> str:
    tools = [json.dumps(tool, ensure_ascii=False) for tool in json.loads(schemas)]
    return _HOW.format(tools="\n".join(tools))
