"""The questions of general ability asked before and after tuning; what one run was told, others take over."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import TYPE_CHECKING

from espalier.core.errors import DataError, TemplateError
from espalier.core.files import content_hash
from espalier.core.journal import store_of
from espalier.core.recipe import Choice
from espalier.core.records import Completion, Score
from espalier.decode.engine import generate
from espalier.decode.local import strategy_of
from espalier.evaluate.abilities import compared, judged, options_of, written
from espalier.runs.events import bar, say, working
from espalier.tasks.abilities import abilities
from espalier.train.peak import peak_bytes

if TYPE_CHECKING:
    from typing import TypeAlias

    from espalier.core.run import RunFolder
    from espalier.decode.local import Local
    from espalier.evaluate.scores import Scores

    Verdicts: TypeAlias = dict[str, list[Score]]  # by measure, of each question

SETTINGS = Choice.model_validate({"kind": "greedy", "limit": 24})
VERSION = 1  # raised when the same questions are judged otherwise


def ask_abilities(run: RunFolder, local: Local, system: str) -> Verdicts | None:
    """Return the verdicts on a model by measure; from the store, where it was asked before.

    None where the model cannot be asked, for its template or its context: why is said, and no run ends of it.
    """
    try:
        return _verdicts(run, local, system)
    except (TemplateError, DataError) as error:
        say(f"Note: the general questions are not asked: {error.message}")
        return None


def _verdicts(run: RunFolder, local: Local, system: str) -> Verdicts:
    examples = abilities()
    asked = [[example.id, example.facts] for example in examples]
    loaded = local.loaded
    formats = [loaded.formats.training, loaded.formats.decoding]
    key = f"abilities:{content_hash([VERSION, loaded.weights, loaded.template.hash, formats, asked])}"
    store = store_of(run.path.parent)
    if found := store.find([key]):
        return {name: [Score(**one) for one in scores] for name, scores in found[key].items()}
    started = time.monotonic()
    free = written(examples)
    with working(f"General questions to the {system} model: their options"):
        logprobs = local.logprobs(examples, options_of(examples))
    with bar(f"General questions to the {system} model", len(free)) as advance:
        answers: dict[str, Completion] = {}
        for completion in generate(local.writer, local.template, free, strategy_of(SETTINGS)):
            answers[completion.example] = completion
            advance(1, "")
    verdicts = judged(examples, logprobs, answers)
    store.add({key: {name: [asdict(score) for score in scores] for name, scores in verdicts.items()}})
    run.log_stage(f"abilities {system}", started, peak_bytes())
    return verdicts


def compare_abilities(before: Verdicts | None, after: Verdicts | None, seed: int) -> Scores | None:
    """Return what tuning did to the model's answers to the general questions."""
    if before is None or after is None:
        return None
    return compared(abilities(), {"tuned": after, "base": before}, seed)
