"""Questions whose answer stands in a passage, and questions with choices, as benchmarks write them."""

from __future__ import annotations

from typing import Any, cast

from espalier.core.errors import DataError
from espalier.core.records import Example, message
from espalier.formats.format import Format, Row, example
from espalier.formats.instructions import prompted
from espalier.formats.turns import FRAME, framed, items, text
from espalier.tasks.raw_rows import kind, mapping
from espalier.tasks.templates import normalised

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
CHOICES = ("choices", "options")
KEYS = ("answer", "answerKey", "answer_idx")


def passage() -> Format:
    """SQuAD (arXiv 1606.05250): a context, a question on it, and its answers, {"text": [...]} or a list."""

    def read(row: Row) -> list[Example]:
        value, where = row.value, row.where
        key = "answers" if "answers" in value else "answer"
        given: object = value[key]
        if isinstance(given, dict):
            given = cast("dict[str, Any]", given).get("text")
        given = [given] if isinstance(given, str) else given
        hint = "A question without an answer cannot be trained on: give it one, such as 'unanswerable'."
        found = items(given, f"{where}, {key}", "answers", hint)
        answers = tuple(dict.fromkeys(text(item, f"{where}, {key}") for item in found))
        context = text(value["context"], f"{where}, context")
        question = text(value["question"], f"{where}, question")
        prompt = framed(value, [message("user", f"{context}\n{question}")], where)
        turns = [*prompt, message("assistant", answers[0], trained=True)]
        return [example(row, turns, answers, source=normalised(context))]

    sample = '{"context": "…", "question": "…", "answers": {"text": ["…"]}}'
    return Format(
        ("context question answers", "context question answer"), read, sample, FRAME, asks_once=True
    )


def choices() -> Format:
    """A question with choices and which of them is right: its letter, its text, or its place from 0.

    They are a list, or stand in columns called A, B and so on.

    The prompt shows the choices under letters, and the answer is the letter with its text ("B. Paris"): a
    bare letter or number would train a model to say what it cannot be asked for without the list.
    """

    def read(row: Row) -> list[Example]:
        value, where = row.value, row.where
        key = next((key for key in CHOICES if key in value), "A")
        given = value[key] if key in CHOICES else [value[letter] for letter in LETTERS if letter in value]
        labels, shown = _listed(given, f"{where}, {key}")
        name = next(key for key in KEYS if key in value)
        right = _place(value[name], labels, shown, f"{where}, {name}")
        lines = [f"{letter}. {words}" for letter, words in zip(LETTERS, shown, strict=False)]
        question = text(value["question"], f"{where}, question")
        prompt = framed(value, [message("user", "\n".join([question, *lines]))], where)
        turns = [*prompt, message("assistant", lines[right], trained=True)]
        facts = {"options": lines, "answer": right}
        return [example(row, turns, source=normalised(question), facts=facts)]

    shapes = tuple(f"question {listed} {key}" for listed in (*CHOICES, "A B") for key in KEYS)
    sample = '{"question": "…", "choices": ["…", "…"], "answer": 0}'
    return Format(shapes, read, sample, f"C D E F {FRAME}", asks_once=True)


def questions() -> Format:
    """What is asked, for a model to answer: a benchmark's `turns`, with a `reference` for each or without.

    Without them only the first turn can be asked; all are kept as facts. A row is trained on where it has
    answers, and else says that it is not. Of a `prompt` it has to be clear that no answer is missing:
    beside it stands what checks the answer (IFEval's `instruction_id_list`), or its `facts`.
    """

    def read(row: Row) -> list[Example]:
        value, where = row.value, row.where
        if "turns" not in value:
            prompt = framed(value, prompted(value, "prompt", where), where)
            return [example(row, prompt, (), facts={"train": False})]
        asked = [
            text(item, f"{where}, turns") for item in items(value["turns"], where, "turns", "Write one.")
        ]
        told = cast("list[object]", value["reference"]) if isinstance(value.get("reference"), list) else []
        if len(told) != len(asked) or not all(isinstance(item, str) and item.strip() for item in told):
            more = {"turns": asked if len(asked) > 1 else [], "reference": told}
            unsaid = {"train": False, **{key: item for key, item in more.items() if item}}
            return [example(row, framed(value, [message("user", asked[0])], where), (), facts=unsaid)]
        said = [text(item, f"{where}, reference") for item in told]
        turns = [
            turn
            for ask, reply in zip(asked, said, strict=True)
            for turn in (message("user", ask), message("assistant", reply, trained=True))
        ]
        return [example(row, framed(value, turns, where))]

    shapes = ("turns", "prompt instruction_id_list", "prompt facts")
    return Format(shapes, read, '{"turns": ["…"]}', f"reference {FRAME}")


def _listed(value: object, where: str) -> tuple[list[str], list[str]]:
    """Return the labels and the texts of choices: a list of texts, or labels with their texts."""
    hint = 'Write ["…", "…"].'
    if isinstance(value, dict):
        inner = mapping(cast("object", value), where, "choices")
        if isinstance(inner.get("text"), list):  # two lists side by side, as ARC and CommonsenseQA have them
            texts = [text(item, f"{where}.text") for item in items(inner["text"], where, "choices", hint)]
            given = items(inner.get("label"), f"{where}.label", "labels", hint)
            labels = [text(item, f"{where}.label") for item in given]
        else:
            labels, texts = list(inner), [text(item, where) for item in inner.values()]
        if len(labels) != len(texts):
            raise DataError("There are not as many labels as choices.", where=where, hint=hint)
    else:
        texts = [text(item, where) for item in items(value, where, "choices", hint)]
        labels = list(LETTERS[: len(texts)])
    if not 2 <= len(texts) <= len(LETTERS):
        raise DataError(
            f"There are {len(texts)} choices; 2 to {len(LETTERS)} were expected.", where=where, hint=hint
        )
    return labels, texts


def _place(value: object, labels: list[str], shown: list[str], where: str) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        if 0 <= value < len(shown):
            return value
        raise DataError(
            f"The answer is choice {value}, and the places go from 0 to {len(shown) - 1}.",
            where=where,
            hint="Count the choices from 0, or write the letter or the text of the right one.",
        )
    if not isinstance(value, str):
        raise DataError(
            f"The answer should be a letter, a text or a place; it is {kind(value)}.", where=where
        )
    for known in (labels, shown):
        if value.strip() in known:
            return known.index(value.strip())
    raise DataError(
        f"The answer {value!r} is none of the choices.",
        where=where,
        hint=f"Write one of {', '.join(labels)}, or the text of the right choice.",
    )
