"""The rows that all sides train on: from a task file to tokens, cut into the same optimizer steps."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from espalier.data.templates import Show, available, to_examples
from espalier.encode.batches import schedule_rows
from espalier.encode.tokens import encode
from espalier.encode.tree import build_tree, stats
from espalier.tasks.task_files import load_task

if TYPE_CHECKING:
    from espalier.core.records import Encoded
    from espalier.encode.template import Template

TASKS = Path("..") / "shared" / "data" / "natural-instructions-v2" / "tasks"
BUNDLED = "event-duration"


@dataclass(frozen=True)
class Case:
    """One comparison: a task, what its prompts show, and which weights move."""

    name: str
    task: str
    method: str = "full"
    explanations: bool = False
    positive: int = 2
    negative: int = 1

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


def load_steps(case: Case, template: Template, steps: int, rows: int) -> list[list[Encoded]]:
    """Return the first `steps` optimizer steps, `rows` rows each, in the order of Espalier's own schedule.

    All sides train on these. Inside a step they lie shortest first: that changes no gradient and spares a
    padding peer most of its padding. Where a task has too few rows, they come again in a new order.
    """
    task = load_task(case.task)
    show = available(
        task, Show(positive=case.positive, negative=case.negative, explanations=case.explanations)
    )
    encoded = [encode(example, template) for example in to_examples(task, show)]
    whole = len(encoded) // rows * rows
    if not whole:
        raise SystemExit(f"{case.task} has {len(encoded)} rows; a step takes {rows}.")
    rows_at = schedule_rows(encoded[:whole], rows, seed=0)
    return [sorted(rows_at(step), key=lambda row: len(row.ids)) for step in range(steps)]


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


def _shared(name: str) -> str:
    return str(TASKS / name) if (TASKS / name).exists() else BUNDLED
