"""What lays out every page: the templates, compiled once, with the style and the script they carry."""

from __future__ import annotations

import base64
import functools
import hashlib
import re
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from espalier.evaluate import sheet

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from jinja2 import Environment

UNWRITABLE = re.compile("[\0\ud800-\udfff]")  # NUL, and halves of characters, are no text of a page


def environment(filters: Mapping[str, Callable[..., Any]]) -> Environment:
    """Return Jinja with the templates of reports, numbers as `evaluate.sheet` shows them, and own filters.

    It is to be kept: to compile the report's templates takes longer than to write the report.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    made = Environment(
        loader=PackageLoader("espalier.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    numbers = (sheet.shown, sheet.interval, sheet.points, sheet.signed)
    made.filters.update({**{one.__name__: one for one in numbers}, **filters})
    return made


@functools.cache
def usual() -> Environment:
    """Return the templates for pages that have no filters of their own."""
    return environment({})


@functools.cache
def ours(name: str) -> Markup:
    """Return a style or a script as it stands in a page: it is ours, not the run's, and is not escaped."""
    return Markup(files("espalier.report").joinpath("templates", name).read_text(encoding="utf-8"))


def page_of(pages: Environment, name: str, shown: Mapping[str, Any], *scripts: str) -> str:
    """Return a page as it can be written.

    Args:
        pages: see `environment`.
        name: of the template, which extends `frame.html`.
        shown: what it shows.
        scripts: the names of the scripts that it carries as one, the only one that may run.
    """
    own = Markup("\n").join(map(ours, scripts))
    given = {
        "style": ours("report.css"),
        "script": own,
        "script_hash": base64.b64encode(hashlib.sha256(own.encode()).digest()).decode() if own else "",
    }
    return UNWRITABLE.sub("\ufffd", pages.get_template(name).render({**given, **shown}))
