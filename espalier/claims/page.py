"""The page of the ledger: each claim with its verdict, the number, its price, and why small may differ."""

from __future__ import annotations

from typing import TYPE_CHECKING

from espalier.claims.ledger import number
from espalier.comparison.page import pages
from espalier.report.layout import page_of

if TYPE_CHECKING:
    from espalier.claims.ledger import Ledger


def render(ledger: Ledger) -> str:
    """Return the page."""
    return page_of(pages(), "claims.html", {"ledger": ledger, "number": number})
