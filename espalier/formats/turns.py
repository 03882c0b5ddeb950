"""Turns as files write them, OpenAI's `role` and `content` or ShareGPT's `from` and `value`, to messages.

What is refused here is refused for every format: an empty turn, a value of another type, an unknown role,
two answers in a row, a conversation that begins with an answer or ends without one. The place in an error is
the path of the value: `rows.jsonl:7, messages[2].content`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, cast

from espalier.core.errors import DataError, nearest
from espalier.core.records import Message, Part, Role, Text, Thought, ToolList, message
from espalier.formats import blocks
from espalier.formats.tools import called, calls, listed, named_calls, named_results
from espalier.tasks.raw_rows import is_blank, kind, mapping

# Roles whose content is a call, as JSON: ShareGPT's and ms-swift's.
CALLS = ("function_call", "tool_call")
ROLES: dict[str, Role] = {
    **dict.fromkeys(("system", "developer"), "system"),
    **dict.fromkeys(("user", "human", "prompter", "customer"), "user"),
    **dict.fromkeys(("assistant", "gpt", "model", "bot", "chatgpt", "ai", *CALLS), "assistant"),
    **dict.fromkeys(("tool", "function", "observation", "ipython", "tool_response", "environment"), "tool"),
}
# Under what names files say whether a turn is trained, and what a turn thought before it spoke.
MASKS = (
    *("weight", "loss_weight", "train", "training", "trained", "trainable", "is_train", "train_on_turn"),
    *("loss", "loss_mask", "loss_scale", "compute_loss"),
)
# Masks that say of a part of a turn whether it is trained, or of which it is not known what true means.
UNCLEAR = ("mask", "masked", "ignore", "ignored", "no_loss", "train_detail", "training_detail")
# Words of other keys that say it with a yes or no, and words that may turn a yes round.
LEARNED = {*("train", "trained", "training", "trainable", "loss", "learn", "learnable", "supervised")}
LEFT_OUT = {
    *("mask", "masks", "masked", "unmasked", "ignore", "ignored", "skip", "skipped", "exclude", "excluded")
}
THOUGHTS = (
    *("reasoning_content", "reasoning_text", "reasoning", "thinking_content", "thinking", "think"),
    *("thought", "thoughts", "chain_of_thought", "cot"),
)
# What a turn is read from; `name` and the ids of calls are told by the order of the turns.
SAID = ("content", "value", "parts")
KEYS = {*SAID, *MASKS, *THOUGHTS, "role", "from", "tool_calls", "function_call", "name", "tool_call_id"}
# Keys of a row that `framed` looks at.
FRAME = "system tools functions"


@lru_cache(maxsize=4096)
def spelt(key: str) -> str:
    """Return a key as it is written here: "Loss-Weight" and "lossWeight" are "loss_weight"."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])|[-\s]+", "_", key.strip()).lower()


def is_mask(key: str, value: object) -> bool | None:
    """Tell whether a key with its value says if something is trained.

    A key that is not among `MASKS` does where its words are about training and its value is true or false.

    Returns:
        True where true means trained, False where what true means is not clear, None where it is no mask.
    """
    listed = cast("list[object]", value if isinstance(value, list) else [value])
    plain = bool(listed) and all(isinstance(item, bool) for item in listed)
    if spelt(key) in MASKS or not plain:
        return True if spelt(key) in MASKS else None
    words = {*spelt(key).split("_")}
    told = bool(words & LEARNED)
    if words & LEFT_OUT or (told and words & {"no", "not", "without"}):
        return False
    return True if told else None


def knows(turn: Mapping[str, Any], key: str) -> bool:
    """Tell whether a key of a turn is looked at."""
    name = spelt(key)
    if name == "tools":
        return ROLES.get(str(turn.get("role")).lower()) == "system"
    return name in KEYS or is_mask(key, turn[key]) is True


def text(value: object, where: str, *, empty: bool = False) -> str:
    """Return a text as it is.

    Raises:
        DataError: another type, an empty text unless `empty`, or half a character.
    """
    if not isinstance(value, str):
        quote = kind(value) in ("a number", "true or false")
        raise DataError(
            f"Here should be a text; it is {kind(value)}.",
            where=where,
            hint="Write it in quotes." if quote else "Write a text, or remove the row.",
        )
    if is_blank(value) and not empty:
        raise DataError("The text is empty.", where=where, hint="Write what it says, or remove the row.")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise DataError(
            f"The text holds half a character (a lone surrogate) at position {error.start}.",
            where=where,
            hint="It was cut inside an emoji or the like; write it again.",
        ) from None
    return value


def has_text(row: Mapping[str, Any], key: str) -> bool:
    """Tell whether a row has an optional text: an empty one says that there is none."""
    value: object = row.get(key)
    return bool(value.strip()) if isinstance(value, str) else value is not None


def items(value: object, where: str, what: str, hint: str) -> list[object]:
    """Return the items of a list that is not empty. Raises DataError for anything else."""
    if not isinstance(value, list) or not value:
        found = "empty" if isinstance(value, list) else kind(value)
        raise DataError(f"Here should be a list of {what}; it is {found}.", where=where, hint=hint)
    return cast("list[object]", value)


def turns(value: object, where: str) -> list[Message]:
    """Return the messages of a list of turns, every answer trained but those that a mask leaves out."""
    hint = 'Write [{"role": "user", "content": "…"}, {"role": "assistant", "content": "…"}].'
    made: list[Message] = []
    for number, item in enumerate(items(value, where, "turns", hint)):
        results = blocks.results(item, f"{where}[{number}]")
        made.extend(message("tool", said) for said in results)
        if not results:
            made.append(turn(item, f"{where}[{number}]"))
    _check_results(cast("list[object]", value), where)
    return made


def _check_results(value: Sequence[object], where: str) -> None:
    """Refuse results in another order than their calls: by the order alone it is told which is whose."""
    asked: list[tuple[str, str]] = []
    for number, item in enumerate(value):
        made, given = named_calls(item), named_results(item)
        asked = made or (asked if given else [])
        for identifier, name in given:
            known = [call[0 if identifier else 1] for call in asked]
            said = identifier or name
            if said in known[1:] and said != known[0]:
                raise DataError(
                    f"The result of the call {said!r} stands where that of {known[0]!r} should.",
                    where=f"{where}[{number}]",
                    hint="Put the results in the order of their calls.",
                )
            asked = asked[1:]


def turn(value: object, where: str) -> Message:
    """Return one turn: `role` and `content` with `tool_calls`, or `from` and `value`."""
    item = _named(mapping(value, where, "a turn"))
    speaker = "from" if item.get("from") is not None else "role"
    if speaker not in item:
        raise DataError("The turn has neither 'role' nor 'from'.", where=where, hint=_has(item))
    name = text(item[speaker], f"{where}.{speaker}").strip().lower()
    if name not in ROLES:
        raise DataError(f"'{name}' is no role.", where=f"{where}.{speaker}", hint=nearest(name, ROLES))
    role = ROLES[name]
    trained = _trained(item, where, role)
    said, *rest = [key for key in SAID if item.get(key) is not None] or [
        "value" if speaker == "from" else "content"
    ]
    if rest and item[rest[0]] != item[said]:
        raise DataError(f"'{said}' and '{rest[0]}' say different things.", where=where, hint="Keep one.")
    if name in CALLS:
        return Message(role, called(text(item.get(said), f"{where}.{said}"), f"{where}.{said}"), trained)
    made = (
        (*calls(item, where), *blocks.calls(item.get(said), f"{where}.{said}")) if role == "assistant" else ()
    )
    if said not in item and not made:
        raise DataError(f"The turn has no '{said}'.", where=where, hint=_has(item))
    words = _content(item.get(said), f"{where}.{said}", empty=bool(made) or role in ("system", "tool"))
    thought = _thought(item, said, where, role)
    tools = listed(item.get("tools"), f"{where}.tools") if role == "system" else ""
    parts: tuple[Part, ...] = (
        *([ToolList(tools)] if tools else []),
        *thought,
        *([Text(words)] if words or not made else []),
        *made,
    )
    return Message(role, parts, trained)


def _trained(item: Mapping[str, Any], where: str, role: Role) -> bool:
    """Return whether a turn is trained: an answer is, unless the file says otherwise."""
    unclear = next((key for key, mask in item.items() if _unclear(key, mask)), "")
    if unclear and role == "assistant":
        raise DataError(
            f"'{unclear}' says {item[unclear]!r} of the turn, and what that leaves out is not clear.",
            where=f"{where}.{unclear}",
            hint='Write "train": true or false for the whole turn.',
        )
    if role == "assistant":
        _check_parts(item, where)
    masks = {key: mask for key, mask in item.items() if mask is not None and is_mask(key, mask)}
    for key, mask in masks.items():
        if mask not in (0, 1):
            raise DataError(
                f"'{key}' says {mask!r} of the turn, and it is trained in full or not at all.",
                where=f"{where}.{key}",
                hint="Write true or false (1 or 0); a loss that was measured goes under another name.",
            )
    if len({bool(mask) for mask in masks.values()}) > 1:
        raise DataError(
            f"{' and '.join(map(repr, masks))} contradict each other.", where=where, hint="Keep one of them."
        )
    asked = next(map(bool, masks.values()), None)
    if asked and role != "assistant":
        raise DataError(
            f"The turn of the {role} is marked as trained, and only answers are.",
            where=where,
            hint="Leave the mark out, or set it to false.",
        )
    return role == "assistant" and asked is not False


def _unclear(key: str, mask: object) -> bool:
    return (key in UNCLEAR and mask not in (None, [])) or is_mask(key, mask) is False


def _check_parts(item: Mapping[str, Any], where: str) -> None:
    """Refuse a mask on a part of an answer that leaves it out, or may."""
    for said in SAID:
        for number, part in enumerate(blocks.listed(item.get(said))):
            held = cast("dict[str, object]", part).items() if isinstance(part, dict) else ()
            for key, mask in held:
                if _unclear(spelt(key), mask) or (is_mask(key, mask) and mask not in (None, 1)):
                    raise DataError(
                        f"'{key}' says {mask!r} of a part of the turn, and a turn is trained in full.",
                        where=f"{where}.{said}[{number}].{key}",
                        hint='Write "train": true or false for the whole turn.',
                    )


def _named(item: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a turn with its keys as they are written here, but for those that it has so too."""
    known = {*KEYS, *UNCLEAR} - item.keys()
    new = {key: spelt(key) for key in item if spelt(key) in known}
    return {new.get(key, key): value for key, value in item.items()} if new else item


def _thought(item: Mapping[str, Any], said: str, where: str, role: Role) -> list[Thought]:
    """Return what a turn says it thought beside its content, if anything."""
    given = {key: text(item[key], f"{where}.{key}", empty=True) for key in THOUGHTS if item.get(key)}
    inner = blocks.thoughts(item.get(said), f"{where}.{said}")
    thoughts = [*dict.fromkeys(thought.strip() for thought in given.values() if thought.strip()), *inner]
    if not thoughts:
        return []
    place = f"{where}.{next(iter(given), said)}"
    if role != "assistant":
        raise DataError(
            f"A turn of the {role} has a thought.", where=place, hint="Only answers have thoughts."
        )
    if len(thoughts) > 1 or "<think>" in str(item.get(said)):
        raise DataError(
            "The turn has several thoughts, and which of them is trained is not clear.",
            where=place,
            hint="Keep one: in the content as the model's template expects it, or in one key beside it.",
        )
    return [Thought(text(thoughts[0], place))]


def conversation(row: Mapping[str, Any], key: str, where: str) -> list[Message]:
    """Return the turns of a row's key that end with an answer, before them its `system` text and `tools`."""
    messages = turns(row[key], f"{where}, {key}")
    check(messages, f"{where}, {key}", answered=True, begun=has_text(row, "system"))
    return framed(row, messages, where)


def framed(row: Mapping[str, Any], messages: Sequence[Message], where: str) -> list[Message]:
    """Return the messages with the row's `system` text and `tools` in their system turn."""
    messages = list(messages)
    if has_text(row, "system"):
        if messages[0].role == "system":
            raise DataError(
                "The row has a system turn too.", where=f"{where}, system", hint="Keep one of the two."
            )
        messages.insert(0, message("system", text(row["system"], f"{where}, system")))
    tools = listed(row.get("tools", row.get("functions")), f"{where}, tools")
    if not tools:
        return messages
    if messages[0].role != "system":
        messages.insert(0, Message("system", ()))
    if any(isinstance(part, ToolList) for part in messages[0].parts):
        raise DataError(
            "The system turn has tools too.", where=f"{where}, tools", hint="Keep one of the two."
        )
    return [Message("system", (ToolList(tools), *messages[0].parts)), *messages[1:]]


def check(messages: Sequence[Message], where: str, *, answered: bool, begun: bool = False) -> None:
    """Refuse an order of turns that cannot be trained on.

    Args:
        messages: the turns.
        where: the place of their list.
        answered: whether they should end with an answer, or are a prompt.
        begun: whether a system turn that is not among them comes first.

    Raises:
        DataError: it begins with an answer or a tool's result; two answers in a row; a result without a call
            before it; no answer at the end, or one where a prompt was expected.
    """
    before: Role | None = "system" if begun else None
    for index, item in enumerate(messages):
        place = f"{where}[{index}]"
        if item.role == "assistant" and before is None:
            raise DataError(
                "The conversation begins with the assistant, so there is nothing that it answers.",
                where=place,
                hint="Put a user's or a system turn before it, or remove it.",
            )
        if item.role == before == "assistant":
            raise DataError(
                "Two turns of the assistant follow one another.",
                where=place,
                hint="Join them into one turn, or put the user's turn between them.",
            )
        if item.role == "tool" and before not in ("assistant", "tool"):
            raise DataError(
                "A tool's result follows no call.",
                where=place,
                hint="Put the assistant's turn with the call before it.",
            )
        before = item.role
    if answered != (before == "assistant"):
        raise DataError(
            f"The conversation ends with a turn of the {before}, and no answer follows."
            if answered
            else "The prompt ends with an answer.",
            where=f"{where}[{len(messages) - 1}]",
            hint="Add the assistant's answer, or remove what comes after the last one."
            if answered
            else "Remove it, or put the user's turn after it.",
        )
    if answered and not any(item.trained for item in messages):
        raise DataError("No turn is trained: all have the weight 0.", where=where, hint="Give one weight 1.")


def answer(value: object, prompt: Sequence[Message], where: str, *, worse: bool = False) -> Message:
    """Return an answer: a text, a turn, or a list with one turn, before which the prompt may stand again.

    Raises:
        DataError: it is no answer; or a mask leaves it out, though it is not the `worse` of two.
    """
    if isinstance(value, list):
        said = turns(cast("object", value), where)
        if _plain(said[: len(prompt)]) == _plain(prompt):
            said = said[len(prompt) :]
        if len(said) != 1:
            raise DataError(
                f"There are {len(said)} turns here; an answer is one turn after the prompt's.",
                where=where,
                hint="Put what both answers share into the prompt.",
            )
        made = said[0]
    else:
        made = (
            turn(cast("object", value), where)
            if isinstance(value, dict)
            else message("assistant", text(value, where), trained=True)
        )
    if made.role != "assistant":
        raise DataError(
            f"The answer is a turn of the {made.role}.", where=where, hint="Let it be the assistant's."
        )
    if not (made.trained or worse):
        raise DataError("A mask leaves out the answer.", where=where, hint="Remove the mask, or the row.")
    return Message("assistant", made.parts, trained=True)


def _has(item: Mapping[str, Any]) -> str:
    return f'Write {{"role": "user", "content": "…"}}; it has: {", ".join(item) or "nothing"}.'


def _plain(messages: Sequence[Message]) -> list[tuple[str, str]]:
    return [(item.role, item.text) for item in messages]


def _content(value: object, where: str, *, empty: bool) -> str:
    """Return the content of a turn: a text, text parts, or nothing where that may be."""
    if value is None and empty:
        return ""
    if not isinstance(value, list | dict):
        return text(value, where, empty=empty)
    parts = blocks.listed(cast("object", value))
    said = [text(words, place, empty=True) for words, place in blocks.texts(parts, where)]
    return text("".join(said), where, empty=empty or bool(parts and not said))
