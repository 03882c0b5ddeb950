from __future__ import annotations

from espalier.core.records import Example, message
from espalier.evaluate.baselines import best_constant, constant, copy


def row(name: str, *references: str, task_input: str = "in") -> Example:
    return Example(name, "t", name, (message("user", "p"),), references=references, input=task_input)


def test_labels_give_the_most_frequent_one_as_it_was_first_written() -> None:
    rows = [row("a", "No"), row("b", "Yes."), row("c", "yes"), row("d", "maybe")]
    assert best_constant(rows) == "Yes."
    assert best_constant([]) == ""


def test_free_text_gives_the_answer_nearest_to_all() -> None:
    rows = [row("a", "How long did she sleep?"), row("b", "Who slept?"), row("c", "How long did it rain?")]
    assert best_constant(rows) == "How long did she sleep?"


def test_training_rows_decide_where_there_are_some() -> None:
    scored, train = [row("a", "x"), row("b", "x")], [row("c", "y"), row("d", "y")]
    assert [c.text for c in constant(scored, train)] == ["y", "y"]
    assert [(c.example, c.text) for c in constant(scored)] == [("a", "x"), ("b", "x")]


def test_a_trained_row_without_references_counts_with_its_answer() -> None:
    turn = (message("user", "p"), message("assistant", "only", trained=True))
    assert best_constant([Example("a", "t", "s", turn)]) == "only"


def test_copy_answers_with_the_input() -> None:
    (completion,) = copy([row("a", "x", task_input="the sentence")])
    assert completion.text == "the sentence"
    assert completion.finish == "stop"
    assert completion.request != copy([row("a", "x", task_input="another")])[0].request
