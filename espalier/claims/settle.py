"""Claims settled one by one: planned, their rules written down, run, and judged.

What a claim promises not to be able to see is not run: that is its verdict, and costs nothing. What is done
is not done again; a claim that was interrupted goes on, since its study does. One process holds the folder.
"""

from __future__ import annotations

import time
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING

from espalier.claims.ledger import Ledger, Line, read_ledger, write_ledger
from espalier.claims.measures import Measuring, Work, measures
from espalier.claims.page import render
from espalier.claims.plan import promised
from espalier.claims.verdict import judged, unseen
from espalier.core.errors import EspalierError, RecipeError
from espalier.core.files import write_atomic
from espalier.core.run import open_run
from espalier.core.text import counted
from espalier.runs.events import say
from espalier.runs.start import start
from espalier.study.cells import planned
from espalier.study.study import study
from espalier.tasks.once import reading_once

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from espalier.claims.claim import Claim


def settle(
    claims: Sequence[Claim], folder: Path, cache: Path, *, plan: bool = False, anyway: bool = False
) -> Ledger:
    """Return a line for each claim, and write `ledger.json` and `claims.html` in the folder.

    Args:
        claims: to be settled.
        folder: of the ledger; each claim has a folder in it.
        cache: folder of converted models.
        plan: run nothing, and write nothing but derived files.
        anyway: run what promises to be under-powered, too.

    Raises:
        EspalierError: the ledger cannot be read, or is held by another process. What is wrong with a claim
            stands in its line.
    """
    with open_run(folder), reading_once() if plan else nullcontext():
        lines = read_ledger(folder)
        for number, claim in enumerate(claims):
            known = lines.get(claim.name)
            line = _before(claim, known, folder, anyway)
            if plan:
                lines[claim.name] = line
                continue
            lines[claim.name] = (
                line if line.verdict != "planned" else replace(line, verdict="open", reason="")
            )
            write_ledger(folder, lines)  # the rule's hash is there before anything is run
            if line.verdict == "planned":
                say(f"Claim {number + 1} of {len(claims)}: {claim.claim}")
                _run(claim, folder, cache, lines)
        found = Ledger(tuple(lines[claim.name] for claim in claims))
        if not plan:
            write_atomic(folder / "claims.html", render(Ledger(tuple(lines.values()))))
    return found


def _before(claim: Claim, known: Line | None, folder: Path, anyway: bool) -> Line:
    """Return a claim's line before it is run: its verdict if it has one, or "planned"."""
    began = bool(known and known.began and (folder / claim.name / "runs").exists())
    if known and began and (known.done or known.hash != claim.hash):
        return replace(known, struck=known.hash != claim.hash)
    line = Line(
        name=claim.name,
        claim=claim.claim,
        paper=f"{claim.source.paper}{f' (arXiv {claim.source.arxiv})' if claim.source.arxiv else ''}",
        found=claim.source.found,
        small=claim.small,
        hash=claim.hash,
        began=began,
        minutes=known.minutes if known and began else 0.0,
        published=_published(claim),
    )
    lacking = claim.lacking
    if claim.needs and lacking:
        return replace(line, reason=lacking)
    try:
        promise = promised(claim, _measuring(claim), folder)
    except EspalierError as error:
        return replace(line, reason=f"It cannot be planned: {error}")
    line = replace(line, visible=promise.visible, promised=promise.minutes, trainings=promise.trainings)
    if promise.visible > claim.rule.effect and not (anyway or began):
        why = " ".join(filter(None, ("Not run.", unseen(claim.rule, promise.visible), lacking)))
        return replace(line, verdict="under-powered", reason=why)
    if lacking:
        return replace(line, reason=lacking)
    return replace(line, verdict="planned", reason=f"To be run: {counted(promise.trainings, 'training')}.")


def _measuring(claim: Claim) -> Measuring:
    made = measures.build(claim.measured.kind, claim.measured.params, "measured")
    has = "study" if claim.study.factor else "run"
    if made.of != has:
        wants = "a factor to vary" if made.of == "study" else "one run, and no factor"
        raise RecipeError(f"'{claim.measured.kind}' wants {wants}.", where="study.factor")
    return made


def _run(claim: Claim, folder: Path, cache: Path, lines: dict[str, Line]) -> None:
    """Run a claim and put its verdict into the lines; what it took counts where it is interrupted, too."""
    line = replace(lines[claim.name], began=True, reason="It was begun, and is not finished.")
    (folder / claim.name).mkdir(exist_ok=True)
    lines[claim.name] = line
    write_ledger(folder, lines)
    clock = time.monotonic()
    try:
        line = _answered(claim, line, _worked(claim, folder, cache))
    except EspalierError as error:
        line = replace(line, reason=f"It could not be run: {error}")
        say(line.reason)
    finally:
        lines[claim.name] = replace(line, minutes=line.minutes + (time.monotonic() - clock) / 60)
        write_ledger(folder, lines)


def _worked(claim: Claim, folder: Path, cache: Path) -> Work:
    """Carry out a claim's study, or its runs."""
    metric, margin = claim.study.metric, claim.margin
    if not claim.study.factor:
        runs = [start(recipe, cache).path for recipe in claim.recipes(folder)]
        return Work(None, None, runs, metric, margin, cache)
    asked = claim.asked(folder)
    found = study(asked, cache)
    return Work(planned(asked), found, [], metric, margin, cache)


def _answered(claim: Claim, line: Line, work: Work) -> Line:
    measured = _measuring(claim).read(work)
    verdict, reason = judged(claim.rule, measured)
    return replace(
        line,
        done=True,
        verdict=verdict,
        reason=reason,
        what=measured.what,
        value=measured.value,
        low=measured.low,
        high=measured.high,
        visible=measured.visible,
        page=f"{claim.name}/{measured.page}",
    )


def _published(claim: Claim) -> str:
    rule = claim.rule
    if rule.direction == "within":
        return f"{rule.origin:g} ± {rule.effect:g}"
    return f"{rule.published:g}".replace("-", "−")
