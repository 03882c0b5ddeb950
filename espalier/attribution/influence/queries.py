"""What is asked about: the rows of a file, a run's own test rows, or the answers that it got wrong."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from espalier.core.errors import DataError
from espalier.core.files import read_jsonl
from espalier.core.records import message
from espalier.data.asking import asking_of
from espalier.data.mixture import places, read
from espalier.data.table import is_table, read_examples
from espalier.evaluate.measures import metric_of
from espalier.evaluate.scores import Scores
from espalier.runs.asking import run_asking
from espalier.runs.prepare import prepare, stage_examples

if TYPE_CHECKING:
    from collections.abc import Sequence

    from espalier.core.recipe import Recipe
    from espalier.core.records import Example
    from espalier.core.run import RunFolder
    from espalier.data.asking import Asking

TEST, WRONG = "test", "wrong"


def queries_of(run: RunFolder, recipe: Recipe, asked: str, most: int) -> list[Example]:
    """Return the queries, each with the answer that is asked about as its last, trained turn.

    Args:
        run: whose rows are asked about.
        recipe: of it.
        asked: a file of rows in any format, or a task; "test"; or "wrong".
        most: so many of the first.

    Raises:
        DataError: there are none, or one has no answer.
    """
    if asked == TEST:
        found = read_examples(run.data / "test.parquet")
    elif asked == WRONG:
        found = _wrong(run)
    else:
        found = _of_file(run, recipe, asked)
    if not found:
        raise DataError("There is no query.", where=asked, hint="Name a file of rows, test, or wrong.")
    return [_answering(example, asked) for example in found[:most]]


def _answering(example: Example, asked: str) -> Example:
    """Return the example with its answer, or its first reference, as the one thing that is trained."""
    if not example.answer.strip():
        place = ", row ".join(str(example.origin[key]) for key in ("file", "row") if key in example.origin)
        raise DataError(
            "A query has no answer, so there is nothing that rows could have taught.",
            where=place or asked,
            hint="Give each query its prompt and an answer, in any format that rows may have.",
        )
    prompt = tuple(replace(turn, trained=False) for turn in example.prompt)
    turns = (*prompt, message("assistant", example.answer, trained=True))
    return replace(example, messages=turns, rejected=())


def _of_file(run: RunFolder, recipe: Recipe, asked: str) -> list[Example]:
    """Return a file's rows, asked as the run's own rows are."""
    file = Path(asked)
    if is_table(file):
        return read_examples(file)
    if not os.path.exists(file):
        raise DataError(
            "There is no such file.", where=asked, hint="Name a file of rows, or one of: test, wrong."
        )
    section = recipe.task.model_copy(update={"format": "auto", "columns": {}})
    found = [(part, rows) for part, rows in read(places([asked], "auto"), section, None, lambda _: None)]
    asking = _asking(run, recipe)
    return [example if part.task else _around(example, asking) for part, rows in found for example in rows]


def _asking(run: RunFolder, recipe: Recipe) -> Asking:
    """Return how the run's last stage asked; its own file of rows is read anew."""
    section = recipe.train[-1]
    if not section.data:
        return run_asking(run)
    return asking_of(stage_examples(recipe.task, section, prepare(recipe)))


def _around(example: Example, asking: Asking) -> Example:
    """Return a row behind the words that all of the run's rows have around theirs."""
    prompt = example.prompt
    alone = len(prompt) == 1 and prompt[0].role == "user"
    around = asking.prompt(prompt[0].text) if alone else asking.around(prompt)
    return replace(example, messages=(*around, *example.messages[len(prompt) :]))


def _wrong(run: RunFolder) -> list[Example]:
    """Return the test rows that the tuned model got wrong by the measure that leads, the worst first.

    What is asked about is what it said.
    """
    if not run.scores.exists():
        raise DataError("The run has no scores yet.", where=str(run.path), hint="Finish it.")
    scores = Scores.read(run.scores)
    leads = scores.leading
    metric = scores.metrics.get(leads) or metric_of(leads)
    values = {row.id: row.systems["tuned"][leads].value for row in scores.examples}
    wrong = {
        row: metric.sign * value
        for row, value in values.items()
        if value is not None and metric.sign * value < metric.sign * metric.ceiling
    }
    said = {
        line["example"]: str(line["text"])
        for _, line in read_jsonl(run.outputs)
        if line["system"] == "tuned" and not line["sample"]
    }
    examples = {example.id: example for example in read_examples(run.data / "test.parquet")}
    kept = [
        row for row in sorted(wrong, key=wrong.__getitem__) if row in examples and said.get(row, "").strip()
    ]
    return [_saying(examples[row], said[row]) for row in kept]


def _saying(example: Example, text: str) -> Example:
    return replace(example, messages=(*example.prompt, message("assistant", text, trained=True)))


def texts(examples: Sequence[Example]) -> list[str]:
    """Return what each example says itself: its own input, without the words around it, and its answer."""
    return [f"{own(example)}\n{example.answer}" for example in examples]


def own(example: Example) -> str:
    """Return an example's own input."""
    return example.input or example.prompt[-1].text
