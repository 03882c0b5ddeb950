"""What there is to know of rows before a recipe is written for them: columns, lengths, what they share."""

from __future__ import annotations

import os
import re
from itertools import islice, takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from espalier.core.errors import DataError, TemplateError
from espalier.core.recipe import TaskSection
from espalier.data.mixture import places, read
from espalier.encode.batches import group_size
from espalier.encode.tokens import encode_unit
from espalier.formats.folders import is_split
from espalier.formats.load import detect_format, spelt
from espalier.formats.readers import rows_of
from espalier.models.bundled import KNOWN, cached
from espalier.models.load import load_template
from espalier.models.places import find_model
from espalier.runs.events import working
from espalier.runs.first_recipe import Seen

if TYPE_CHECKING:
    from collections.abc import Sequence

    from espalier.core.records import Example
    from espalier.data.mixture import Part, Place
    from espalier.encode.template import Template

SAMPLE = 500  # rows whose tokens are counted
ASKED = (
    *("prompt", "query", "question", "problem", "ask", "user", "input", "source", "src", "text", "sentence"),
    *("document", "article", "passage", "context", "utterance", "en", "title"),
)
ANSWERED = (
    *(
        "completion",
        "response",
        "answer",
        "solution",
        "told",
        "assistant",
        "output",
        "target",
        "tgt",
        "label",
    ),
    *("reply", "summary", "highlights", "paraphrase", "translation", "sql", "code", "category", "intent"),
)


def look_at(file: str, out: Path, model: str, columns: dict[str, str], cache: Path) -> Seen:
    """Look at the rows, and count the tokens of a sample of them."""
    rejects: list[dict[str, Any]] = []
    with working("Reading the rows"):
        parts, examples, columns = _read(file, columns, rejects)
    with working("Counting tokens") as tell:
        template = _template(model, cache, tell)
        rows, answers, shared = _sizes(examples[:: max(1, len(examples) // SAMPLE)], template)
    return Seen(
        path=_from(out, file),
        name=re.sub(r"[^\w.-]+", "-", _name(file, parts)).strip("-._") or "first",
        model=model if model in KNOWN else _from(out, model),
        bundled=model in KNOWN,
        examples=examples,
        rows=rows,
        answers=answers,
        shared=shared,
        by="counted by the model's tokenizer" if template else "estimated, as the model is not here yet",
        context=template.context if template else None,
        columns=columns,
        rejects=rejects,
        checks=tuple(dict.fromkeys(name for part in parts for name in part.checks)),
    )


def _name(file: str, parts: Sequence[Part]) -> str:
    """Return what a run on these is called: the task's name, or the folder's where there are several."""
    return Path(parts[0].name).name if len(parts) == 1 else Path(file).resolve().name


def _read(
    path: str, columns: dict[str, str], rejects: list[dict[str, Any]]
) -> tuple[list[Part], list[Example], dict[str, str]]:
    """Return the tasks, their rows, and the columns that are meant, guessed where nothing else tells them."""
    found = places([path], "auto")
    section = TaskSection(path=path, columns=columns or _guess(found[0]))
    parts: list[Part] = []
    examples: list[Example] = []
    for part, rows in read(found, section, rejects.append, lambda _: None):
        parts.append(part)
        examples += rows
    if len({example.source for example in examples}) < 2:
        raise DataError(
            "All rows ask the same, so that none can be kept for the scores.",
            where=path,
            hint="Add rows that ask something else.",
        )
    return parts, examples, dict(section.columns)


def _guess(place: Place) -> dict[str, str]:
    """Return which columns seem to be question and answer, where no format has the columns that there are."""
    if place.is_task:
        return {}
    file = place.files[0]
    raws = list(islice(rows_of(file), SAMPLE))
    try:
        if raws:
            detect_format(file, list(spelt(iter(raws), ())))
        return {}
    except DataError:
        value = raws[0].value
    keys = {str(key).lower(): str(key) for key in value} if isinstance(value, dict) else {}
    asked = next((keys[name] for name in ASKED if name in keys), None)
    answered = next((keys[name] for name in ANSWERED if name in keys), None)
    return {"prompt": asked, "completion": answered} if asked and answered else {}


def _from(out: Path, path: str) -> str:
    """Return a path as a recipe at `out` says it: from its own folder; what is no path as it is."""
    if not (os.path.exists(path) or is_split(path)) or os.path.isabs(path):
        return path
    return os.path.relpath(path, out.parent)


def _template(model: str, cache: Path, tell: Any) -> Template | None:
    """Return the model's template, or None where a bundled model has not been fetched yet."""
    if model in KNOWN and cached(model, cache) is None:
        return None
    return load_template(find_model(model, cache, tell))


def _sizes(examples: Sequence[Example], template: Template | None) -> tuple[list[int], list[int], int]:
    """Return the tokens of each row with all its answers, of each answer, and those that all rows begin with.

    Raises:
        TemplateError: the model's template refuses all rows.
    """
    rows: list[int] = []
    answers: list[int] = []
    if template is None:
        rows = [sum(_estimate(turn.text) + 8 for turn in e.messages) for e in examples]
        answers = [_estimate(e.answer) + 1 for e in examples if e.answer]
        first = [e.messages[0].text for e in examples]
        return rows, answers, _estimate(first[0][: _shared(first)])
    refused: list[TemplateError] = []
    prompts: list[list[int]] = []
    for example in examples:
        try:
            unit = encode_unit(example, template)
        except TemplateError as error:
            refused.append(error)
            continue
        size = len(unit.rows) + group_size(unit.rows) if unit.rows else 0
        rows.append(max(size, len(unit.prompt) + 1))
        prompts.append(list(unit.prompt))
        written = [len(row.ids) - len(unit.prompt) for row in unit.rows if row.role == "answer"]
        answers += [max(written)] if written else []
    if not rows:
        raise refused[0]
    return rows, answers, _shared(prompts)


def _shared(texts: Sequence[str] | Sequence[list[int]]) -> int:
    """Return with how many of the same items all begin."""
    both = zip(min(texts), max(texts), strict=False)  # what these two share, all between them do
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], both))


def _estimate(text: str) -> int:
    """Return about how many tokens a text has: a third of its plain letters, and two for each other one."""
    plain = sum(letter.isascii() for letter in text)
    return plain // 3 + 2 * (len(text) - plain) + 1
