"""The bundled questions: many, different, and each with an answer that passes and a silence that does not."""

from __future__ import annotations

import re
from collections import Counter

from espalier.tasks.abilities import abilities


def test_there_are_enough_of_each_kind_and_no_two_are_alike() -> None:
    examples = abilities()
    counts = Counter(example.task for example in examples)
    assert counts.keys() == {"knowledge", "arithmetic", "instructions", "form"}
    assert min(counts.values()) >= 40
    assert (
        len({example.input for example in examples}) == len({e.id for e in examples}) == len(examples) >= 200
    )


def test_every_question_has_one_right_option_or_an_answer_that_obeys_and_silence_never_does() -> None:
    for example in abilities():
        (right,) = example.references
        if "options" in example.facts:
            options = example.facts["options"]
            assert options[0] == right
            assert len(set(options)) == 4
        else:
            passes = example.facts["passes"]
            assert re.fullmatch(passes, right), example.input
            assert not re.fullmatch(passes, ""), example.input


def test_sums_of_the_arithmetic_are_right() -> None:
    signs = {"+": "+", "plus": "+", "-": "-", "times": "*"}
    checked = 0
    for example in abilities():
        if found := re.fullmatch(r"What is (\d+) (\S+) (\d+)\?", example.input):
            a, sign, b = found.groups()
            assert str(eval(f"{a}{signs[sign]}{b}")) == example.references[0]
            checked += 1
    assert checked == 40
