"""How a run asks: what all of its rows have in common, and nothing that is a single row's."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from espalier.core.errors import DataError
from espalier.data.asking import asking_of
from espalier.data.formats.rows import load_rows
from espalier.data.templates import Show, to_examples
from espalier.tasks.task_files import load_task

if TYPE_CHECKING:
    from pathlib import Path

    from espalier.core.records import Example
    from espalier.encode.template import Template

TOOLS = [{"type": "function", "function": {"name": "look", "description": "Looks.", "parameters": {}}}]
CHAT = [{"role": "user", "content": "One?"}, {"role": "assistant", "content": "Two."}]
BRIEF = {"role": "system", "content": "Be brief."}
# Rows of a file, and whether the rows' own system turns differ.
FILES: dict[str, tuple[list[dict[str, Any]], bool]] = {
    "alpaca": ([{"instruction": f"Name {n}.", "input": "", "output": "x"} for n in range(3)], False),
    "alpaca with input": (
        [{"instruction": "Translate.", "input": f"word {n}", "output": "x"} for n in range(3)],
        False,
    ),
    "alpaca under a system turn": (
        [{"instruction": f"Name {n}.", "output": "x", "system": "Be kind."} for n in range(3)],
        False,
    ),
    "messages": ([{"messages": [BRIEF, *CHAT]}, {"messages": [BRIEF, *CHAT[::-1][1:], *CHAT[1:]]}], False),
    "system turns that differ": (
        [{"messages": [{**BRIEF, "content": name}, *CHAT]} for name in ("One.", "Two.")],
        True,
    ),
    "some without": ([{"messages": [BRIEF, *CHAT]}, {"messages": CHAT}], True),
    "pairs": (
        [{"prompt": [BRIEF, CHAT[0]], "chosen": "a", "rejected": "b"} for _ in range(2)],
        False,
    ),
    "tools": ([{"messages": [BRIEF, *CHAT], "tools": TOOLS}], False),
    "several turns": (
        [{"messages": [BRIEF, *CHAT, {"role": "user", "content": f"{n}"}, CHAT[1]]} for n in range(2)],
        False,
    ),
}


def check(examples: list[Example], template: Template) -> None:
    """Asking for a row's own input asks what the row asks."""
    asking = asking_of(examples)
    for example in examples:
        assert template.prompt_ids(asking.prompt(example.input)) == template.prompt_ids(example.prompt)


@pytest.mark.parametrize("name", [name for name, (_, differs) in FILES.items() if not differs])
def test_a_row_is_asked_as_it_was_in_training(name: str, template: Template, tmp_path: Path):
    file = tmp_path / "rows.jsonl"
    file.write_text("\n".join(map(json.dumps, FILES[name][0])))
    check(load_rows(file), template)


@pytest.mark.parametrize("name", [name for name, (_, differs) in FILES.items() if differs])
def test_a_system_turn_of_some_rows_is_none_of_all(name: str, tmp_path: Path):
    file = tmp_path / "rows.jsonl"
    file.write_text("\n".join(map(json.dumps, FILES[name][0])))
    asking = asking_of(load_rows(file))
    assert asking.differs
    assert asking.turns == ()
    (system, question) = asking.under("Mine.").prompt("So?")
    assert (system.role, system.text, question.text) == ("system", "Mine.", "So?")


@pytest.mark.parametrize(
    "show", [Show(), Show(positive=0, negative=0), Show(definition=False, cautions=False)]
)
def test_a_task_is_asked_as_it_was_in_training(show: Show, template: Template):
    check(to_examples(load_task("event-duration"), show), template)


def test_another_system_turn_takes_the_place_of_the_run_s(tmp_path: Path):
    file = tmp_path / "rows.jsonl"
    file.write_text("\n".join(map(json.dumps, FILES["messages"][0])))
    asking = asking_of(load_rows(file))
    assert [turn.text for turn in asking.under("Mine.").prompt("So?")] == ["Mine.", "So?"]
    assert [turn.text for turn in asking.under("").prompt("So?")] == ["So?"]


def test_no_rows_are_no_shape():
    with pytest.raises(DataError, match="no rows"):
        asking_of([])
