"""What a row's answer is chosen from: its options, and which of them is right.

They are `facts["options"]`. Which is right is `facts["answer"]`, a place from 0, or else the reference: the
option's text, its letter, or its place from 0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias, cast

from espalier.core.errors import DataError
from espalier.core.text import unpunctuated

if TYPE_CHECKING:
    from collections.abc import Sequence

    from espalier.core.records import Example

Normalise: TypeAlias = Literal["none", "characters", "tokens", "bytes"]

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def options_of(example: Example) -> tuple[str, ...]:
    """Return what a row's answer is chosen from. Raises DataError: there are not two, or two are the same."""
    given: object = example.facts.get("options")
    found = cast("list[object]", given) if isinstance(given, list | tuple) else []
    texts = tuple(option for option in found if isinstance(option, str) and option.strip())
    where = _place(example)
    if not found:
        raise DataError(
            "The row has no options to choose from.",
            where=where,
            hint='Give it "options": ["…", "…"], or let the model write: -o decode=greedy.',
        )
    if len(texts) < len(found):
        raise DataError("An option is no text, or an empty one.", where=where, hint="Write a text for each.")
    if len(texts) < 2:
        raise DataError(
            f"The row has one option, {''.join(texts)!r}; two or more were expected.",
            where=where,
            hint="Give it another, or leave it out.",
        )
    twice = next((text for text in texts if texts.count(text) > 1), None)
    if twice is not None:
        raise DataError(
            f"The option {twice!r} is there twice, so that no answer is the right one alone.",
            where=where,
            hint="Leave one of them out.",
        )
    return texts


def right_option(example: Example, options: Sequence[str]) -> int | None:
    """Return which of a row's options is right; None where the row does not say.

    Raises:
        DataError: what it says is none of them.
    """
    place = example.facts.get("answer")
    if isinstance(place, int) and not isinstance(place, bool) and 0 <= place < len(options):
        return place
    for reference in example.references:
        found = option_named(reference, options)
        if found is not None:
            return found
    if not example.references:
        return None
    listed = ", ".join(map(repr, options))
    raise DataError(
        f"The reference {example.references[0]!r} is none of the options {listed}.",
        where=_place(example),
        hint="Make it the right option's text, its letter, or its place counted from 0.",
    )


def option_named(text: str, options: Sequence[str]) -> int | None:
    """Return which option a text is: by its words, without case and punctuation, its letter, or its place."""
    if text in options:
        return options.index(text)
    bare = [unpunctuated(option) for option in options]
    said = unpunctuated(text)
    if bare.count(said) == 1:
        return bare.index(said)
    letter = said.upper()
    if len(letter) == 1 and letter in LETTERS[: len(options)]:
        return LETTERS.index(letter)
    return int(said) if said in map(str, range(len(options))) else None


def likeliest(options: Sequence[str], weighed: Sequence[tuple[float, int]], normalise: Normalise) -> int:
    """Return the place of the likeliest option, the first of equals.

    Args:
        options: their texts.
        weighed: of each its log-probability in nats, and its tokens.
        normalise: what of an option its log-probability is divided by: "tokens" counts the one that ends it.
    """
    values = [
        logprob / _length(text, tokens, normalise)
        for text, (logprob, tokens) in zip(options, weighed, strict=True)
    ]
    return values.index(max(values))


def _length(text: str, tokens: int, normalise: Normalise) -> int:
    match normalise:
        case "none":
            return 1
        case "characters":
            return len(text)
        case "tokens":
            return tokens
        case "bytes":
            return len(text.encode())


def _place(example: Example) -> str:
    file, row = (str(example.origin.get(key, "")) for key in ("file", "row"))
    return f"{file}, row {row}" if file and row else f"example {example.id}"
