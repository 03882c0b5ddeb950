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
_REPEATS = re.compile(
    r"\b(?:song|lyrics?|poem|rap|chorus|refrain|chant|mantra|verses?|rhyme|repeat\w*|times|pattern)\b",
    re.IGNORECASE,
)
_ECHOES = re.compile(
    r"repeat|copy|echo|restat|verbatim|continu|complet|finish|rewrit|edit|correct|fix|extend|expand|begin"
    r"|start|add\b"
    r"|insert|fill|format|proofread|improv|paraphras",
    re.IGNORECASE,
)
_OF_SIGNS = re.compile(
    r"punctuation|symbol|regular|regex|formula|operator|\bsigns?\b|\bmarks?\b|emoji|emoticon|ascii|morse"
    r"|character|pattern|[+<>=*/^&|]",
    re.IGNORECASE,
)
_PREAMBLE = re.compile(
    r"(?:sure|certainly|of course|absolutely|great question|no problem|okay|ok|yes)\s?[,!.:]?\s"
    r".{0,20}?\b(?:here\b|below\b|i can\b|i['’]d be\b|i['’]ll\b|let me\b|let['’]s\b)"
    r"|here(?:['’]s| is| are)\b[^.\n]{0,80}:|好的[，,！!]|当然|natürlich[,!]|bien sûr|claro[,!]|por supuesto"
    r"|конечно[,!]",
    re.IGNORECASE,
)
_COMMAND = (  # how an instruction begins; what it tells others to do, or of, is none
    r"(?:(?:^|[.:!?;)\n]\s*)(?:(?:please|now|then|also|kindly|hey|hi),?\s+)?"
    r"|\b(?:can|could|would|will)\s+you\s+(?:please\s+)?|\b(?:i\s+want|i['’]?d\s+like|i\s+need)\s+you\s+to\s+"
    r"|\byou\s+(?:need|have|are\s+asked|must|should)\s+(?:to\s+)?)"
)
_PICTURE = (
    r"(?:image|picture|photo(?:graph)?|(?:pie|bar|line|scatter|radar|gantt)[ -]?(?:chart|graph|plot)|chart"
    r"|graph|diagram"
    r"|logo|infographic|video|animation|gif|painting|sketch|drawing|cartoon|meme|audio|sound"
    r"|podcast\s+episode)s?"
)
_OTHER = (  # what is not drawn with a pencil, and words about pictures
    r"(?!\s+(?:script|title|caption|description|prompt|idea|concept|game|essay|book|tag|app|editor"
    r"|processing|processor"
    r"|class|gallery|album|series|theory|database|editing|ad\b|campaign|recognition|classif|search|player"
    r"|file\s+name))"
)
_DRAWN = (
    r"(?!\s*(?:conclusion|comparison|parallel|inference|distinction|analog|lesson|connection|contrast|line\b"
    r"|card|sample"
    r"|attention|breath|diagram\s+in\s+ascii|proof|plan|outline|plot|argument|scene|vivid|verbal|word"
    r"|character))"
)
# What asks for a picture, a file or the web, and not for a text about one.
_BEYOND = re.compile(
    rf"{_COMMAND}(?:draw|sketch|paint|photograph|illustrate)\s+(?:me\s+)?(?:an?|the|this|some)\s+{_DRAWN}\w"
    rf"|{_COMMAND}(?:(?:design|create|make|generate|produce|show|render|find|send|take)\s+(?:me\s+|us\s+)?"
    rf"(?:an?|the|some)\s+(?:(?!text|ascii|mermaid|svg|prompt|mental|word|verbal|big|list|table|for\b|of\b"
    rf"|to\b)[\w-]+\s+)"
    rf"{{0,3}}?(?<!the\ )(?!chart|graph|diagram|sketch){_PICTURE}\b{_OTHER})"
    r"|\b(?:attached|uploaded|enclosed)\s+(?:\w+\s+)?(?:image|picture|photo|graph|chart|figure|map|video"
    r"|audio|file"
    r"|document|pdf|spreadsheet|screenshot)"
    r"|\b(?:(?:following|given|above|below|provided)\s+(?:\w+\s+)?|this\s+)(?:images?|pictures?"
    r"|photo(?:graph)?s?|screenshots?"
    r"|videos?|audio(?:\s+clip)?|recordings?)\b(?!\s+(?:title|caption|description|prompt|script|game|tag"
    r"|is\s+of))"
    r"|\b(?:chart|graph|diagram|map|figure)\s+(?:shown\s+)?(?:above|below)\b"
    rf"|{_COMMAND}(?:play|record|listen\s+to|watch|transcribe)\s+(?:me\s+)?(?:an?|the|this|some"
    rf"|following)\s+(?:\w+\s+)?"
    r"(?:song|video|music|audio|clip|track|recording|podcast|movie)\b"
    rf"|{_COMMAND}(?:upload|attach|download|scan|open)\s+(?:me\s+)?(?:an?|the|this|some"
    rf"|your)\s+(?:[\w-]+\s+)?"
    r"(?:image|picture|photo|video|audio|song|file|document|pdf|data\s?set|app|qr\s+code|link|url"
    r"|web\s?site)\b"
    rf"|{_COMMAND}(?:go\s+to|visit|browse|search|look\s+up\s+on|google|check\s+out)\s+(?:(?:the|a|this|that"
    rf"|following)\s+)*"
    r"(?:[\w-]+\s+)?(?:web\s?(?:site|page)?|internet|page|link|url|google|online|https?:|www\.)"
    r"|\bclick\s+(?:on\s+)?(?:the|this)\s+link|!\[[^\]\n]*\]\(http|<image>"
    r"|(?:画|绘制|生成|制作|设计)(?:一)?(?:幅|张|個|个|段)?[^，。！？\n]{0,12}(?:图片|图像|照片|插画|视频"
    r"|海报|标志)(?!描述|标题|脚本)"
    r"|(?:^|[请。！])画(?:一|出|个)|(?:上|下|这张|该|附)图(?:中|片|所示|里)|根据(?:上|下|附|这张)图|附件"
    r"|打开(?:这个|以下)?(?:链接|网址|网页)"
    r"|\b(?:zeichne|male)\s+(?:mir\s+)?(?:ein|das|den|die)|\b(?:angehängte|beigefügte)\w*\s|\bauf\s+(?:dem"
    r"|diesem)\s+(?:bild|foto)\b"
    r"|\b(?:dibuja|dibújame|pinta|dessine(?:-moi)?|dessinez|desenhe|нарисуй(?:те)?)\s|\b(?:imagen|archivo"
    r"|imagem|arquivo|foto)\s+(?:adjunt|anex)"
    r"|\bci-joint|\bsur\s+(?:cette|l['’])\s?(?:image|photo)\b|\bна\s+(?:этой\s+)?(?:картинке"
    r"|фото(?:графии)?)\b|прикреп\w+\s+файл",
    re.IGNORECASE,
)
# Words for such things that are texts: a drawing in characters, a program that draws, a picture that is told.
_IN_TEXT = re.compile(
    r"\b(?:ascii|svg|tikz|latex|mermaid|graphviz|plantuml|emoji|html|css|javascript|python|matplotlib|\bR\b"
    r"|java|c\+\+"
    r"|code|program|function|script|api|command|prompt|caption|write|alt\s+text|in\s+words)\b",
    re.IGNORECASE,
)
# A link, and to do something with what stands there.
_LINKED = re.compile(
    r"\b(?:summari[sz]e|tl;?dr|translate|analy[sz]e|review|critique|improve|extract|outline|classify"
    r"|colou?ri[sz]e"
    r"|describe|identify|transcribe|this\s+(?:page|article|link|website"
    r"|video))\b[^\n]*(?:\n.{0,30})?https?://\S+\s*(?:\Z|\n)",
    re.IGNORECASE,
)
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
