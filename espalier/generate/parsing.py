"""What models write, read leniently: JSON in fences or in the midst of words, numbered items, labelled parts.

What cannot be read is None or empty, and never an error: the step counts it.
"""

from __future__ import annotations

import ast
import json
import re
import warnings
from itertools import takewhile
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_FENCE = re.compile(r"```[\w-]*[ \t]*\n(.*?)(?:\n?```|\Z)", re.DOTALL)
_COMMA = re.compile(r",(?=\s*[\]}])")
_ESCAPE = re.compile(r"\\(?![\"\\/bfnrtu])")  # one that JSON does not know, as in a pattern
_KIND = "(?:task|instruction|question|example)"
_ITEM = re.compile(
    r"^(?P<indent>[ \t]*)(?:\*\*|#+[ \t]*)?(?:"
    rf"(?:{_KIND}[ \t]+)?\(?(?P<number>\d{{1,3}}(?:\\?[.):、．]|[ \t]+[-–][ \t])|[①-⑳])"
    rf"|(?P<heading>{_KIND}[ \t]+\d{{1,3}}(?=[ \t*]*$))"
    r"|[-*•–][ \t](?:\[[ xX]\])?)(?:\*\*)?[ \t]*",
    re.IGNORECASE | re.MULTILINE,
)
# A label before a text, "Input:" or "**Output 2**:", or in a line of its own, "### Input".
_LABEL = (
    r"^[ \t>*#]*(?:\d{{1,3}}[.)][ \t]*)?({names})[ \t]*(?:\d{{1,3}})?[ \t]*[*#]*[ \t]*[:：][ \t]*\**[ \t]*"
    r"|^[ \t]*[*#]+[ \t]*({names})[ \t]*[*#]*[ \t]*$"
)
_HEAD = re.compile(  # of the next pair, or a line between the two
    r"\n[ \t>*#-]*(?:example[ \t]*\d*[.):]?|\d+[.):]|--)[ \t*]*\s*\Z", re.IGNORECASE
)
_TAIL = re.compile(  # what models say once they have done what was asked
    r"\n[ \t]*\n\s*(?:-{3,}\s*)?(?:\W*explanation\W*:|(?:let me know|i hope|hope this)\b"
    r"|feel free to (?:ask|let|reach)\b)",
    re.IGNORECASE,
)
_THOUGHT = re.compile(
    r"\A\s*<(think|thinking|thought|reasoning)>.*?(?:</\1>|\Z)|\A.*?^[ \t]*</think>[ \t]*$",
    re.IGNORECASE | re.DOTALL | re.MULTILINE,
)
_RANGE = re.compile(r"\b\d+[ \t]*(?:-|–|to)[ \t]*\d+\b|(?:/|\b(?:out )?of)[ \t]*\d+\b")
_NUMBER = r"(?<![\d.,-])(\d{1,3})(?!\d)"
_GRADE = re.compile(rf"(?:grade|rating|score)\b\D{{0,12}}?{_NUMBER}", re.IGNORECASE)
_ANSWER = re.compile(
    r"\W*(?:(?:the )?answer(?: is)?\W+)?"
    r"(?:(?P<yes>(?:yes|true|ja|oui|sí|sim|да)\b|是|对|はい)|(?:(?:no|false|nein|non|não|нет)\b|不|否|いいえ))(?!/)",
    re.IGNORECASE,
)
# Labels as a model writes them that answers in the language of what it read.
NAMES = {
    "input": "input|entrada|entrée|eingabe|вход|输入|輸入|入力|입력",
    "output": "output|salida|saída|sortie|ausgabe|выход|输出|輸出|出力|출력",
}
TEXTS = ("instruction", "task", "question", "prompt", "text")  # keys of an item's text
_QUOTES = {'"': '"', "“": "”", "'": "'", "«": "»", "「": "」", "`": "`"}
_LEAD = re.compile(
    r"^(?:sure|certainly|of course|okay|here(?:'s| is| are))\b[^\n]{0,120}:[ \t]*\n+", re.IGNORECASE
)
EARLY = 2000  # characters before which JSON begins, where it is meant
_NONE = re.compile(
    r"\W*|\W*(?:none|n/?a|(?:no|none) ?(?:input|needed|required|necessary|\s)*)\W*", re.IGNORECASE
)


def unthought(text: str) -> str:
    """Return a text without what a model thought before it, in marks; one that ends in thought is ''."""
    return _THOUGHT.sub("", text, count=1).strip()


def json_in(text: str) -> Any:
    """Return the first JSON object or list in a text, in a fence or not; None where there is none.

    What JSON does not allow and models write is overlooked: a comma before the end of a list, lines and
    unknown escapes within texts, and Python's quotes.
    """
    decoder = json.JSONDecoder(strict=False)
    for part in (*_FENCE.findall(text), text):
        begins = (found.start() for found in re.finditer(r"[\[{]", part))
        for begin in takewhile(lambda place: place <= EARLY, begins):
            plain = part[begin:]
            for candidate in (plain, _COMMA.sub("", plain), _ESCAPE.sub(r"\\\\", _COMMA.sub("", plain))):
                try:
                    return decoder.raw_decode(candidate)[0]
                except (ValueError, RecursionError):
                    continue
            if re.match(r"[\[{]\s*['\[{]", plain) and (found := _literal(plain)):
                return found
    return None


def items_in(text: str) -> list[str]:
    """Return the items of a list: JSON, or numbered or marked lines; of a text without any, none."""
    text = _opened(text)
    marks = _item_marks(text)
    texts = [_text(item) for item in _list_in(json_in(_before(text, marks)))]
    if not any(texts):
        parts = [part for _, part in _parts(text, marks)]
        if parts and not any("\n\n" in part.strip() for part in parts[:-1]):
            parts[-1] = parts[-1].strip().split("\n\n", 1)[0]  # what follows is of no item
        texts = [after_label(part, *TEXTS) for part in parts]
    return [text for text in texts if text]


def pairs_in(text: str, first: str = "input", second: str = "output") -> list[tuple[str, str]]:
    """Return the pairs that a text writes as "Input: … Output: …", in either order, or as JSON.

    "none" and its like are '' as the first of a pair. A pair without its second is left out.
    """
    text = _opened(text)
    names = (first, second)
    known = {name: NAMES.get(name, name) for name in names}
    marks = _labels(text, "|".join(known.values()))
    found = _objects(json_in(_before(text, marks)))
    rows = [row for item in found if (row := _labelled(item, names))] or _sections(text, marks, known)
    made = [(row.get(first, ""), row.get(second, "")) for row in rows]
    return [("" if _NONE.fullmatch(left) else left, right) for left, right in made if right]


def bare(text: str) -> str:
    """Return a text without what models put around one: an announcement, a fence, quotes, stars."""
    plain = _opened(text).strip()
    if len(plain) > 4 and plain.startswith("**") and plain.endswith("**") and plain.count("**") == 2:
        plain = plain[2:-2].strip()
    closing = _QUOTES.get(plain[:1])
    inner = plain[1:-1]
    if closing and len(plain) > 1 and plain[-1] == closing and not {plain[0], closing} & {*inner}:
        plain = inner.strip()
    return plain


def after_label(text: str, *labels: str) -> str:
    """Return what stands behind the first of the labels that a text begins with; else all of it.

    Labels of several words ("new instruction") may also stand further down. An object of JSON is its text.
    """
    plain = _opened(text)
    if plain.startswith("{") and isinstance(found := json_in(plain), dict):
        return _text(cast("object", found)) or bare(plain)
    for mark in _labels(plain, "|".join(map(re.escape, labels))):
        if " " in (mark[1] or mark[2]) or not plain[: mark.start()].strip():
            plain = plain[mark.end() :]
            break
    return bare(_TAIL.split(plain, maxsplit=1)[0])


def number_in(text: str, most: int) -> int | None:
    """Return the first whole number up to `most` in a text, as a grade; None where there is none.

    One behind "grade" comes first, and a range, as in "from 1 to 10", is none.
    """
    plain = _RANGE.sub(" ", text)
    found = _GRADE.search(plain) or re.search(_NUMBER, plain)
    return number if found and 0 <= (number := int(found[1])) <= most else None


def says_yes(text: str) -> bool | None:
    """Tell whether a text begins with yes or with no; None where with neither."""
    found = _ANSWER.match(text)
    return found["yes"] is not None if found else None


def _opened(text: str) -> str:
    """Return a text without an announcement before it, and without the fence that it stands in whole."""
    plain = _LEAD.sub("", text.strip()).strip()
    fence = _FENCE.fullmatch(plain)
    return fence[1] if fence and "```" not in fence[1] else plain


def _outside(text: str, marks: list[re.Match[str]]) -> list[re.Match[str]]:
    """Return the marks that stand in no fence; where all of them do, all."""
    fences = [fence.span() for fence in _FENCE.finditer(text)]
    return [mark for mark in marks if not any(a <= mark.start() < b for a, b in fences)] or marks


def _item_marks(text: str) -> list[re.Match[str]]:
    """Return the marks of a list's items: of the first one's kind, and no deeper, so of no list within."""
    marks = _outside(text, [*_ITEM.finditer(text)])
    return [
        mark
        for mark in marks
        if (mark["number"] is None) == (marks[0]["number"] is None)
        and len(mark["indent"]) <= len(marks[0]["indent"]) + 1
    ]


def _labels(text: str, names: str) -> list[re.Match[str]]:
    found = re.finditer(_LABEL.format(names=names), text, re.IGNORECASE | re.MULTILINE)
    return _outside(text, [*found])


def _literal(text: str) -> Any:
    """Return the list or object that a text begins with in Python's own form; None where it does not."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of escapes that Python does not know
        try:
            return ast.literal_eval(text[: text.rfind("]" if text[0] == "[" else "}") + 1])
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return None


def _text(item: object) -> str:
    """Return an item of a JSON list as text: itself, or an object's instruction, or its first text."""
    if isinstance(item, dict):
        entry = {key.lower(): value for key, value in cast("dict[str, object]", item).items()}
        values = (*(entry.get(key) for key in TEXTS), *entry.values())
        return next((value.strip() for value in values if isinstance(value, str) and value.strip()), "")
    return item.strip() if isinstance(item, str) else ""


def _list_in(found: Any) -> list[Any]:
    """Return a list, or the first list in an object; of an object numbered like a list its values."""
    values = [*cast("dict[str, Any]", found).values()] if isinstance(found, dict) else [found]
    for value in values:
        if isinstance(value, list):
            return cast("list[Any]", value)
        if isinstance(value, dict) and (inside := _list_in(cast("dict[str, Any]", value))):
            return inside
    numbered = isinstance(found, dict) and all(key.isdigit() for key in cast("dict[str, Any]", found))
    return values if numbered else []


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


def _sections(text: str, marks: Sequence[re.Match[str]], known: Mapping[str, str]) -> list[dict[str, str]]:
    """Return the labelled parts of a text, a new row where a label comes again."""
    rows: list[dict[str, str]] = []
    for mark, part in _parts(text, marks):
        label = mark[1] or mark[2]
        name = next(name for name, labels in known.items() if re.fullmatch(labels, label, re.IGNORECASE))
        if not rows or name in rows[-1]:
            rows.append({})
        rows[-1][name] = bare(_TAIL.split(_HEAD.sub("", part), maxsplit=1)[0])
    return rows
