"""The page of an influence record: for each query the rows that helped and hurt, and what was checked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from markupsafe import Markup

from espalier.attribution.influence.record import LIST, TITLES, number
from espalier.report.page import UNWRITABLE

if TYPE_CHECKING:
    from espalier.attribution.influence.check_record import Checked
    from espalier.attribution.influence.record import Influence


def render(found: Influence, checked: Checked | None = None) -> str:
    """Return the page; `checked` is what came of removing rows, where that was done."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    loader = PackageLoader("espalier.report", "templates")
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.globals["number"] = number
    page = environment.get_template("influence.html").render(
        style=Markup(loader.get_source(environment, "report.css")[0]),
        found=found,
        checked=checked,
        titles=TITLES,
        most=min(LIST, found.rows),
    )
    return UNWRITABLE.sub("\ufffd", page)
