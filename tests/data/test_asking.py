"""A training row's own text, asked as a run is asked, is the prompt that the row was trained with."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from espalier.core.errors import DataError
from espalier.core.records import Example, Message, Text, ToolList, message
from espalier.data.asking import Asking, asking_of
from espalier.data.inputs import Question, asked, read_questions
from espalier.encode.template import Template
from espalier.encode.tokens import encode_unit
from espalier.formats.load import load_rows
from espalier.tasks.task_files import load_task
from espalier.tasks.templates import Show, to_examples

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

THINGS = ("kettle", "boat", "ladder", "violin")
TOOLS = json.dumps([{"type": "function", "function": {"name": "ask", "parameters": {}}}])


def said(*turns: tuple[str, str]) -> list[dict[str, str]]:
    return [{"role": role, "content": text} for role, text in turns]


def talk(thing: str, *before: tuple[str, str]) -> list[dict[str, str]]:
    return said(*before, ("user", f"And a {thing}?"), ("assistant", f"{thing}s"))


# A row of each kind for a thing, and how many rows in four share what they are asked under.
ROWS: dict[str, Callable[[str], dict[str, Any]]] = {
    "alpaca": lambda t: {"instruction": f"Plural of {t}.", "input": "", "output": f"{t}s"},
    "alpaca, one instruction": lambda t: {"instruction": "Write the plural.", "input": t, "output": f"{t}s"},
    "alpaca, system": lambda t: {"instruction": f"A {t}?", "output": f"{t}s", "system": "Be brief."},
    "dolly": lambda t: {"instruction": "Plural.", "context": f"a {t}", "response": f"{t}s"},
    "lines around": lambda t: {"prompt": f"Write the plural.\n\n{t}\nAnswer:", "completion": f"{t}s"},
    "question": lambda t: {"question": f"A {t}?", "answer": f"{t}s"},
    "messages": lambda t: {"messages": talk(t)},
    "messages, system": lambda t: {"messages": talk(t, ("system", "Be brief."))},
    "messages, system and first turns": lambda t: {
        "messages": talk(t, ("system", "Be brief."), ("user", "A cup?"), ("assistant", "cups")),
    },
    "tools": lambda t: {"messages": talk(t, ("system", "Ask.")), "tools": TOOLS},
    "preference": lambda t: {"prompt": f"A {t}?", "chosen": f"{t}s", "rejected": t},
    "preference, system": lambda t: {"chosen": talk(t, ("system", "Be brief.")),
                                     "rejected": [*talk(t, ("system", "Be brief."))[:-1],
                                                  {"role": "assistant", "content": t}]},
    "preference, after turns": lambda t: {
        "prompt": said(("user", "A cup?"), ("assistant", "cups"), ("user", f"A {t}?")),
        "chosen": f"{t}s", "rejected": t,
    },
    "thumbs down": lambda t: {"prompt": f"A {t}?", "completion": t, "label": False},
    "sharegpt": lambda t: {
        "conversations": [{"from": "human", "value": t}, {"from": "gpt", "value": f"{t}s"}],
        "system": "Be brief.",
    },
}  # fmt: skip
# Rows that do not share it, so that a text alone does not say which: whole rows do.
APART: dict[str, Callable[[str], dict[str, Any]]] = {
    "systems of their own": lambda t: {"messages": talk(t, ("system", f"You sell a {t}."))},
    "texts under systems of their own": lambda t: {
        "question": t, "answer": f"{t}s", "system": f"You sell a {t}.",
    },
    "passages under systems of their own": lambda t: {
        "context": f"A {t}.", "question": "What?", "answer": t, "system": f"You sell a {t}.",
    },
    "histories of their own": lambda t: {
        "prompt": said(("user", f"Hi, {t}."), ("assistant", "Hi."), ("user", "More?")),
        "chosen": f"{t}s", "rejected": t,
    },
    "one with a system turn": lambda t: {
        "instruction": f"A {t}?", "output": f"{t}s", "system": "Be brief." if t == "boat" else "",
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def template(chat_tokenizer: Callable[[str], PreTrainedTokenizerFast]) -> Template:
    return Template(chat_tokenizer("hermes"))


def written(folder: Path, make: Callable[[str], dict[str, Any]]) -> Path:
    file = folder / "rows.jsonl"
    file.write_text("".join(json.dumps(make(thing)) + "\n" for thing in THINGS))
    return file


def asked_alike(examples: list[Example], template: Template) -> None:
    asking = asking_of(examples)
    for example in examples:
        assert template.prompt_ids(asking.prompt(example.input)) == encode_unit(example, template).prompt


def rows_asked_alike(file: Path, examples: list[Example], template: Template) -> None:
    asking = asking_of(examples)
    for question, example in zip(read_questions(file), examples, strict=True):
        (ask,) = asked([question], asking, None)
        prompt = ask.prompt
        assert template.prompt_ids(prompt) == encode_unit(example, template).prompt
        assert question.index == int(example.origin["row"]) - 1


@pytest.mark.parametrize("name", ROWS)
def test_a_rows_text_is_asked_as_it_was_trained(name: str, tmp_path: Path, template: Template) -> None:
    file = written(tmp_path, ROWS[name])
    asked_alike(load_rows(file), template)
    rows_asked_alike(file, load_rows(file), template)


@pytest.mark.parametrize("name", APART)
def test_whole_rows_are_asked_as_they_were_trained(name: str, tmp_path: Path, template: Template) -> None:
    file = written(tmp_path, APART[name])
    rows_asked_alike(file, load_rows(file), template)
    asking = asking_of(load_rows(file))
    assert (asking.differs) != asking.later
    assert asking.turns == ()


@pytest.mark.parametrize("show", [Show(), Show(definition=False, cautions=False, positive=0, negative=0)])
def test_a_tasks_input_is_asked_behind_the_task(show: Show, template: Template) -> None:
    task = load_task("event-duration")
    asked_alike(to_examples(task, show)[:20], template)


def test_what_all_rows_begin_and_end_with_is_put_around_a_text(tmp_path: Path) -> None:
    asking = asking_of(load_rows(written(tmp_path, ROWS["lines around"])))
    (turn,) = asking.prompt("cup")
    assert turn.text == "Write the plural.\n\ncup\nAnswer:"
    assert asking.prompt(turn.text) == (turn,)


def test_a_conversation_of_which_each_answer_is_learned_is_asked_from_its_beginning(tmp_path: Path) -> None:
    rows = lambda t: {"messages": [*talk(t), *talk(t)]}  # noqa: E731
    asking = asking_of(load_rows(written(tmp_path, rows)))
    assert (asking.turns, asking.later) == ((), False)


def test_another_system_turn_takes_the_place_and_leaves_the_tools(tmp_path: Path) -> None:
    asking = asking_of(load_rows(written(tmp_path, ROWS["tools"])))
    system, _ = asking.under("Guess.").prompt("x")
    assert system.text == "Guess."
    assert system.parts[0] == asking.turns[0].parts[0]
    bare = asking_of(load_rows(written(tmp_path, ROWS["messages, system"]))).under("")
    assert [turn.role for turn in bare.prompt("x")] == ["user"]


def test_no_rows_are_no_shape() -> None:
    with pytest.raises(DataError, match="no rows"):
        asking_of([])


def test_a_rows_system_turn_goes_before_the_runs_and_a_persons_before_both() -> None:
    tools = ToolList('[{"name": "f"}]')
    run = Asking((Message("system", (tools, Text("Ours."))),), before="Say: ")
    row = Question(0, "0", "here", "cup", frame=(message("system", "Theirs."),))
    texts = {None: "Theirs.", "Mine.": "Mine.", "": ""}
    for given, system in texts.items():
        (ask,) = asked([row], run, given)
        assert [turn.text for turn in ask.prompt] == [system, "Say: cup"]
        assert tools in ask.prompt[0].parts
    (own,) = asked([replace(row, frame=(Message("system", (ToolList("[]"),)),))], run, None)
    assert own.prompt[0].parts == (ToolList("[]"), Text("Ours."))
