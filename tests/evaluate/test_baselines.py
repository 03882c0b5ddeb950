from __future__ import annotations

from dataclasses import replace

from espalier.core.records import Example, message
from espalier.evaluate.baselines import (
    best_constant,
    best_for,
    constant,
    copy,
    floors,
    labels_to_draw,
    most_frequent,
    point,
)
from espalier.evaluate.measures import metric_of
from espalier.scorers.registry import build_scorer, fitted


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


def test_the_most_frequent_answer_is_a_floor_where_it_is_not_the_constant() -> None:
    train = [row(f"a{i}", "on the left") for i in range(4)]
    train += [
        row(f"b{i}", text)
        for i, text in enumerate(("on the right now", "the right", "right", "on the right"))
    ]
    scored = [row("c", "x"), row("d", "y")]
    assert best_constant(train) == "on the right"
    found = floors(scored, train)
    assert list(found) == ["constant", "copy", "majority"]
    assert {answer.text for answer in found["majority"]} == {"on the left"}
    assert [answer.example for answer in found["majority"]] == ["c", "d"]


def test_the_most_frequent_answer_is_no_floor_where_it_says_nothing() -> None:
    labels = [row("a", "Yes."), row("b", "yes"), row("c", "no")]
    assert most_frequent(labels) == "Yes."
    assert "majority" not in floors(labels, labels), "it is the constant"
    assert most_frequent([row(str(i), f"answer {i}") for i in range(9)]) == ""
    rare = [row(str(i), f"answer {max(1, i)}") for i in range(60)]
    assert most_frequent(rare) == "", "two rows of sixty"
    assert most_frequent([]) == ""


def test_the_constant_of_another_script_is_chosen_by_its_words() -> None:
    rows = [row("a", "猫在睡觉"), row("b", "狗在睡觉"), row("c", "下雨了")]
    assert best_constant(rows) in ("猫在睡觉", "狗在睡觉")


def test_the_beginning_of_a_long_input_is_a_floor() -> None:
    text = "On the last day of the year, the old mill by the river was sold."
    summary = [row(str(i), f"Mill {i} sold", task_input=text) for i in range(3)]
    assert {answer.text for answer in floors(summary)["lead"]} == {"On the last"}
    chinese = [row("a", "卖了", task_input="去年年底，河边的老磨坊终于卖了出去。")]
    assert floors(chinese)["lead"][0].text == "去年"
    assert "lead" not in floors([row("a", "Who sold the old mill by the river?", task_input=text)])
    assert "lead" not in floors([row(str(i), "yes", task_input=text) for i in range(9)])


def test_random_labels_are_a_floor_of_closed_tasks_only() -> None:
    labels = [row(str(i), ("yes", "no", "maybe")[i % 3]) for i in range(90)]
    drawn = [answer.text for answer in floors(labels)["random"]]
    assert {*drawn} == {"yes", "no", "maybe"}
    assert drawn == [answer.text for answer in floors(labels[::-1])["random"]][::-1], "by the row's id"
    assert 15 < sum(text == one.references[0] for text, one in zip(drawn, labels, strict=True)) < 45
    free = [row(str(i), f"answer number {i} of many") for i in range(90)]
    assert "random" not in floors(free)
    assert labels_to_draw([row(str(i), str(i % 7)) for i in range(90)]) == (), "numbers are no labels"


def test_the_first_example_s_answer_is_a_floor_where_each_task_has_one() -> None:
    rows = [row("a", "x"), row("b", "y")]
    assert [answer.text for answer in floors(rows, worked={"t": "shown"})["example"]] == ["shown", "shown"]
    assert "example" not in floors(rows, worked={"another": "shown"})
    assert "example" not in floors(rows)


def test_the_constant_is_the_best_for_the_measure_that_is_asked() -> None:
    reasons = ["Two and two make", "We add them and get", "It comes to", "Count again:", "That is"]
    rows = [row(str(i), f"{reasons[i]} #### {(4, 9, 4, 7, 4)[i]}") for i in range(5)]
    for kind, settings in (("numeric", {}), ("numeric", {"form": "strict"})):
        scorer = fitted(build_scorer(kind, settings, "x"), rows)
        best = best_for(scorer, metric_of(kind, scorer), rows)
        assert best.endswith("#### 4"), "it is written as a reference is, so that it can be read"
    labels = [row(str(i), ("b", "a", "a", "c", "b", "a")[i]) for i in range(6)]
    scorer = fitted(build_scorer("label", {}, "x"), labels)
    assert best_for(scorer, metric_of("label", scorer), labels) == "a"
    assert point(metric_of("label", scorer), []) != point(metric_of("label", scorer), []), "not known"


def test_rows_with_options_of_their_own_draw_from_these() -> None:
    rows = [
        replace(row(str(i), f"{'AB'[i % 2]}. text {i}"), facts={"options": [f"A. text {i}", f"B. text {i}"]})
        for i in range(40)
    ]
    drawn = [answer.text for answer in floors(rows)["random"]]
    assert all(text in one.facts["options"] for text, one in zip(drawn, rows, strict=True))
    assert 10 < sum(text == one.references[0] for text, one in zip(drawn, rows, strict=True)) < 30
