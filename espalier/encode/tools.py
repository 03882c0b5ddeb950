"""What a chat template is given of a conversation, and the text that stands in for what it does not know.

Which turns a template shows, and whether a conversation with them can still be cut at its answers, is found
by asking it, never by looking into it. What it would refuse or leave out in silence becomes text, in the form
of Hermes 2 Pro:

    what                   where the template does not show it
    a system turn          opens the user's next turn, before a blank line
    the list of tools      is added to the system turn: a sentence, and one tool a line inside <tools>
    a call                 <tool_call>, {"name": …, "arguments": {…}} and </tool_call> on lines of their own
    a tool's result        a user's turn with <tool_response>, the result and </tool_response>

A template may know single calls only, or calls without words: turns of another shape are text then. Where it
does not list the tools, calls are text too, or the list would explain another form than the answers have.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from espalier.core.errors import TemplateError
from espalier.core.records import Message, Text, ToolCall, ToolList

Turn: TypeAlias = dict[str, Any]
# (turns, tools, whether an answer is opened) → text; raises TemplateError where the template refuses.
Render: TypeAlias = Callable[[list[Turn], list[Turn] | None, bool], str]
# A turn with calls: whether it has words too, and whether it has several calls.
Shape: TypeAlias = tuple[bool, bool]

_HOW = (
    "You may call tools. Each is a line of JSON inside <tools>:\n<tools>\n{tools}\n</tools>\n"
    "A call is JSON with the tool's name and its arguments:\n"
    '<tool_call>\n{{"name": "…", "arguments": {{…}}}}\n</tool_call>'
)
# Words that no template has of its own.
_SAID, _NAME, _KEY, _VALUE = "espalier_said", "espalier_name", "espalier_key", "espalier_value"
_USER: Turn = {"role": "user", "content": "Hello"}
_REPLY: Turn = {"role": "assistant", "content": "Hi"}
_NEXT = [_USER, _REPLY]
_TOOL = {"type": "object", "properties": {_KEY: {"type": "string", "description": _VALUE}}}
_TOOLS: list[Turn] = [
    {"type": "function", "function": {"name": _NAME, "description": _SAID, "parameters": _TOOL}}
]


@dataclass(frozen=True, slots=True)
class Known:
    """What a template shows: system turns, a list of tools, results after text, and calls of these shapes."""

    system: bool
    tools: bool
    results: bool
    calls: frozenset[Shape]


def known(render: Render, header: str, closing: str) -> Known:
    """Ask a template what it shows.

    Args:
        render: the template.
        header: what it leaves out of its prompts before an answer.
        closing: what it renders after an answer.
    """

    def cuts(turns: list[Turn], tools: list[Turn] | None) -> bool:
        whole = render(turns, tools, False)
        for index, turn in enumerate(turns):
            if turn["role"] == "assistant":
                before = render(turns[:index], tools, True) + header
                answered = render(turns[: index + 1], tools, False)
                fits = answered.startswith(before) and answered.endswith(closing)
                if not (fits and whole.startswith(answered.removesuffix(closing))):
                    return False
        return True

    # Some templates change earlier turns whatever these are: that is no reason to withhold what they know.
    anyhow = not cuts([*_NEXT, *_NEXT], None)

    def shows(turns: list[Turn], tools: list[Turn] | None, *words: str) -> bool:
        try:
            text = render(turns, tools, False)
            return all(word in text for word in words) and (anyhow or cuts(turns, tools))
        except TemplateError:
            return False

    shapes = [(worded, several) for worded in (False, True) for several in (False, True)]
    result = _result(_VALUE, "call00000", _NAME)
    tools = shows([*_NEXT, *_NEXT], _TOOLS, _NAME, _SAID, _KEY, _VALUE)
    return Known(
        system=shows([{"role": "system", "content": _SAID}, *_NEXT, *_NEXT], None, _SAID),
        tools=tools,
        results=shows([*_NEXT, result, _REPLY, *_NEXT], None, _VALUE),
        calls=frozenset(shape for shape in shapes if tools and shows(*_called(*shape))),
    )


def given(
    messages: Sequence[Message], knows: Known, quoted: Callable[[str], str]
) -> tuple[list[Turn], list[Turn] | None]:
    """Return the turns and the tools that a template is given.

    What a turn becomes depends on the turns before it and on nothing after, so that prompts stay prefixes.

    Args:
        messages: the conversation, in text and tool parts.
        knows: what the template shows.
        quoted: sets control tokens aside that a text quotes.
    """
    turns: list[Turn] = []
    lists = [part.schemas for turn in messages for part in turn.parts if isinstance(part, ToolList)]
    tools = json.loads(quoted(lists[0])) if lists and knows.tools else None
    waiting: list[str] = []  # system texts, for the user's next turn
    asked: list[tuple[str, str]] = []  # calls of the last answer that have no result yet
    count, native = 0, False
    for message in messages:
        words = quoted("".join(part.text for part in message.parts if isinstance(part, Text)))
        if message.role == "system":
            said = _system(message, knows, words, quoted)
            if knows.system:
                turns.extend({"role": "system", "content": text} for text in said)
            else:
                waiting.extend(said)
        elif message.role == "tool":
            asked_id, name = asked.pop(0) if asked else ("", "")
            if native or knows.results:
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
            native = bool(calls) and (bool(words), len(calls) > 1) in knows.calls
            asked = [(f"call{count + n:05d}", quoted(call.name)) for n, call in enumerate(calls)]
            count += len(calls)
            if native:
                made = zip(asked, [json.loads(quoted(call.arguments)) for call in calls], strict=True)
                turns.append(_calling(words, [(*which, values) for which, values in made]))
            else:
                turns.append({"role": "assistant", "content": quoted(message.text)})
    if waiting:
        turns.append({"role": "user", "content": "\n\n".join(waiting)})
    return turns, tools


def left_out(text: str, turns: list[Turn]) -> Turn | None:
    """Return the first turn, other than an answer, whose content is not in the rendered text."""
    for turn in turns:
        content = turn["content"].strip()
        as_json = json.dumps(content, ensure_ascii=False)[1:-1]  # how some templates write results
        if turn["role"] != "assistant" and content not in text and as_json not in text:
            return turn
    return None


def _called(worded: bool, several: bool) -> tuple[Any, ...]:
    """Return a conversation with a turn of this shape, no tools, and the words that must be seen."""
    calls = [(f"call{n:05d}", f"{_NAME}{n}", {_KEY: f"{_VALUE}{n}"}) for n in range(2 if several else 1)]
    results = [_result(f"{_KEY}{name}", number, name) for number, name, _ in calls]
    call = _calling(_SAID if worded else "", calls)
    words = [f"{word}{n}" for n in range(len(calls)) for word in (_NAME, _VALUE, f"{_KEY}{_NAME}")]
    turns = [_USER, call, *results, _REPLY, *_NEXT]
    return (turns, None, *words, *([_SAID] if worded else []))


def _calling(words: str, calls: list[tuple[str, str, Any]]) -> Turn:
    made = [
        {"type": "function", "id": number, "function": {"name": name, "arguments": arguments}}
        for number, name, arguments in calls
    ]
    return {"role": "assistant", "content": words, "tool_calls": made}


def _result(content: str, number: str, name: str) -> Turn:
    return {"role": "tool", "content": content, "tool_call_id": number, "name": name}


def _system(message: Message, knows: Known, words: str, quoted: Callable[[str], str]) -> list[str]:
    """Return what a system turn says, with the tools as text where the template does not list them.

    A turn that only brings tools which the template lists says nothing: it may have a turn of its own then.
    """
    lists = [part.schemas for part in message.parts if isinstance(part, ToolList)]
    if not lists:
        return [words]
    if knows.tools:
        return [words] if any(isinstance(part, Text) for part in message.parts) else []
    return ["\n\n".join([*([words] if words else []), _listed(quoted(lists[0]))])]


def _stand_in(turns: list[Turn], text: str) -> None:
    """Add a result as the user's turn; several in a row are one turn, for many templates insist on that."""
    if turns[-1]["role"] == "user":
        turns[-1]["content"] += f"\n{text}"
    else:
        turns.append({"role": "user", "content": text})


def _listed(schemas: str) -> str:
    tools = [json.dumps(tool, ensure_ascii=False) for tool in json.loads(schemas)]
    return _HOW.format(tools="\n".join(tools))
