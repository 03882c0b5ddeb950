"""A study from its file to its page: planned, carried out, and read as effects."""

from __future__ import annotations

from typing import TYPE_CHECKING

from espalier.core.files import write_atomic, write_changed
from espalier.core.run import open_run
from espalier.runs.events import working
from espalier.study.ahead import check_ahead
from espalier.study.carrying_out import carry_out, read_book, write
from espalier.study.cells import planned
from espalier.study.effects import findings, reached
from espalier.study.page import render

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from espalier.design.recipe import StudyRecipe
    from espalier.design.record import Findings


def study(asked: StudyRecipe, cache: Path, *, anyway: bool = False, assume: Sequence[str] = ()) -> Findings:
    """Carry out a study, and return what it found; one that cannot see its margin only if `anyway`.

    Its folder then has `study.toml`, `study.json` (each cell with its folder), `effects.json`, `effects.csv`
    and `study.html`. What is done is not done again; what was interrupted goes on.

    Raises:
        EspalierError: in one sentence what is wrong, and what to do.
    """
    with open_run(asked.path):
        book = read_book(asked.path)
        with working("Planning", aloud=False):
            plan = planned(asked, book.folders)
        check_ahead(plan, book, cache, assume, anyway=anyway)
        write_changed(asked.path / "study.toml", asked.to_toml().encode())
        carry_out(plan, book, cache)
        while plan.layout.next:  # a design that grows with what it finds
            layout = plan.layout.next(reached(plan))
            with working("Planning what follows", aloud=False):
                plan = planned(asked, book.folders, layout)
            carry_out(plan, book, cache)
        write(plan, book)
        with working("Reading the cells", aloud=False):
            found = findings(plan)
        write_atomic(asked.path / "effects.json", found.to_json() + "\n")
        write_atomic(asked.path / "effects.csv", found.csv())
        write_atomic(asked.path / "study.html", render(found))
    return found
