"""The expressions of `patterns.toml`: what filters look for in many languages, apart from their code."""

from __future__ import annotations

import re
import tomllib
from functools import cache
from importlib.resources import files
from typing import Any


@cache
def _shipped() -> dict[str, Any]:
    return tomllib.loads((files("espalier.filters") / "patterns.toml").read_text(encoding="utf-8"))


def pattern(name: str) -> re.Pattern[str]:
    """Return the expression of a name."""
    return re.compile(joined(_shipped()[name]))


def refusals() -> list[tuple[re.Pattern[str], re.Pattern[str]]]:
    """Return of each language how a refusal begins, and what then says that its writer cannot."""
    return [
        (re.compile(rf"\W*(?:{joined(one['begins'])})"), re.compile(joined(one["unable"])))
        for one in _shipped()["refusal"]
    ]


def joined(text: str) -> str:
    """Return an expression without its line breaks, and with those in place that it names."""
    plain = "".join(line.strip(" ") for line in text.splitlines())
    return re.sub("«(\\w+)»", lambda name: joined(_shipped()[name.group(1)]), plain)
