"""Planted truths on the card: a definition that matters, one that cannot, floors, what cannot be asked."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest

from espalier.core.recipe import Choice
from espalier.core.records import Completion, Demonstration, Example, Task, TaskRow
from espalier.core.run import RunFolder
from espalier.data.mixture import Part, Place
from espalier.decode.journal import Generations
from espalier.evaluate.baselines import floors
from espalier.evaluate.harness import evaluate
from espalier.explain.card import Asked, ask, card_of
from espalier.explain.record import Explanation
from espalier.explain.sentences import sentences
from espalier.explain.subject import Explained
from espalier.explain.variations import variations
from espalier.scorers.registry import named_scorers
from espalier.tasks.templates import Show, to_examples
from espalier.trials.decoding_subject import Subject

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    Answer = Callable[[Example], str]

TASK = Task(
    name="sounds",
    definition="Say which sound the animal makes.",
    positive=(Demonstration("a cow", "moo"), Demonstration("a cat", "meow"), Demonstration("a calf", "moo")),
    rows=tuple(
        TaskRow(str(n), f"animal {n}", ("moo",) if n % 2 else ("meow",), source=f"s{n}") for n in range(60)
    ),
)
SHOW = Show(positive=2, negative=0)


class Saying:
    """A model whose answers are known."""

    def __init__(self, answer: Answer) -> None:
        self.answer, self.asked = answer, 0

    def generate(self, examples: Sequence[Example], settings: Choice) -> Iterator[Completion]:
        self.asked += len(examples)
        yield from (Completion(row.id, self.answer(row), request="r") for row in examples)


def part(task: Task | None, show: Show = SHOW, name: str = "sounds") -> Part:
    where = Path("sounds.toml")
    return Part(Place(name, where, (where,), True), "hash", task and replace(task, rows=()), show)


def explained(folder: Path, tuned: Answer, base: Answer, task: Task = TASK) -> Explanation:
    """Return the card of two models' answers, with its sentences."""
    test = to_examples(task, SHOW)
    scorers = named_scorers([Choice(kind="exact_match")])
    systems = {"tuned": tuned, "base": base}
    answers = {name: [Completion(r.id, say(r)) for r in test] for name, say in systems.items()}
    scores = evaluate(test, {**answers, **floors(test, (), {task.name: "moo"})}, scorers)
    recipe: Any = cast("Any", type("R", (), {"decode": Choice(kind="greedy"), "seed": 0}))
    judges = Subject("run", "", folder, recipe, test, (), scorers, (), {}, cast("Any", None))
    journal = Generations(folder / "generations.jsonl")
    subject = Explained(RunFolder(folder), judges, scores, test, folder, journal)
    asked = Asked(variations([part(task)], test), {})
    for name, say in (("tuned", tuned), ("base", base)):
        ask(subject, asked, cast("Any", Saying(say)), cast("Any", name))
    measure = scores.leading
    found = Explanation(
        name="run", measure=measure, metric=scores.metric(measure), rows=len(test), sources=len(test),
        card=card_of(subject, asked),
    )  # fmt: skip
    return replace(found, sentences=sentences(found))


def right(row: Example) -> str:
    return row.references[0]


def wrong(_: Example) -> str:
    return "woof"


def test_a_definition_that_matters_is_named(tmp_path: Path) -> None:
    def reads(row: Example) -> str:
        return right(row) if TASK.definition in row.prompt[0].text else wrong(row)

    found = explained(tmp_path, reads, wrong)
    card = found.card
    assert card is not None
    assert not card.left
    told = {(c.definition, c.examples): (c.reached.value, c.apart) for c in card.cells if c.system == "tuned"}
    assert len(told) == 5 * 3 + 2
    assert told == {key: (1, False) if key[0] == "original" else (0, True) for key in told}
    assert not any(c.apart for c in card.cells if c.system == "base")
    of_format, of_definition = found.sentences
    assert of_definition.startswith("The definition matters")
    assert "without it by −100.0 points" in of_definition
    assert "not all of it is format" in of_format


def test_a_definition_that_cannot_matter_is_not(tmp_path: Path) -> None:
    def noisy(row: Example) -> str:  # the same whatever is asked
        return right(row) if int(row.origin["row"]) % 3 else wrong(row)

    found = explained(tmp_path, noisy, wrong)
    assert found.card is not None
    assert not any(cell.apart for cell in found.card.cells)
    assert "matters to the tuned model cannot be seen with 60 rows" in found.sentences[-1]
    assert "equal" not in " ".join(found.sentences)


def test_a_gain_that_a_floor_has_too_is_not_more_than_format(tmp_path: Path) -> None:
    constant = explained(tmp_path, lambda _: "moo", wrong)
    assert "more than format cannot be seen with 60 rows" in constant.sentences[0]
    worse = explained(tmp_path, lambda row: "moo" if int(row.origin["row"]) % 8 == 1 else "woof", wrong)
    assert "all of it may be format" in worse.sentences[0]
    none = explained(tmp_path, right, right)
    assert "no gain to be seen" in none.sentences[0]
    lost = explained(tmp_path, wrong, right)
    assert "There is no gain" in lost.sentences[0]


def test_each_line_has_its_interval_and_floors_are_there(tmp_path: Path) -> None:
    found = explained(tmp_path, right, wrong)
    assert found.card is not None
    names = [line.name for line in found.card.lines]
    assert names[:4] == ["tuned", "base", "base, few-shot", "base, zero-shot"]
    assert {"a label drawn at random", "one constant answer", "the first example's answer"} <= {*names}
    assert all(line.reached.bounded for line in found.card.lines)
    assert all(line.gap and line.gap.estimate.bounded for line in found.card.lines[1:])
    assert str(found).endswith(found.sentences[-1])


def test_equal_prompts_are_asked_as_one_batch(tmp_path: Path) -> None:
    test = to_examples(TASK, SHOW)
    rows = variations([part(TASK)], test).named()
    assert len({row.id for row in rows}) == len(rows) == 17 * len(test)
    one = [row for row in rows if row.id == f"original/good/{test[0].id}"]
    assert one[0].messages == test[0].messages


@pytest.mark.parametrize(
    ("task", "show", "absent", "said"),
    [
        (replace(TASK, definition=""), SHOW, "empty", "no definition"),
        (TASK, replace(SHOW, definition=False), "shuffled", "changes nothing"),
        (TASK, replace(SHOW, positive=0), "none", "changes nothing"),
        (replace(TASK, positive=()), replace(SHOW, positive=0), "delusive", "no worked example"),
        (replace(TASK, positive=TASK.positive[::2]), SHOW, "delusive", "answers differ"),
        (TASK, replace(SHOW, positive=1), "permuted", "no two good examples"),
    ],
)
def test_what_a_task_lacks_is_left_out_with_a_word(task: Task, show: Show, absent: str, said: str) -> None:
    found = variations([part(task, show)], to_examples(task, show))
    assert said in found.left[absent]
    assert not any(absent in levels for levels in found.rows)
    assert ("original", "good") in found.rows


def test_rows_without_a_task_and_of_another_prompt_are_left_out() -> None:
    test = to_examples(TASK, SHOW)
    assert "of no task" in variations([part(None)], test).left["all variants"]
    other = replace(TASK, definition="Say what it eats.")
    assert "as the file is now" in variations([part(other)], test).left["all variants"]
    free = replace(TASK, rows=tuple(replace(row, outputs=(f"sound {row.id}",)) for row in TASK.rows))
    found = variations([part(free)], to_examples(free, SHOW))
    assert {"labels", "random_labels"} == {*found.left}


def test_another_tasks_definition_is_the_next_one_of_the_run() -> None:
    second = replace(TASK, name="food", definition="Say what the animal eats.")
    test = [*to_examples(TASK, SHOW), *to_examples(second, SHOW)]
    found = variations([part(TASK), part(second, name="food")], test)
    asked = {row.task: row.prompt[0].text for row in found.rows["another", "good"]}
    assert asked["sounds"].startswith(second.definition)
    assert asked["food"].startswith(TASK.definition)
