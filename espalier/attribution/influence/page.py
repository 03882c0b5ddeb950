"""The page of an influence record: for each query the rows that helped and hurt, and what was checked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from espalier.attribution.influence.record import HEADS, LIST, number
from espalier.report.layout import page_of, usual

if TYPE_CHECKING:
    from espalier.attribution.influence.check_record import Checked
    from espalier.attribution.influence.record import Influence


def render(found: Influence, checked: Checked | None = None) -> str:
    """Return the page; `checked` is what came of removing rows, where that was done."""
    shown = {
        "found": found,
        "checked": checked,
        "titles": HEADS,
        "number": number,
        "most": min(LIST, found.rows),
    }
    return page_of(usual(), "influence.html", shown)
