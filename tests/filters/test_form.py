"""What is missing or broken in a row, or left in it by other programs, and what only looks like it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from espalier.core.records import Example, example_id, message
from espalier.data.judgement import Judgement, filters
from espalier.filters.remains import misread


def judged(kind: str, prompt: str, answer: str, input: str = "", **params: object) -> Judgement:
    turns = (message("user", prompt), message("assistant", answer, trained=True))
    row = Example(example_id(prompt, answer), "t", prompt, turns, input=input)
    return next(iter(filters.build(kind, params, "filter")([row])))


LONG = (
    "The old mill stands by the river, where two roads meet. People come to see it in spring, and "
    "some stay for the night. A baker bought it last year. He grinds rye on Mondays, sells bread on "
    "Fridays, and shows children how the wheel turns. "
)
BROKEN = [
    ("Name a bird.", "..."),
    ("Name a bird.", "?!"),
    ("Name a bird.", "<nooutput>"),
    ("Name a bird.\n<noinput>", "A wren."),
    ("Sort it.\nNoInput", "It is sorted."),
    ("Name a bird.", "### Output:\nA wren."),
    ("Name a bird.", "Output: A wren."),
    ("Name a bird.", "Response: A wren."),
    ("说出一种鸟。", "输出：鹪鹩"),
    ("Name a bird.", "A wren.<|im_end|>"),
    ("Name a bird.", "A wren.</s>"),
    ("Name a bird.", "A wren. [/INST] And another"),
    ("Name a bird.", "A wren.\n### Instruction:\nName a fish."),
    ("Name a bird.", "A wren.\n12. Instruction: Name a fish."),
    ("Name a bird.", "A wren.\nUser: And a fish?\nAssistant: A carp."),
    ("Name a bird.<|endoftext|>", "A wren."),
    ("Name two birds.", "A wren&nbsp;and an owl."),
    ("Name two birds.", "A wren<br>An owl"),
    ("Name two birds.", "<p>A wren</p>"),
    ("Name two birds.", "pythonCopy code\nbirds = 2"),
    ("Name two birds.", "It’s a wren, itâ€™s an owl."),
    ("Name a drink.", "The cafÃ© sells thÃ©."),
    ("Name a bird.", "A wr\ufffdn."),
    ("Name a bird.", "锟斤拷锟斤拷"),
    ("Write a letter.", "Dear [Recipient's Name],\nthanks.\n[Company Name]"),
    ("Write a letter.", "Dear friend, I am (your name)."),
    ("写一封信。", "尊敬的[您的姓名]："),
    ("Summarise the text.\n[insert text here]", "It is short."),
    ("Tell me of the mill.", f"{LONG}And then the"),
    ("Tell me of the mill.", f"{LONG}It was built long ago and the neighbou"),
    ("Tell me of the mill.", f"{LONG}It has,"),
    ("Which bird sings at night in spring?", "Which bird sings at night in spring? The nightingale."),
    ("Write code.", "Here:\n```python\nprint(1)\n```\nand\n```\nprint(2)"),
]
WHOLE = [
    ("Which sign ends a question?", "?"),
    ("Which emoji is a bird?", "🐦"),
    ("Write a regular expression for digits.", "(.*)"),
    ("Is the answer none or some?", "None"),
    ("Begin your answer with Output:", "Output: A wren."),
    ("Write a dialogue.", "Anna: Hello.\nUser: Hello."),
    ("Write the HTML of a line.", "<p>A line</p>"),
    ("Explain it.", "In Python `<br>` is a text, and ```html\n<br>\n``` too."),
    ("Is 3 < 4 and 5 > 2?", "Yes, 3 < 4 and 5 > 2."),
    ("Write a template of a letter.", "Dear [Name], thanks. [Your Name]"),
    ("Write to [Your Name].", "Dear [Your Name], thanks."),
    ("Make a list app.", "The todo list shows each todo item."),
    ("Cite it.", "See [Name of the page](a.html)."),
    ("Say it in Portuguese.", "A IRMÃ” NÃO VEM. SÃO PAULO É ÁRIDO."),
    ("Say it in German.", "Größe, Übung und Äpfel für Zoë — “naïve”"),
    ("Tell me of the mill.", f"{LONG}It is what people come for."),
    ("Tell me of the mill.", f"{LONG}\n- by car\n- by train and on foot"),
    ("Write a post.", f"{LONG}Come and see! #mill #river"),
    (
        "Repeat the question first: which bird sings?",
        "Repeat the question first: which bird sings? The wren.",
    ),
    ("Write a song.", "Oh the mill by the river turns all day and all the long night\n" * 3 + LONG),
    ("Give 20 zeros.", "0 " * 20),
    ("Write a list.", "1. Push up and hold for as long as you can\n2. Rest"),
]


@pytest.mark.parametrize(("prompt", "answer"), BROKEN)
def test_what_is_broken_is_told(prompt: str, answer: str) -> None:
    assert judged("form", prompt, answer).ok is False


@pytest.mark.parametrize(("prompt", "answer"), WHOLE)
def test_what_only_looks_broken_passes(prompt: str, answer: str) -> None:
    assert judged("form", prompt, answer) == Judgement(True)


def test_an_answer_that_is_its_input_is_told() -> None:
    assert judged(
        "form", "Ask for it.\nFind news of the mill.", "Find news of the mill.", "Find news of the mill."
    ).why
    assert judged("form", "Put a stop.\nfind news of mills", "Find news of mills.", "find news of mills").ok


def test_talk_before_the_answer_is_told_where_it_is_asked_for() -> None:
    for answer in ("Sure! Here is a bird: a wren.", "Here's a list of birds:\n- wren", "好的，这是一只鸟。"):
        assert judged("form", "Name a bird.", answer).ok
        assert judged("form", "Name a bird.", answer, preamble=True).ok is False
    assert judged("form", "Is it here?", "Surely it is here.", preamble=True).ok


def test_a_row_of_worse_answers_only_is_not_empty() -> None:
    row = Example(
        "id", "t", "Name a bird.", (message("user", "Name a bird."),), rejected=(message("assistant", "x"),)
    )
    for kind in ("form", "length"):
        assert next(iter(filters.build(kind, {}, "filter")([row]))).ok
    empty = replace(row, references=("",))
    assert next(iter(filters.build("form", {}, "filter")([empty]))).ok is False


@given(st.text(st.characters(categories=["L", "M", "P", "Zs"]), max_size=40))
def test_what_was_read_as_latin_letters_is_told_and_nothing_else(text: str) -> None:
    bytes_read = "".join(chr(byte) for byte in f"“{text}”".encode())
    assert list(misread(bytes_read))
    assert all(start < end <= len(text) for _, start, end in misread(text))


BEYOND = """\
Draw a cat with a hat.
Please sketch the house.
Create an image of a mill at night.
Generate a pie chart of these numbers: 1, 2.
Design a logo for a mill.
What do you see in this picture?
Describe the following photo.
Look at the attached file and sum it up.
Play the song again.
Please download the file and read it.
Summarise this article: https://news.example/mill
Translate the page. https://news.example/mill
Go to the website of the mill.
Search the web for mills.
画一只猫。
根据上图回答问题。
Zeichne mir ein Haus.
Dibuja un gato.
Dessine un chat.
Нарисуй кота.
Que vês na imagem anexa?
![](https://a.example/b.png) What is it?"""
WITHIN = """\
Draw a conclusion from these facts.
Draw the line between work and play.
Find the image of the function f(x) = x².
Write a script that reads a file.
Write a title for a video on mills.
Create a chart of the week as a table.
Draw a cat in ASCII.
Design a logo as SVG code.
Find the shortest path in the following graph: a-b, b-c.
Explain the following figure of speech.
How do I upload a file to a server?
Why do people search the web at night?
Play the role of a miller.
Record the minutes of the meeting as notes.
Paint a vivid scene with words.
Carla can download 2 GB in a minute. How long for 200?
What is the domain of https://docs.example.com/a?
He drew a picture. Who drew it?"""


@pytest.mark.parametrize("prompt", BEYOND.splitlines())
def test_what_no_text_can_do_is_told(prompt: str) -> None:
    assert judged("beyond_text", prompt, "x").ok is False


@pytest.mark.parametrize("prompt", WITHIN.splitlines())
def test_words_about_pictures_files_and_the_web_pass(prompt: str) -> None:
    assert judged("beyond_text", prompt, "x").ok


def test_what_a_row_is_about_may_speak_of_pictures() -> None:
    passage = "Go to the website of the mill. This image shows it."
    assert judged("beyond_text", f"List the nouns.\n{passage}", "mill", passage).ok
    assert judged("beyond_text", "Why does it fail?\n```\n# Draw the box\ndraw(box)\n```", "x").ok
