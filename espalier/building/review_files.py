"""Rows for review, out to what people already use and back: a spreadsheet, Label Studio, Argilla.

Each format writes rows with their verdicts, and reads decisions from what comes back. A row goes with its id
and the hash of its content, so that a decision on a row that changed meanwhile is told, and asked again. Who
reads a file back is its reviewer, unless the file says who it was.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from espalier.building.review import content_of, with_answer
from espalier.core.errors import DataError, nearest

if TYPE_CHECKING:
    from espalier.core.records import Example
    from espalier.data.judgement import Judgement

    Rows: TypeAlias = Sequence[tuple[Example, Mapping[str, Judgement]]]

# A cell that begins so is a formula to a spreadsheet, in full width too.
FORMULA = tuple("=+-@\t\r\n＝＋－＠")
COLUMNS = ("row", "content", "prompt", "answer", "verdicts", "decision", "new_answer", "label", "reviewer")
DECISIONS = {
    "keep": "keep",
    "kept": "keep",
    "yes": "keep",
    "reject": "reject",
    "rejected": "reject",
    "no": "reject",
}
LABELS = """<View>
  <Header value="Prompt"/><Text name="prompt" value="$prompt"/>
  <Header value="Verdicts"/><Text name="verdicts" value="$verdicts"/>
  <Header value="Answer (edit it where it is wrong)"/>
  <TextArea name="new_answer" toName="prompt" value="$answer" editable="true" maxSubmissions="1" rows="8"/>
  <Choices name="decision" toName="prompt" choice="single" required="true">
    <Choice value="keep"/><Choice value="reject"/>
  </Choices>
  <TextArea name="label" toName="prompt" maxSubmissions="1" placeholder="label"/>
</View>
"""


@dataclass(frozen=True, slots=True)
class Answered:
    """What a file says of a row.

    Attributes:
        row: id of the row; `content` the hash of what was sent out.
        decision: "keep", "edit", "reject" or '' for none.
        texts: of an edit, the text of each message.
        label: '' for none.
        reviewer: '' where the file does not say.
        time: nanoseconds since 1970; 0 where the file does not say.
        where: its place, for errors.
    """

    row: str
    content: str
    decision: str
    texts: tuple[str, ...]
    label: str
    reviewer: str
    time: int
    where: str


@dataclass(frozen=True, slots=True)
class ReviewFormat:
    """One format: rows to the text of a file, and that back to answers on known rows."""

    write: Callable[[Rows], str]
    read: Callable[[str, Mapping[str, Example]], list[Answered]]


def escaped(cell: str) -> str:
    """Return a cell that no spreadsheet takes for a formula; `unescaped` gives it back exactly."""
    return f"'{cell}" if cell.lstrip("'").startswith(FORMULA) else cell


def unescaped(cell: str) -> str:
    """Return what `escaped` was given."""
    return cell[1:] if cell.startswith("'") and cell.lstrip("'").startswith(FORMULA) else cell


def to_csv(rows: Rows) -> str:
    """Return a spreadsheet: a row a line, with empty columns for what is decided."""
    stream = io.StringIO()
    writer = csv.writer(stream)
    writer.writerow(COLUMNS)
    for example, verdicts in rows:
        shown = _shown(example, verdicts)
        cells = [shown[name] for name in COLUMNS[:5]]
        writer.writerow([escaped(cell) for cell in (*cells, "", "", "", "")])
    return "\ufeff" + stream.getvalue()  # the mark by which spreadsheets know UTF-8


def from_csv(text: str, known: Mapping[str, Example]) -> list[Answered]:
    """Return what a spreadsheet decided; its columns may be in another order, separated by ; or tabs."""
    plain = text.removeprefix("\ufeff")
    head = plain.partition("\n")[0]
    mark = max(",;\t", key=head.count)
    reader = csv.DictReader(io.StringIO(plain, newline=""), delimiter=mark)
    names = [*(reader.fieldnames or [])]
    for needed in ("row", "content", "decision"):
        if needed not in names:
            raise DataError(f"The file has no column '{needed}'.", hint=nearest(needed, names))
    found: list[Answered] = []
    for line in reader:
        cells = {key: unescaped(line.get(key) or "") for key in COLUMNS}
        found.append(_answered(cells, cells, known, f"line {reader.line_num}"))
    return found


def to_label_studio(rows: Rows) -> str:
    """Return Label Studio's tasks; `LABELS` is the labelling interface that fits them."""
    return _json([{"data": _shown(example, verdicts)} for example, verdicts in rows])


def from_label_studio(text: str, known: Mapping[str, Example]) -> list[Answered]:
    """Return what Label Studio's JSON export decided; annotations that were skipped decide nothing."""
    found: list[Answered] = []
    for number, task in enumerate(_objects(text), 1):
        data = _mapping(task.get("data"), f"task {number}, data")
        for annotation in _list(task.get("annotations") or []):
            if annotation.get("was_cancelled"):
                continue
            said: dict[str, str] = {}
            for result in _list(annotation.get("result") or []):
                value = _mapping(result.get("value") or {}, f"task {number}, value")
                given = cast("list[object]", value.get("choices") or value.get("text") or [""])
                said[str(result.get("from_name"))] = str(given if isinstance(given, str) else given[-1])
            said["reviewer"] = _who(annotation.get("completed_by"))
            said["time"] = str(annotation.get("updated_at") or annotation.get("created_at") or "")
            found.append(_answered(data, said, known, f"task {number}"))
    return found


def to_argilla(rows: Rows) -> str:
    """Return Argilla's records: fields, metadata, and the filters' verdicts beside them."""
    records: list[dict[str, Any]] = []
    for example, verdicts in rows:
        shown = _shown(example, verdicts)
        records.append(
            {
                "id": example.id,
                "fields": {name: shown[name] for name in ("prompt", "answer", "verdicts")},
                "metadata": {"row": example.id, "content": shown["content"]},
                "suggestions": {"new_answer": {"value": shown["answer"], "score": None, "agent": None}},
                "responses": {},
                "vectors": {},
            }
        )
    return _json(records)


def from_argilla(text: str, known: Mapping[str, Example]) -> list[Answered]:
    """Return what Argilla's records decided, each user alone; drafts and discarded ones do not count."""
    found: list[Answered] = []
    for number, record in enumerate(_objects(text), 1):
        meta = {"row": record.get("id", ""), **_mapping(record.get("metadata") or {}, f"record {number}")}
        said: dict[str, dict[str, str]] = {}
        for question, responses in _mapping(record.get("responses") or {}, f"record {number}").items():
            for response in _list(responses):
                if response.get("status") in (None, "submitted"):
                    who = _who(response.get("user_id"))
                    said.setdefault(who, {"reviewer": who})[question] = str(response.get("value") or "")
        found += [_answered(meta, one, known, f"record {number}") for one in said.values()]
    return found


REVIEW_FORMATS: dict[str, ReviewFormat] = {
    "csv": ReviewFormat(to_csv, from_csv),
    "label-studio": ReviewFormat(to_label_studio, from_label_studio),
    "argilla": ReviewFormat(to_argilla, from_argilla),
}


def _shown(example: Example, verdicts: Mapping[str, Judgement]) -> dict[str, str]:
    turns = example.prompt
    prompt = "\n\n".join(f"{turn.role}: {turn.text}" if len(turns) > 1 else turn.text for turn in turns)
    told = [f"{name}: {one.why}" for name, one in verdicts.items() if one.ok is False]
    return {
        "row": example.id,
        "content": content_of(example),
        "prompt": prompt,
        "answer": example.answer,
        "verdicts": "\n".join(told),
    }


def _answered(
    sent: Mapping[str, Any], said: Mapping[str, str], known: Mapping[str, Example], where: str
) -> Answered:
    """Return one answer: a new text of the answer is an edit, unless the row is rejected."""
    row, content = str(sent.get("row", "")), str(sent.get("content", ""))
    word = said.get("decision", "").strip().lower()
    if word not in ("", "edit", *DECISIONS):
        raise DataError(f"'{word}' is no decision: keep, edit or reject.", where=where)
    decision, texts = DECISIONS.get(word, ""), ()
    example, changed = known.get(row), said.get("new_answer", "").replace("\r\n", "\n")
    if decision != "reject" and changed.strip() and (example is None or changed != example.answer):
        decision, texts = "edit", with_answer(example, changed) if example else ()
    elif word == "edit":
        raise DataError("The row is to be edited, and there is no new answer.", where=where)
    label, reviewer = said.get("label", "").strip(), said.get("reviewer", "").strip()
    return Answered(row, content, decision, texts, label, reviewer, _nanoseconds(said.get("time", "")), where)


def _nanoseconds(text: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return 0
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return int(moment.timestamp() * 1e9)


def _who(value: object) -> str:
    """Return a name of whoever it was: a number, a name, or an object with an address."""
    if isinstance(value, dict):
        named = cast("dict[str, object]", value)
        return str(named.get("email") or named.get("username") or named.get("id") or "")
    return "" if value is None else str(value)


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, indent=1) + "\n"


def _objects(text: str) -> list[dict[str, Any]]:
    try:
        value: object = json.loads(text)
    except ValueError as error:
        raise DataError(f"The file is no JSON: {error}.") from None
    return _list(value)


def _list(value: object) -> list[dict[str, Any]]:
    if isinstance(value, list) and all(isinstance(one, dict) for one in cast("list[object]", value)):
        return cast("list[dict[str, Any]]", value)
    raise DataError("Expected a list of objects.")


def _mapping(value: object, where: str) -> dict[str, Any]:
    if isinstance(value, dict):
        return cast("dict[str, Any]", value)
    raise DataError("Expected an object.", where=where)
