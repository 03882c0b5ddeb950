"""The ten outputs that the report shows side by side: where tuning helped most, least, and at random."""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from espalier.evaluate.measures import ALL
from espalier.evaluate.unseen import BLIND

if TYPE_CHECKING:
    from espalier.evaluate.score_records import Row
    from espalier.evaluate.scores import Scores
    from espalier.report.gather import Material

SHARES = (("Best", 3), ("Worst", 3), ("Random", 4))


@dataclass(frozen=True)
class Answer:
    """What one system wrote, with the checks that it broke and why, and what the scorers say of it."""

    text: str
    finish: str
    passes: float | None
    broken: list[tuple[str, str]]
    scores: dict[str, float]


@dataclass(frozen=True)
class Pick:
    """One test row: why it was picked, what was asked, what is accepted, and both answers.

    `media` are the hashes of its pictures and sounds, and `blind` is what was answered without them.
    """

    reason: str
    input: str
    references: tuple[str, ...]
    base: Answer
    tuned: Answer
    blind: Answer | None = None
    media: tuple[str, ...] = ()


def pick(material: Material) -> list[Pick]:
    """Return up to ten rows by what `picked_by` says, best and worst; the rest at random (seeded)."""
    rows = [row for row in material.scores.examples if {"tuned", "base"} <= row.systems.keys()]
    rows = [row for row in rows if all((system, row.id) in material.outputs for system in ("tuned", "base"))]
    checks, scorer = _order(material.scores)
    ranked = sorted(rows, key=partial(_gain, checks=checks, scorer=scorer), reverse=True)
    shuffled = random.Random(material.scores.seed).sample(rows, len(rows))
    orders = {"Best": ranked, "Worst": ranked[::-1], "Random": shuffled}
    taken: set[str] = set()
    picks: list[Pick] = []
    for reason, share in SHARES:
        fresh = [row for row in orders[reason] if row.id not in taken][:share]
        taken |= {row.id for row in fresh}
        picks += [_pick(material, row, reason) for row in fresh]
    return picks


def picked_by(scores: Scores) -> str:
    """Return in words by what rows are picked."""
    checks, scorer = _order(scores)
    by = [
        *(["by checks passed"] if checks else []),
        *([f"by {scores.metric(scorer).within}"] if scorer else []),
    ]
    return ", then ".join(by)


def _order(scores: Scores) -> tuple[list[str], str]:
    """Return the checks, and the scorer that leads; '' where there is none."""
    tuned = scores.systems.get("tuned")
    if not tuned:
        return [], ""
    scorers = [name for name in scores.measures if name in tuned.scores]
    return [*tuned.checks, *([ALL] if tuned.all_checks else [])], next(iter(scorers), "")


def _gain(row: Row, checks: list[str], scorer: str) -> tuple[float, float]:
    tuned, base = (row.systems[system] for system in ("tuned", "base"))

    def over(names: list[str]) -> float:
        return sum((tuned[name].value or 0.0) - (base[name].value or 0.0) for name in names)

    return over(checks), over([scorer] if scorer else [])


def _pick(material: Material, row: Row, reason: str) -> Pick:
    example = next((e for e in material.test if e.id == row.id), None)
    blind = BLIND in row.systems and (BLIND, row.id) in material.outputs
    return Pick(
        reason=reason,
        input=example.input if example else f"example {row.id}",
        references=example.references if example else (),
        base=_answer(material, row, "base"),
        tuned=_answer(material, row, "tuned"),
        blind=_answer(material, row, BLIND) if blind else None,
        media=tuple(one.sha256 for one in example.media) if example else (),
    )


def _answer(material: Material, row: Row, system: str) -> Answer:
    verdicts, output = row.systems[system], material.outputs[system, row.id]
    values = {name: score.value for name, score in verdicts.items()}
    return Answer(
        text=output["text"],
        finish=output.get("finish", "stop"),
        passes=values.get(ALL),
        broken=[
            (name.replace("_", " "), score.why)
            for name, score in verdicts.items()
            if score.value == 0 and score.why
        ],
        scores={
            name: value
            for name in material.scores.systems[system].scores
            if (value := values.get(name)) is not None
        },
    )
