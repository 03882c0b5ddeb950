"""How much each piece of a prompt adds to an answer's log-probability, by each method.

A score is what the model loses without the piece: the log-probability of the answer behind the prompt as it
is, less that behind the changed one, in nats. *leave_out* drops the piece, *neutral* puts full stops in its
place, *swap* another task's piece, and *gradient* is the first-order guess of leaving out (gradient × input).
"""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, get_args

from espalier.attribution.parts.changes import CHANGES, changed
from espalier.attribution.parts.places import shares
from espalier.core.errors import TemplateError

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence
    from typing import TypeAlias

    import numpy as np
    from numpy.typing import NDArray

    from espalier.attribution.parts.prompt import Prompt
    from espalier.attribution.parts.reading import Asked, Reader
    from espalier.core.records import Message
    from espalier.encode.template import Template

    Row: TypeAlias = "Sequence[float | None]"  # a piece's score, or None where it has none

Method = Literal["leave_out", "neutral", "swap", "gradient"]
METHODS: tuple[Method, ...] = get_args(Method)


@dataclass(frozen=True, slots=True)
class Case:
    """A row with the answer that is weighed.

    Attributes:
        prompt: its pieces.
        answer: the answer's token ids, with what ends it.
        changed: the prompt with one piece changed, by the change and the piece's place.
    """

    prompt: Prompt
    answer: tuple[int, ...]
    changed: Mapping[tuple[str, int], tuple[Message, ...]]


@dataclass
class Refusals:
    """What could not be asked, by the reason."""

    counts: Counter[str] = field(default_factory=Counter[str])

    @contextmanager
    def counted(self, what: str) -> Generator[None]:
        """Count what the template refuses meanwhile."""
        try:
            yield
        except TemplateError as error:
            self.counts[f"{what}: {error.message}"] += 1

    def asked(self, messages: Sequence[Message], answer: tuple[int, ...], template: Template) -> Asked | None:
        """Return the ids of a changed prompt and the answer; None where the model cannot be asked so."""
        with self.counted("The template refuses a changed prompt"):
            ids = template.prompt_ids(messages)
            if len(ids) + len(answer) <= template.context:
                return ids, answer
            self.counts["A changed prompt with its answer is longer than the model's context."] += 1
        return None


def case_of(
    prompt: Prompt, answer: tuple[int, ...], donor: Prompt, template: Template, refusals: Refusals
) -> Case:
    """Return a row with each of its pieces changed in each way; `donor` gives what is swapped in."""
    made: dict[tuple[str, int], tuple[Message, ...]] = {}
    for change in CHANGES:
        for place in range(len(prompt.pieces)):
            with refusals.counted("The template refuses a changed prompt"):
                if messages := changed(change, prompt, place, donor, template):
                    made[change, place] = messages
    return Case(prompt, answer, made)


def attribute(
    reader: Reader, cases: Sequence[Case], methods: Sequence[Method], refusals: Refusals
) -> dict[Method, list[Row]]:
    """Return each piece's score in each row, by method; all variants of all rows are weighed together."""
    template = reader.loaded.template
    whole = [refusals.asked(case.prompt.messages(), case.answer, template) for case in cases]
    variants = {
        (row, change, place): asked
        for row, case in enumerate(cases)
        for (change, place), messages in case.changed.items()
        if change in methods and whole[row] and (asked := refusals.asked(messages, case.answer, template))
    }
    asked = [*(one for one in whole if one), *variants.values()]
    weighed = dict(zip(asked, reader.weigh(asked), strict=True))

    def score(row: int, change: str, place: int) -> float | None:
        full, one = whole[row], variants.get((row, change, place))
        return weighed[full] - weighed[one] if full and one else None

    made: dict[Method, list[Row]] = {}
    for method in methods:
        if method == "gradient":
            made[method] = _gradients(reader, cases, whole, refusals)
        else:
            sizes = [range(len(case.prompt.pieces)) for case in cases]
            made[method] = [[score(row, method, place) for place in size] for row, size in enumerate(sizes)]
    return made


def _gradients(
    reader: Reader, cases: Sequence[Case], whole: Sequence[Asked | None], refusals: Refusals
) -> list[Row]:
    """Return gradient × input of each piece's tokens, a token of two pieces in parts."""
    owned: dict[int, tuple[Asked, NDArray[np.float64]]] = {}
    for row, (case, asked) in enumerate(zip(cases, whole, strict=True)):
        with refusals.counted("No gradient of a row"):
            if asked:
                owned[row] = asked, shares(case.prompt, reader.loaded.template)
    found = reader.gradients([asked for asked, _ in owned.values()])
    made: list[Row] = [[None] * len(case.prompt.pieces) for case in cases]
    for (row, (_, shared)), products in zip(owned.items(), found, strict=True):
        made[row] = (shared @ products).tolist()
    return made
