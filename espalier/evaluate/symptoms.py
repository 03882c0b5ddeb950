"""What anybody would see who read the answers, and what a mean hides: one answer for all, copies, cuts.

Each function looks at one thing in a run's scores and yields what is to be said of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Literal

from espalier.core.text import counted
from espalier.evaluate.measures import metric_of
from espalier.evaluate.sheet import percent

if TYPE_CHECKING:
    from collections.abc import Iterator

    from espalier.evaluate.score_records import Answers, Limit, References
    from espalier.evaluate.scores import Scores

Severity = Literal["bad", "good", "caution"]

# Shares of the answers from which on something is said of them, and from which on it is bad news.
SAID, BAD = 0.05, 0.2
ALIKE = 0.9  # share of the answers that are so
LONGER = 1.5  # times as many words as the references


@dataclass(frozen=True, slots=True)
class Finding:
    """A sentence, and how bad it is.

    Attributes:
        kind: what it is about, in a word or two; the same for the same thing in any run.
        severity: "bad" speaks against the tuned model, "caution" limits what its scores say.
        text: the sentence.
    """

    kind: str
    severity: Severity
    text: str


def of_tuned(scores: Scores) -> Iterator[Finding]:
    """Yield what the tuned model's answers show, the worst kind first."""
    tuned, asked = scores.systems["tuned"].answers, scores.references
    if tuned is None:  # a reward model writes none
        return iter(())
    return chain(
        *((_alike(tuned, asked), _few(tuned, asked)) if asked else ()),
        _copies(tuned),
        _cut(tuned, scores.limit),
        _counts(tuned),
        _sets(tuned),
        *((_form("tuned", tuned, asked, SAID), _lengths(tuned, asked)) if asked else ()),
    )


def of_base(scores: Scores) -> Iterator[Finding]:
    """Yield what makes the base's score a doubtful one, and so what tuning seems to have brought."""
    base, tuned = (scores.systems[name].answers for name in ("base", "tuned"))
    if base is None or tuned is None:
        return
    cut, n, limit = base.at_limit.value, base.distinct.n, _tokens(scores.limit)
    if cut >= BAD and not cut <= tuned.at_limit.value:
        text = (
            f"{percent(cut, 0)} % of the base model's answers were cut at the limit{limit}: its "
            "scores are of unfinished answers, and the change overstates what tuning taught."
        )
        yield Finding("base cut", "caution", text)
    for found in _form("base", base, scores.references, BAD) if scores.references else ():
        text = f"{found.text[:-1]}: its score says that it does not know the form, and little of the task."
        yield Finding(found.kind, found.severity, text)
    if base.empty >= max(2, BAD * n):
        yield Finding("base empty", "caution", f"{base.empty} of the base model's {n} answers are empty.")


def of_limit(limit: Limit | None, rows: int) -> Iterator[Finding]:
    """Yield how many references do not fit into what the models may write."""
    if limit and limit.too_long:
        count = limit.too_long
        text = (
            f"{count} of {counted(rows, 'test row')} {_has(count)} no reference that fits into the limit of "
            f"{counted(limit.tokens, 'token')}; -o decode.limit={limit.needed} would hold all."
        )
        yield Finding("limit too short", "caution", text)


def quoted(text: str) -> str:
    """Return the text in quotation marks on one line, its end left out where it is long."""
    line = " ".join(text.split())
    return f"“{line}”" if len(line) <= 40 else f"“{line[:39]}…”"


def _alike(tuned: Answers, asked: References) -> Iterator[Finding]:
    """One answer for nearly all, where no reference is as frequent."""
    common, theirs, n = tuned.common, asked.common, tuned.distinct.n
    if not asked.n or n < 2:
        return
    more = common.count / n - theirs.count / asked.n
    if common.count >= ALIKE * n and more >= 0.1:
        count = f"All {n}" if common.count == n else f"{common.count} of {n}"
        text = (
            f"{count} answers are the same, {quoted(common.text)}; the most frequent reference, "
            f"{quoted(theirs.text)}, is that of {theirs.count} of {counted(asked.n, 'row')}."
        )
        yield Finding("one answer", "bad", text)


def _few(tuned: Answers, asked: References) -> Iterator[Finding]:
    different, theirs = tuned.distinct, asked.distinct
    if theirs >= 4 and 1 < different.count <= theirs / 2:
        text = f"The {different.n} answers are only {different.count} different ones; the references are "
        yield Finding("few different answers", "bad", f"{text}{theirs}.")


def _copies(tuned: Answers) -> Iterator[Finding]:
    n = tuned.distinct.n
    whole, near, passage = (tuned.copies.get(sort, 0) for sort in ("whole", "near", "passage"))
    of = f"of {counted(n, 'answer')}"
    if whole + near >= max(2, SAID * n):
        first = whole or near
        some = f", {near} more but for a word or two" if whole and near else ""
        nearly = "" if whole else " but for a word or two"
        text = f"{first} {of} {_is(first)} the input{nearly}{some}, where no reference is."
        yield Finding("copies", _severity((whole + near) / n), text)
    if passage >= max(2, BAD * n):
        text = f"{passage} {of} {_is(passage)} a passage of the input, word for word, where no reference is."
        yield Finding("passages", "caution", text)


def _cut(tuned: Answers, limit: Limit | None) -> Iterator[Finding]:
    share, n = tuned.at_limit.value, tuned.at_limit.n
    if share >= SAID:
        cut = round(share * n)
        text = f"{cut} of {counted(n, 'answer')} {_was(cut)} cut at the limit{_tokens(limit)}."
        yield Finding("cut", _severity(share), text)


def _counts(tuned: Answers) -> Iterator[Finding]:
    n = tuned.distinct.n
    shown = "the answer of a worked example in the prompt, where no reference is"
    for kind, count, said in (
        ("empty", tuned.empty, "empty"),
        ("missing", tuned.missing, "missing and count as empty"),
        ("repeats the example", tuned.shown, shown),
    ):
        if count:
            yield Finding(
                kind, _severity(count / n), f"{count} of {counted(n, 'answer')} {_is(count)} {said}."
            )


def _sets(tuned: Answers) -> Iterator[Finding]:
    for name, verdict in tuned.set_checks.items():
        if verdict.ok is False:
            text = f"The answers together fail the check “{metric_of(name).title}”: {verdict.why}"
            yield Finding("set check", "bad", text)


def _form(who: str, system: Answers, asked: References, share: float) -> Iterator[Finding]:
    """Answers that are none of those that the task has."""
    known, n = system.known, system.distinct.n
    if known is None or n - known < max(2, share * n):
        return
    off = n - known
    form = f"one of the {asked.known} answers that the task has" if asked.known else "a number"
    text = f"{off} of the {who} model's {counted(n, 'answer')} {_is(off)} not {form}."
    yield Finding(f"form of {who}", "caution", text)


def _lengths(tuned: Answers, asked: References) -> Iterator[Finding]:
    own, theirs = tuned.words.value, asked.words
    if not own or not theirs:
        return
    for side, count, off in (
        ("longer", tuned.longer, own >= LONGER * theirs),
        ("shorter", tuned.shorter, own <= theirs / LONGER),
    ):
        if off and count >= ALIKE * asked.n:
            text = (
                f"{count} of {counted(asked.n, 'answer')} {_is(count)} {side} than every reference: "
                f"{own:.1f} words in the mean, against {theirs:.1f}."
            )
            yield Finding(f"{side} answers", "caution", text)


def _tokens(limit: Limit | None) -> str:
    return f" of {counted(limit.tokens, 'token')}" if limit else ""


def _severity(share: float) -> Severity:
    return "bad" if share >= BAD else "caution"


def _is(count: int) -> str:
    return "is" if count == 1 else "are"


def _was(count: int) -> str:
    return "was" if count == 1 else "were"


def _has(count: int) -> str:
    return "has" if count == 1 else "have"
