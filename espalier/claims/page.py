"""The page of the ledger: each claim with its verdict, the number, its price, and why small may differ."""

from __future__ import annotations

from typing import TYPE_CHECKING

from espalier.claims.ledger import number
from espalier.comparison.page import pages
from espalier.report.layout import ours
from espalier.report.page import UNWRITABLE

if TYPE_CHECKING:
    from espalier.claims.ledger import Ledger


def render(ledger: Ledger) -> str:
    """Return the page."""
    page = pages().get_template("claims.html")
    shown = page.render(style=ours("report.css"), ledger=ledger, number=number)
    return UNWRITABLE.sub("\ufffd", shown)
