"""What models write, read leniently: JSON in fences or in the midst of words, numbered items, labelled parts.

What cannot be read is None or empty, and never an error: the step counts it.
"""

from __future__ import annotations

import json
import re
from itertools import takewhile
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_FENCE = re.compile(r"```[\w-]*[ \t]*\n(.*?)(?:\n?```|\Z)", re.DOTALL)
_COMMA = re.compile(r",(?=\s*[\]}])")
_ITEM = re.compile(
    r"^[ \t]*(?:\*\*|#+[ \t]*)?(?:(?:task|instruction|question|example)[ \t]+)?"
    r"(?:\(?\d{1,3}[.):、]|[-*•–][ \t])(?:\*\*)?[ \t]*",
    re.IGNORECASE | re.MULTILINE,
)
_LABEL = r"^[ \t>*#]*(?:\d{{1,3}}[.)][ \t]*)?({names})[ \t]*(?:\d{{1,3}})?[ \t]*\**[ \t]*[:：][ \t]*\**[ \t]*"
_HEAD = re.compile(  # of the next pair
    r"\n[ \t>*#-]*(?:example[ \t]*\d*[.):]?|\d+[.):])[ \t*]*\s*\Z", re.IGNORECASE
)
_QUOTES = {'"': '"', "“": "”", "'": "'", "«": "»", "「": "」", "`": "`"}
_LEAD = re.compile(
    r"^(?:sure|certainly|of course|okay|here(?:'s| is| are))\b[^\n]{0,120}:[ \t]*\n+", re.IGNORECASE
)
EARLY = 2000  # characters before which JSON begins, where it is meant
NONE = frozenset({"", "none", "n/a", "na", "no input", "<noinput>", "noinput", "(none)", "[none]", "-"})


def json_in(text: str) -> Any:
    """Return the first JSON object or list in a text, in a fence or not; None where there is none.

    A comma before the end of a list, which JSON does not allow and models write, is overlooked.
    """
    decoder = json.JSONDecoder()
    for part in (*_FENCE.findall(text), text):
        begins = (found.start() for found in re.finditer(r"[\[{]", part))
        for begin in takewhile(lambda place: place <= EARLY, begins):
            for candidate in (part[begin:], _COMMA.sub("", part[begin:])):
                try:
                    return decoder.raw_decode(candidate)[0]
                except (ValueError, RecursionError):
                    continue
    return None


def items_in(text: str) -> list[str]:
    """Return the items of a list: JSON, or numbered or marked lines; of a text without any, none."""
    marks = list(_ITEM.finditer(text))
    texts = [_text(item) for item in _list_in(json_in(_before(text, marks)))]
    if not any(texts):
        texts = [bare(part) for _, part in _parts(text, marks)]
    return [text for text in texts if text]


def pairs_in(text: str, first: str = "input", second: str = "output") -> list[tuple[str, str]]:
    """Return the pairs that a text writes as "Input: … Output: …", in either order, or as JSON.

    "none" and its like are '' as the first of a pair. A pair without its second is left out.
    """
    names = (first, second)
    marks = list(re.finditer(_LABEL.format(names="|".join(names)), text, re.IGNORECASE | re.MULTILINE))
    found = _objects(json_in(_before(text, marks)))
    rows = [row for item in found if (row := _labelled(item, names))] or _sections(text, marks)
    made = [(row.get(first, ""), row.get(second, "")) for row in rows]
    return [("" if left.lower().rstrip(".") in NONE else left, right) for left, right in made if right]


def bare(text: str) -> str:
    """Return a text without what models put around one: an announcement, a fence, quotes, stars."""
    plain = _LEAD.sub("", text.strip()).strip()
    fence = _FENCE.fullmatch(plain)
    plain = fence[1].strip() if fence else plain
    if len(plain) > 4 and plain.startswith("**") and plain.endswith("**") and plain.count("**") == 2:
        plain = plain[2:-2].strip()
    closing = _QUOTES.get(plain[:1])
    inner = plain[1:-1]
    if closing and len(plain) > 1 and plain[-1] == closing and not {plain[0], closing} & {*inner}:
        plain = inner.strip()
    return plain


def after_label(text: str, *labels: str) -> str:
    """Return what stands behind the first of the labels that a text begins a line with; else all of it."""
    names = "|".join(map(re.escape, labels))
    found = re.search(_LABEL.format(names=names), text, re.IGNORECASE | re.MULTILINE)
    return bare(text[found.end() :] if found else text)


def number_in(text: str, most: int) -> int | None:
    """Return the first whole number up to `most` in a text, as a grade; None where there is none."""
    found = next((int(digits) for digits in re.findall(r"(?<![\d.])\d{1,3}(?!\d)", text)), None)
    return found if found is not None and 0 <= found <= most else None


def says_yes(text: str) -> bool | None:
    """Tell whether a text begins with yes or with no; None where with neither."""
    word = re.match(r"\W*(yes|no)\b", text, re.IGNORECASE)
    return word[1].lower() == "yes" if word else None


def _text(item: object) -> str:
    """Return an item of a JSON list as text: itself, or the first text of an object."""
    if isinstance(item, dict):
        values = cast("dict[str, object]", item).values()
        return next((value.strip() for value in values if isinstance(value, str) and value.strip()), "")
    return item.strip() if isinstance(item, str) else ""


def _list_in(found: Any) -> list[Any]:
    """Return a list, or the first list in an object."""
    values = cast("dict[str, Any]", found).values() if isinstance(found, dict) else [found]
    for value in values:
        if isinstance(value, list):
            return cast("list[Any]", value)
    return []


def _objects(found: Any) -> list[dict[str, Any]]:
    """Return the objects of a list, of the first list in an object, or the object itself."""
    inside = [cast("dict[str, Any]", item) for item in _list_in(found) if isinstance(item, dict)]
    return inside or ([cast("dict[str, Any]", found)] if isinstance(found, dict) else [])


def _labelled(item: dict[str, Any], names: tuple[str, str]) -> dict[str, str]:
    lower = {key.lower(): value for key, value in item.items()}
    texts = {name: lower[name] for name in names if name in lower and lower[name] is not None}
    return {
        name: (value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)).strip()
        for name, value in texts.items()
    }


def _before(text: str, marks: Sequence[re.Match[str]]) -> str:
    """Return a text whose JSON is all of it, and '' where its brackets are within what the marks head."""
    bracket = re.search(r"[\[{]", text)
    return text if bracket and not (marks and marks[0].start() < bracket.start()) else ""


def _parts(text: str, marks: Sequence[re.Match[str]]) -> Iterator[tuple[re.Match[str], str]]:
    """Yield each mark with the text up to the next."""
    ends = [*(mark.start() for mark in marks[1:]), len(text)]
    for mark, end in zip(marks, ends, strict=False):
        yield mark, text[mark.end() : end]


def _sections(text: str, marks: Sequence[re.Match[str]]) -> list[dict[str, str]]:
    """Return the labelled parts of a text, a new row where a label comes again."""
    rows: list[dict[str, str]] = []
    for mark, part in _parts(text, marks):
        name = mark[1].lower()
        if not rows or name in rows[-1]:
            rows.append({})
        rows[-1][name] = bare(_HEAD.sub("", part))
    return rows
