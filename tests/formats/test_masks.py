"""What a row says besides its turns: whether it is trained on, and what scorers need to know of it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from espalier.core.errors import DataError
from espalier.data.table import as_parquet, read_examples
from espalier.formats.load import load_rows
from espalier.formats.turns import MASKS

if TYPE_CHECKING:
    from pathlib import Path

    from espalier.core.records import Example

ASKED = {"role": "user", "content": "How long is a film?"}
TOLD = {"role": "assistant", "content": "Two hours."}
TURNS = [ASKED, TOLD, {"role": "user", "content": "And a short one?"}, {**TOLD, "content": "Ten minutes."}]


def load(path: Path, **row: Any) -> tuple[Example, list[str]]:
    file = path / "rows.json"
    file.write_text(json.dumps([row]))
    notes: list[str] = []
    (example,) = load_rows(file, on_note=notes.append)
    return example, notes


@pytest.mark.parametrize("key", MASKS)
@pytest.mark.parametrize(
    ("mask", "trained"),
    [
        *((mask, False) for mask in (False, 0, 0.0, "false", [0, 0], [False] * 4)),
        *((mask, True) for mask in (True, 1, "true", [1, 1], None)),
    ],
)
def test_a_row_is_trained_on_unless_its_mask_says_no(tmp_path: Path, key: str, mask: Any, trained: bool):
    plain, _ = load(tmp_path, messages=TURNS)
    told, notes = load(tmp_path, messages=TURNS, **{key: mask})
    assert not notes
    assert told.facts == ({} if trained else {"train": False})
    assert (told.id, told.messages) == (plain.id, plain.messages)


@pytest.mark.parametrize(
    ("mask", "trained"),
    [
        ([0, 1], [False, True]),
        ([False, False, False, True], [False, True]),
        ([True, False], [True]),
        ([0, 1, 0, 0], [True]),
    ],
)
def test_a_list_says_which_answers_are_trained(tmp_path: Path, mask: list[Any], trained: list[bool]):
    plain, _ = load(tmp_path, messages=TURNS)
    told, notes = load(tmp_path, messages=TURNS, loss_mask=mask)
    assert not notes
    assert [turn.trained for turn in told.messages if turn.role == "assistant"] == trained
    assert told.references == (told.messages[-1].text,)
    assert told.input == told.messages[-2].text
    assert told.id != plain.id
    system, _ = load(tmp_path, messages=TURNS, loss_mask=mask, system="Be brief.")
    assert [turn.trained for turn in system.messages if turn.role == "assistant"] == trained


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"train": False, "loss": 1}, "'train' and 'loss' contradict each other"),
        ({"train": [1, 0, 1]}, "The mask has 3 items, and the row 4 turns with 2 answers"),
        ({"train": [1, 0, 0, 0]}, "marks a turn as trained that is no answer"),
    ],
)
def test_masks_that_say_nothing_clear_are_refused(tmp_path: Path, row: dict[str, Any], message: str):
    with pytest.raises(DataError, match=message):
        load(tmp_path, messages=TURNS, **{key: value for key, value in sorted(row.items(), reverse=True)})


@pytest.mark.parametrize("value", [0.25, 2, "train", {"a": 1}, [0.5, 1], []])
def test_what_is_no_mask_is_named_and_changes_nothing(tmp_path: Path, value: Any):
    told, notes = load(tmp_path, messages=TURNS, loss=value)
    assert "'loss' (1)" in notes[0]
    plain, _ = load(tmp_path, messages=TURNS)
    assert replace(told, origin={}) == replace(plain, origin={})  # which keeps a short text as a tag


def test_choices_are_facts_as_they_would_be_answered(tmp_path: Path):
    made, _ = load(tmp_path, question="Which is longest?", choices=["a blink", "a film"], answer=1)
    assert made.facts == {"options": ["A. a blink", "B. a film"], "answer": 1}
    assert made.references == (made.facts["options"][made.facts["answer"]],)


@pytest.mark.parametrize(
    ("row", "facts"),
    [
        ({"options": ["yes", "no"]}, {"options": ["yes", "no"]}),
        ({"options": "[" * 20_000}, {}),  # no list, though it begins so
        ({"options": "yes or no"}, {}),
        ({"json_schema": {"type": "object"}}, {"schema": {"type": "object"}}),
        ({"schema": '{"type": "object"}'}, {"schema": {"type": "object"}}),
        ({"test_list": ["assert f(1) == 2"]}, {"tests": ["assert f(1) == 2"]}),
        ({"test": "def check(f): …", "entry_point": "f"}, {"tests": "def check(f): …", "entry_point": "f"}),
        ({"facts": {"unit": "hours"}, "tests": []}, {"unit": "hours", "tests": []}),
        ({"kwargs": [{"n": 3}]}, {"kwargs": [{"n": 3}]}),
    ],
)
def test_facts_are_kept_for_scorers_and_not_shown(tmp_path: Path, row: dict[str, Any], facts: dict[str, Any]):
    plain, _ = load(tmp_path, prompt="How long?", completion="An hour.")
    made, notes = load(tmp_path, prompt="How long?", completion="An hour.", **row)
    assert not notes
    assert made.facts == facts
    assert (made.id, made.messages) == (plain.id, plain.messages)
    (tmp_path / "rows.parquet").write_bytes(as_parquet([made, plain]))
    assert read_examples(tmp_path / "rows.parquet") == [made, plain]


def test_a_table_without_facts_is_what_it_was(tmp_path: Path):
    plain, _ = load(tmp_path, prompt="How long?", completion="An hour.")
    import pyarrow.parquet as pq

    (tmp_path / "rows.parquet").write_bytes(as_parquet([plain]))
    assert "facts" not in pq.read_schema(tmp_path / "rows.parquet").names
