"""MC-TACO: candidate answers to a question, each plausible or not, judged by question.

Zhou et al. 2019, arXiv 1909.03065, by the official evaluator's rules. Candidates with one sentence and
question are a group. Strict: all of its candidates are right. F1 is the mean over questions of each one's
own; nothing said "yes" is a precision of 1, nothing that is "yes" a recall of 1. An answer that is neither
counts as wrong, and not as a yes.

A row is a candidate, and its source the question. What a question comes to stands at its first candidate.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from espalier.core.errors import DataError
from espalier.core.files import read_text
from espalier.core.records import Completion, Example, Metric, Score, Scorer, message
from espalier.core.text import unpunctuated

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

Measure = Literal["em", "f1", "accuracy"]
COLUMNS = ("sentence", "question", "answer", "yes/no", "category")
_EM = Metric(
    "MC-TACO strict",
    phrase="the share of questions with all candidates right",
    unit="%",
    note="A question counts where every candidate is judged right.",
)
_F1 = Metric("MC-TACO F1", note="The mean over questions of the F1 of what is called plausible.")
_ACCURACY = Metric(
    "MC-TACO candidates",
    phrase="the share of candidates judged right",
    unit="%",
    note="Three candidates in four are implausible: “no” to everything does well. Read the strict one.",
)
_OF = {"em": _EM, "f1": _F1, "accuracy": _ACCURACY}


def read_candidates(path: Path) -> list[Example]:
    """Return the candidates of an MC-TACO file: five columns with tabs between, no header, no quoting.

    Raises:
        DataError: a line has other columns, or is labelled neither yes nor no; or the file is empty.
    """
    return [_candidate(path, place, line) for place, line in enumerate(_lines(path))]


def _lines(path: Path) -> Iterator[str]:
    lines = read_text(path).split("\n")
    while lines and not lines[-1].strip():
        lines.pop()
    if not lines:
        raise DataError("The file is empty.", where=str(path))
    yield from lines


def _candidate(path: Path, place: int, line: str) -> Example:
    cells = line.strip().split("\t")
    if len(cells) not in (4, 5) or cells[3] not in ("yes", "no"):
        raise DataError(
            f"A line should have the columns {', '.join(COLUMNS)}, with tabs between; this one has "
            f"{len(cells)}{f' and the label {cells[3]!r}' if len(cells) > 3 else ''}.",
            where=f"{path}:{place + 1}",
            hint="Name MC-TACO's own file, such as test_9442.tsv.",
        )
    sentence, question, answer, label = cells[:4]
    asked = f"{sentence} {question}"
    return Example(
        id=str(place),
        task="mctaco",
        source=asked,
        messages=(message("user", f"{asked}\n{answer}"),),
        references=(label,),
        facts={"category": cells[4]} if len(cells) == 5 else {},
    )


@dataclass(frozen=True, slots=True)
class McTaco:
    """What is right by question; `strict`: only "yes" and "no" are answers, as to the official evaluator."""

    measure: Measure
    strict: bool

    @property
    def metric(self) -> Metric:
        """What it measures; but for the candidates it is folded of sums over questions."""
        found = _OF[self.measure]
        return found if self.measure == "accuracy" else replace(found, fold=_share)

    def score(self, examples: Sequence[Example], completions: Sequence[Completion]) -> list[Score]:
        """Return each candidate's verdict; but for the candidates' own, the question's at its first one."""
        said = [_said(completion.text, self.strict) for completion in completions]
        wanted = [_said(example.references[0] if example.references else "", False) for example in examples]
        if self.measure == "accuracy":
            return [_right(*pair) for pair in zip(said, wanted, strict=True)]
        groups: dict[str, list[int]] = {}
        for place, example in enumerate(examples):
            groups.setdefault(example.source, []).append(place)
        scores = [Score(None, "judged with its question", answer, (0.0, 0.0)) for answer in said]
        for places in groups.values():
            pairs = [(said[place], wanted[place]) for place in places]
            value = float(all(a == b for a, b in pairs)) if self.measure == "em" else _f1(pairs)
            if not self.strict and not any(answer for answer, _ in pairs):
                value = 0.0  # the official rules give silence the F1 of “no”
            scores[places[0]] = Score(value, "", said[places[0]], (value, 1.0))
            if "" in (gold for _, gold in pairs):
                for place in places:
                    scores[place] = Score(None, _NEITHER)
        return scores


_NEITHER = "the reference is neither yes nor no"


def _share(sums: Sequence[float]) -> float:
    return sums[0] / sums[1]


def _right(said: str, wanted: str) -> Score:
    if not wanted:
        return Score(None, _NEITHER)
    return Score(float(said == wanted), "" if said else "it is neither yes nor no", said)


def _f1(pairs: Sequence[tuple[str, str]]) -> float:
    """Return a question's F1 of (answer, label) pairs."""
    hits = sum(said == gold == "yes" for said, gold in pairs)
    claimed, true = sum(said == "yes" for said, _ in pairs), sum(gold == "yes" for _, gold in pairs)
    precision = hits / claimed if claimed else 1.0
    recall = hits / true if true else 1.0
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _said(text: str, strict: bool) -> str:
    """Return "yes" or "no" where a text says so: as a whole, or, if not strict, with its first word."""
    if not strict:
        text = next(iter(unpunctuated(text).split()), "")
        text = {"true": "yes", "false": "no"}.get(text, text)
    return text.strip() if text.strip() in ("yes", "no") else ""


def build_mctaco(*, measure: Measure = "em", strict: bool = False) -> Scorer:
    """MC-TACO by question: all candidates right, "f1", or "accuracy" of candidates; rows share a source."""
    return McTaco(measure, strict)
