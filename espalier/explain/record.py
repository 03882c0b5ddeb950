"""What is known of a run's superficiality: each line a number with its interval, and three sentences.

`Explanation` prints as the lines and the sentences; `plain()` is the same as JSON can hold it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, is_dataclass
from typing import TYPE_CHECKING, Any, Protocol, cast

from espalier.core.files import write_atomic
from espalier.core.records import Estimate
from espalier.core.scoring import Metric
from espalier.evaluate.score_records import Difference, json_line, plain
from espalier.evaluate.sheet import figure, in_columns, interval, signed
from espalier.tasks.variants import DEFINITIONS, EXAMPLES, ORDERS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from espalier.evaluate.score_records import HasPlain

KINDS = ("unshifted", "marginal", "shifted")


class Printed(Protocol):
    """What prints as tables, then notes, then sentences."""

    def tables(self) -> Iterator[list[list[str]]]:
        """Yield its tables: of each the columns' names, then the rows."""
        ...

    @property
    def footing(self) -> str:
        """What the numbers are."""
        ...

    @property
    def notes(self) -> Sequence[str]:
        """What a reader has to know besides."""
        ...

    @property
    def sentences(self) -> Sequence[str]:
        """What the numbers bear."""
        ...


def as_text(self: Printed) -> str:
    """Return the tables and the sentences; the `__str__` of several records."""
    return laid_out(self.tables(), [self.footing, *self.notes], self.sentences)


def laid_out(tables: Iterable[Sequence[Sequence[str]]], notes: Sequence[str], said: Sequence[str]) -> str:
    """Return tables in columns, then notes, then sentences."""
    return "\n\n".join([*map(in_columns, tables), "\n".join(notes), "\n".join(said)])


def as_plain(value: object) -> Any:
    """Return a record, a number or a collection of them as JSON can hold it."""
    if isinstance(value, Estimate):
        return plain(value)
    if isinstance(value, Difference):
        return value.plain()
    if isinstance(value, Metric):
        return {name: value.__getattribute__(name) for name in ("title", "unit", "better", "scale")}
    if isinstance(value, dict):
        return {str(name): as_plain(one) for name, one in cast("dict[str, object]", value).items()}
    if isinstance(value, tuple | list):
        return [as_plain(one) for one in cast("list[object]", value)]
    if is_dataclass(value):
        return {one.name: as_plain(object.__getattribute__(value, one.name)) for one in fields(value)}
    return value


def plain_of(found: object) -> dict[str, Any]:
    """Return it as JSON can hold it."""
    return as_plain(found)


def keep(folder: Path, name: str, found: HasPlain, page: str) -> None:
    """Write what was found into a run's folder, as `NAME.json` and `NAME.html`."""
    write_atomic(folder / f"{name}.json", json_line(found) + "\n")
    write_atomic(folder / f"{name}.html", page)


@dataclass(frozen=True, slots=True)
class Line:
    """What a system or a floor reaches, and the tuned model's value less that, row by row.

    `gap` is None of the tuned model itself, and where both were not scored on the same rows. A `floor` needs
    no model.
    """

    name: str
    reached: Estimate
    gap: Difference | None = None
    floor: bool = False


@dataclass(frozen=True, slots=True)
class Cell:
    """What a model reaches when it is asked otherwise.

    Attributes:
        system: "tuned" or "base".
        definition, examples: levels of `tasks.variants`; an order stands in place of examples.
        reached: of the measure that leads.
        change: that less what the same model reaches as the run asked it, row by row. None of that itself.
        apart: whether it differs from zero in a test that holds for all of the model's changes (Holm 1979).
    """

    system: str
    definition: str
    examples: str
    reached: Estimate
    change: Difference | None = None
    apart: bool = False

    @property
    def usual(self) -> bool:
        """Whether it is as the run asked."""
        return (self.definition, self.examples) == ("original", "good")


@dataclass(frozen=True, slots=True)
class Place:
    """The tokens at one place of the answers: `label` counts from 1, and the last is of all that follow."""

    label: str
    tokens: int
    shares: Mapping[str, Estimate]
    kl: Estimate


@dataclass(frozen=True, slots=True)
class Top:
    """A token that was often shifted.

    Attributes:
        token: as text.
        count: how often the tuned model says it.
        shifted: the share of these that the base model has beyond its third choice.
        rank: the median of its ranks under the base where it is shifted.
        instead: what the base model says most often in its place.
    """

    token: str
    count: int
    shifted: Estimate
    rank: float
    instead: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Shift:
    """The tuned model's answers, read by the base model; see `token_shift.py`.

    Attributes:
        rows, sources, tokens: that were read.
        ties: tokens that the base model holds to be exactly as likely as another.
        shares: of all tokens, those of each kind.
        kl: KL(tuned || base), in nats a token.
        moved: whether any token has another distribution at all.
        places: by their place in the answer.
        early: the KL of a row's first `first` tokens less that of its others, row by row.
        first: how many those are.
        top: tokens that were shifted most often.
        settings: of decoding.
        precision: number format of the products.
    """

    rows: int
    sources: int
    tokens: int
    ties: int
    shares: Mapping[str, Estimate]
    kl: Estimate
    moved: bool
    places: tuple[Place, ...]
    early: Estimate
    first: int
    top: tuple[Top, ...]
    settings: Mapping[str, Any]
    precision: str


@dataclass(frozen=True, slots=True)
class Moving:
    """A share before and after tuning, and the paired difference."""

    name: str
    base: Estimate
    tuned: Estimate
    gap: Estimate


@dataclass(frozen=True, slots=True)
class StyleAndFacts:
    """The general questions before and after: the style of free answers, and right choices."""

    questions: int
    style: Moving
    traits: tuple[Moving, ...]
    words: Moving
    facts: Moving


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """What the run's score is worth.

    Attributes:
        lines: the tuned model, the base model zero- and few-shot, and what needs no model.
        cells: definition × examples, and other orders of the examples.
        rows, sources: that variants were asked on.
        left: what could not be asked, and why.
    """

    lines: tuple[Line, ...]
    cells: tuple[Cell, ...]
    rows: int
    sources: int
    left: Mapping[str, str] = field(default_factory=dict[str, str])

    def cell(self, system: str, definition: str, examples: str) -> Cell | None:
        """Return one, where it was asked."""
        wanted = (system, definition, examples)
        return next((c for c in self.cells if (c.system, c.definition, c.examples) == wanted), None)

    def levels(self, system: str) -> tuple[list[str], list[str]]:
        """Return which definitions a model was asked with, and which examples and orders of them."""
        own = [cell for cell in self.cells if cell.system == system]
        asked = {cell.definition for cell in own} | {cell.examples for cell in own}
        rows, columns = DEFINITIONS, (*EXAMPLES, *ORDERS)
        return [one for one in rows if one in asked], [one for one in columns if one in asked]


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Explanation:
    """The superficiality card of a run. Parts that were not asked for are None.

    Attributes:
        name: of the run.
        measure: that leads, with what it is as `metric`.
        rows, sources: that the run was scored on.
        sentences: three, of what the numbers bear.
        made: answers that were made now, and not taken from a journal.
    """

    name: str
    measure: str
    metric: Metric
    rows: int
    sources: int
    card: Card | None = None
    shift: Shift | None = None
    style: StyleAndFacts | None = None
    sentences: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    made: int = 0

    plain = plain_of
    to_json = json_line

    def tables(self) -> Iterator[list[list[str]]]:
        """Yield its tables: of each the columns' names, then the rows."""
        if self.card:
            head = ["", self.metric.title, "tuned less that"]
            yield [head, *(self._line(one) for one in self.card.lines)]
            for system in dict.fromkeys(cell.system for cell in self.card.cells):
                yield self._cross(self.card, system)
        if self.shift:
            shares = [[kind, _share(one)] for kind, one in self.shift.shares.items()]
            yield [["tokens of the answers", "%"], *shares, ["KL, nats a token", _number(self.shift.kl)]]
        if self.style:
            moving = (self.style.style, self.style.facts)
            head = ["general questions", "base", "tuned", "difference"]
            yield [head, *([m.name, _share(m.base), _share(m.tuned), signed(m.gap)] for m in moving)]

    def _line(self, one: Line) -> list[str]:
        gap = signed(one.gap.estimate) if one.gap else ""
        return [one.name, self._reached(one.reached), gap]

    def _cross(self, card: Card, system: str) -> list[list[str]]:
        definitions, examples = card.levels(system)
        head = [f"{system}, asked with", *(name.replace("_", " ") for name in examples)]
        rows = [[card.cell(system, one, shown) for shown in examples] for one in definitions]
        told = [
            [f"{self._reached(c.reached)}{' *' if c.apart else ''}" if c else "" for c in row] for row in rows
        ]
        return [head, *([name, *row] for name, row in zip(definitions, told, strict=True))]

    def _reached(self, estimate: Estimate) -> str:
        return f"{figure(self.metric, estimate)} ({interval(estimate) or '–'})"

    @property
    def footing(self) -> str:
        """What the numbers are."""
        return (
            "Intervals at 95 %, by source. * marks changes that hold together. "
            "One training: nothing here says what another seed would do."
        )

    __str__ = as_text
    __repr__ = as_text


def _share(one: Estimate) -> str:
    return str(one)


def _number(one: Estimate) -> str:
    ends = f"{one.low:.3f} to {one.high:.3f}" if one.bounded else "–"
    return f"{one.value:.3f} ({ends})"
