"""What IFEval's instructions mean where the public checker grades something else; docs/ifeval.md has both.

A reply without a letter or digit follows nothing. Words are whole words, signs of Markdown count only where
they are Markdown, and a language is that of every longer part.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from espalier.core.files import parse_json
from espalier.core.text import folded, kinds, word_count
from espalier.scorers.ifeval.kinds import ANSWERS, LEAST, compared, exactly, number_of
from espalier.scorers.ifeval.language import SCRIPT, detected, language_of, letters_of, script_of
from espalier.scorers.ifeval.official import CAPITALS, OFFICIAL, cased, counting
from espalier.scorers.ifeval.sentences import ABBREVIATIONS

if TYPE_CHECKING:
    from espalier.scorers.ifeval.kinds import Check, Settings

LONG = 8  # words, from which on a line has to be of the language that is asked for
CLOSING = " \"'”’»*_`"  # signs that close a reply
CLEARLY = 3  # common words of another language that it has to have more
_BREAK = re.compile(
    r"\n[ \t]*\n|\n(?=[ \t]*(?:[-*+•]|\d+[.)]|#+)[ \t])"
)  # ends a sentence, whatever is before
_LIST = re.compile(r"[ \t]*(?:[-*+•]|\d+[.)]|#+|[A-Za-z][.)])[ \t]+")
_STOP = re.compile(r"""([.!?…]+|[。！？।؟۔])["'”’»)\]*_]*(?=\s|$|[^\x00-\u2fff])""")

# Brackets with words in them that are no link, no footnote and no box to tick.
PLACEHOLDERS = counting(r"\[(?![xX]\]|\^)(?=[^\[\]\n]*[^\W\d_])[^\[\]\n]*\](?!\(|: *(?:http|<))")
# List items of Markdown with something in them; a rule of asterisks or hyphens is none.
BULLETS = counting(r"^[ \t\"]*[*+-][ \t]+(?![ \t*_-]*$).*\S")
# Emphasis of Markdown: asterisks that touch what they enclose, and no word outside.
HIGHLIGHTS = counting(r"(?<![\w*])(\*{1,3})(?=[^\s*])(?=[^*\n]*\w)[^*\n]*(?<=[^\s*])\1(?![\w*])")


def _found(words: str, reply: str) -> int:
    """Count words in a reply as whole words; in scripts without spaces there are none."""
    parts = words.split()
    edges = kinds(parts[0][0] + parts[-1][-1])
    before, after = (r"(?<!\w)" if edges[0] == "l" else "", r"(?!\w)" if edges[1] == "l" else "")
    pattern = before + r"\s+".join(map(re.escape, parts)) + after
    return len(re.findall(pattern, reply.replace("’", "'"), re.IGNORECASE))


def _keywords(reply: str, given: Settings) -> str:
    missing = [word for word in given["keywords"] if not _found(word, reply)]
    return f"it has no word '{missing[0]}'" if missing else ""


def _frequency(reply: str, given: Settings) -> str:
    word = given["keyword"].strip()
    times = f"'{word}'", f"times '{word}'"
    return compared(_found(word, reply), given["relation"], given["frequency"], *times)


def _forbidden(reply: str, given: Settings) -> str:
    found = [word for word in given["forbidden_words"] if _found(word, reply)]
    return f"it has the word '{found[0]}'" if found else ""


def _language(reply: str, given: Settings) -> str:
    """Hold the whole to the language, and each longer line; of a short one none can be told."""
    wanted = given["language"].strip().lower().split("-")[0]
    if wanted not in SCRIPT:
        code = (detected(reply, wanted) or "").split("-")[0]
        return "" if code == wanted else f"its language is {code or 'none'}, not {wanted}"
    home = SCRIPT[wanted]
    if language_of(reply) not in (wanted, "") or script_of(reply) != home:
        return f"its language is {language_of(reply) or 'unknown'}, not {wanted}"
    for line in reply.splitlines():
        other = language_of(line, CLEARLY) if word_count(line) >= LONG else ""
        if other not in (wanted, "") and not (home != "Latin" and letters_of(home, line)):
            return f"'{line.strip()[:30]}…' is {other}, not {wanted}"
    return ""


def count_sentences(text: str) -> int:
    """Count what ends with a full stop of any script, or where nothing does, paragraphs and list items.

    Enumerators ("1."), abbreviations and initials end none, and headings are none.
    """
    ended = blocks = 0
    for block in _BREAK.split(text):
        item = _LIST.match(block)
        body = block[item.end() :] if item else block
        blocks += re.search(r"\w", body) is not None
        begin = 0
        for stop in _STOP.finditer(body):
            if (
                stop[1] == "."
                and _goes_on(body[max(begin, stop.start() - 40) : stop.start()])
                and body[stop.end() :].strip()
            ):
                continue
            ended += re.search(r"\w", body[begin : stop.start()]) is not None
            begin = stop.end()
    return ended or blocks


def _goes_on(before: str) -> bool:
    word = before.split()[-1].strip("(\"'“*_") if before.split() else ""
    short = {*ABBREVIATIONS, "e.g", "i.e", "etc", "no", "fig", "al"} - {"ok"}
    return word.lower() in short or re.fullmatch(r"[A-HJ-Z]|(?:\w\.)+\w", word) is not None


def _paragraphs(reply: str, given: Settings) -> str:
    """Count what stands between dividers on lines of their own, which an opening quotation mark may touch."""
    parts = re.split(r"^[ \t\"]*\*[ \t]*\*[ \t]*\*[ \t\"]*$", reply, flags=re.MULTILINE)
    return exactly(sum(bool(re.search(r"\w", part)) for part in parts), given["num_paragraphs"], "paragraph")


def _first_word(reply: str, given: Settings) -> str:
    parts = [part for part in re.split(r"\n[ \t]*\n", reply) if re.search(r"\w", part)]
    nth, wanted = given["nth_paragraph"], folded(given["first_word"])
    if len(parts) != given["num_paragraphs"]:
        return exactly(len(parts), given["num_paragraphs"], "paragraph")
    begin = re.sub(r"^[\W_]+", "", folded(parts[nth - 1]))
    followed = re.match(rf"{re.escape(wanted)}(?!\w)", begin)
    return "" if followed else f"paragraph {nth} begins with '{begin[:20]}'"


def _postscript(reply: str, given: Settings) -> str:
    """Look for the marker where a line or sentence begins, behind other words and before some."""
    marker = given["postscript_marker"].strip()
    signs = "[ \\t]?".join(re.escape(sign) for sign in marker.rstrip(".") if not sign.isspace())
    begin = r"(?:\n|[.!?][\"'”*]*\s)[\s>#*_\"'“(]{0,9}"
    found = re.finditer(rf"{begin}{signs}(?!\w)\.?[\W_]*\w", reply, re.IGNORECASE)
    follows = any(re.search(r"\w", reply[: one.start() + 1]) for one in found)
    return "" if follows else f"nothing behind the text begins with '{marker}'"


def _answer(reply: str, _: Settings) -> str:
    found = [answer for answer in ANSWERS if answer in reply]
    return "" if len(found) == 1 else f"it has {len(found)} of the answers, not one"


def _sections(reply: str, given: Settings) -> str:
    """Count the numbers of the markers that begin a line; one that comes twice counts once."""
    marker = re.escape(given["section_spliter"].strip())
    found = re.findall(rf"^[ \t>#*_\"“(\[-]*{marker}\s*(\d+|[IVX]+)\b", reply, re.MULTILINE | re.IGNORECASE)
    return compared(len({number.upper() for number in found}), LEAST, given["num_sections"], "section")


def _json(reply: str, _: Settings) -> str:
    fenced = re.fullmatch(r"\s*```\w*\s*\n(.*?)\n?\s*```\s*", reply, re.DOTALL)
    try:
        value = parse_json(fenced[1] if fenced else reply)
    except ValueError as error:
        return f"it is not JSON: {error}"
    return (
        "" if isinstance(value, dict | list) and value else "it is no object and no list with something in it"
    )


def _two(reply: str, _: Settings) -> str:
    parts = [part for part in re.split(r"(?<!\*)\*{6}(?!\*)", reply) if re.search(r"\w", part)]
    if len(parts) != 2:
        return exactly(len(parts), 2, "response")
    return "both responses are the same" if folded(parts[0]) == folded(parts[1]) else ""


def _repeated(reply: str, given: Settings) -> str:
    """Look for the request first, and for an answer behind it; case and line breaks may differ."""
    asked, text = folded(given["prompt_to_repeat"]), folded(reply)
    if not text.startswith(asked):
        return "it does not begin with the request"
    return "" if re.search(r"\w", text[len(asked) :]) else "it repeats the request and gives no answer"


def _end(reply: str, given: Settings) -> str:
    """Look for the phrase at the end, as whole words; signs that only close a reply may follow."""
    text, phrase = folded(reply).rstrip(CLOSING), folded(given["end_phrase"])
    bare = phrase.rstrip(CLOSING) or phrase
    before = text.removesuffix(bare)
    whole = text.endswith(bare) and not (bare[0].isalnum() and before[-1:].isalnum())
    return "" if whole else f"it does not end with '{given['end_phrase'].strip()}'"


def _capitals(reply: str, given: Settings) -> str:
    """Count words of two letters or more, all capital: "NASA" and "WELL-KNOWN", not "I" and "A"."""
    found = re.findall(r"[^\W\d_](?:[\w'’.-]*[^\W_])?", reply)
    count = sum(word.isupper() and sum(map(str.isalpha, word)) > 1 for word in found)
    return compared(count, given["capital_relation"], given["capital_frequency"], *CAPITALS)


def _quoted(reply: str, _: Settings) -> str:
    """Look for quotation marks at both ends that belong together, as '"a" and "b"' has them not."""
    text = reply.strip()
    inside = text[1:-1]
    wrapped = (text[:1], text[-1:]) in (('"', '"'), ("“", "”")) and re.search(r"\w", inside)
    first = re.search(r"[\"“”]", inside)
    closes = first and (
        first[0] == "”" or (first[0] == '"' and re.search(r"[^\s(\[{—–-]$", inside[: first.start()]))
    )
    return "" if wrapped and not closes else "it is not wrapped in double quotation marks"


_OWN: dict[str, Check] = {
    "keywords:existence": _keywords,
    "keywords:frequency": _frequency,
    "keywords:forbidden_words": _forbidden,
    "language:response_language": _language,
    "length_constraints:number_sentences": number_of(count_sentences, "sentence"),
    "length_constraints:number_paragraphs": _paragraphs,
    "length_constraints:number_words": number_of(word_count, "word"),
    "length_constraints:nth_paragraph_first_word": _first_word,
    "detectable_content:number_placeholders": number_of(PLACEHOLDERS, "placeholder"),
    "detectable_content:postscript": _postscript,
    "detectable_format:number_bullet_lists": lambda reply, given: exactly(
        BULLETS(reply), given["num_bullets"], "bullet point"
    ),
    "detectable_format:constrained_response": _answer,
    "detectable_format:number_highlighted_sections": number_of(HIGHLIGHTS, "highlight"),
    "detectable_format:multiple_sections": _sections,
    "detectable_format:json_format": _json,
    "detectable_format:title": lambda reply, _: (
        "" if re.search(r"(?<!<)<<(?=[^<>\n]*\w)[^<>\n]*>>(?!>)", reply) else "it has no <<title>>"
    ),
    "combination:two_responses": _two,
    "combination:repeat_prompt": _repeated,
    "startend:end_checker": _end,
    "startend:quotation": _quoted,
    "change_case:capital_word_frequency": _capitals,
    **cased(_language),
    "punctuation:no_comma": lambda reply, _: "it has a comma" if re.search("[,，、،﹐﹑]", reply) else "",
}


def _worded(check: Check) -> Check:
    """Return a check that what has no word fails: it follows nothing."""
    return lambda reply, given: check(reply, given) if re.search(r"[^\W_]", reply) else "it has no word"


REPAIRED: dict[str, Check] = {kind: _worded(_OWN.get(kind, check)) for kind, check in OFFICIAL.items()}
