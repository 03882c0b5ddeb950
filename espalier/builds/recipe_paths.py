"""Which keys of a build's recipe hold paths, and what else a text may be there: one list for all of them.

A relative path is meant from the recipe's file, whether it leads somewhere or not, so that the error names
the place that was looked at. What a parameter of somebody else's step or filter is, nobody says: there a text
is a path if a file of that name lies beside the recipe.
"""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from espalier.core.recipe_paths import PathKey, may_hold_rows
from espalier.formats.hub import is_hub_name
from espalier.tasks.task_files import BUNDLED

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

OF_CHOICE = {"kind", "name", "rows", "keep"}  # keys of a step or a filter that are no parameters


def _is_task(text: str) -> bool:
    return text in BUNDLED


def _is_set(text: str) -> bool:
    return _is_task(text) or is_hub_name(text)


def _is_template(text: str) -> bool:
    from espalier.templating.template import shipped  # with it comes jinja2

    return text in shipped()


def _is_word(text: str) -> bool:
    return text in BUNDLED or not (os.sep in text or text.endswith((".json", ".toml")))


def _is_model(text: str) -> bool:
    return not text.startswith((".", os.sep))


def _asks(table: Mapping[str, Any]) -> bool:
    return table.get("use") == "prompts"


def _here(table: Mapping[str, Any]) -> bool:
    return not table.get("server")


PATHS = (
    PathKey("source", "path", may_hold_rows, _is_set),
    PathKey("source", "template", os.path.isfile, _is_template),
    PathKey("source", "task", os.path.isfile, _is_word, _asks),
    PathKey("model", "name", os.path.isdir, _is_model, _here),
    PathKey("mix", "tokenizer", os.path.isdir, _is_model),
    PathKey("generate", "task", os.path.isfile, _is_task),
    PathKey("filter", "tests", may_hold_rows, _is_set),
    PathKey("filter", "embeddings", os.path.isdir, _is_model),
)


def paths_in(table: Mapping[str, Any]) -> list[PathKey]:
    """Return the keys that hold paths in a recipe's table as TOML gives it."""
    return [*PATHS, *_of_others(table)]


def _of_others(table: Mapping[str, Any]) -> Iterator[PathKey]:
    for section in ("generate", "filter"):
        inner = table.get(section)
        for choice in cast("list[object]", inner if isinstance(inner, list) else []):
            known = cast("dict[str, Any]", choice) if isinstance(choice, dict) else {}
            if ":" in str(known.get("kind", "")):
                for key in known.keys() - OF_CHOICE - {one.key for one in PATHS if one.section == section}:
                    yield PathKey(section, key, os.path.isfile, holds=partial(_is_of, known["kind"]))


def _is_of(kind: str, table: Mapping[str, Any]) -> bool:
    return table.get("kind") == kind
