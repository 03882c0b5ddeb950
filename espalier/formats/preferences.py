"""What people prefer: pairs of a better and a worse answer (DPO), and single answers with a thumb (KTO)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

from espalier.core.errors import DataError
from espalier.core.records import Example, Message
from espalier.formats.format import Format, Row, example
from espalier.formats.instructions import instructed, prompted
from espalier.formats.turns import FRAME, answer, check, conversation, framed, has_text, turns
from espalier.tasks.raw_rows import kind
from espalier.tasks.templates import normalised

# Who speaks next, where a conversation is one text.
SPEAKER = re.compile(r"(?:\A|\n)\n(Human|Assistant):")


ASKED = ("conversations", "messages", "prompt", "question", "query")
LONG = ("chosen_messages", "rejected_messages")


def preference() -> Format:
    """Pairs: a prompt (`prompt`, `conversations`, `messages` or `instruction`), `chosen` and `rejected`.

    Each answer is a text, a turn, or a list of turns, before which the prompt may stand; without a prompt of
    its own a row's prompt is what its two lists of turns begin with. Anthropic's HH (arXiv 2204.05862) writes
    those as two texts.
    """

    def read(row: Row) -> list[Example]:
        value, where = _renamed(row.value), row.where
        if "chosen" not in value:  # its better answer is a conversation's last turn, and there is none
            told = next(key for key in ("messages", "conversations") if key in value)
            raise DataError(
                f"A conversation should be a list of turns; it is {kind(value[told])}.",
                where=f"{where}, {told}",
                hint="Write it as a list of turns, or give the better answer as 'chosen'.",
            )
        value = _written_out(value)
        prompt = _prompt(value, where)
        chosen, rejected = (
            answer(value[key], prompt, f"{where}, {key}", worse=key == "rejected")
            for key in ("chosen", "rejected")
        )
        if chosen.text == rejected.text:
            raise DataError(
                "The chosen and the rejected answer are the same.",
                where=f"{where}, rejected",
                hint="Remove the row: nothing is learned from it.",
            )
        asked = _history(value, prompt, where)
        return [example(row, [*asked, chosen], rejected=(replace(rejected, trained=False),))]

    optional = f"{' '.join(ASKED)} instruction input context history {FRAME}"
    shapes = ("chosen rejected", "chosen_messages rejected_messages", "messages rejected")
    shapes += ("conversations rejected", "messages rejected_messages")
    return Format(shapes, read, '{"prompt": "…", "chosen": "…", "rejected": "…"}', optional)


def kto() -> Format:
    """Single answers with a thumb: `messages` or `prompt` and `completion`, and `label` true or false.

    Or a question with one candidate for its answer, and whether that is `correct`; the question may be on a
    `context`, and then all that is asked on it is one source.
    """

    def read(row: Row) -> list[Example]:
        value, where = row.value, row.where
        key = next(key for key in ("label", "kto_tag", "correct") if key in value)
        label: object = value[key]
        if not isinstance(label, bool):
            raise DataError(
                f"The label should be true or false; it is {label!r}, {kind(label)}.",
                where=f"{where}, {key}",
                hint="Write true for a good answer and false for a bad one, without quotes.",
            )
        given = next((name for name in ("messages", "conversations") if name in value), "")
        if given:
            *asked, last = conversation(value, given, where)
            asked = [replace(turn, trained=False) for turn in asked]
        else:
            prompt = _prompt(value, where)
            name = next(name for name in ("completion", "output", "answer") if name in value)
            last = answer(value[name], prompt, f"{where}, {name}")
            asked = _history(value, prompt, where)
        source = normalised(value["context"]) if key == "correct" and has_text(value, "context") else ""
        if label:
            return [example(row, [*asked, replace(last, trained=True)], source=source)]
        return [example(row, asked, rejected=(replace(last, trained=False),), source=source)]

    shapes = (
        "messages label",
        "conversations label",
        "prompt completion label",
        "instruction output kto_tag",
        "question answer correct",
    )
    sample = '{"prompt": "…", "completion": "…", "label": true}'
    return Format(shapes, read, sample, f"input context history {FRAME}")


def _renamed(value: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a row with its answers under their usual names; a conversation's last turn is the better one."""
    row = {key.removesuffix("_messages") if key in LONG else key: item for key, item in value.items()}
    told = next((key for key in ("messages", "conversations") if key in row), "")
    if "chosen" in row or not told or not isinstance(row[told], list):
        return row
    return {**row, told: row[told][:-1], "chosen": row[told][-1:]}


def _written_out(value: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a row with lists of turns where its two answers are conversations in one text each."""
    both = {key: value[key] for key in ("chosen", "rejected")}
    if all(isinstance(said, str) and SPEAKER.match(said) for said in both.values()):
        return {**value, **{key: _turns_of(said) for key, said in both.items()}}
    return value


def _turns_of(said: str) -> list[dict[str, str]]:
    _, *parts = SPEAKER.split(said)
    return [
        {"role": role, "content": words.strip()} for role, words in zip(parts[::2], parts[1::2], strict=True)
    ]


def _prompt(value: Mapping[str, Any], where: str) -> list[Message]:
    """Return the prompt that the row names, without its system text and tools, or what its answers share."""
    if "correct" in value and has_text(value, "context"):
        return instructed({"instruction": value["context"], "input": value["question"]}, where)
    for key in ASKED:
        if key in value:
            return prompted(value, key, where)
    if "instruction" in value:
        return instructed(value, where)
    chosen: object = value.get("chosen")
    rejected: object = value.get("rejected")
    if not (isinstance(chosen, list) and isinstance(rejected, list)):
        raise DataError(
            "The row has no prompt.", where=where, hint='Add "prompt": a text or a list of turns.'
        )
    better = turns(cast("object", chosen), f"{where}, chosen")
    worse = turns(cast("object", rejected), f"{where}, rejected")
    shared: list[Message] = []
    for one, other in zip(better, worse, strict=False):
        if (one.role, one.text) != (other.role, other.text):
            break
        shared.append(one)
    if not shared:
        raise DataError(
            "The two answers do not begin with the same prompt.",
            where=f"{where}, chosen",
            hint='Begin both lists with the prompt\'s turns, or add "prompt".',
        )
    return shared


def _history(value: Mapping[str, Any], prompt: Sequence[Message], where: str) -> list[Message]:
    """Return the prompt with the row's system text and tools, its answers shown and not trained."""
    check(prompt, f"{where}, prompt", answered=False, begun=has_text(value, "system"))
    asked = prompt if "instruction" in value else framed(value, prompt, where)
    return [replace(turn, trained=False) for turn in asked]
