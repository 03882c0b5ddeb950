"""The definitions of a run's tasks in words that a model writes, and the record of it.

The record keeps every answer, so that a second call asks nothing and later rules judge the same texts.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

from pydantic import TypeAdapter, ValidationError

from espalier.core.errors import DataError, RecipeError
from espalier.core.files import content_hash, read_json, write_atomic
from espalier.core.recipe import Choice
from espalier.generate.author import Answer, Author, ask
from espalier.generate.rewording import ASKED, MANNERS, Paraphrase, Writing, judged
from espalier.runs.events import working
from espalier.trials.who import reached

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from espalier.core.records import Generator
    from espalier.generate.rewording import Told
    from espalier.trials.who import Who

MOST = 512  # tokens of an answer


def write(
    tasks: Mapping[str, Told], who: Who, count: int, folder: Path, cache: Path, seed: int = 0
) -> Writing:
    """Have `count` paraphrases of each definition written; keep what came in `written.json`.

    Args:
        tasks: by their names.
        who: writes.
        count: of each definition.
        folder: of the run's explanations.
        cache: folder of converted models.
        seed: of what is drawn.

    Raises:
        RecipeError: none is asked for.
        EspalierError: the writer cannot be loaded or reached; what it has written is kept.
    """
    if count < 1:
        raise RecipeError("At least 1 paraphrase must be asked for.", where="--paraphrases")
    rounds = -(-count // len(MANNERS))
    settings = Choice.model_validate(
        {"kind": "sample", "temperature": 0.7, "limit": MOST, "samples": rounds, "seed": seed}
    )
    manners = MANNERS[: min(count, len(MANNERS))]
    prompts = [
        ASKED.format(definition=told.definition, manner=manner).strip()
        for told in tasks.values()
        for manner in manners
    ]
    with reached(who, folder, folder.parent.parent, cache, "writer") as (model, name):
        key = content_hash([name, prompts, settings.model_dump(mode="json"), count])
        texts = _held(folder / "written.json", key) or _asked(model, name, prompts, settings)
    made: list[Paraphrase] = []
    for place, (task, told) in enumerate(tasks.items()):
        own = texts[place * len(manners) : (place + 1) * len(manners)]
        by_round = [(manners[n], own[n][r]) for r in range(rounds) for n in range(len(manners))]
        made += judged(task, told, by_round[:count])
    found = Writing(name, ASKED.strip(), key, tuple(made))
    raw = [[asdict(one) for one in samples] for samples in texts]
    record = {**asdict(found), "answers": raw}
    write_atomic(folder / "written.json", json.dumps(record, ensure_ascii=False, indent=1) + "\n")
    return found


def _held(file: Path, key: str) -> list[list[Answer]]:
    """Return the answers of a record with this key; none where there is none. Raises DataError."""
    if not file.exists():
        return []
    try:
        found = read_json(file)
        answers = found["answers"] if found["key"] == key else []
        return TypeAdapter(list[list[Answer]]).validate_python(answers)
    except (ValidationError, KeyError, TypeError):
        raise DataError(
            "It does not hold what a model wrote.", where=str(file), hint="Remove it: answers are kept."
        ) from None


def _asked(model: Generator, name: str, prompts: Sequence[str], settings: Choice) -> list[list[Answer]]:
    with working(f"{name} writes {len(prompts)} paraphrases"):
        found = ask(Author(model, name, settings), prompts)
    none = Answer("", "", "error")
    samples = settings.params["samples"]
    return [[*one, *[none] * (samples - len(one))] for one in found]
