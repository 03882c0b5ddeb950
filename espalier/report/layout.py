"""What lays out every page: the templates, compiled once, with the style and the script they carry."""

from __future__ import annotations

import functools
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from jinja2 import Environment


def environment(filters: Mapping[str, Callable[..., Any]]) -> Environment:
    """Return Jinja with the templates of reports, and filters of a page's own.

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
    made.filters.update(filters)
    return made


@functools.cache
def ours(name: str) -> Markup:
    """Return a style or a script as it stands in a page: it is ours, not the run's, and is not escaped."""
    return Markup(files("espalier.report").joinpath("templates", name).read_text(encoding="utf-8"))
