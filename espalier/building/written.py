"""Examples back into the files that others read, so that what comes in again is the same.

A format that cannot hold a row says so with the reason: an Alpaca file has one question and one answer, a
preference file two answers. Nothing is left out of a row in silence. Media have become placeholders before.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from espalier.core.errors import DataError
from espalier.core.records import Text, Thought, ToolCall, ToolList
from espalier.core.registry import Registry
from espalier.tasks.templates import normalised

if TYPE_CHECKING:
    from collections.abc import Sequence

    from espalier.core.records import Example, Message

Writer: TypeAlias = Callable[["Example"], dict[str, Any]]
writers: Registry[Writer] = Registry("format")

SHAREGPT = {"system": "system", "user": "human", "assistant": "gpt", "tool": "observation"}


@writers.register("messages")
def messages() -> Writer:
    """OpenAI's messages, with tools, calls and thoughts; a turn that is not trained says so."""

    def write(example: Example) -> dict[str, Any]:
        if example.rejected:
            raise _cannot(example, "messages", "has rejected answers", _holds(example))
        return _framed(example.messages, "messages", _turn)

    return write


@writers.register("sharegpt")
def sharegpt() -> Writer:
    """ShareGPT's conversations: `from` and `value`, calls as `function_call`, and `tools` as JSON text."""

    def write(example: Example) -> dict[str, Any]:
        if example.rejected:
            raise _cannot(example, "sharegpt", "has rejected answers", _holds(example))
        row = _framed(example.messages, "conversations", _said)
        return {**row, **({"tools": _json(row["tools"])} if "tools" in row else {})}

    return write


@writers.register("alpaca")
def alpaca() -> Writer:
    """Stanford Alpaca: instruction, input and output, with `system` and `history` where a row has them."""

    def write(example: Example) -> dict[str, Any]:
        if example.rejected:
            raise _cannot(example, "alpaca", "has rejected answers", _holds(example))
        _texts_only(example, "alpaca")
        _all_trained(example, "alpaca")
        system, turns = _system(example.messages)
        if len(turns) % 2 or any(
            turn.role != role for turn, role in zip(turns, _TURNS * len(turns), strict=False)
        ):
            raise _cannot(example, "alpaca", "is no row of questions, each with its answer", "messages")
        *past, asked, answer = (turn.text for turn in turns)
        history = [[past[at], past[at + 1]] for at in range(0, len(past), 2)]
        return {
            "instruction": asked,
            "input": "",
            "output": answer,
            **({"system": system} if system else {}),
            **({"history": history} if history else {}),
        }

    return write


@writers.register("prompt-completion")
def prompt_completion() -> Writer:
    """A prompt and its completion: texts where there is one question, else lists of turns."""

    def write(example: Example) -> dict[str, Any]:
        if example.rejected:
            raise _cannot(example, "prompt-completion", "has rejected answers", _holds(example))
        return {**_prompt(example), "completion": _answer(example, "prompt-completion")}

    return write


@writers.register("preference")
def preference() -> Writer:
    """Pairs of a better and a worse answer (DPO): prompt, chosen, rejected."""

    def write(example: Example) -> dict[str, Any]:
        if len(example.rejected) != 1 or not any(turn.trained for turn in example.messages):
            raise _cannot(example, "preference", "is no pair of a better and a worse answer", _holds(example))
        chosen = _answer(example, "preference")
        rejected: object = (
            example.rejected[0].text if isinstance(chosen, str) else [_turn(example.rejected[0])]
        )
        return {**_prompt(example), "chosen": chosen, "rejected": rejected}

    return write


@writers.register("kto")
def kto() -> Writer:
    """Single answers with a thumb: prompt, completion, label."""

    def write(example: Example) -> dict[str, Any]:
        good = any(turn.trained for turn in example.messages)
        if len(example.rejected) != (0 if good else 1):
            raise _cannot(example, "kto", "has more than one answer", "preference")
        if good:
            return {**_prompt(example), "completion": _answer(example, "kto"), "label": True}
        return {**_prompt(example), "completion": example.rejected[0].text, "label": False}

    return write


@writers.register("self-instruct")
def self_instruct() -> Writer:
    """Self-Instruct's seed tasks: an instruction with one instance."""

    def write(example: Example) -> dict[str, Any]:
        asked, answer = _question(example, "self-instruct")
        return {"instruction": asked, "instances": [{"input": "", "output": answer}]}

    return write


@writers.register("predictions")
def predictions() -> Writer:
    """A prompt with what a model wrote."""

    def write(example: Example) -> dict[str, Any]:
        asked, answer = _question(example, "predictions")
        return {"prompt": asked, "completions": [{"completion": answer}]}

    return write


@writers.register("passage")
def passage() -> Writer:
    """SQuAD's rows: the context is what all questions on it have as their source."""

    def write(example: Example) -> dict[str, Any]:
        asked, _ = _question(example, "passage")
        places = [at for at, sign in enumerate(asked) if sign == "\n"]
        end = next((at for at in places if normalised(asked[:at]) == example.source), 0)
        if not end:
            raise _cannot(example, "passage", "has no passage before its question", "messages")
        return {
            "context": asked[:end],
            "question": asked[end + 1 :],
            "answers": {"text": [*example.references]},
        }

    return write


@writers.register("choices")
def choices() -> Writer:
    """Questions with choices, and the place of the right one."""

    def write(example: Example) -> dict[str, Any]:
        asked, answer = _question(example, "choices")
        lines = [str(line) for line in example.facts.get("options", ())]
        shown = "\n".join(["", *lines])
        if answer not in lines or not asked.endswith(shown):
            raise _cannot(example, "choices", "shows no choices with one that is right", "messages")
        texts = [line.partition(". ")[2] for line in lines]
        return {"question": asked.removesuffix(shown), "choices": texts, "answer": lines.index(answer)}

    return write


@writers.register("questions")
def questions() -> Writer:
    """Prompts that nobody has answered, with the facts that say so."""

    def write(example: Example) -> dict[str, Any]:
        if example.rejected or example.references or example.prompt != example.messages or not example.facts:
            raise _cannot(example, "questions", "has an answer", "messages")
        return _prompt(example)

    return write


@writers.register("openassistant")
def openassistant() -> Writer:
    """OpenAssistant's trees: a tree of one thread; see `grown` for more."""
    return lambda example: grown([example])


def grown(examples: Sequence[Example]) -> dict[str, Any]:
    """Return the tree of threads that begin alike; where they do not, only those that do are in it.

    Raises:
        DataError: a thread is more than texts.
    """
    root: list[dict[str, Any]] = []
    for example in examples:
        if example.rejected:
            raise _cannot(example, "openassistant", "has rejected answers", _holds(example))
        _texts_only(example, "openassistant")
        level = root
        for turn in example.messages:
            said: dict[str, Any] = {"role": _OPEN.get(turn.role, turn.role), "text": turn.text}
            if not (there := [one for one in level if said.items() <= one.items()]):
                replies: list[dict[str, Any]] = []
                there = [{**said, **_mask(turn), "replies": replies}]
                level += there
            level = there[0]["replies"]
    return {"message_tree_id": examples[0].source, "prompt": root[0]}


_TURNS = ("user", "assistant")
_OPEN = {"user": "prompter"}


def _prompt(example: Example) -> dict[str, Any]:
    prompt = example.prompt
    if len(prompt) == 1 and prompt[0].role == "user" and _is_text(prompt[0]):
        return {"prompt": prompt[0].text}
    return _framed(prompt, "prompt", _turn)


def _answer(example: Example, format: str) -> str | list[dict[str, Any]]:
    """Return the trained answer, in the form of the prompt."""
    last = example.messages[-1]
    if not last.trained or any(turn.trained for turn in example.messages[:-1]):
        raise _cannot(example, format, "has more trained answers than its last turn", "messages")
    return (
        last.text
        if "prompt" in _prompt(example) and isinstance(_prompt(example)["prompt"], str) and _is_text(last)
        else [_turn(last)]
    )


def _framed(turns: Sequence[Message], key: str, write: Callable[[Message], dict[str, Any]]) -> dict[str, Any]:
    """Return a list of turns under a key, and beside it the tools that the first of them lists."""
    tools = [part.schemas for turn in turns[:1] for part in turn.parts if isinstance(part, ToolList)]
    kept = [turn for turn in turns if not (turn.role == "system" and not turn.text and tools)]
    return {key: [write(turn) for turn in kept], **({"tools": json.loads(tools[0])} if tools else {})}


def _question(example: Example, format: str) -> tuple[str, str]:
    """Return what a row asks and its answer, where it is one question with one answer."""
    if example.rejected or [turn.role for turn in example.messages] != [*_TURNS]:
        raise _cannot(example, format, "is not one question with its answer", "messages")
    _texts_only(example, format)
    _all_trained(example, format)
    return example.messages[0].text, example.messages[1].text


def _said(turn: Message) -> dict[str, Any]:
    """Return a turn as ShareGPT has it; what says more than calls is a turn with these beside it."""
    made = _turn(turn)
    more = {key: item for key, item in made.items() if key not in ("role", "content")}
    if "tool_calls" in more and not made["content"] and "reasoning_content" not in more:
        calls = [call["function"] for call in more.pop("tool_calls")]
        return {"from": "function_call", "value": _json(calls if len(calls) > 1 else calls[0]), **more}
    return {"from": SHAREGPT[turn.role], "value": made["content"], **more}


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _turn(turn: Message) -> dict[str, Any]:
    calls = [part for part in turn.parts if isinstance(part, ToolCall)]
    thoughts = [part.text for part in turn.parts if isinstance(part, Thought)]
    functions = [
        {"type": "function", "function": {"name": call.name, "arguments": json.loads(call.arguments)}}
        for call in calls
    ]
    return {
        "role": turn.role,
        "content": turn.words,
        **({"reasoning_content": "".join(thoughts)} if thoughts else {}),
        **({"tool_calls": functions} if functions else {}),
        **_mask(turn),
    }


def _mask(turn: Message) -> Mapping[str, Any]:
    return {"weight": 0} if turn.role == "assistant" and not turn.trained else {}


def _is_text(turn: Message) -> bool:
    return all(isinstance(part, Text) for part in turn.parts)


def _system(turns: Sequence[Message]) -> tuple[str, Sequence[Message]]:
    return (turns[0].text, turns[1:]) if turns[0].role == "system" else ("", turns)


def _texts_only(example: Example, format: str) -> None:
    if not all(map(_is_text, example.messages)):
        raise _cannot(example, format, "has tools, calls or thoughts", "messages")


def _all_trained(example: Example, format: str) -> None:
    if any(turn.role == "assistant" and not turn.trained for turn in example.messages):
        raise _cannot(example, format, "has an answer that is not trained", "messages")


def _cannot(example: Example, format: str, why: str, other: str) -> DataError:
    message = f"The row {why}, which '{format}' cannot hold."
    hint = f"'{other}' can." if other else "No format holds several worse answers; the build's table does."
    return DataError(message, where=place_of_row(example), hint=hint)


def _holds(example: Example) -> str:
    """Return the format that is made for the answers of a row; '' where none is."""
    if not any(turn.trained for turn in example.messages):
        return "kto" if len(example.rejected) == 1 else "messages" if not example.rejected else ""
    return ("messages", "preference", "")[min(2, len(example.rejected))]


def place_of_row(example: Example) -> str:
    """Return where a row comes from: file and row, or its id and who wrote it."""
    origin = example.origin
    if {"file", "row"} <= origin.keys():
        return f"{origin['file']}:{origin['row']}"
    return f"row {example.id}" + (f", written by {origin['model']}" if "model" in origin else "")
