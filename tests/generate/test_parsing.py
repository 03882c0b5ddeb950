"""What models write is read as it was meant: in JSON, in fences, numbered, labelled, or wrapped in words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from espalier.generate.parsing import (
    after_label,
    bare,
    items_in,
    json_in,
    number_in,
    pairs_in,
    says_yes,
    unthought,
)

LISTS = [
    '["Name a bird.", "Add two numbers."]',
    '{"tasks": ["Name a bird.", "Add two numbers."]}',
    'Sure! Here it is:\n```json\n{"tasks": ["Name a bird.", "Add two numbers."],}\n```\nHave fun.',
    '[{"instruction": "Name a bird."}, {"task": "Add two numbers."}]',
    "9. Name a bird.\n10. Add two numbers.",
    "Here are more tasks:\n\n1) Name a bird.\n\n2) Add two numbers.",
    "- Name a bird.\n- Add two numbers.",
    "**1.** Name a bird.\n**2.** Add two numbers.",
    "Task 9: Name a bird.\nTask 10: Add two numbers.",
    "1. “Name a bird.”\n2. **Add two numbers.**",
    "['Name a bird.', 'Add two numbers.']",
    '{"tasks": {"9": "Name a bird.", "10": "Add two numbers."}}',
    '[{"title": "Birds", "task": "Name a bird."}, {"title": "Sums", "task": "Add two numbers."}]',
    "### Task 9\nName a bird.\n\n### Task 10\nAdd two numbers.",
    "９．Name a bird.\n１０．Add two numbers.",
    "① Name a bird.\n② Add two numbers.",
    "9 - Name a bird.\n10 - Add two numbers.",
    "9\\. Name a bird.\n10\\. Add two numbers.",
    "- [ ] Name a bird.\n- [ ] Add two numbers.",
    "9. Instruction: Name a bird.\n10. Instruction: Add two numbers.\n\nLet me know if you want more!",
    "```\n1. Name a bird.\n2. Add two numbers.\n```",
]
PAIRS = [
    "Input: 2 + 2\nOutput: 4\n\nInput: 3 + 3\nOutput: 6",
    "**Input:** 2 + 2\n**Output:** 4\n\n**Input:** 3 + 3\n**Output:** 6",
    "Output: 4\nInput: 2 + 2\n\nExample 2:\nOutput: 6\nInput: 3 + 3",
    '{"examples": [{"input": "2 + 2", "output": "4"}, {"Input": "3 + 3", "Output": 6}]}',
    '```json\n[{"input": "2 + 2", "output": 4}, {"input": "3 + 3", "output": "6"},]\n```',
    "1. Input: 2 + 2\nOutput: 4\n2. Input: 3 + 3\nOutput: 6",
    "```\nInput: 2 + 2\nOutput: 4\nInput: 3 + 3\nOutput: 6\n```",
    "### Input\n2 + 2\n\n### Output\n4\n\n---\n\n### Input\n3 + 3\n\n### Output\n6",
    "Eingabe: 2 + 2\nAusgabe: 4\n\nEingabe: 3 + 3\nAusgabe: 6\n\nExplanation: it is so.",
    "输入：2 + 2\n输出：4\n输入：3 + 3\n输出：6",
    "[{'input': '2 + 2', 'output': 4}, {'input': '3 + 3', 'output': '6'}]",
]


@pytest.mark.parametrize("text", LISTS)
def test_lists_are_read(text: str) -> None:
    assert items_in(text) == ["Name a bird.", "Add two numbers."]


@pytest.mark.parametrize("text", PAIRS)
def test_pairs_are_read(text: str) -> None:
    assert pairs_in(text) == [("2 + 2", "4"), ("3 + 3", "6")]


def test_what_is_in_an_item_stays_in_it() -> None:
    assert items_in('1. Sort ["b", "a"].\n2. Fill {"x": 1}.') == ['Sort ["b", "a"].', 'Fill {"x": 1}.']
    assert pairs_in('Input: {"input": 1}\nOutput: [1]') == [('{"input": 1}', "[1]")]
    assert pairs_in("Input: none\nOutput: line one\nline two") == [("", "line one\nline two")]
    assert pairs_in("Input: a sentence") == pairs_in("Nothing of the kind.") == []
    assert items_in("A single task, without a number.") == []


def test_code_and_lists_within_an_item_are_no_items() -> None:
    code = "Say what this does:\n```python\nf(1)\n1. x\nInput: y\n```"
    assert items_in(f"1. {code}\n2. Sort:\n   - b\n   - a\n3. Sing.") == [
        code,
        "Sort:\n   - b\n   - a",
        "Sing.",
    ]
    assert pairs_in(f"Input: {code}\nOutput: It calls f.") == [(code, "It calls f.")]
    assert bare("```\na\n```\nand\n```\nb\n```") == "```\na\n```\nand\n```\nb\n```"


def test_json_is_read_as_models_write_it() -> None:
    assert json_in('["a\\d", "two\nlines",]') == ["a\\d", "two\nlines"]
    assert json_in("So: {'a': \"it's\", 'b': None} and more") == {"a": "it's", "b": None}
    assert json_in("{'a': open('x')}") is None


def test_thoughts_are_no_answer() -> None:
    for text in (
        "<think>\n1. No.\n</think>\n\nYes.",
        "<thinking>No</thinking>Yes.",
        "1. No.\n</think>\n\nYes.",
    ):
        assert unthought(text) == "Yes."
    assert unthought("<think>Well, the user") == ""
    assert unthought("Write <think> around it.") == "Write <think> around it."


def test_a_label_within_an_instruction_is_of_it() -> None:
    text = "Answer by the text.\nQuestion: who ran?"
    assert after_label(text, "instruction", "question") == text
    assert after_label("#Rewritten Prompt#:\nName two.", "rewritten prompt") == "Name two."
    assert after_label('{"instruction": "Name two."}', "instruction") == "Name two."
    assert after_label("Name two.\n\n---\n\n**Explanation:** I added one.", "instruction") == "Name two."


def test_short_answers() -> None:
    assert says_yes("**Yes**, it does.") is True
    assert says_yes("no") is False
    assert says_yes("Nobody knows.") is says_yes("") is None
    for text in ("The answer is yes.", "**Answer: Yes**", '{"answer": "yes"}', "Sí.", "是的", "True"):
        assert says_yes(text) is True
    for text in ("Answer: no", "Nein.", "不是", "Non."):
        assert says_yes(text) is False
    assert number_in("Grade: 8/10", 10) == 8
    for text in (
        "Rating (1-10): 8",
        "From 1 to 10, I say 8.",
        "It has 3 errors. Grade: **8**",
        "8 of 10",
        "8.5",
    ):
        assert number_in(text, 10) == 8
    assert number_in("I would say 11 or 3.5", 10) is None
    assert number_in("none", 10) is None
    assert after_label("Sure.\nNew instruction: Name two birds.", "new instruction") == "Name two birds."
    assert after_label("Name two birds.", "new instruction") == "Name two birds."
    assert bare('"Name a bird."') == bare("```\nName a bird.\n```") == "Name a bird."
    assert bare('"A" and "B"') == '"A" and "B"'
    assert bare("It's the dog's.") == "It's the dog's."


@given(st.text("[]{}\"',:1. \nInputOutput`*-\\ué#<think>/", max_size=80))
def test_no_text_is_an_error(text: str) -> None:
    json_in(text)
    unthought(text)
    after_label(text, "input", "new input")
    items_in(text)
    assert all(second for _, second in pairs_in(text))
    bare(text)
