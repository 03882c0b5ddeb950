"""Rows with one question and its answer: Alpaca, self-instruct's seed tasks, and prompts with completions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

from espalier.core.errors import DataError
from espalier.core.records import Example, Message, message
from espalier.formats.format import Format, Row, example
from espalier.formats.turns import FRAME, answer, check, framed, has_text, items, text, turns
from espalier.tasks.raw_rows import mapping
from espalier.tasks.templates import normalised

PAIRS = (
    *(("prompt", "completion"), ("prompt", "response")),
    *(("question", "answer"), ("question", "answers"), ("question", "response")),
    ("question", "ground_truth"),
    *(("query", "response"), ("query", "answer")),
    *(("problem", "solution"), ("input", "output"), ("input", "target"), ("source", "target")),
    *(("article", "highlights"), ("text", "label")),
    *((read, "summary") for read in ("document", "article", "text", "dialogue")),
)


def alpaca() -> Format:
    """Stanford Alpaca: instruction, input, output; `system` and `history` as LLaMA-Factory has them.

    Dolly's rows too, which call the input `context` and the output `response`.
    """

    def read(row: Row) -> list[Example]:
        value, where = row.value, row.where
        asked = instructed(value, where)
        reply = "output" if "output" in value else "response"
        output = message("assistant", text(value[reply], f"{where}, {reply}"), trained=True)
        return [example(row, [*asked, output], source=normalised(asked[-1].text))]

    shapes = ("instruction output", "instruction response")
    optional = f"input context history {FRAME}"
    return Format(shapes, read, '{"instruction": "…", "input": "", "output": "…"}', optional)


def self_instruct() -> Format:
    """Self-Instruct (arXiv 2212.10560): an instruction with a list of instances, each input and output."""

    def read(row: Row) -> list[Example]:
        asked = text(row.value["instruction"], f"{row.where}, instruction")
        instances: object = row.value["instances"]
        if isinstance(instances, dict):  # the only one
            instances = [cast("object", instances)]
        made: list[Example] = []
        hint = 'Write [{"input": "…", "output": "…"}].'
        for index, item in enumerate(items(instances, f"{row.where}, instances", "instances", hint)):
            where = f"{row.where}, instances[{index}]"
            instance = mapping(item, where, "an instance")
            question = instructed({**instance, "instruction": asked}, where)
            output = message("assistant", text(instance.get("output"), f"{where}.output"), trained=True)
            made.append(example(row, [*question, output], source=normalised(asked)))
        return made

    sample = '{"instruction": "…", "instances": [{"input": "…", "output": "…"}]}'
    return Format(("instruction instances",), read, sample)


def prompt_completion() -> Format:
    """A prompt and its completion, texts or lists of turns; or question and answer, input and output.

    A list of texts as the completion is several accepted answers, of which the first is trained; of what
    several annotators answered, as VQA has it, that is what most did.
    """

    def read(row: Row) -> list[Example]:
        value, where = row.value, row.where
        ask, reply = next(pair for pair in PAIRS if set(pair) <= value.keys())
        prompt = prompted(value, ask, where)
        accepted: list[object] = [value[reply]]
        if isinstance(value[reply], list):
            listed = _annotated(items(value[reply], f"{where}, {reply}", "answers", "Write one."))
            accepted = accepted if isinstance(listed[0], dict) else listed
        answers = [answer(item, prompt, f"{where}, {reply}") for item in accepted]
        check(prompt, f"{where}, {ask}", answered=False, begun=has_text(value, "system"))
        asked = framed(value, prompt, where)
        return [example(row, [*asked, answers[0]], tuple(item.text for item in answers))]

    shapes = tuple(" ".join(pair) for pair in PAIRS)
    return Format(shapes, read, '{"prompt": "…", "completion": "…"}', FRAME, asks_once=True)


def _annotated(answers: list[object]) -> list[object]:
    """Return what annotators answered, the commonest first, where each is {"answer": "…"}; else the list."""
    said = [
        cast("dict[str, object]", one).get("answer") if isinstance(one, dict) else None for one in answers
    ]
    if not all(isinstance(one, str) for one in said):
        return answers
    first, _ = Counter(said).most_common(1)[0]
    return [first, *(one for place, one in enumerate(said) if place != said.index(first))]


def predictions() -> Format:
    """A prompt with what several models wrote: an example of each completion, its model in the origin."""

    def read(row: Row) -> list[Example]:
        prompt = prompted(row.value, "prompt", row.where)
        made: list[Example] = []
        hint = 'Write [{"model": "…", "completion": "…"}].'
        for index, item in enumerate(items(row.value["completions"], row.where, "completions", hint)):
            where = f"{row.where}, completions[{index}]"
            one = {"completion": item} if isinstance(item, str) else mapping(item, where, "a completion")
            told = answer(one.get("completion"), prompt, f"{where}.completion")
            written = example(row, [*framed(row.value, prompt, where), told])
            by = {"model": str(one["model"])} if "model" in one else {}
            made.append(replace(written, origin={**written.origin, **by}))
        return made

    return Format(("prompt completions",), read, '{"prompt": "…", "completions": ["…", "…"]}', FRAME)


def instructed(value: Mapping[str, Any], where: str) -> list[Message]:
    """Return the prompt of an Alpaca row: its system text, its history, the instruction and its input."""
    asked = text(value["instruction"], f"{where}, instruction")
    key = "input" if "input" in value else "context"
    if has_text(value, key):
        asked = f"{asked}\n{text(value[key], f'{where}, {key}')}"
    history: list[Message] = []
    hint = 'Write [["question", "answer"]].'
    past = items(value["history"], f"{where}, history", "pairs", hint) if value.get("history") else []
    for index, item in enumerate(past):
        place = f"{where}, history[{index}]"
        pair = items(item, place, "a question and its answer", hint)
        if len(pair) != 2:
            raise DataError(f"Here should be two texts; the list has {len(pair)}.", where=place, hint=hint)
        history.append(message("user", text(pair[0], f"{place}[0]")))
        history.append(message("assistant", text(pair[1], f"{place}[1]"), trained=True))
    return framed(value, [*history, message("user", asked)], where)


def prompted(value: Mapping[str, Any], key: str, where: str) -> list[Message]:
    """Return a prompt that is a text or a list of turns."""
    place = f"{where}, {key}"
    if isinstance(value[key], list):
        return turns(value[key], place)
    return [message("user", text(value[key], place))]
