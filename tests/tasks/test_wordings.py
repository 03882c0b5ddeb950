"""Other wordings of a task: each asks otherwise, of the same rows; the original changes nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest

from espalier.core.errors import DataError
from espalier.core.records import Demonstration, Task, TaskRow
from espalier.tasks.templates import Show, to_examples
from espalier.tasks.wordings import FORMATS, PARAPHRASES, WORDINGS, with_wording, written

TASK = Task(
    "sounds",
    "Say which sound the animal makes. Use one word {only}.",
    (TaskRow("1", "a cow", ("moo",)), TaskRow("2", "a cat", ("meow",))),
    positive=(Demonstration("a dog", "woof"),),
    negative=(Demonstration("a hen", "42"),),
    cautions=("No numbers.",),
)
SHOW = Show()


def prompts(task: Task, show: Show = SHOW) -> list[str]:
    return [row.prompt[0].text for row in to_examples(task, show)]


def test_there_are_enough_and_no_two_ask_alike() -> None:
    assert len(PARAPHRASES) >= 10
    assert len(FORMATS) >= 4
    assert len({prompts(with_wording(TASK, name))[0] for name in WORDINGS}) == len(WORDINGS)


@pytest.mark.parametrize("name", WORDINGS)
def test_each_keeps_what_is_said_and_the_rows(name: str) -> None:
    made = with_wording(TASK, name)
    usual, other = to_examples(TASK, SHOW), to_examples(made, SHOW)
    assert [(r.id, r.source, r.references) for r in usual] == [(r.id, r.source, r.references) for r in other]
    for row in other:
        text = " ".join(row.prompt[0].text.split())
        for said in ("Say which sound the animal makes.", "one word {only}.", "No numbers.", "a dog", "woof"):
            assert said in text
        assert row.input in text


def test_the_original_changes_nothing() -> None:
    assert with_wording(TASK, "original") == TASK
    assert prompts(TASK)[0] == (
        "Say which sound the animal makes. Use one word {only}.\n\n- No numbers.\n\n"
        "Good example\nInput: a dog\nOutput: woof\n\nBad example\nInput: a hen\nOutput: 42\n\nInput: a cow"
    )


def test_the_definition_may_come_last() -> None:
    text = prompts(with_wording(TASK, "last"), Show(positive=0, negative=0))[0]
    assert text == f"Input: a cow\n\n{TASK.definition}\n\n- No numbers."


def test_what_is_no_wording_is_refused() -> None:
    with pytest.raises(DataError, match="no wording 'polit'"):
        with_wording(TASK, "polit")
    bare = replace(TASK, definition="")
    with pytest.raises(DataError, match="no definition"):
        with_wording(bare, "polite")
    assert prompts(with_wording(bare, "text"))
    assert written(TASK, " Name its sound. ").definition == "Name its sound."
    with pytest.raises(DataError, match="own definition"):
        written(TASK, TASK.definition.upper())
