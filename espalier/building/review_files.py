"""Rows for review, out to what people already use and back: a spreadsheet, Label Studio, Argilla.

Each format writes rows with their verdicts, and reads decisions from what comes back. A row goes with its id
and the hash of its content, so that a decision on a row that changed meanwhile is told, and asked again. Who
reads a file back is its reviewer, unless the file says who it was.
"""

from __future__ import annotations

import csv
import io
import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice, zip_longest
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from espalier.building.review import content_of, with_answer
from espalier.core.errors import DataError, nearest

if TYPE_CHECKING:
    from espalier.core.records import Example
    from espalier.data.judgement import Judgement

    Rows: TypeAlias = Sequence[tuple[Example, Mapping[str, Judgement]]]

# A cell that begins so is a formula to a spreadsheet, in full width too.
FORMULA = tuple("=+-@\t\r\n＝＋－＠")
# And what it takes for a number or a date it writes back as another text: 12e4, 007, 1/2, 3 May.
_MONTH = "(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*"
_REWRITTEN = re.compile(
    rf"[\d\s.,:/%$€£()-]*\d[\d\s.,:/%$€£()-]*(?:e[+-]?\d+)?|true|false"
    rf"|(?:\d+[\s.,/-]*)?{_MONTH}[\s.,/-]*(?:\d+[\s.,/-]*)+|\d+[\s./-]*{_MONTH}\.?",
    re.IGNORECASE,
)
LONGEST = 32_000  # characters of a cell: a spreadsheet cuts soon after
COLUMNS = ("row", "content", "prompt", "answer", "verdicts", "decision", "new_answer", "label", "reviewer")
ENDS = ("", ".users", ".status")  # of the columns of a flat record of Argilla
QUESTIONS = ("decision", "new_answer", "label")
DECISIONS = {
    **dict.fromkeys(("keep", "kept", "yes", "y", "true", "1", "ok", "accept", "accepted", "approve"), "keep"),
    **dict.fromkeys(("reject", "rejected", "no", "n", "false", "0", "drop", "discard"), "reject"),
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
        labels: none, one or several.
        reviewer: '' where the file does not say.
        time: nanoseconds since 1970; 0 where the file does not say.
        where: its place, for errors.
        touched: somebody wrote over the prompt or the answer, and gave no new answer: an edit was meant.
    """

    row: str
    content: str
    decision: str
    texts: tuple[str, ...]
    labels: tuple[str, ...]
    reviewer: str
    time: int
    where: str
    touched: bool = False


@dataclass(frozen=True, slots=True)
class ReviewFormat:
    """One format: rows to the text of a file, and that back to answers on known rows."""

    write: Callable[[Rows], str]
    read: Callable[[str, Mapping[str, Example]], list[Answered]]


def escaped(cell: str) -> str:
    """Return a cell that a spreadsheet takes for the text that it is; `unescaped` gives it back exactly."""
    return f"'{cell}" if _misread(cell) else cell


def unescaped(cell: str) -> str:
    """Return what `escaped` was given."""
    return cell[1:] if cell.startswith("'") and _misread(cell) else cell


def _misread(cell: str) -> bool:
    plain = cell.lstrip("'")
    return plain.startswith(FORMULA) or bool(_REWRITTEN.fullmatch(plain))


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
    plain = re.sub(r"\A\ufeff?(?:\"?sep=.\"?\r?\n)?", "", text)
    head = plain.partition("\n")[0]
    mark = max(",;\t", key=head.count)
    csv.field_size_limit(sys.maxsize)
    reader = csv.reader(io.StringIO(plain, newline=""), delimiter=mark, strict=True)
    found: list[Answered] = []
    try:
        names = [name.strip().lower() for name in next(iter(reader), list[str]())]
        for needed in ("row", "content", "decision"):
            if needed not in names:
                raise DataError(f"The file has no column '{needed}'.", hint=nearest(needed, names))
        for line in reader:
            told = {name: unescaped(cell) for name, cell in zip(names, line, strict=False)}
            cells = {**told, "reviewer": told.get("reviewer") or told.get("annotator", "")}
            found.append(_answered(cells, cells, known, f"line {reader.line_num}", shown=True))
    except csv.Error as error:
        raise DataError(f"The file is no CSV: {error}.", where=f"line {reader.line_num}") from None
    return found


def to_label_studio(rows: Rows) -> str:
    """Return Label Studio's tasks; `LABELS` is the labelling interface that fits them."""
    return _json([{"data": _shown(example, verdicts)} for example, verdicts in rows])


def from_label_studio(text: str, known: Mapping[str, Example]) -> list[Answered]:
    """Return what Label Studio's JSON or JSON_MIN decided; annotations that were skipped decide nothing."""
    found: list[Answered] = []
    for number, task in enumerate(_objects(text), 1):
        where = f"task {number}"
        if "data" not in task and "content" in task:  # JSON_MIN: one annotation, its answers beside the data
            said = {name: _bare(task.get(name)) for name in QUESTIONS}
            found.append(
                _annotated(task, said, {**task, "completed_by": task.get("annotator")}, known, where)
            )
            continue
        data = _mapping(task.get("data"), f"{where}, data")
        for annotation in _list(task.get("annotations") or []):
            if not annotation.get("was_cancelled"):
                results = _list(annotation.get("result") or [])
                said = {str(one.get("from_name")): _bare(one.get("value")) for one in results}
                found.append(_annotated(data, said, annotation, known, where))
    return found


def _annotated(
    data: Mapping[str, Any],
    said: Mapping[str, object],
    annotation: Mapping[str, Any],
    known: Mapping[str, Example],
    where: str,
) -> Answered:
    time = str(annotation.get("updated_at") or annotation.get("created_at") or "")
    who = _who(annotation.get("completed_by"))
    return _answered(data, {**said, "reviewer": who, "time": time}, known, where)


def _bare(value: object) -> object:
    """Return what an answer of Label Studio's says: a text or several."""
    if isinstance(value, dict):
        answer = cast("dict[str, object]", value)
        return next((answer[key] for key in ("choices", "text", "labels", "taxonomy") if answer.get(key)), "")
    return value


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
    """Return what Argilla's records decided, each user alone; drafts and discarded ones do not count.

    Answers stand by question, as version 2 writes them, by user as in version 1, or flat beside the fields.
    """
    found: list[Answered] = []
    for number, record in enumerate(_objects(text), 1):
        where = f"record {number}"
        metadata = _mapping(_loaded(record.get("metadata") or {}), where)
        flat = {name.removeprefix("metadata."): value for name, value in record.items()}
        meta = {"row": record.get("id") or record.get("external_id") or "", **flat, **metadata}
        said: dict[str, dict[str, object]] = {}
        for question, value, user, status in _responses(record, where):
            if status in (None, "submitted"):
                who = _who(user)
                said.setdefault(who, {"reviewer": who})[question] = value
        found += [_answered(meta, one, known, where) for one in said.values()]
    return found


def _responses(record: Mapping[str, Any], where: str) -> Iterator[tuple[str, object, object, object]]:
    """Yield question, answer, user and status of each answer of a record."""
    given: object = record.get("responses") or {}
    if isinstance(given, list):
        for one in _list(cast("object", given)):
            for question, answer in _mapping(one.get("values") or {}, where).items():
                yield question, _mapping(answer, where).get("value"), one.get("user_id"), one.get("status")
        return
    for question, answers in _mapping(given, where).items():
        for one in _list(answers):
            yield question, one.get("value"), one.get("user_id"), one.get("status")
    for question in QUESTIONS:
        columns = [cast("list[object]", record.get(f"{question}.responses{end}") or []) for end in ENDS]
        for value, user, status in islice(zip_longest(*columns), len(columns[0])):
            yield question, value, user, status


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
    sent: Mapping[str, Any],
    said: Mapping[str, object],
    known: Mapping[str, Example],
    where: str,
    *,
    shown: bool = False,
) -> Answered:
    """Return one answer: a new text of the answer is an edit, unless the row is rejected."""
    row, content = str(sent.get("row", "")), str(sent.get("content", ""))
    word = _text(said.get("decision")).strip().lower()
    if word not in ("", "edit", *DECISIONS):
        raise DataError(f"'{word}' is no decision: keep, edit or reject.", where=where)
    decision, texts = DECISIONS.get(word, ""), ()
    example, changed = known.get(row), _text(said.get("new_answer")).replace("\r\n", "\n")
    touched = shown and not changed.strip() and example is not None and _touched(sent, example)
    if decision != "reject" and changed.strip() and (example is None or changed != example.answer):
        decision, texts = "edit", with_answer(example, changed) if example else ()
    elif word == "edit" and not touched:
        raise DataError("The row is to be edited, and there is no new answer.", where=where)
    given = said.get("label") or ""
    labels = cast("list[object]", given) if isinstance(given, list) else [given]
    return Answered(
        row,
        content,
        decision,
        texts,
        tuple(name for label in labels if (name := _text(label).strip())),
        _text(said.get("reviewer")).strip(),
        _nanoseconds(_text(said.get("time"))),
        where,
        touched and decision != "reject",
    )


def _touched(sent: Mapping[str, Any], example: Example) -> bool:
    """Tell whether somebody wrote over a cell of what is to be judged; one that is cut cannot tell."""
    before = _shown(example, {})
    cells = ((before[name], sent[name]) for name in ("prompt", "answer") if name in sent)
    return sent.get("content") == before["content"] and any(
        len(old) < LONGEST and old.split() != str(new).split() for old, new in cells
    )


def _text(value: object) -> str:
    """Return an answer as text, of several the last."""
    if isinstance(value, list):
        several = cast("list[object]", value)
        return _text(several[-1]) if several else ""
    return "" if value is None else str(value)


def _loaded(value: object) -> object:
    """Return what a text holds as JSON, as a flat export has metadata; anything else as it is."""
    return json.loads(value) if isinstance(value, str) and value.startswith("{") else value


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
