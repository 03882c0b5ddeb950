"""Answers that are labels: accuracy, macro F1, and which label was taken for which.

The labels are a row's options, or else the references of all rows that are scored. A model says more than a
label, so one is looked for: the whole answer, its beginning, or the only one that it names. An answer that
lists several is none of them, or naming them all would always be right.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, cast

from espalier.core.errors import RecipeError
from espalier.core.records import Completion, Example, Metric, Score, Scorer
from espalier.core.text import counted, unpunctuated

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MOST = 100  # labels: with more, "label" is another word for free text
NO_LABEL = "(no label)"
_ACCURACY = Metric(
    "Right label",
    phrase="the share of right labels",
    unit="%",
    note="An answer is the label that it is, begins with, or alone names.",
)
_MACRO = Metric(
    "Macro F1",
    note="The mean over labels of their F1: each counts alike, however rare. Of all rows together.",
)
_OPTION = re.compile(r"\(?([A-Za-z0-9])[.):]\s*(\S.*)", re.S)
_BEFORE = re.compile(r"^.*?\b(?:answer|label|category|class)\s*(?:is|:)\s*", re.I | re.S)
_BEGIN = re.compile(r"[\s(*]*([^\n.,:;!?)*]+)")
_JOINTS = re.compile(r"\b(?:or|and|either)\b")


def labels_of(examples: Sequence[Example]) -> tuple[str, ...]:
    """Return the labels of rows in the order in which they come: options, or else references."""
    found: dict[str, str] = {}
    for example in examples:
        for label in options_of(example) or example.references:
            found.setdefault(unpunctuated(_key(label)), _key(label))
    return tuple(found.values())


def options_of(example: Example) -> tuple[str, ...]:
    """Return what a row lets one choose from; () where it does not say."""
    given: object = example.facts.get("options")
    texts = cast("list[object]", given) if isinstance(given, list) else []
    return tuple(text for text in texts if isinstance(text, str))


def taken(text: str, labels: Sequence[str]) -> str:
    """Return the label that an answer gives; '' where it gives none, or several."""
    forms = {form: _key(label) for label in reversed(labels) for form in _forms(label)}
    if found := forms.get(unpunctuated(text)):
        return found
    plain = f" {unpunctuated(text)} "
    named: dict[str, None] = {}
    for form in sorted(forms, key=len, reverse=True):
        if (len(form) > 1 or form.isdigit()) and f" {form} " in plain:
            named[forms[form]] = None
            plain = plain.replace(f" {form} ", "  ")
    if len(named) > 1 and not _JOINTS.sub("", plain).strip():
        return ""
    for part in (_BEFORE.sub("", text, count=1), text):
        begin = _BEGIN.match(part)
        if begin and (found := forms.get(unpunctuated(begin.group(1)))):
            return found
    return next(iter(named)) if len(named) == 1 else ""


@dataclass(frozen=True, slots=True)
class Labels:
    """Whether answers give the right label; `labels` are settled by the rows that are scored."""

    measure: Literal["accuracy", "macro_f1"]
    labels: tuple[str, ...] = ()
    given: bool = False

    @property
    def metric(self) -> Metric:
        """Accuracy, or the mean of the labels' F1."""
        return _ACCURACY if self.measure == "accuracy" else replace(_MACRO, fold=_macro)

    def fitted(self, examples: Sequence[Example]) -> Labels:
        """Return it with the labels of these rows. Raises RecipeError where they are too many."""
        if self.given:
            return self
        found = labels_of(examples)
        if len(found) > MOST:
            raise RecipeError(
                f"The references are {counted(len(found), 'label')}, more than {MOST}.",
                where="label",
                hint="Score free text with rouge_l, token_f1 or exact_match, or name the labels.",
            )
        return replace(self, labels=found, given=True)

    def score(self, examples: Sequence[Example], completions: Sequence[Completion]) -> list[Score]:
        """Return 1 or 0 of each answer, with the label taken; for macro F1 with what is counted of it."""
        known = self if self.given else self.fitted(examples)
        return [known._of(*pair) for pair in zip(examples, completions, strict=True)]

    def _of(self, example: Example, completion: Completion) -> Score:
        if not example.references:
            return Score(None, "there is no reference")
        choice = options_of(example)
        right = [taken(one, choice or self.labels) or one for one in example.references]
        said = taken(completion.text, choice or self.labels)
        hit = said in right
        why = "" if hit else f"it says {said}" if said else "it gives none of the labels, or several"
        gold = said if hit else right[0]
        rows = ((said == one and hit, said == one, gold == one) for one in self.labels)
        parts = tuple(float(one) for row in rows for one in row) if self.measure == "macro_f1" else ()
        return Score(float(hit), why, said, parts)


def confusion(examples: Sequence[Example], scores: Sequence[Score]) -> dict[str, dict[str, int]]:
    """Return how often each label was taken for which, by the reference's label and then the answer's."""
    labels = labels_of(examples)
    table: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for example, score in zip(examples, scores, strict=True):
        if example.references:
            space = options_of(example) or labels
            right = [taken(one, space) or one for one in example.references]
            table[score.answer if score.value else right[0]][score.answer or NO_LABEL] += 1
    return {gold: dict(row) for gold, row in table.items()}


def build_label(
    *, measure: Literal["accuracy", "macro_f1"] = "accuracy", labels: tuple[str, ...] = ()
) -> Scorer:
    """1 where the answer gives the reference's label; "macro_f1": the mean over labels of their F1."""
    return Labels(measure, labels, given=bool(labels))


def _key(label: str) -> str:
    """Return what a label is called: of an option as prompts show it, "B. Paris", its letter."""
    option = _OPTION.fullmatch(label.strip())
    return option.group(1) if option else label.strip()


def _forms(label: str) -> Mapping[str, None]:
    """Return what stands for a label in an answer."""
    option = _OPTION.fullmatch(label.strip())
    return dict.fromkeys(filter(None, map(unpunctuated, (label, *(option.groups() if option else ())))))


def _macro(sums: Sequence[float]) -> float:
    counts: Mapping[int, Sequence[float]] = {i: sums[i : i + 3] for i in range(0, len(sums), 3)}
    present = [2 * hits / (said + gold) for hits, said, gold in counts.values() if said + gold]
    return sum(present) / len(present)
