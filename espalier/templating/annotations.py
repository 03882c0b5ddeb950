"""Rows that several people labelled: how far they agree, and one label, several, or the distribution of each.

Three forms are read. Long: a line for each row and annotator. Wide: a column for each annotator. Lists: all
labels of a row in one cell, `["a", "b"]`, or `{"ann": "a"}` by annotator. What comes out are rows again, with
`label`, `references` and `votes`, which a template puts into words.

    {"id": "7", "text": "…", "label": "praise", "references": ["praise"], "votes": {"praise": 2, "blame": 1}}

A row whose majority is a tie has no `label`, so that a template refuses it by name and nobody decides unseen.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from espalier.core.errors import DataError, RecipeError, nearest
from espalier.core.records import example_id
from espalier.evaluate.agreement import Level, alpha
from espalier.formats.cells import opened_cell
from espalier.formats.readers import Raw
from espalier.tasks.raw_rows import is_placeholder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from espalier.core.records import Estimate

How: TypeAlias = Literal["majority", "dawid_skene", "all", "distribution"]
Floats: TypeAlias = NDArray[np.float64]
ROUNDS = 200
STILL = 1e-6
SMOOTHED = 0.01  # added to every count of an annotator, so that what was not seen is not impossible


@dataclass(frozen=True, slots=True)
class Layout:
    """Where annotations stand in a file.

    Attributes:
        row: the column that names a row, in the long form; in others optional.
        label: the column of the label, or of all labels.
        annotator: the column of who gave it, in the long form.
        annotators: the columns of the annotators, in the wide form.
    """

    row: str = "id"
    label: str = "label"
    annotator: str = "annotator"
    annotators: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Annotated:
    """A row with its labels by annotator; `raw` is where it stands, without the annotations."""

    id: str
    raw: Raw
    labels: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Agreement:
    """What is reported of annotations.

    Attributes:
        alpha: Krippendorff's, with its interval over rows.
        rows: how many there are; `single` have one label, and `ties` no majority.
        votes: how many labels were given.
        agree: by annotator, the share of its labels that are the row's label in the end, of rows with one.
    """

    how: str
    level: Level
    alpha: Estimate
    rows: int
    single: int
    ties: int
    votes: int
    labels: Mapping[str, int] = field(default_factory=dict[str, int])
    agree: Mapping[str, float] = field(default_factory=dict[str, float])

    def table(self) -> dict[str, Any]:
        """Return it as JSON holds it."""
        return asdict(self)


def read_annotations(rows: Iterable[Raw], layout: Layout | None = None) -> list[Annotated]:
    """Return the rows of a file with all of their labels, in the order of the file.

    A label that is empty, null or "n/a" is missing.

    Raises:
        DataError: a row is none, or has not the columns; one annotator labels a row twice; lines of one row
            differ in more than the label.
    """
    where = layout or Layout()
    found: dict[str, Annotated] = {}
    rows = list(rows)
    known = {name for raw in rows for name in cast("dict[str, Any]", raw.value if raw.error is None else {})}
    for raw in rows:
        if raw.error:
            raise raw.error
        # A table's row has no column whose cell is empty; but some row has it.
        if lost := [name for name in where.annotators or (where.label,) if name not in known]:
            raise _missing(lost[0], dict.fromkeys(known), raw)
        value = dict(cast("Mapping[str, Any]", raw.value))
        if raw.tabular:
            value = {name: opened_cell(name, cell, value) for name, cell in value.items()}
        labels, rest, long = _labels(value, where, raw)
        key = _key(rest, where, raw, long)
        kept = replace(raw, value=rest)
        if key in found and not long:
            raise DataError(f"Two rows have the id '{key}'.", where=raw.where)
        before = found.get(key) or Annotated(key, kept, {})
        _alike(before, rest, raw)
        if twice := next((name for name in labels if name in before.labels), None):
            raise DataError(f"'{twice}' labels the row '{key}' twice.", where=raw.where)
        found[key] = replace(before, labels={**before.labels, **labels})
    return list(found.values())


def aggregated(
    annotated: Sequence[Annotated],
    how: How = "majority",
    *,
    level: Level = "nominal",
    order: Sequence[str] = (),
    seed: int = 0,
) -> tuple[list[Raw], Agreement]:
    """Return the rows with what their labels come to, and how far the annotators agree.

    Args:
        annotated: rows with their labels; one without any is left with none.
        how: "majority": the label that most gave. "dawid_skene": the likeliest, where annotators are trusted
            as far as they agree with the rest, class by class (Dawid and Skene 1979). "all": every label that
            was given is a reference. "distribution": the shares, as `distribution`, beside the majority.
        level: what labels are, for alpha; `order` names ranks from the lowest.
        order: see level.
        seed: of the interval.

    Raises:
        RecipeError: `how` is none of these.
        DataError: the labels are not of that level.
    """
    rules: dict[str, Callable[[Sequence[Annotated]], list[dict[str, Any]]]] = {
        "majority": lambda rows: [_majority(Counter(row.labels.values())) for row in rows],
        "dawid_skene": _likeliest,
        "all": lambda rows: [_all(Counter(row.labels.values())) for row in rows],
        "distribution": lambda rows: [_shares(Counter(row.labels.values())) for row in rows],
    }
    if how not in rules:
        raise RecipeError(f"No aggregation is named '{how}'.", hint=nearest(how, rules))
    decided = rules[how](annotated)
    made: list[Raw] = []
    for row, verdict in zip(annotated, decided, strict=True):
        fields = cast("Mapping[str, Any]", row.raw.value)
        votes = dict(Counter(row.labels.values()).most_common())
        made.append(replace(row.raw, value={**fields, **verdict, "votes": votes}, tabular=False))
    return made, _agreement(annotated, decided, how, level, order, seed)


def _labels(value: dict[str, Any], where: Layout, raw: Raw) -> tuple[dict[str, str], dict[str, Any], bool]:
    """Return a line's labels by annotator, its other columns, and whether it is of the long form."""
    if where.annotators:
        if not any(name in value for name in where.annotators) and not raw.tabular:
            raise _missing(where.annotators[0], value, raw)
        given: dict[str, Any] = {name: value.get(name) for name in where.annotators}
        rest = {name: item for name, item in value.items() if name not in where.annotators}
        return _given(given, raw), rest, False
    if where.label not in value and not raw.tabular:
        raise _missing(where.label, value, raw)
    label: Any = value.get(where.label)
    rest = {name: item for name, item in value.items() if name != where.label}
    if isinstance(label, list):
        numbered = {str(number): item for number, item in enumerate(cast("list[Any]", label), start=1)}
        return _given(numbered, raw), rest, False
    if isinstance(label, dict):
        return _given(cast("dict[str, Any]", label), raw), rest, False
    if where.annotator not in value:
        raise _missing(where.annotator, value, raw)
    return _given({str(rest.pop(where.annotator)): label}, raw), rest, True


def _given(labels: Mapping[str, Any], raw: Raw) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, label in labels.items():
        if isinstance(label, list | dict):
            raise DataError(f"The label of '{name}' is no text and no number.", where=raw.where)
        if not is_placeholder(label):
            text = str(label).strip()
            found[name] = text.removesuffix(".0") if isinstance(label, float) else text
    return found


def _missing(column: str, value: Mapping[str, Any], raw: Raw) -> DataError:
    return DataError(f"The row has no '{column}'.", where=raw.where, hint=nearest(column, map(str, value)))


def _key(rest: Mapping[str, Any], where: Layout, raw: Raw, long: bool) -> str:
    given = rest.get(where.row)
    if isinstance(given, str | int) and given != "":
        return str(given)
    if long:
        raise _missing(where.row, rest, raw)
    return example_id(rest, raw.number)


def _alike(before: Annotated, rest: Mapping[str, Any], raw: Raw) -> None:
    known = cast("Mapping[str, Any]", before.raw.value)
    other = next((name for name in {**known, **rest} if known.get(name) != rest.get(name)), "")
    if other:
        raise DataError(
            f"The row '{before.id}' has another '{other}' here than at {before.raw.where}.",
            where=raw.where,
            hint="Lines of one row differ in annotator and label alone; leave out what belongs to a line.",
        )


def _majority(votes: Counter[str]) -> dict[str, Any]:
    most = max(votes.values(), default=0)
    first = [label for label, count in votes.items() if count == most]
    return {**({"label": first[0]} if len(first) == 1 else {}), "references": sorted(first)}


def _all(votes: Counter[str]) -> dict[str, Any]:
    ranked = [label for label, _ in sorted(votes.items(), key=lambda item: (-item[1], item[0]))]
    return {**({"label": ranked[0]} if ranked else {}), "references": ranked}


def _shares(votes: Counter[str]) -> dict[str, Any]:
    total = votes.total()
    shares = {label: count / total for label, count in votes.most_common()}
    return {**_majority(votes), "distribution": shares}


def _likeliest(rows: Sequence[Annotated]) -> list[dict[str, Any]]:
    """Return each row's likeliest label, with the probabilities of all."""
    labels = sorted({label for row in rows for label in row.labels.values()})
    people = sorted({name for row in rows for name in row.labels})
    cells = [
        (number, people.index(name), labels.index(label))
        for number, row in enumerate(rows)
        for name, label in row.labels.items()
    ]
    if not cells:
        return [{"references": []} for _ in rows]
    believed = dawid_skene(np.array(cells), len(rows), len(people), len(labels))
    found: list[dict[str, Any]] = []
    for row, shares in zip(rows, believed, strict=True):
        if not row.labels:
            found.append({"references": []})
            continue
        best = labels[int(shares.argmax())]
        probable = {label: float(p) for label, p in zip(labels, shares, strict=True)}
        found.append({"label": best, "references": [best], "probable": probable})
    return found


def dawid_skene(cells: NDArray[np.int64], rows: int, people: int, labels: int) -> Floats:
    """Return the probability of each label for each row (rows × labels), by expectation maximisation.

    Dawid and Skene, "Maximum Likelihood Estimation of Observer Error-Rates", 1979. It begins with the shares
    of the votes.

    Args:
        cells: (votes × 3) row, annotator and label of each vote, as numbers from 0.
        rows: how many there are.
        people: how many annotators.
        labels: how many labels.
    """
    row, person, label = cells.T
    believed = np.full((rows, labels), 1e-9)
    np.add.at(believed, (row, label), 1.0)
    believed /= believed.sum(1, keepdims=True)
    for _ in range(ROUNDS):
        seen = np.full((people, labels, labels), SMOOTHED)  # annotator × true label × given label
        np.add.at(seen.transpose(0, 2, 1), (person, label), believed[row])
        rates = np.log(seen / seen.sum(2, keepdims=True))
        prior = believed.sum(0) + SMOOTHED
        likely = np.tile(np.log(prior / prior.sum()), (rows, 1))
        np.add.at(likely, row, rates[person, :, label])
        likely -= likely.max(1, keepdims=True)
        new = np.exp(likely)
        new /= new.sum(1, keepdims=True)
        moved = float(np.abs(new - believed).max())
        believed = new
        if moved < STILL:
            break
    return believed


def _agreement(
    rows: Sequence[Annotated],
    decided: Sequence[Mapping[str, Any]],
    how: str,
    level: Level,
    order: Sequence[str],
    seed: int,
) -> Agreement:
    try:
        found = alpha([list(row.labels.values()) for row in rows], level, order, seed)
    except ValueError as error:
        raise DataError(f"The labels are not {level}: {error}.") from None
    kept: Counter[str] = Counter()
    given: Counter[str] = Counter()
    for row, verdict in zip(rows, decided, strict=True):
        if "label" in verdict:
            given.update(list(row.labels))
            kept.update(name for name, label in row.labels.items() if label == verdict["label"])
    votes = Counter(label for row in rows for label in row.labels.values())
    return Agreement(
        how=how,
        level=level,
        alpha=found,
        rows=len(rows),
        single=sum(len(row.labels) == 1 for row in rows),
        ties=sum(len(_majority(Counter(row.labels.values()))["references"]) > 1 for row in rows),
        votes=votes.total(),
        labels=dict(votes.most_common()),
        agree={name: kept[name] / given[name] for name in sorted(given)},
    )
