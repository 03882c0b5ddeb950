"""What determines what a choice of a recipe does: its parameters, the files that they name, and its code.

Stages are keyed by it, so that what was made is made again where any of these is another, and only there.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from espalier.builds.code_hash import code_hash
from espalier.core.errors import RecipeError
from espalier.core.files import file_sha256
from espalier.core.registry import imported

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from espalier.core.recipe import Choice
    from espalier.core.registry import Registry

FUNCTION = re.compile(r"[\w.]+:\w+")  # of somebody else's module


def choice_key(registry: Registry[Any], choice: Choice) -> list[Any]:
    """Return what determines what a choice does. Raises RecipeError where there is none of its kind."""
    params = registry.filled(choice.kind, choice.params)
    code = [code_hash(registry.find(choice.kind)), *_named_code(params.values())]
    return [choice.kind, params, named_files(params.values()), code]


def named_files(values: Iterable[object]) -> list[str]:
    """Return the hashes of the files that parameters name, and of all files of the folders."""
    hashes: list[str] = []
    for value in _texts(values):
        if os.path.exists(value):
            within = sorted(Path(value).rglob("*")) if os.path.isdir(value) else [Path(value)]
            hashes += [file_sha256(file) for file in within if file.is_file()]
    return hashes


def _named_code(values: Iterable[object]) -> list[str]:
    """Return the hashes of the functions that parameters name, such as those of a judge."""
    hashes: list[str] = []
    for value in _texts(values):
        if FUNCTION.fullmatch(value):
            with suppress(RecipeError):  # it is no function, but a text that looks like one
                hashes.append(code_hash(imported(value, "")))
    return hashes


def _texts(values: Iterable[object]) -> Iterator[str]:
    for value in values:
        if isinstance(value, list | tuple):
            yield from _texts(cast("list[object]", value))
        elif isinstance(value, str) and value:
            yield value
