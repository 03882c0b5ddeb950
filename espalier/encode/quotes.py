"""Names of special tokens that a conversation quotes: where they are, and the conversation without them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

from espalier.encode.kept import texts_in

if TYPE_CHECKING:
    import re

# Stands for a quoted name; no text and no tokenizer has it.
STUB = "\u241fname\u241f"
# What transformers sets around quoted names while it renders, and so drops from messages.
MARKS = ("\U000f0000", "\U000f0001")


def names_in(value: Any, control: re.Pattern[str]) -> set[str]:
    """Return the names of control tokens in the texts of a tree of lists and dictionaries."""
    return {name for text in texts_in(value) for name in control.findall(text)}


def unnamed(value: Any, control: re.Pattern[str]) -> Any:
    """Return the tree with a word in place of each name of a control token."""
    if isinstance(value, str):
        return control.sub(STUB, value)
    if isinstance(value, dict):
        items = cast("dict[str, Any]", value).items()
        return {unnamed(key, control): unnamed(item, control) for key, item in items}
    if isinstance(value, list | tuple):
        return [unnamed(item, control) for item in cast("Sequence[Any]", value)]
    return value


def marked(value: Any) -> bool:
    """Say whether a text holds one of the marks that transformers would drop."""
    return any(mark in text for text in texts_in(value) for mark in MARKS)
