"""The first recipe for a set of rows: each choice with its reason, so that it can be disagreed with.

It aims at a first run of minutes on a laptop that says something; what it leaves out (most rows, where there
are many) is one line to take away.
"""

from __future__ import annotations

import json
import math
import textwrap
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import tomli_w

from espalier.core.records import Example
from espalier.core.text import counted, word_count
from espalier.evaluate.facts import expected

Kind: TypeAlias = Literal["answers", "pairs", "thumbs"]

TRAINED = 150_000  # tokens of a first training, all epochs together
WRITTEN = 8_000  # tokens that the answers to the test rows may take
SHARE = 0.8  # of the sources that are trained on: the recipe's own default
STEP = 32  # rows of a step: the recipe's own default
SHORT = 3  # words of an answer that is right or wrong as a whole
FEW = 200  # rows under which each is seen more often
BUDGET, MOST = 4096, 16_384  # train.tokens: its default, and what a first run takes at most
WIDTH = 100


@dataclass(frozen=True, slots=True)
class Seen:
    """What was seen of the rows.

    Attributes:
        path: as the recipe says it.
        name: of the run.
        model: which model is tuned; `bundled` is small enough to move all of its weights.
        examples: the rows.
        rows: tokens of a row with all its answers, of a sample of the rows.
        answers: tokens of its answer, the stop token included.
        shared: tokens that all of these rows begin with.
        by: whose tokens those are.
        context: most tokens that the model takes, where it is known.
        columns: which columns are meant, where their names do not tell.
        rejects: rows that cannot be used, with the reason.
        checks: the task's own.
    """

    path: str
    name: str
    model: str
    bundled: bool
    examples: Sequence[Example]
    rows: Sequence[int]
    answers: Sequence[int]
    shared: int
    by: str
    context: int | None = None
    columns: dict[str, str] | None = None
    rejects: Sequence[dict[str, Any]] = ()
    checks: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Choice:
    """A key of the recipe with its value, and why; `table` is its header, such as [data]."""

    table: str
    key: str
    value: Any
    why: str = ""

    @property
    def line(self) -> str:
        """The line of TOML."""
        match self.value:
            case dict():
                inner = ", ".join(tomli_w.dumps({key: item}).strip() for key, item in self.value.items())
                return f"{self.key} = {{ {inner} }}"
            case list():
                return f"{self.key} = [{', '.join(json.dumps(item) for item in self.value)}]"
            case _:
                return tomli_w.dumps({self.key: self.value}).strip()


def kind_of(examples: Sequence[Example]) -> Kind:
    """Return what rows teach: answers, pairs of a better and a worse one, or single ones with a thumb."""
    worse = [example for example in examples if example.rejected]
    alone = sum(not any(turn.trained for turn in example.messages) for example in worse)
    if not worse:
        return "answers"
    return "thumbs" if alone > len(worse) / 2 else "pairs"


def first_recipe(seen: Seen) -> list[Choice]:
    """Return the choices in the order of the recipe."""
    epochs = 2 if len(seen.examples) * SHARE >= FEW else 4
    limit = _answer_limit(seen)
    rows = min(len(seen.examples) * SHARE, _rows_in_minutes(seen, epochs))
    return [
        Choice("", "name", seen.name),
        *_task(seen),
        *_data(seen, epochs, limit.value),
        Choice("[model]", "name", seen.model, "Bundled and small: runs anywhere." if seen.bundled else ""),
        *_stages(seen, epochs, round(rows)),
        Choice("[decode]", "kind", "greedy", "The likeliest word each time: the same answers in every run."),
        limit,
        _measures(seen),
    ]


def written(choices: Sequence[Choice], about: str) -> str:
    """Return the recipe as TOML, each choice under its reason."""
    # Keys outside a table stand before the first one.
    ordered = [c for c in choices if not c.table] + [c for c in choices if c.table]
    lines = [f"# {line}" for line in textwrap.wrap(about, WIDTH)]
    table = ""
    for choice in ordered:
        if choice.table != table:
            table = choice.table
            lines += ["", table.split(" ")[0]]
        lines += [f"# {line}" for line in textwrap.wrap(choice.why, WIDTH)]
        lines.append(choice.line)
    return "\n".join(lines) + "\n"


def _task(seen: Seen) -> list[Choice]:
    sources = len({example.source for example in seen.examples})
    what = {
        "answers": "answers to learn",
        "pairs": "pairs of a better and a worse answer",
        "thumbs": "answers with a thumb up or down",
    }[kind_of(seen.examples)]
    why = f"{counted(len(seen.examples), 'row')} of {counted(sources, 'source')}: {what}."
    made = [Choice("[task]", "path", seen.path, why)]
    if seen.columns:
        made.append(
            Choice("[task]", "columns", seen.columns, "Named so by what the columns are called; check it.")
        )
    if seen.rejects:
        count = counted(len(seen.rejects), "row")
        first = str(seen.rejects[0]["reason"]).split(". ")[0]
        why = (
            f"{count} cannot be used and would stop the run; the first: {seen.rejects[0]['where']}: {first}."
        )
        made.append(Choice("[task]", "on_bad", "reject", why))
    return made


def _data(seen: Seen, epochs: int, limit: int) -> list[Choice]:
    largest = max(Counter(example.source for example in seen.examples).values())
    made: list[Choice] = []
    trained = max(_rows_in_minutes(seen, epochs), largest)
    if len(seen.examples) * SHARE > 1.25 * trained:
        why = "For a first run of minutes on a laptop; take it away for all rows."
        made.append(Choice("[data]", "limit", trained, why))
    scored = max(20, min(200, WRITTEN // limit), largest)
    if len(seen.examples) * (1 - SHARE) > 1.25 * scored:
        why = "Enough to see a large difference; more rows make the intervals narrower."
        made.append(Choice("[data]", "test_limit", scored, why))
    return made


def _rows_in_minutes(seen: Seen, epochs: int) -> int:
    own = sum(row - seen.shared for row in seen.rows) / len(seen.rows)
    mean = own + seen.shared / STEP  # what all rows begin with is computed once a step
    rows = max(16, int(TRAINED / mean / epochs))
    return rows if rows < 100 else rows // 10 * 10


def _answer_limit(seen: Seen) -> Choice:
    """Return decode.limit: with some room for all answers, or for 99 of 100 where one is far longer."""
    known = sorted(seen.answers) or [64]
    most, longest = known[math.ceil(0.99 * len(known)) - 1], known[-1]
    held = longest if longest <= 1.5 * most else most
    limit = math.ceil((1.1 * held + 2) / 8) * 8
    longer = f", 99 in 100 at most {held}" if held < longest else ""
    why = f"The longest answer has {longest} tokens{longer}, {seen.by}; with some room."
    return Choice("[decode]", "limit", limit, why)


def _stages(seen: Seen, epochs: int, rows: int) -> list[Choice]:
    kind = kind_of(seen.examples)
    table = "[train]" if kind == "answers" else "[[train]]"
    step = min(STEP, max(4, 2 ** int(math.log2(max(rows, 10) / 10))))
    size = f"{round(rows / step)} steps an epoch: a run needs some tens to learn from."
    often = f"{counted(rows, 'row')} to train on, so each is seen {epochs} times."
    method, rate = ("full", 5e-5) if seen.bundled else ("lora", 2e-4)
    moved = (
        "All weights move: the model is small."
        if seen.bundled
        else "An adapter: less memory, less forgetting."
    )
    budget = Choice(table, "tokens", *_budget(seen))
    first = [
        Choice(table, "method", method, moved),
        Choice(table, "rate", rate, "What has served at this size; halve it where the loss jumps."),
        Choice(table, "epochs", epochs if kind == "answers" else 1, often if kind == "answers" else ""),
        Choice(table, "rows", step, size),
        budget,
    ]
    if kind == "answers":
        return first
    objective, why = {
        "pairs": ("dpo", "Then to prefer the better answer of each pair to the worse one."),
        "thumbs": ("kto", "Then to write rather what got a thumb up, and less what got one down."),
    }[kind]
    second = "[[train]] then"
    return [
        Choice(table, "objective", ["sft"], "First to write the good answers at all."),
        *first,
        Choice(second, "objective", [objective], why),
        Choice(second, "method", method if kind == "pairs" else "lora"),
        Choice(
            second,
            "rate",
            5e-6 if seen.bundled and kind == "pairs" else 5e-5,
            "Preferences need small steps.",
        ),
        Choice(second, "epochs", 2),
        Choice(second, "rows", step),
        Choice(second, "tokens", budget.value),
    ]


def _budget(seen: Seen) -> tuple[int, str]:
    longest = max(seen.rows)
    most = min(MOST, seen.context or MOST)
    needed = max(BUDGET, math.ceil(1.05 * longest / 1024) * 1024)
    over = sum(row > most for row in seen.rows)
    why = f"The longest row has {longest} tokens, {seen.by}."
    if over:
        why += f" {over} of {len(seen.rows)} rows are longer than {most} and will be left out."
    return min(needed, max(most, BUDGET)), why


def _measures(seen: Seen) -> Choice:
    scored = [example for example in seen.examples if example.references]
    form = expected(scored)
    own = f" The task's own checks run besides: {', '.join(seen.checks)}." if seen.checks else ""
    short = sum(word_count(example.references[0]) <= SHORT for example in scored) >= 0.9 * len(scored) > 0
    if form.closed or short:
        what = "are numbers" if form.numeric else "come from a small set" if form.closed else "are short"
        why = f"The answers {what}: one is right or wrong, and shared words say little."
        return Choice("", "evaluate", ["exact_match", "rouge_l"], why + own)
    why = "Free text: many answers are right, and their words are compared with the references'."
    return Choice("", "evaluate", ["rouge_l", "exact_match"], why + own)
