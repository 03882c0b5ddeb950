"""Whether methods beat random order on a run's rows, and whether they do with random weights, too."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from espalier.attribution.parts.attribute import Refusals, attribute
from espalier.attribution.parts.curves import along, follow, mean_height, order_of, random_orders, seed_of
from espalier.attribution.parts.reading import Reader, randomised
from espalier.attribution.parts.record import Faith
from espalier.evaluate.statistics import paired_difference

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from espalier.attribution.parts.attribute import Case, Method, Row
    from espalier.attribution.parts.curves import Curve, Followed, Order
    from espalier.core.records import Estimate

    Curves = Mapping[str, Sequence[Sequence[Followed]]]  # by whose order; of each row none, one, or several

NETWORKS = 8  # of random weights; sources are dealt among them
STEPS = 20  # at which curves of unlike lengths are averaged


def faith(
    tuned: Reader, cases: Sequence[Case], scores: Mapping[Method, Sequence[Row]], refusals: Refusals
) -> tuple[list[Faith], int]:
    """Return whether each method beats random order, and how many networks of random weights were asked.

    Args:
        tuned: the model on which all orders are followed.
        cases: rows with their pieces.
        scores: of these, by method.
        refusals: where prompts that cannot be asked are counted.
    """
    sources = [case.prompt.example.source for case in cases]
    networks = _dealt(sources)
    control = _by_text(tuned, cases, [*scores], networks)
    orders: list[list[Order | None]] = []
    for row, case in enumerate(cases):
        seed = seed_of(case)
        own = [order_of(side[method][row], seed) for side in (scores, control) for method in scores]
        orders.append([*own, *random_orders(len(case.prompt.pieces), seed)])
    followed = follow(tuned, cases, orders, refusals)
    made: list[Faith] = []
    for place, method in enumerate(scores):
        spans = {
            "method": slice(place, place + 1),
            "control": slice(len(scores) + place, len(scores) + place + 1),
            "random": slice(2 * len(scores), None),
        }
        curves = {
            name: [[one for one in row[span] if one] for row in followed] for name, span in spans.items()
        }
        made.append(_faith(method, curves, sources, [str(network) for network in networks]))
    return made, len(set(networks))


def _dealt(sources: Sequence[str]) -> list[int]:
    """Return each row's network: sources are dealt in turn, so that chance in one network is seen as such."""
    numbers = {source: number % NETWORKS for number, source in enumerate(dict.fromkeys(sources))}
    return [numbers[source] for source in sources]


def _by_text(
    tuned: Reader, cases: Sequence[Case], methods: Sequence[Method], networks: Sequence[int]
) -> dict[Method, list[Row]]:
    """Return the scores under random weights: what a method says of the text alone."""
    made: dict[Method, list[Row]] = {method: [()] * len(cases) for method in methods}
    for network in sorted(set(networks)):
        mine = [row for row, one in enumerate(networks) if one == network]
        loaded = randomised(tuned.loaded, network)
        reader = Reader(f"random weights {network + 1}", loaded, tuned.store)
        # What a template refuses, it refuses of the tuned model as well, and is counted there.
        for method, rows in attribute(reader, [cases[row] for row in mine], methods, Refusals()).items():
            for row, scores in zip(mine, rows, strict=True):
                made[method][row] = scores
        tuned.made += reader.made
    return made


def _faith(method: Method, curves: Curves, sources: Sequence[str], networks: Sequence[str]) -> Faith:
    """Return a method's areas: of random weights by network, each of which has sources of its own."""

    def area(name: str, of: Callable[[Followed], Curve], sign: int, groups: Sequence[str]) -> Estimate:
        heights = [
            [sign * mean_height([of(one) for one in row]) if row else None for row in curves[whose]]
            for whose in ("random", name)
        ]
        return replace(paired_difference(heights[0], heights[1], groups), scale=1.0)

    def deletion(one: Followed) -> Curve:
        return one.deletion

    def insertion(one: Followed) -> Curve:
        return one.insertion

    return Faith(
        method=method,
        deletion=area("method", deletion, 1, sources),
        insertion=area("method", insertion, -1, sources),
        control_deletion=area("control", deletion, 1, networks),
        control_insertion=area("control", insertion, -1, networks),
        curves={name: _mean_curve(rows) for name, rows in curves.items()},
    )


def _mean_curve(rows: Sequence[Sequence[Followed]]) -> tuple[float, ...]:
    """Return the mean deletion curve at even steps, less its beginning; nothing where there is none."""
    found: list[list[float]] = []
    for row in rows:
        curves = [along(one.deletion, STEPS) for one in row]
        if curves:
            found.append([sum(step) / len(curves) - curves[0][0] for step in zip(*curves, strict=True)])
    return tuple(sum(step) / len(found) for step in zip(*found, strict=True))
