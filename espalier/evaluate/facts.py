"""What can be seen in references and in answers without a verdict: lengths, copies, how many are different.

What it says of a run is in `findings.py`.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from espalier.core.text import folded, unpunctuated, word_count
from espalier.evaluate.score_records import Answers, Common, Distinct, References
from espalier.evaluate.statistics import mean
from espalier.scorers.rouge import rouge_l

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from espalier.core.records import Completion, Example
    from espalier.tasks.checks import Verdict

SHORT = 5  # words of an answer that may be a label or a choice
NEAR = 0.9  # ROUGE-L with the input from which on an answer is a copy but for a word or two
PASSAGE = 5  # words of the input, in a row, that are no coincidence
COPIES = ("", "passage", "near", "whole")  # how much of a copy an answer is, rising


@dataclass(frozen=True, slots=True)
class Expected:
    """What the answers to a task look like, told by its references.

    Attributes:
        closed: there are few of them, or all are numbers: an answer is one of them, or wrong.
        numeric: all are numbers.
        texts: those of all rows, normalised.
    """

    closed: bool
    numeric: bool
    texts: frozenset[str]

    def has(self, text: str) -> bool:
        """Tell whether a text is of that form."""
        return _is_number(text) if self.numeric else unpunctuated(text) in self.texts


def expected(examples: Sequence[Example], train: Sequence[Example] = ()) -> Expected:
    """Return what answers look like: closed where references are numbers, or return under other sources.

    That is: short ones in two rows of three, or ones of any length, of which there are few, in nine of ten.
    """
    sources: defaultdict[str, set[str]] = defaultdict(set)
    for example in (*train, *examples):
        for text in _accepted(example):
            sources[unpunctuated(text)].add(example.source)
    rows = [_accepted(example) for example in examples if _accepted(example)]
    if not rows:
        return Expected(closed=False, numeric=False, texts=frozenset(sources))
    numeric = all(_is_number(texts[0]) for texts in rows)
    again = sum(any(len(sources[unpunctuated(text)]) > 1 for text in texts) for texts in rows) / len(rows)
    short = sum(word_count(texts[0]) <= SHORT for texts in rows) / len(rows)
    few = len(sources) <= (len(examples) + len(train)) / 4
    closed = numeric or (again >= 2 / 3 and short >= 0.9) or (again >= 0.9 and few)
    return Expected(closed, numeric, frozenset(sources))


def of_references(examples: Sequence[Example], form: Expected) -> References:
    """Return what there is to know of the references; of several in a row the first counts."""
    firsts = [_accepted(example)[0] for example in examples if _accepted(example)]
    return References(
        n=len(firsts),
        distinct=len({unpunctuated(text) for text in firsts}),
        common=_common(firsts),
        words=sum(map(word_count, firsts)) / len(firsts) if firsts else None,
        closed=form.closed,
        known=None if form.numeric or not form.closed else len(form.texts),
    )


def of_answers(
    examples: Sequence[Example],
    answers: Sequence[Completion],
    form: Expected,
    set_checks: Mapping[str, Verdict],
    shown: Sequence[str] = (),
) -> Answers:
    """Return what there is to know of a system's answers, one to each example.

    `shown` are the answers of the worked examples in the prompt. A copy, of them or of the input, is counted
    where no reference is one.
    """
    sources = [example.source for example in examples]
    given = [answer.finish != "error" for answer in answers]
    cut = [float(a.finish == "length") if ok else None for a, ok in zip(answers, given, strict=True)]
    texts = [answer.text for answer in answers]
    words = [float(word_count(text)) for text in texts]
    rows = list(zip(examples, texts, strict=True))
    demonstrated = {unpunctuated(text) for text in shown}
    sorts = Counter(_copied(example, text) for example, text in rows)
    sizes = [(word_count(text), [word_count(t) for t in _accepted(e)]) for e, text in rows if _accepted(e)]
    return Answers(
        set_checks=set_checks,
        at_limit=mean(cut, sources),
        distinct=Distinct(len(set(map(unpunctuated, texts))), len(texts)),
        common=_common(texts),
        words=replace(mean(words, sources), scale=1.0),
        longer=sum(own > max(theirs) for own, theirs in sizes),
        shorter=sum(own < min(theirs) for own, theirs in sizes),
        missing=given.count(False),
        empty=sum(not folded(text) for text, ok in zip(texts, given, strict=True) if ok),
        known=sum(map(form.has, texts)) if form.closed else None,
        copies={sort: sorts[sort] for sort in COPIES if sort},
        shown=sum(_repeats(example, text, demonstrated) for example, text in rows),
    )


def _accepted(example: Example) -> tuple[str, ...]:
    return example.references or ((example.answer,) if example.answer else ())


def _common(texts: Iterable[str]) -> Common:
    """Return the most frequent text, as it is first written, and how often it is there."""
    texts = list(texts)
    written = {unpunctuated(text): text for text in reversed(texts)}
    top = Counter(map(unpunctuated, texts)).most_common(1)
    return Common(written[top[0][0]], top[0][1]) if top else Common()


def _copied(example: Example, text: str) -> str:
    """Return how much of a copy of its input an answer is; '' where a reference is as much of one."""
    sort = _copy_of(example.input, text)
    if sort and any(
        COPIES.index(_copy_of(example.input, reference)) >= COPIES.index(sort)
        for reference in example.references
    ):
        return ""
    return sort


def _copy_of(source: str, text: str) -> str:
    plain_source, plain_text = unpunctuated(source), unpunctuated(text)
    if not plain_source or not plain_text:
        return ""
    if plain_text == plain_source:
        return "whole"
    if word_count(text) < PASSAGE:
        return ""
    if rouge_l(text, source, official=False) >= NEAR:
        return "near"
    return "passage" if len(plain_text) >= PASSAGE * 4 and plain_text in plain_source else ""


def _repeats(example: Example, text: str, demonstrated: set[str]) -> bool:
    said = unpunctuated(text)
    return bool(said) and said in demonstrated and said not in map(unpunctuated, example.references)


def _is_number(text: str) -> bool:
    return any(c.isdigit() for c in text) and not any(c.isalpha() for c in text)
