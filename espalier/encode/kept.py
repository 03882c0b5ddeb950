"""What a chat template must not lose of a conversation: the turns of a prompt, and the words of an answer.

White space is the template's to trim and to add. Thoughts of earlier answers are its to drop: a model does
not see them either. But an answer that is trained is trained as the row says it.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, cast

from espalier.encode.media import SHOWN_AS
from espalier.encode.tools import THOUGHT

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from espalier.encode.tools import Turn


def left_out(text: str, turns: Sequence[Turn]) -> Turn | None:
    """Return the first turn, other than an answer, whose content is not in the rendered text."""
    for turn in turns:
        if turn["role"] != "assistant":
            # Media stand where the template has them, which may be before all words.
            for content in map(str.strip, SHOWN_AS.split(turn["content"])):
                if content not in text and _escaped(content) not in text:
                    return turn
    return None


def lost_words(body: str, rest: str, turn: Turn) -> str:
    """Return a part of an answer that is not in its rendering; '' where all of it is.

    Args:
        body: the rendered conversation up to the end of the answer's words.
        rest: of that, what comes after the prompt.
        turn: the answer, as the template was given it.
    """
    words = turn.get("content", "").strip()
    if not _holds(rest, turn.get(THOUGHT, "").strip()):
        return turn[THOUGHT]
    if "tool_calls" in turn:
        told = [words, *(word for call in turn["tool_calls"] for word in _spoken(call["function"]))]
        return next((word for word in told if not _holds(rest, word)), "")
    if rest.rstrip().endswith(words):
        return ""
    packed = (_packed(rest), _packed(body))  # a thought that the prompt opens is a part of the answer
    forms = (_packed(words), _packed(_escaped(words)))
    return "" if any(text.endswith(form) for text in packed for form in forms) else words


def _spoken(function: dict[str, Any]) -> list[str]:
    """Return a call's name, and the keys and texts of its arguments."""
    arguments = function["arguments"]
    return [
        function["name"],
        *texts_in(json.loads(arguments) if isinstance(arguments, str) else arguments),
    ]


def texts_in(value: Any) -> Iterator[str]:
    """Yield every text in a tree of lists and dictionaries, keys too."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in cast("dict[str, Any]", value).items():
            yield key
            yield from texts_in(item)
    elif isinstance(value, list):
        for item in cast("list[Any]", value):
            yield from texts_in(item)


def _holds(text: str, word: str) -> bool:
    return word in text or any(_packed(form) in _packed(text) for form in (word, _escaped(word)))


def _escaped(text: str) -> str:
    """Return a text as JSON has it, which is how some templates write results and arguments."""
    return json.dumps(text, ensure_ascii=False)[1:-1]


def _packed(text: str) -> str:
    return "".join(text.split())
