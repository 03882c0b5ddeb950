"""Filters of a row's form: how long it is, what is missing or broken in it, and what no text can do.

The rules of Self-Instruct (Wang et al. 2022, appendix A) and what users of Alpaca's data found in it: empty
answers, "N/A" for an input, answers that only repeat the question, or that never end.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

from espalier.core.errors import RecipeError
from espalier.core.text import folded, kinds, unpunctuated, word_count, words
from espalier.data.judgement import PASSES, Judgement, answered, each, filters
from espalier.filters.patterns import pattern
from espalier.filters.remains import CODE, remains, remains_of_prompt

if TYPE_CHECKING:
    from collections.abc import Iterator

    from espalier.core.records import Example
    from espalier.data.judgement import Filter

LOOP = 12  # words: a run of so many that comes three times is no style
LINE = 4  # words of a text that is more than a label
LOOPED = 0.3  # of an answer's words that such runs cover, from which on it is a loop; a song has refrains
ECHO = 5  # words of a prompt that an answer begins with
MISSING = frozenset(
    {
        "n/a",
        "not applicable",
        "nooutput",
        "<nooutput>",
        "no output",
        "na",
        "none",
        "null",
        "nil",
        "nan",
        "-",
        "–",
        "noinput",
        "no input",
        "<noinput>",
    }
)
_FENCE = re.compile(r"^\s*(?:[-*>]|\d+\.)?\s*```", re.MULTILINE)
# Texts end with them, but no sentence does.
_OPEN_ENDED = frozenset(
    """
    the a an of and or but to with for as is are was were because if into than your their its our my his which
    whose while including
    und oder der die das ein eine mit für von weil dass et ou le la les un une des de du pour avec que
    y o el los las una para con que и или в на с что для который
    """.split()  # noqa: SIM905
)
_CONTINUES = re.compile(r"[,(\[{–—-]\Z")
_CLOSES = re.compile(r"[-_=*|]{3}\Z|\|\s*-\Z")  # a rule, a table
_LISTED = re.compile(r"\s*(?:[-*•#|>]|\d+[.)]|[A-Za-z][.)])\s")
_STOP = re.compile(r"[.!?](?=\s)|[。！？]")
_REPEATS = pattern("repeats")
_ECHOES = pattern("echoes")
_OF_SIGNS = pattern("of_signs")
_PREAMBLE = pattern("preamble")
# What asks for a picture, a file or the web, and not for a text about one.
_BEYOND = pattern("beyond")
# Words for such things that are texts: a drawing in characters, a program that draws, a picture that is told.
_IN_TEXT = pattern("in_text")
# A link, and to do something with what stands there.
_LINKED = pattern("linked")
FAR = 300  # characters of a long prompt, from its ends, in which it says what it wants


@filters.register("length")
def length(*, least: int = 1, most: int = 2000, prompt_least: int = 1, prompt_most: int = 4000) -> Filter:
    """Words of the answer and of the prompt: at least, and at most."""
    if not (0 <= least <= most and 0 <= prompt_least <= prompt_most):
        raise RecipeError("The least number of words must not be over the most.", where="filter.length")

    def judge(example: Example) -> Judgement:
        prompt = sum(word_count(turn.text) for turn in example.prompt)
        answers = [("answer", word_count(answer), least, most) for _, _, answer in answered(example)]
        for part, count, low, high in (*answers, ("prompt", prompt, prompt_least, prompt_most)):
            if not low <= count <= high:
                bound = f"at least {low}" if count < low else f"at most {high}"
                return Judgement(False, f"The {part} has {count} words; {bound} are wanted.", float(count))
        return PASSES

    return each(judge)


@filters.register("form")
def form(*, preamble: bool = False) -> Filter:
    """What is missing or broken: no answer, the question again, a loop, a cut end, what programs left.

    With `preamble` also answers that first say that they answer: "Sure! Here is …".
    """

    def judge(example: Example) -> Judgement:
        return next(_broken(example, preamble), PASSES)

    return each(judge)


@filters.register("beyond_text")
def beyond_text() -> Filter:
    """Instructions that want a picture, a file or the web, which a model of texts has not."""

    def judge(example: Example) -> Judgement:
        turns = [(number, turn.text) for number, turn in enumerate(example.prompt) if turn.role == "user"]
        for number, text in turns:
            if (found := _beyond(text, example.input)) is not None:
                why = f"The instruction asks for more than text: “{found.group().strip()[:80]}”."
                return Judgement(False, why, spans=((number, *found.span()),))
        return PASSES

    return each(judge)


def _beyond(text: str, own: str) -> re.Match[str] | None:
    """Return what an instruction wants beyond text; `own` is what it is about, and may speak of it."""
    told = CODE.sub(lambda found: " " * len(found.group()), text)
    if own and own != text and "http" not in own:
        told = told.replace(own, " " * len(own))
    if _IN_TEXT.search(told):
        return None
    near = (m for m in _BEYOND.finditer(told) if m.start() < FAR or m.end() > len(told) - FAR)
    return (_LINKED.search(told) if len(told) < 2 * FAR else None) or next(near, None)


def _broken(example: Example, preamble: bool) -> Iterator[Judgement]:
    turns = [(number, turn.text) for number, turn in enumerate(example.prompt) if turn.role != "assistant"]
    if not any(text.strip() for _, text in turns):
        yield Judgement(False, "The prompt is empty.")
    if folded(example.input) in MISSING:
        yield Judgement(False, f"The input is “{example.input.strip()}”, which says that there is none.")
    for number, asked, answer in answered(example):
        yield from _broken_answer(number, asked, answer)
        if _is_input(answer.strip(), example.input.strip(), asked.strip()):
            yield Judgement(False, "The answer is the input.")
        if preamble and (found := _PREAMBLE.match(answer.lstrip())):
            yield Judgement(False, f"The answer first says that it answers: “{found.group()[:60]}”.")
    for number, text in turns:
        for why, start, end in remains_of_prompt(text, example.answer):
            yield Judgement(False, f"{why}: “{text[start:end]}”.", spans=((number, start, end),))


def _is_input(answer: str, own: str, asked: str) -> bool:
    """Tell whether an answer is what it was to be made of: the input, or the last paragraph of the prompt."""
    ends = asked != answer and asked.endswith(f"\n{answer}") and word_count(answer) >= LOOP
    return ends or (answer == own and word_count(answer) >= LINE)


def _broken_answer(number: int, asked: str, answer: str) -> Iterator[Judgement]:
    plain = answer.strip()
    if not plain:
        yield Judgement(False, "The answer is empty.")
        return
    if folded(plain) in MISSING and not re.search(rf"\b{re.escape(folded(plain))}\b", folded(asked)):
        yield Judgement(False, f"The answer is “{plain}”.")
    if set(kinds(plain)) <= {"p", " "} and plain not in asked and not _OF_SIGNS.search(asked):
        yield Judgement(False, f"The answer has no word: “{plain[:40]}”.")
    if len(words(answer)) > 1 and unpunctuated(answer) == unpunctuated(asked):
        yield Judgement(False, "The answer repeats the prompt.")
    elif word_count(asked) >= ECHO and folded(plain).startswith(folded(asked)) and not _ECHOES.search(asked):
        yield Judgement(False, "The answer begins with the prompt.")
    for why, start, end in remains(answer, asked):
        yield Judgement(False, f"{why}: “{answer[start:end].strip()}”.", spans=((number, start, end),))
    if answer.count("```") % 2 and len(_FENCE.findall(answer)) % 2:
        yield Judgement(False, "A block of code is opened and not closed.")
    elif _is_cut(plain, asked):
        yield Judgement(False, f"The answer breaks off: “… {plain[-40:]}”.")
    times, run = _loop(CODE.sub(" ", answer), 0.5 if _REPEATS.search(asked) else LOOPED)
    if times:
        yield Judgement(False, f"The answer says {times} times: “{run}”.", float(times))


def _is_cut(answer: str, asked: str) -> bool:
    """Tell whether a text of several lines or sentences ends within a sentence."""
    count = word_count(answer)
    if count < 2 * LOOP:
        return False
    if _CONTINUES.search(answer):
        return not _CLOSES.search(answer) and not re.search("letter|mail|message", asked, re.IGNORECASE)
    last = answer.rsplit("\n", 1)[-1]
    end = folded(last).split()[-1:]
    if len(last.split()) >= LINE and end and end[0] in _OPEN_ENDED:
        return True
    # A long text whose last paragraph has sentences that end, and a last one that does not.
    prose = count >= 4 * LOOP and word_count(last) >= LOOP and not _LISTED.match(last) and "#" not in last
    return prose and answer[-1].isalnum() and bool(_STOP.search(last))


def _loop(text: str, covered: float) -> tuple[int, str]:
    """Return how often the most frequent run of words comes, with it; 0 where the text does not loop.

    A run counts that comes three times or more and is not of numbers alone; all such runs together have to
    cover a share of the words.
    """
    found = words(text)
    runs = Counter(zip(*(found[start:] for start in range(LOOP)), strict=False))
    often = {run for run, count in runs.items() if count >= 3 and not all(word.isdigit() for word in run)}
    if not often:
        return 0, ""
    covers = [False] * len(found)
    for start in range(len(found) - LOOP + 1):
        if found[start : start + LOOP] in often:
            covers[start : start + LOOP] = [True] * LOOP
    if sum(covers) < covered * len(found):
        return 0, ""
    run = max(often, key=lambda run: runs[run])
    return runs[run], " ".join(run)
