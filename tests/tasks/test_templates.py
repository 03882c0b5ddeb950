"""Prompts show what the recipe asks for, share all before the input, and the answer alone is trained."""

from __future__ import annotations

from dataclasses import replace

import pytest

from espalier.core.records import Demonstration, Task, TaskRow, message
from espalier.tasks.templates import Show, available, prompt_parts, to_examples

TASK = Task(
    name="colours",
    definition="Name the colour.",
    cautions=("One word.", "In English."),
    positive=(Demonstration("grass", "green", "It is."), Demonstration("coal", "black")),
    negative=(Demonstration("milk", "red", "It is not."),),
    rows=(
        TaskRow("a", "The  Sky", ("blue", "azure"), tags={"domain": "weather"}),
        TaskRow("b", "the sky", ("grey",)),
        TaskRow("c", "snow", ("white",), source="winter"),
        TaskRow("d", "snow", ("white",)),
    ),
    origin="colours.toml",
)

WHOLE = """Name the colour.

- One word.
- In English.

Good example
Input: grass
Output: green
Why: It is.

Good example
Input: coal
Output: black

Bad example
Input: milk
Output: red
Why: It is not.

"""


def test_a_prompt_with_everything() -> None:
    assert prompt_parts(TASK, Show(explanations=True)) == WHOLE


@pytest.mark.parametrize(
    ("show", "present", "absent"),
    [
        (Show(definition=False), "Good example", "Name the colour"),
        (Show(cautions=False), "Name the colour", "One word"),
        (Show(positive=1), "green", "black"),
        (Show(negative=0), "green", "Bad example"),
        (Show(explanations=False), "green", "Why"),
    ],
)
def test_each_part_can_be_left_out(show: Show, present: str, absent: str) -> None:
    prompt = prompt_parts(TASK, show)
    assert present in prompt
    assert absent not in prompt


def test_the_input_is_last_and_all_before_it_is_shared() -> None:
    examples = to_examples(TASK, Show())
    prompts = [example.messages[0].text for example in examples]
    assert [prompt.split("\n\n")[-1] for prompt in prompts] == [f"Input: {row.input}" for row in TASK.rows]
    shared = prompt_parts(TASK, Show()) + "Input: "
    assert prompts == [shared + row.input for row in TASK.rows]


def test_with_nothing_shown_the_prompt_is_the_input() -> None:
    nothing = Show(definition=False, cautions=False, positive=0, negative=0)
    assert to_examples(TASK, nothing)[2].messages[0].text == "snow"


def test_one_example_per_row_with_its_first_output_trained() -> None:
    first, second, third, fourth = to_examples(TASK, Show())
    assert [(m.role, m.trained) for m in first.messages] == [("user", False), ("assistant", True)]
    assert first.answer == "blue"
    assert first.references == ("blue", "azure")
    assert first.input == "The  Sky"
    assert first.origin == {"file": "colours.toml", "row": "a", "tags": {"domain": "weather"}}
    assert first.source == second.source == "the sky"
    assert (third.source, fourth.source) == ("winter", "snow")


def test_ids_are_those_of_the_rows_whatever_is_shown() -> None:
    examples, others = to_examples(TASK, Show()), to_examples(TASK, Show(positive=0, explanations=True))
    assert [e.id for e in examples] == [e.id for e in others]
    assert len({e.id for e in examples}) == 4  # an exact repetition has an id of its own


def test_fewer_examples_than_asked_for_are_told() -> None:
    show = Show(positive=5, negative=1)
    assert available(TASK, show) == Show(positive=2, negative=1)
    assert prompt_parts(TASK, show) == prompt_parts(TASK, available(TASK, show))


def test_rejected_outputs_stay_beside_the_prompt() -> None:
    pair = TaskRow("p", "snow", ("white",), rejected=("green", "milk"))
    thumb_down = TaskRow("d", "snow", (), rejected=("green",))
    task = replace(TASK, rows=(TASK.rows[2], pair, thumb_down))
    plain, both, down = to_examples(task, Show())
    assert (both.answer, both.rejected) == (
        "white",
        (message("assistant", "green"), message("assistant", "milk")),
    )
    assert (down.messages, down.references, down.rejected) == (
        down.prompt,
        (),
        (message("assistant", "green"),),
    )
    assert plain.prompt == both.prompt == down.prompt
    assert len({plain.id, both.id, down.id}) == 3
