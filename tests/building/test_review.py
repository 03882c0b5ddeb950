"""Reviews: what counts of what people decided, how they agree, and files that go out and come back."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from espalier.building.review import decisions_of, document, texts_of
from espalier.building.review_files import escaped, unescaped
from espalier.builds.review import Review
from espalier.core.errors import DataError, RecipeError
from espalier.core.journal import Journal
from espalier.core.records import Example, Message, ToolCall, message
from espalier.data.judgement import Judgement

if TYPE_CHECKING:
    from pathlib import Path


def row(number: int, answer: str = "A wren.") -> Example:
    turns = (message("user", f"Name bird {number}."), message("assistant", answer, trained=True))
    return Example(f"row{number}", "t", "", turns, (answer,), input=f"Name bird {number}.")


@pytest.fixture
def state(tmp_path: Path) -> Review:
    return over(tmp_path, [row(number) for number in range(4)])


def over(folder: Path, rows: list[Example]) -> Review:
    found = {"form": Judgement(False, "The answer is short.")}
    return Review([(one, found) for one in rows], Journal(folder / "review.sqlite"))


def verdicts(state: Review) -> list[bool | None]:
    return [judgement.ok for _, judgement in state.merged()]


def test_the_last_decision_counts_and_an_undo_takes_it_back(state: Review) -> None:
    rows = [one for one, _ in state.rows]
    state.decide(rows[0], "ada", "keep")
    state.decide(rows[1], "ada", "reject")
    state.decide(rows[2], "ada", "edit", texts=("Name bird two.", "An owl."))
    assert [one.id for one, _ in state.waiting("ada")] == ["row3"]
    assert len([*state.waiting("bo")]) == 4
    assert verdicts(state) == [True, False, True, None]
    edited = [one for one, _ in state.merged()][2]
    assert (edited.answer, edited.input, edited.references) == ("An owl.", "Name bird two.", ("An owl.",))
    assert edited.origin["edited_by"] == "ada"
    state.decide(rows[0], "ada", "reject")
    assert verdicts(state) == [False, False, True, None]
    assert [state.undo("ada").action for _ in range(2)] == ["reject", "edit"]  # pyright: ignore
    assert verdicts(state) == [True, False, None, None]
    assert state.undo("bo") is None
    assert len(state.decisions()) == 6


def test_labels_gather_and_decide_nothing(state: Review) -> None:
    first = state.rows[0][0]
    state.decide(first, "ada", "label", label="bird")
    state.decide(first, "ada", "label", label="short")
    told = next(judgement.why for _, judgement in state.merged())
    assert told == "Nobody has decided. Labelled: bird, short."
    assert len([*state.waiting("ada")]) == 4


def test_a_row_that_changed_since_is_asked_again(tmp_path: Path) -> None:
    before = over(tmp_path, [row(0), row(1)])
    for one, _ in before.rows:
        before.decide(one, "ada", "keep")
    after = over(tmp_path, [row(0), replace(row(1), messages=row(1, "A lark.").messages)])
    assert [one.id for one, _ in after.waiting("ada")] == ["row1"]
    assert verdicts(after) == [True, None]


def test_reviewers_who_differ_are_shown_and_the_row_does_not_pass(state: Review) -> None:
    for one, ada, bo in zip((one for one, _ in state.rows), "kkrr", "krrk", strict=True):
        state.decide(one, "ada", "keep" if ada == "k" else "reject")
        state.decide(one, "bo", "keep" if bo == "k" else "reject")
    assert verdicts(state) == [True, False, False, False]
    assert [judgement.why for _, judgement in state.merged()][
        1
    ] == "Reviewers differ: bo rejects it, ada keeps it."
    (found,) = state.agreements()
    assert (found.reviewers, found.same.value, found.kappa, found.differing) == (
        ("ada", "bo"),
        0.5,
        0.0,
        ("row1", "row3"),
    )


def test_an_edited_text_comes_back_as_messages() -> None:
    one = row(0, "Two\nlines\n\n=== no section")
    assert texts_of(document(one), one) == tuple(turn.text for turn in one.messages)
    assert texts_of("=== 1 user ===\r\nHi.\r\n=== 2 assistant ===\nYes.\n", one) == ("Hi.", "Yes.")
    for broken in ("", "Hi.", "=== 1 user ===\nHi.\n", document(one) + "=== 3 user ===\n"):
        with pytest.raises(DataError, match="Leave the lines between"):
            texts_of(broken, one)
    called = replace(
        one, messages=(one.messages[0], Message("assistant", (ToolCall("f", "{}"),), trained=True))
    )
    with pytest.raises(DataError, match="Message 2 is not text alone"):
        texts_of("=== 1 user ===\nHi.\n=== 2 assistant ===\nYes.\n", called)


@given(st.text(alphabet="'=+-@\t\r\nab＝0e1/", max_size=8))
def test_no_cell_is_a_formula_and_each_comes_back(cell: str) -> None:
    assert not escaped(cell).startswith(tuple("=+-@\t\r\n＝"))
    assert unescaped(escaped(cell)) == cell


@pytest.mark.parametrize(
    "cell",
    [
        "007",
        "1/2",
        "73928e0512345678",
        "1234567890123456",
        "3-4",
        "3 May",
        "May 2020",
        "10:30",
        "50 %",
        "TRUE",
        "(5)",
    ],
)
def test_no_cell_is_a_number_or_a_date(cell: str) -> None:
    assert escaped(cell) == f"'{cell}"
    assert unescaped(escaped(cell)) == cell == escaped(f"x {cell}")[2:]


def test_a_spreadsheet_goes_out_and_comes_back(tmp_path: Path) -> None:
    rows = [row(0, '=HYPERLINK("x")'), row(1), row(2), row(3), replace(row(4), id="=row")]
    state = over(tmp_path, rows)
    sheet = state.written("csv", "ada")
    lines = [*csv.DictReader(io.StringIO(sheet.removeprefix("\ufeff"), newline=""))]
    assert lines[0]["answer"] == '\'=HYPERLINK("x")'
    assert lines[0]["verdicts"] == "form: The answer is short."
    for line, (decision, answer) in zip(
        lines, [("keep", ""), ("", "'=1 bird"), ("REJECT", "x"), ("", ""), ("keep", "")], strict=True
    ):
        line["decision"], line["new_answer"] = decision, answer
    stream = io.StringIO()
    writer = csv.DictWriter(stream, [*reversed(lines[0])], delimiter=";")
    writer.writeheader()
    writer.writerows(lines)
    taken = state.take("\ufeff" + stream.getvalue(), "csv", "ada")
    assert (taken.decisions, taken.changed, taken.unknown) == (4, (), ())
    assert verdicts(state) == [True, True, False, None, True]
    assert [one for one, _ in state.merged()][1].answer == "=1 bird"
    assert state.take(stream.getvalue(), "csv", "ada").decisions == 0
    changed = over(tmp_path, [row(0, "A lark."), *rows[2:]])
    taken = changed.take(stream.getvalue(), "csv", "bo")
    assert (taken.decisions, taken.changed, taken.unknown) == (2, ("row0",), ("row1",))


def sheet_of(state: Review, *changes: dict[str, str], end: str = "\r\n", mark: str = ",") -> str:
    """Return a spreadsheet as it comes back, with some cells of its first lines changed."""
    lines = [*csv.DictReader(io.StringIO(state.written("csv", "ada").removeprefix("\ufeff"), newline=""))]
    for line, change in zip(lines, changes, strict=False):
        line.update(change)
    stream = io.StringIO()
    writer = csv.DictWriter(stream, [*lines[0]], delimiter=mark, lineterminator=end)
    writer.writeheader()
    writer.writerows(lines)
    return stream.getvalue()


def test_what_spreadsheets_do_to_a_file_is_known(tmp_path: Path) -> None:
    numbers = replace(row(0, "007"), id="73928e0512345678")
    state = over(tmp_path, [numbers, row(1, "One,\ntwo; three."), row(2, "x" * 200_000)])
    text = sheet_of(state, {"decision": "Y"}, {"new_answer": "Four.\r\nFive."}, {"decision": "no"}, mark=";")
    text = text.replace("decision", "Decision ", 1) + ";;;;;;;;\r\n"
    taken = state.take(f"\ufeffsep=;\r\n{text}", "csv", "ada")
    assert (taken.decisions, taken.unknown, taken.touched) == (3, (), ())
    assert [one.answer for one, _ in state.merged()][:2] == ["007", "Four.\nFive."]
    assert verdicts(state) == [True, True, False]


def test_an_answer_that_was_written_over_is_no_decision_on_the_old_one(state: Review) -> None:
    text = sheet_of(
        state, {"answer": "An owl.", "decision": "keep"}, {"decision": "edit", "prompt": "Name two."}
    )
    taken = state.take(text, "csv", "ada")
    assert (taken.decisions, taken.touched) == (0, ("row0", "row1"))
    text = sheet_of(
        state, {"answer": "An owl.", "decision": "reject"}, {"answer": "A", "new_answer": "An owl."}
    )
    assert state.take(text, "csv", "ada").decisions == 2


def test_a_file_that_is_no_csv_adds_nothing(state: Review) -> None:
    with pytest.raises(DataError, match="is no CSV"):
        state.take(sheet_of(state, {"decision": "keep"}) + '"cut off', "csv", "ada")
    assert state.decisions() == []


def test_label_studio_goes_out_and_comes_back(state: Review) -> None:
    tasks = json.loads(state.written("label-studio", "ada"))
    assert tasks[0]["data"]["prompt"] == "Name bird 0."

    def result(name: str, kind: str, value: str) -> dict[str, object]:
        key = "choices" if kind == "choices" else "text"
        return {"from_name": name, "to_name": "prompt", "type": kind, "value": {key: [value]}}

    tasks[0]["annotations"] = [
        {
            "completed_by": {"email": "ada@x"},
            "created_at": "2026-01-02T03:04:05Z",
            "result": [result("decision", "choices", "keep"), result("new_answer", "textarea", "An owl.")],
        },
        {
            "completed_by": 7,
            "created_at": "2026-01-02T03:04:06Z",
            "result": [result("decision", "choices", "reject"), result("label", "textarea", "wrong")],
        },
    ]
    tasks[1]["annotations"] = [{"was_cancelled": True, "result": [result("decision", "choices", "reject")]}]
    assert state.take(json.dumps(tasks), "label-studio", "me").decisions == 3
    assert [
        (one.reviewer, one.action, one.texts[-1:]) for one in state.decisions() if one.action != "label"
    ] == [
        ("ada@x", "edit", ("An owl.",)),
        ("7", "reject", ()),
    ]
    assert state.take(json.dumps(tasks), "label-studio", "me").decisions == 0


def test_argilla_goes_out_and_comes_back(state: Review) -> None:
    records = json.loads(state.written("argilla", "ada"))
    assert records[0]["fields"]["answer"] == "A wren."
    records[0]["responses"] = {
        "decision": [
            {"user_id": "u1", "value": "keep"},
            {"user_id": "u2", "value": "reject", "status": "submitted"},
        ],
        "new_answer": [{"user_id": "u1", "value": "A wren."}],
    }
    records[1]["responses"] = {"decision": [{"user_id": "u1", "value": "keep", "status": "draft"}]}
    assert state.take(json.dumps(records), "argilla", "me").decisions == 2
    assert [(one.reviewer, one.action) for one in state.decisions()] == [("u1", "keep"), ("u2", "reject")]


def test_the_short_form_of_label_studio_comes_back(state: Review) -> None:
    shown = [task["data"] for task in json.loads(state.written("label-studio", "ada"))]
    about = {"id": 1, "annotation_id": 4, "updated_at": "2026-01-02T03:04:05.678901Z", "lead_time": 3.2}
    tasks = [
        {**shown[0], **about, "decision": "keep", "new_answer": "An owl.", "annotator": 7},
        {**shown[1], **about, "decision": "reject", "label": {"text": ["odd", "short"]}, "annotator": "bo@x"},
        {**shown[2], **about, "decision": {"choices": ["keep"]}, "annotator": 7},
    ]
    assert state.take(json.dumps(tasks), "label-studio", "me").decisions == 5
    assert {(one.reviewer, one.action, one.texts[1:] or one.label) for one in state.decisions()} == {
        ("7", "edit", ("An owl.",)),
        ("bo@x", "reject", ""),
        ("bo@x", "label", "odd"),
        ("bo@x", "label", "short"),
        ("7", "keep", ""),
    }


def test_the_older_and_the_flat_form_of_argilla_come_back(state: Review) -> None:
    records = json.loads(state.written("argilla", "ada"))
    answers = {"decision": {"value": "keep"}, "new_answer": {"value": "An owl."}}
    older = {"external_id": "row0", "metadata": records[0]["metadata"]}
    older["responses"] = [
        {"user_id": "u1", "status": "submitted", "values": answers},
        {"user_id": "u2", "status": "discarded", "values": {"decision": {"value": "reject"}}},
    ]
    flat = {
        "id": "row1",
        "metadata.content": records[1]["metadata"]["content"],
        "decision.responses": ["reject", "keep", "keep"],
        "decision.responses.users": ["u1", "u2", "u3"],
        "decision.responses.status": ["submitted", "submitted", "draft"],
        "label.responses": [["odd", "short"]],
        "label.responses.users": ["u1"],
        "label.responses.status": ["submitted"],
    }
    assert state.take(json.dumps([older, flat]), "argilla", "me").decisions == 5
    assert {(one.row, one.reviewer, one.action, one.label) for one in state.decisions()} == {
        ("row0", "u1", "edit", ""),
        ("row1", "u1", "reject", ""),
        ("row1", "u1", "label", "odd"),
        ("row1", "u1", "label", "short"),
        ("row1", "u2", "keep", ""),
    }


@pytest.mark.parametrize(
    ("format", "text", "sentence"),
    [
        ("csv", "row,content\n1,2\n", "no column 'decision'"),
        ("csv", "row,content,decision\nrow0,x,maybe\n", "'maybe' is no decision"),
        ("csv", "row,content,decision\nrow0,x,edit\n", "no new answer"),
        ("label-studio", "{", "no JSON"),
        ("label-studio", '[{"annotations": []}]', "Expected an object"),
        ("argilla", '{"a": 1}', "Expected a list"),
    ],
)
def test_a_file_that_cannot_be_read_adds_nothing(
    state: Review, format: str, text: str, sentence: str
) -> None:
    with pytest.raises(DataError, match=sentence):
        state.take(text, format, "ada")
    assert state.decisions() == []


def test_an_unknown_format_is_refused(state: Review) -> None:
    with pytest.raises(RecipeError, match="Did you mean 'argilla'"):
        state.written("argila", "ada")


def test_two_people_at_once_lose_nothing(state: Review, tmp_path: Path) -> None:
    other = over(tmp_path, [one for one, _ in state.rows])
    for one, _ in state.rows:
        state.decide(one, "ada", "keep")
        other.decide(one, "bo", "reject")
    assert len(decisions_of(Journal(tmp_path / "review.sqlite"))) == 8
