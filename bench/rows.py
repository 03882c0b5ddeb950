"""The rows that all sides train on: from a task file, or a file of rows, to the same optimizer steps."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from bench.espalier import units_of
from espalier.encode.batches import schedule
from espalier.encode.tokens import encode
from espalier.encode.tree import build_tree, stats
from espalier.formats.load import load_rows
from espalier.tasks.task_files import load_task
from espalier.tasks.templates import Show, available, to_examples

if TYPE_CHECKING:
    from espalier.core.records import Encoded, Example
    from espalier.encode.template import Template

DATA = Path("..") / "shared" / "data"
TASKS = DATA / "natural-instructions-v2" / "tasks"
BUNDLED = "event-duration"
# Longer rows of a file of rows are left out, on all sides.
LONGEST = 768


@dataclass(frozen=True)
class Case:
    """One comparison: a task, what its prompts show, and which weights move.

    With `rows`, `task` is a file of rows instead, in whose conversations every answer is trained.
    """

    name: str
    task: str
    method: str = "full"
    explanations: bool = False
    positive: int = 2
    negative: int = 1
    rows: bool = False

    @property
    def rate(self) -> float:
        """Learning rate, the same on all sides."""
        return 2e-4 if self.method == "lora" else 2e-5


def cases(task: str | None = None) -> list[Case]:
    """Return the published cases, or the same on `task`; on the bundled task without the files."""
    short = task or _shared("task003_mctaco_question_generation_event_duration.json")
    long = task or _shared("task1519_qa_srl_question_generation.json")
    name = {short: "task003", BUNDLED: BUNDLED}.get(short, Path(short).stem) if not task else Path(task).stem
    published = [
        Case(f"{name}-full", short),
        Case(f"{name}-lora", short, method="lora"),
        Case("task1519-full", long, explanations=True, negative=2),
    ]
    if task or long == BUNDLED:
        published[2] = replace(published[0], name=f"{name}-explained", explanations=True)
    return published


def row_cases() -> list[Case]:
    """Return the cases on files of rows: single questions that share nothing, and branching conversations."""
    return [
        Case("alpaca", str(DATA / "llamafactory" / "alpaca_en_demo.json"), rows=True),
        Case("openassistant", str(DATA / "openassistant" / "en_100_tree.jsonl"), rows=True),
    ]


def load_steps(case: Case, template: Template, steps: int, rows: int) -> list[list[Encoded]]:
    """Return the first `steps` optimizer steps, `rows` rows each, in the order of Espalier's own schedule.

    All sides train on these. Inside a step they lie shortest first: that changes no gradient and spares a
    padding peer most of its padding. Where a task has too few rows, they come again in a new order.
    """
    encoded = [encode(example, template) for example in _examples(case)]
    if case.rows:
        encoded = [row for row in encoded if len(row.ids) <= LONGEST]
    whole = len(encoded) // rows * rows
    if not whole:
        raise SystemExit(f"{case.task} has {len(encoded)} rows; a step takes {rows}.")
    units_at = schedule(units_of(encoded[:whole]), rows, seed=0)
    dealt = [[row for unit in units_at(step) for row in unit.rows] for step in range(steps)]
    return [sorted(step, key=lambda row: len(row.ids)) for step in dealt]


def describe(steps: list[list[Encoded]]) -> dict[str, float]:
    """Return the shared leading tokens, and a step's mean tokens: in rows, distinct, trained, scored.

    Trained tokens are counted per row; scored are the distinct tokens that predict one of them.
    """
    trees = [build_tree(step) for step in steps]
    counts = [stats(tree) for tree in trees]
    first = [row.ids[: row.prompt] for step in steps for row in step]
    prefix = next(i for i, column in enumerate(zip(*first, strict=False)) if len(set(column)) > 1)
    return {
        "prefix": prefix,
        "row_tokens": sum(c.row_tokens for c in counts) / len(counts),
        "distinct_tokens": sum(c.distinct_tokens for c in counts) / len(counts),
        "trained_tokens": sum(sum(row.weights) for step in steps for row in step) / len(counts),
        "scored_tokens": sum(len(set(tree.sources.tolist())) for tree in trees) / len(trees),
        "token_ratio": sum(c.row_tokens for c in counts) / sum(c.distinct_tokens for c in counts),
    }


def _examples(case: Case) -> list[Example]:
    if case.rows:
        return [
            replace(
                example, messages=tuple(replace(m, trained=m.role == "assistant") for m in example.messages)
            )
            for example in load_rows(case.task, on_reject=lambda _: None)
        ]
    task = load_task(case.task)
    show = Show(positive=case.positive, negative=case.negative, explanations=case.explanations)
    return to_examples(task, available(task, show))


def _shared(name: str) -> str:
    return str(TASKS / name) if (TASKS / name).exists() else BUNDLED
