"""Designs over sources of training rows: what each is worth, what it does to the others, how to mix them.

They take one factor whose levels are sources, and whose levels may be lists of them: `sources`, or `mixture`
where these are task files. What is scored is the same in all cells.

Left-one-out and one-in matrices: Longpre et al. 2023 (arXiv 2301.13688), Vu et al. 2020 (arXiv 2005.00770).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from espalier.comparison.records import least, shown_p
from espalier.core.errors import RecipeError, nearest
from espalier.core.text import some
from espalier.design.blocks import Block
from espalier.design.designs import Contrast, Design, Layout, designs, only_factor
from espalier.design.sources import Setting, arranged
from espalier.evaluate.sheet import interval, points

if TYPE_CHECKING:
    from collections.abc import Sequence

    from espalier.core.records import Estimate
    from espalier.design.blocks import Reading
    from espalier.design.factors import Varied
    from espalier.design.record import Effect

ARMS = {"epochs": "equal epochs", "steps": "equal steps"}
MOST = 12  # names in a sentence


@designs.register("leave_one_out")
def leave_one_out(*, arms: str | tuple[str, ...] = "epochs", own: bool = False) -> Design:
    """All sources, and all without each: what each is worth, at equal epochs, equal steps, or both arms.

    Args:
        arms: "epochs", "steps" (those of all sources), or "both".
        own: look at a source's own rows alone: what is lost where a task is held out of training.
    """
    chosen = arms_of(arms)

    def lay(factors: Sequence[Varied]) -> Layout:
        factor = only_factor(factors, "leave_one_out")
        if own:
            _with_rows(factor, "leave_one_out")
        every = list(factor.levels)
        settings = [Setting("all", every)]
        for arm in chosen:
            like = every if arm == "steps" else None
            told = f", {ARMS[arm]}" if len(chosen) > 1 else ""
            settings += [
                Setting(f"without {label}{told}", [one for one in every if one != level], like)
                for level, label in zip(factor.levels, factor.labels, strict=True)
            ]
        of = [(str(level), label) for _ in chosen for level, label in zip(every, factor.labels, strict=True)]
        contrasts = tuple(
            Contrast(
                (0,),
                (number,),
                ((0,),),
                ((number,),),
                (f"all, on {label}", f"{one.label}, on {label}"),
                level,
            )
            if own
            else Contrast((0,), (number,), ((0,),), ((number,),))
            for number, (one, (level, label)) in enumerate(zip(settings[1:], of, strict=True), 1)
        )
        names = [(label, arm) for arm in chosen for label in factor.labels]
        return Layout(
            tuple((number,) for number in range(len(settings))),
            contrasts,
            tuple(_told_of_arm(arm) for arm in chosen),
            (arranged(factor, settings),),
            lambda reading: [_worth(reading, names, arm) for arm in chosen],
        )

    return lay


def arms_of(arms: str | tuple[str, ...]) -> tuple[str, ...]:
    """Return the arms of a design. Raises RecipeError where one is none."""
    chosen = tuple(ARMS) if arms == "both" else (arms,) if isinstance(arms, str) else arms
    for arm in chosen:
        if arm not in ARMS:
            raise RecipeError(
                f"'{arm}' is no arm: there are epochs, steps, and both.",
                where="design.arms",
                hint=nearest(arm, [*ARMS, "both"]),
            )
    return tuple(dict.fromkeys(chosen))


def _with_rows(factor: Varied, design: str) -> None:
    """Refuse a factor that does not say which rows are of which level. Raises RecipeError."""
    if factor.group is None:
        raise RecipeError(
            f"The design '{design}' has to know which rows are of which level, and '{factor.name}' does not "
            "say it.",
            where=factor.where,
            hint='Take kind = "sources".',
        )


def _told_of_arm(arm: str) -> str:
    if arm == "epochs":
        return "Arm of equal epochs: fewer rows are fewer steps, so what is left out is rows and training."
    return "Arm of equal steps: fewer rows are seen more often."


def _worth(reading: Reading, names: Sequence[tuple[str, str]], arm: str) -> Block:
    """Return what each source is worth: all, less all without it."""
    found = [(name, effect) for (name, own), effect in zip(names, reading.effects, strict=True) if own == arm]
    verdicts = {name: _role(effect) for name, effect in found}
    said = [
        f"{'Harmful' if role == 'harms' else 'Of use' if role == 'helps' else 'Of no use'}: "
        f"{some([_with_gap(name, effect) for name, effect in found if verdicts[name] == role], MOST)}."
        for role in ("harms", "helps", "adds nothing")
        if role in verdicts.values()
    ]
    rest = [f"{name} (could see {least(e.compared)})" for name, e in found if not verdicts[name]]
    if rest:
        said.append(f"No effect can be seen of {some(rest, MOST)}.")
    worth = {name: reversed_of(effect.compared.difference) for name, effect in found}
    table = tuple(
        (
            name,
            points(worth[name]),
            interval(worth[name], signed=True) or "–",
            shown_p(effect.compared.corrected),
            least(effect.compared),
            verdicts[name] or "cannot be seen",
        )
        for name, effect in found
    )
    numbers = {
        "arm": arm,
        "sources": [
            {"source": n, "worth": e.value, "low": e.low, "high": e.high, "role": verdicts[n]}
            for n, e in worth.items()
        ],
    }
    head = ("source", "worth", "95 %", "p", "could see", "")
    return Block(f"What is each source worth, at {ARMS[arm]}?", tuple(said), head, table, (), numbers)


def _with_gap(name: str, effect: Effect) -> str:
    gap = reversed_of(effect.compared.difference)
    return f"{name} ({points(gap)}, {interval(gap, signed=True)})"


def _role(effect: Effect) -> str:
    """Return what a source does, from all without it against all."""
    return {"better": "harms", "worse": "helps", "as good": "adds nothing"}.get(effect.compared.verdict, "")


def reversed_of(gap: Estimate) -> Estimate:
    """Return a difference taken the other way round."""
    return replace(gap, value=-gap.value, low=-gap.high, high=-gap.low)


@designs.register("transfer")
def transfer() -> Design:
    """One source in, scored on all: what each does to each, against the untuned model."""

    def lay(factors: Sequence[Varied]) -> Layout:
        factor = only_factor(factors, "transfer")
        _with_rows(factor, "transfer")
        count = len(factor.levels)
        contrasts = tuple(
            Contrast(
                (0,),
                (source,),
                (),
                ((source,),),
                (f"untuned, on {factor.labels[on]}", f"{factor.labels[source]}, on {factor.labels[on]}"),
                str(factor.levels[on]),
            )
            for source in range(count)
            for on in range(count)
        )
        return Layout(
            tuple((number,) for number in range(count)),
            contrasts,
            ("Each side of an effect is the rows of one source; all of them are one family (Holm).",),
            (),
            lambda reading: [_matrix(reading, factor.labels)],
        )

    return lay


def _matrix(reading: Reading, names: Sequence[str]) -> Block:
    """Return what each source (rows) does to each (columns), in points against the untuned model."""
    found = [one.compared for one in reading.effects]
    rows = [found[start : start + len(names)] for start in range(0, len(found), len(names))]
    sign = reading.metric.sign
    gaps = [[one.metric.scale * one.difference.value for one in row] for row in rows]
    most = max((abs(gap) for row in gaps for gap in row if gap == gap), default=0) or 1.0
    apart = [
        (f"{source} on {on}", one)
        for source, row in zip(names, rows, strict=True)
        for on, one in zip(names, row, strict=True)
        if source != on
    ]
    said = [
        f"{title}: {some(told, MOST)}."
        if told
        else f"No {title.lower()} can be seen among {len(apart)} pairs."
        for title, verdict in (("Negative transfer", "worse"), ("Positive transfer", "better"))
        for told in (
            [
                f"{name} ({points(one.difference)}, {interval(one.difference, signed=True)})"
                for name, one in apart
                if one.verdict == verdict
            ],
        )
    ]
    mark = {"better": " +", "worse": " −"}
    table = tuple(
        (name, *(f"{points(one.difference)}{mark.get(one.verdict, '')}" for one in row))
        for name, row in zip(names, rows, strict=True)
    )
    said.append("Rows are what was trained on, columns what was asked; + and − are told from chance.")
    shades = tuple(tuple(0.0 if gap != gap else sign * gap / most for gap in row) for row in gaps)
    numbers = {
        "sources": list(names),
        "matrix": [[None if gap != gap else gap for gap in row] for row in gaps],
        "verdicts": [[one.verdict for one in row] for row in rows],
    }
    title = f"What does training on one source do to the others, in points of {reading.metric.title}?"
    return Block(title, tuple(said), ("trained on", *names), table, shades, numbers)
