"""All test rows, as the page lists them: searched, filtered and sorted in the browser, fifty at a time.

What the script is given is one JSON object; `rows` are in the order of the test table.

    {"systems": ["base", "tuned"], "measures": ["Passes all checks", …],
     "scales": [100, …],                        what a measure's values are shown times
     "checked": true or false,                  the first measure is all checks
     "wrong": "fails a check",                  which rows are, in words; "": none can be told
     "cut": 0,                                  characters from which on a text is shortened; 0: none is
     "trained": [[input, answer], …],           the trained rows that some row is nearest to
     "rows": [{"input": "…", "references": ["…"], "rejected": ["…"],
       "answers": [{"text", "finish", "values": [0.5, null, …], "why": [["Grounded", "…"]]} or null, …],
       "wrong", "limit", "copy": true or false,             of the tuned answer
       "rank", "gain": 0,                                   worst first; what tuning cost most first
       "near": [index in trained, share, same, rows]}, …]}  or null
"""

from __future__ import annotations

import json
import math
from collections import Counter
from typing import TYPE_CHECKING, Any, TypeAlias

from espalier.evaluate.measures import ALL, AS_IS, FLOORS, metric_of
from espalier.report.nearest import nearest, words

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from espalier.core.records import Example, Score
    from espalier.evaluate.score_records import Row as Scored
    from espalier.evaluate.scores import Scores
    from espalier.report.gather import Material

    Row: TypeAlias = dict[str, Any]

OURS = {"tuned", AS_IS}  # who is judged: the last of the systems
# The measures that tell right from wrong, and what is said of a row where they are not 1 (`NONE`: not 0).
EXACT = {
    "exact_match": "fails exact match",
    "vqa": "fails VQA accuracy",
    "quasi_exact": "fails quasi-exact match",
    "label": "has the wrong label",
    "numeric": "has the wrong number",
    "wer": "has a wrong word",
    "cer": "has a wrong letter",
}
NONE = {"wer", "cer"}
WRONG = {ALL: "fails a check", "pair_accuracy": "rates a worse answer as high", **EXACT}
REACHED = 0.1  # share of the answers that match exactly, from which on an open task is judged by that
LOWEST = 0.25  # share of the rows that is looked at first where nothing tells right from wrong
CUTS = (20_000, 8_000, 4_000, 2_000, 1_000, 500, 300)  # characters that a text may have
MOST = 16_000_000  # characters of all texts, so that the page opens at once
NEARLY = 6  # words from which on an answer is a copy that differs from the input by a word or two


def listed(material: Material) -> dict[str, Any] | None:
    """Return what the page lists, see the top of this file; None where no test row is known."""
    examples = {example.id: example for example in material.test}
    scored = {row.id: row for row in material.scores.examples}
    names = list(dict.fromkeys([*examples, *scored]))
    if not names:
        return None
    systems, measures = _systems(material), _measures(material.scores)
    rows = [_row(material, name, examples.get(name), scored.get(name), systems, measures) for name in names]
    _order(rows, systems, [material.scores.metric(measure).sign for measure in measures])
    wrong = _judge(rows, systems, measures, material.scores)
    trained = _nearest(rows, systems, material.train)
    return {
        "systems": systems,
        "measures": [material.scores.metric(measure).title for measure in measures],
        "scales": [material.scores.metric(measure).scale for measure in measures],
        "checked": ALL in measures,
        "wrong": wrong,
        "cut": cut(rows, trained),
        "trained": trained,
        "rows": rows,
    }


def embedded(value: object) -> str:
    """Return a value as JSON that can stand in a `<script>`: no text in it ends or comments that."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c")


def _systems(material: Material) -> list[str]:
    """Return who answered, as they stand side by side: base, the stages in their order, tuned."""
    names = {*material.scores.systems, *(system for system, _ in material.outputs)} - FLOORS.keys()
    places = {"base": 0, **dict.fromkeys(OURS, 2)}
    return sorted(names, key=lambda name: (places.get(name, 1), name))


def _measures(scores: Scores) -> list[str]:
    return scores.measures if OURS & scores.systems.keys() else []


def _row(
    material: Material,
    name: str,
    example: Example | None,
    scored: Scored | None,
    systems: Sequence[str],
    measures: Sequence[str],
) -> Row:
    verdicts = scored.systems if scored else {}
    answers = [
        _answer(material.outputs.get((system, name)), verdicts.get(system), measures) for system in systems
    ]
    tuned = answers[-1] if OURS & {*systems} else None
    return {
        "input": _asked(example) if example else f"example {name}",
        "references": list(example.references or filter(None, [example.answer])) if example else [],
        "rejected": [turn.text for turn in example.rejected] if example else [],
        "answers": answers,
        "limit": tuned is not None and tuned["finish"] == "length",
        "copy": tuned is not None and example is not None and _is_copy(example, tuned["text"]),
    }


def _asked(example: Example) -> str:
    return example.input or next((turn.text for turn in reversed(example.prompt)), "")


def _answer(output: Row | None, verdict: Mapping[str, Score] | None, measures: Sequence[str]) -> Row | None:
    """Return what a system wrote, how it was judged, and what speaks against it; None where it is unknown."""
    if output is None and verdict is None:
        return None
    scores = verdict or {}
    return {
        "text": output["text"] if output else None,
        "finish": output.get("finish", "stop") if output else "",
        "values": [number(scores[name].value if name in scores else None) for name in measures if verdict],
        "why": [
            (metric_of(name).title, one.why) for name, one in scores.items() if one.why and not one.value
        ],
    }


def number(value: float | None) -> float | None:
    """Return a verdict's value as JSON can hold it."""
    return round(value, 3) if value is not None and math.isfinite(value) else None


def _is_copy(example: Example, text: str | None) -> bool:
    """Tell whether an answer is the input, or a long one but for a word or two, and no reference is."""
    copies = [_repeats(example.input, said) for said in (text or "", *example.references)]
    return copies[0] and not any(copies[1:])


def _repeats(source: str, text: str) -> bool:
    if abs(len(source) - len(text)) > max(60, len(source) // 4):  # most answers; what follows is slower
        return False
    theirs, own = words(source), words(text)
    if theirs == own or len(own) < NEARLY:
        return bool(own) and theirs == own
    missing, added = Counter(theirs) - Counter(own), Counter(own) - Counter(theirs)
    return max(missing.total(), added.total()) <= 2


def _order(rows: Sequence[Row], systems: Sequence[str], signs: Sequence[int]) -> None:
    """Number the rows, worst tuned answer first, and what tuning cost most first.

    `signs` are -1 for the measures of which lower values are better.
    """
    tuned, base = (systems.index(name) if name in systems else None for name in ("tuned", "base"))

    def marks(row: Row, place: int | None) -> list[float]:
        """Return how good an answer is, what counts most first. What nothing could judge is not bad."""
        answer = row["answers"][place] if place is not None else None
        values = (answer or {}).get("values") or []
        lead, *rest = [v and v * s for v, s in zip(values, signs, strict=False)] or [None]
        return [2.0 if v is None else v for v in (lead, -len(answer["why"]) if answer else None, *rest)]

    def change(row: Row) -> list[float]:
        return [after - before for after, before in zip(marks(row, tuned), marks(row, base), strict=False)]

    for name, key in (("rank", lambda row: marks(row, tuned)), ("gain", change)):
        for place, row in enumerate(sorted(rows, key=key)):
            row[name] = place


def _judge(rows: Sequence[Row], systems: Sequence[str], measures: Sequence[str], scores: Scores) -> str:
    """Mark the rows whose tuned answer is wrong, and return in words which those are; '' for none.

    See `judges`. Where nothing tells right from wrong, those are the worst quarter.
    """
    tuned = [row["answers"][-1] if OURS & {*systems} else None for row in rows]
    values = [dict(zip(measures, answer["values"], strict=False)) if answer else {} for answer in tuned]
    judging = judges(measures, values, closed=scores.closed)
    for row, of in zip(rows, values, strict=True):
        lowest = bool(measures) and not judging and row["rank"] < LOWEST * len(rows)
        row["wrong"] = lowest or any(right(name, of.get(name)) is False for name in judging)
    if not measures:
        return ""
    return (
        " or ".join(map(WRONG.__getitem__, judging))
        or f"worst quarter by {scores.metric(measures[0]).within}"
    )


def judges(
    measures: Sequence[str], values: Sequence[Mapping[str, float | None]], *, closed: bool
) -> list[str]:
    """Return which measures tell right from wrong.

    Of those that want all of an answer right the first does, where the task is closed, or without checks
    where some answers reach it: of an open task nearly every answer fails it.
    """
    judging = [name for name in measures if name in WRONG and name not in EXACT]
    exact = next((name for name in measures if name in EXACT), "")
    matched = sum(right(exact, of.get(exact)) is True for of in values) >= REACHED * len(values)
    counts = exact and (closed or (matched and ALL not in judging))
    return [name for name in measures if name in judging or (counts and name == exact)]


def right(name: str, value: float | None) -> bool | None:
    """Return whether an answer is right by such a measure; None where that is not known."""
    if value is None:
        return None
    return value <= 0 if name in NONE else value >= 1


def _nearest(rows: Sequence[Row], systems: Sequence[str], train: Sequence[Example]) -> list[list[str]]:
    """Give each row the trained row that its tuned answer is nearest to; return those, input and answer."""
    tuned = [row["answers"][-1] or {} if OURS & {*systems} else {} for row in rows]
    answers = [(row["input"], answer.get("text") or "") for row, answer in zip(rows, tuned, strict=True)]
    trained = [(_asked(example), example.answer) for example in train]
    numbers: dict[int, int] = {}
    for row, near in zip(rows, nearest(trained, answers), strict=True):
        row["near"] = near and [
            numbers.setdefault(near.row, len(numbers)), round(near.shared, 3), near.same, near.rows
        ]  # fmt: skip
    return [list(trained[row]) for row in numbers]


def cut(rows: Sequence[Row], trained: list[list[str]]) -> int:
    """Shorten the longest texts in their middle where all would make a slow page; return to what, or 0."""
    texts = [text for row in rows for text in _texts(row)] + [text for pair in trained for text in pair]
    lengths = [len(text) for text in texts]
    most = next((cut for cut in CUTS if sum(min(n, cut) for n in lengths) <= MOST), CUTS[-1])
    if not lengths or max(lengths) <= most:
        return 0
    for row in rows:
        row["input"] = _shortened(row["input"], most)
        for name in ("references", "rejected"):
            row[name] = [_shortened(text, most) for text in row[name]]
        for answer in row["answers"]:
            if answer and answer["text"]:
                answer["text"] = _shortened(answer["text"], most)
    trained[:] = [[_shortened(text, most) for text in pair] for pair in trained]
    return most


def _texts(row: Row) -> list[str]:
    answers = [answer["text"] for answer in row["answers"] if answer and answer["text"]]
    return [row["input"], *row["references"], *row["rejected"], *answers]


def _shortened(text: str, most: int) -> str:
    left = len(text) - most
    return text if left <= 0 else f"{text[: most // 2]} […] {text[-(most // 2) :]}"
