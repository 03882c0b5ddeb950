"""A variant changes what it says and nothing else, rows keep their ids, and what means nothing is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as some

from espalier.core.errors import DataError
from espalier.core.records import Demonstration, Task, TaskRow
from espalier.tasks.templates import Show, prompt_parts, to_examples
from espalier.tasks.variants import (
    DEFINITIONS,
    EXAMPLES,
    FOREIGN,
    ORDERS,
    each_that_applies,
    with_definition,
    with_examples,
    with_order,
)

TASK = Task(
    name="colours",
    definition="Name the colour of the thing.",
    cautions=("One word only.",),
    positive=(
        Demonstration("grass", "green", "It is."),
        Demonstration("coal", "black"),
        Demonstration("moss", "green"),
    ),
    negative=(Demonstration("milk", "red"),),
    rows=(TaskRow("a", "sky", ("blue",)), TaskRow("b", "snow", ("white",))),
)
LABELS = ("green", "black", "white")
BARE = replace(TASK, definition="", positive=(), negative=())
SEEDS = some.integers(0, 2**32)


def test_the_first_level_is_the_task_itself() -> None:
    assert with_definition(TASK, "original") is TASK
    assert with_examples(TASK, "good") is TASK


@pytest.mark.parametrize(
    ("level", "definition", "cautions"),
    [
        ("labels", "Answer with one of: green, black, white.", ()),
        ("empty", "", ()),
        ("another", FOREIGN, ()),
    ],
)
def test_definitions(level: str, definition: str, cautions: tuple[str, ...]) -> None:
    assert with_definition(TASK, level, labels=LABELS) == replace(
        TASK, definition=definition, cautions=cautions
    )


@given(SEEDS)
def test_shuffled_words_are_the_same_words_in_another_order(seed: int) -> None:
    made = with_definition(TASK, "shuffled", seed=seed)
    for own, other in ((TASK.definition, made.definition), (TASK.cautions[0], made.cautions[0])):
        assert sorted(own.split()) == sorted(other.split())
        assert own != other


@given(SEEDS)
def test_delusive_answers_are_others_and_wrong(seed: int) -> None:
    made = with_examples(TASK, "delusive", seed=seed)
    assert made.negative == TASK.negative
    for own, other in zip(TASK.positive, made.positive, strict=True):
        assert other.input == own.input
        assert other.output in {"green", "black"} - {own.output}
        assert not other.explanation


@given(SEEDS)
def test_orders(seed: int) -> None:
    made = with_order(TASK, "permuted", seed=seed)
    assert made.positive != TASK.positive
    assert set(made.positive) == set(TASK.positive)
    first, second, third = TASK.positive
    assert with_order(TASK, "permuted", shown=2, seed=seed).positive == (second, first, third)
    drawn = with_order(TASK, "random_labels", labels=LABELS, seed=seed)
    assert [one.input for one in drawn.positive] == [one.input for one in TASK.positive]
    assert {one.output for one in drawn.positive} <= set(LABELS)


@pytest.mark.parametrize("seed", [0, 1])
def test_rows_keep_their_ids_and_a_seed_its_draw(seed: int) -> None:
    made = [
        *(with_definition(TASK, level, labels=LABELS, seed=seed) for level in DEFINITIONS),
        *(with_examples(TASK, level, seed=seed) for level in EXAMPLES),
        *(with_order(TASK, level, labels=LABELS, seed=seed) for level in ORDERS),
    ]
    ids = [[row.id for row in to_examples(task, Show())] for task in made]
    assert all(one == ids[0] for one in ids)
    assert with_definition(TASK, "shuffled", seed=seed) == made[2]


def test_nothing_is_left_of_an_empty_definition_and_no_examples() -> None:
    bare = with_examples(with_definition(TASK, "empty"), "none")
    assert prompt_parts(bare, Show()) == ""
    assert to_examples(bare, Show())[0].messages[0].text == "sky"


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: with_definition(TASK, "orignal"), "Did you mean 'original'"),
        (lambda: with_definition(TASK, "labels"), "colours: The task is answered in free text"),
        (lambda: with_definition(BARE, "empty"), "has no definition"),
        (lambda: with_definition(TASK, "another", other=TASK.definition + " "), "that very definition"),
        (lambda: with_examples(BARE, "none"), "no worked example"),
        (lambda: with_examples(replace(TASK, positive=TASK.positive[:1]), "delusive"), "answers differ"),
        (lambda: with_order(BARE, "permuted"), "no two good examples"),
        (lambda: with_order(TASK, "permuted", shown=1), "no two good examples"),
        (lambda: with_order(TASK, "random_labels"), "no labels to draw"),
        (lambda: with_order(BARE, "random_labels", labels=LABELS), "no good example"),
    ],
)
def test_what_means_nothing_is_refused(make: object, said: str) -> None:
    assert callable(make)
    with pytest.raises(DataError) as error:
        make()
    assert said in str(error.value)


def test_who_asks_for_all_levels_gets_those_that_apply() -> None:
    made, left = each_that_applies(DEFINITIONS, lambda level: with_definition(TASK, level))
    assert list(made) == ["original", "shuffled", "empty", "another"]
    assert list(left) == ["labels"]
    assert "free text" in left["labels"]
