"""What may be written next, so that a text comes out as it has to: one of some choices, or by an expression.

An automaton knows no row: a row keeps the state that it is in. Choices are ours, as they are a few lines.
Regular expressions, which JSON schemas are turned into, are outlines-core's (docs/decisions/strategies.md).
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from functools import lru_cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np

from espalier.core.errors import MissingExtra, RecipeError
from espalier.sandbox.patterns import too_many_states

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from espalier.encode.spelling import Spelling

# What outlines-core passes over in a schema, and holds names in place of keywords.
UNKEPT = {
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "uniqueItems",
    "contains",
}
UNKEPT |= {"not", "if", "then", "else", "patternProperties", "propertyNames", "dependentRequired"}
NAMED = ("properties", "$defs", "definitions")
MASKS = 512  # kept of an automaton: as many bytes each as the vocabulary has tokens


class Automaton(Protocol):
    """Which tokens may follow: `start` is the state before the first."""

    start: Any

    def allowed(self, state: Any) -> NDArray[np.bool_]:
        """Return of each token whether it may be next [V], V as many as the tokenizer has."""
        ...

    def after(self, state: Any, token: int) -> Any:
        """Return the state behind a token that was allowed."""
        ...

    def complete(self, state: Any) -> bool:
        """Say whether the text may end here."""
        ...


class Choices:
    """One of some texts, in any tokens that spell it. A state is what is written."""

    def __init__(self, choices: tuple[str, ...], spelling: Spelling, size: int) -> None:
        self.start = b""
        self._choices = {f"{spelling.lead}{choice}{spelling.ending}".encode() for choice in choices}
        self._tokens = spelling.tokens
        self._size = size
        self._spelling: defaultdict[bytes, list[int]] = defaultdict(list)
        for token, text in spelling.tokens.items():
            self._spelling[text].append(token)
        self.allowed = lru_cache(MASKS)(self._allowed)

    def _allowed(self, state: bytes) -> NDArray[np.bool_]:
        mask = np.zeros(self._size, bool)
        for choice in self._choices:
            rest = choice[len(state) :] if choice.startswith(state) else b""
            for end in range(1, len(rest) + 1):
                mask[self._spelling.get(rest[:end], [])] = True
        return mask

    def after(self, state: bytes, token: int) -> bytes:
        """Return what is written then."""
        return state + self._tokens[token]

    def complete(self, state: bytes) -> bool:
        """Say whether one of the choices is written."""
        return state in self._choices


class Expression:
    """A text that a regular expression matches whole. A state is a number of outlines-core's."""

    def __init__(self, index: Any, size: int) -> None:
        self._index = index
        self._size = size
        self.start: int = index.get_initial_state()
        self.allowed = lru_cache(MASKS)(self._allowed)

    def _allowed(self, state: int) -> NDArray[np.bool_]:
        mask = np.zeros(self._size + 1, bool)
        mask[self._index.get_allowed_tokens(state) or []] = True
        return mask[:-1]  # the last is what outlines-core ends with

    def after(self, state: int, token: int) -> int:
        """Return the state behind the token."""
        return self._index.get_next_state(state, token)

    def complete(self, state: int) -> bool:
        """Say whether the expression matches."""
        return self._index.is_final_state(state)


class Automata:
    """Makes the automata of one tokenizer, each once."""

    def __init__(self, spelling: Spelling) -> None:
        self._spelling = spelling
        self._size = 1 + max(spelling.tokens)
        self._vocabulary: Any = None
        self._made: dict[str, Automaton] = {}

    def of(self, constraint: Mapping[str, Any]) -> Automaton:
        """Return what keeps to a constraint: {"choices": …}, {"regex": …} or {"schema": …}.

        Raises:
            RecipeError: it cannot be kept to.
            MissingExtra: outlines-core, which keeps to the last two, is not installed.
        """
        key = json.dumps(constraint, sort_keys=True)
        if key not in self._made:
            ((kind, value),) = constraint.items()
            self._made[key] = (
                Choices(tuple(value), self._spelling, self._size)
                if kind == "choices"
                else self._expression(kind, value)
            )
        return self._made[key]

    def _expression(self, kind: str, value: Any) -> Expression:
        core = outlines_core()
        if self._vocabulary is None:
            ids: defaultdict[bytes, list[int]] = defaultdict(list)
            for token, text in self._spelling.tokens.items():
                if text:
                    ids[text].append(token)
            self._vocabulary = core.Vocabulary(self._size, ids)
        expression = value if kind == "regex" else regex_of(value)
        around = self._spelling.lead, self._spelling.ending
        lead, ending = (re.escape(text) for text in around)
        whole = f"{lead}({expression}){ending}"
        if too_many_states(whole):
            raise RecipeError(
                "Its automaton has too many states to be built.",
                where=f"decode.{kind}",
                hint="Repetitions of what can match in several ways multiply them, as .*a.{20} does.",
            )
        try:
            index = core.Index(whole, self._vocabulary)
        except ValueError as error:
            raise RecipeError(f"It cannot be kept to: {_line(error)}.", where=f"decode.{kind}") from None
        return Expression(index, self._size)


def regex_of(schema: Any) -> str:
    """Return the expression of the JSON texts of a schema, their keys in its order.

    Raises:
        RecipeError: it holds what an expression cannot say, or is no schema.
        MissingExtra: outlines-core is not installed.
    """
    core = outlines_core()
    unkept = sorted(_keywords(schema) & UNKEPT)
    if unkept:
        raise RecipeError(
            f"'{unkept[0]}' cannot be kept to while an answer is written.",
            where="decode.schema",
            hint="Leave it out of this schema; the scorer 'json' checks answers by a row's whole one.",
        )
    try:
        return core.json_schema.build_regex_from_schema(json.dumps(schema))
    except ValueError as error:
        raise RecipeError(f"The schema cannot be kept to: {_line(error)}.", where="decode.schema") from None


def outlines_core() -> Any:
    """Return the package. Raises MissingExtra."""
    try:
        core = cast("Any", import_module("outlines_core"))
        import_module("outlines_core.json_schema")
    except ImportError:
        raise MissingExtra("Keeping answers to a regular expression or a JSON schema", "constrain") from None
    return core


def _keywords(schema: Any) -> set[str]:
    """Return the keywords in a schema and those in it; names of properties are none."""
    if isinstance(schema, list):
        return {word for part in schema for word in _keywords(part)}
    if not isinstance(schema, dict):
        return set()
    inner = [
        [*value.values()] if key in NAMED and isinstance(value, dict) else value
        for key, value in schema.items()
        if key not in ("const", "enum", "default", "examples")
    ]
    return {*schema, *_keywords(inner)}


def _line(error: Exception) -> str:
    return str(error).splitlines()[0].rstrip(" .")
