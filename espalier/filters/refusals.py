"""Answers that refuse, and answers that speak of the model that wrote them.

Both are learned fast: a few hundred rows of another assistant's refusals and a tuned model says whose it is.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from espalier.core.text import folded
from espalier.data.judgement import PASSES, Judgement, each, filters

if TYPE_CHECKING:
    from espalier.core.records import Example
    from espalier.data.judgement import Filter

# At the beginning of an answer; later in it the same words may be what a story's figure says.
_REFUSES = re.compile(
    r"^\W*(?:(?:i['’]?m|i am)\s+(?:afraid\s+(?:that\s+)?i|unable)"
    r"|(?:i['’]?m\s+|i\s+am\s+)?(?:very\s+|really\s+|so\s+)?sorry,?\s+(?:but\s+)?(?:i|as|the|this|there)\b|unfortunately,?\s+i\b"
    r"|i\s+apologi[sz]e|my\s+apologies|i\s+(?:can\s?not|can['’]?t|won['’]?t|will\s+not)\s+"
    r"(?:help|assist|provide|fulfil|comply|do\s+that|answer|create|write|generate|engage|support|access|browse)"
    r"|i\s+(?:do\s+not|don['’]?t)\s+have\s+(?:access|the\s+ability|personal|real-?time|feelings|opinions)"
    r"|as\s+an?\s+(?:ai|artificial|large|language|virtual|digital)\b"
    r"|es\s+tut\s+mir\s+leid|ich\s+kann\s+(?:ihnen\s+)?(?:dabei\s+)?(?:leider\s+)?nicht|je\s+suis\s+désolé|désolée?,"
    r"|lo\s+siento|lamento\b|desculpe|sinto\s+muito|mi\s+dispiace|к\s+сожалению,?\s+я|извините,?\s+(?:но\s+)?я"
    r"|(?:很?抱歉|对不起|對不起)[,，]?\s*(?:我|但)|申し訳(?:ありません|ございません)|죄송(?:합니다|하지만))",
    re.IGNORECASE,
)
_NAMES_ITSELF = re.compile(
    r"\bas\s+an?\s+(?:ai|artificial\s+intelligence|(?:large\s+)?language\s+model)(?:\s+(?:language\s+)?model|\s+assistant)?\b"
    r"|\bi(?:['’]?m|\s+am)\s+(?:an?|just\s+an?|only\s+an?)\s+(?:ai|artificial|(?:large\s+)?language\s+model|chat\s?bot|virtual\s+assistant)"
    r"|\bi(?:['’]?m|\s+am)\s+(?:chatgpt|gpt-?\d|claude|gemini|bard|llama|mistral|qwen|deepseek|alpaca|vicuna|open\s?assistant)\b"
    r"|\bmy\s+(?:training\s+data|knowledge\s+cut-?\s?off|programming)\b|\bknowledge\s+cut-?\s?off\b"
    r"|\b(?:trained|developed|created|made)\s+by\s+(?:openai|anthropic|google|meta\s+ai|mistral\s+ai|alibaba|deepseek)\b"
    r"|\bals\s+(?:ki|künstliche\s+intelligenz|sprachmodell)\b|\ben\s+tant\s+qu['’]?(?:ia|intelligence\s+artificielle|e\s+modèle)"
    r"|\bcomo\s+(?:una?\s+)?(?:ia\b|inteligencia\s+artificial|modelo\s+de\s+leng)|\bкак\s+(?:языковая\s+модель|искусственный)"
    r"|作为(?:一个|一款)?(?:人工智能|语言模型|ai)|aiとして|言語モデルとして",
    re.IGNORECASE,
)

_ASKS_WHO = re.compile(
    r"\byou(?:r)?\b.{0,30}\b(?:ai|artificial|language\s+model|model|chat\s?bot|bot|chatgpt|name|creator|maker)\b"
    r"|\bwho\s+(?:are|made|created|built|developed|trained)\s+you\b|\bintroduce\s+yourself\b"
    r"|你是谁|你的名字|介绍一下你",
    re.IGNORECASE,
)


@filters.register("refusal")
def refusal() -> Filter:
    """Answers that begin with a refusal, in nine languages."""

    def judge(example: Example) -> Judgement:
        found = _REFUSES.search(example.answer)
        return (
            Judgement(False, f"The answer refuses: “{_around(example.answer, found)}”.") if found else PASSES
        )

    return each(judge)


@filters.register("self_identification")
def self_identification() -> Filter:
    """Answers that speak of the model which wrote them, unless they were asked for it."""

    def judge(example: Example) -> Judgement:
        found = _NAMES_ITSELF.search(example.answer)
        if not found or _ASKS_WHO.search(example.prompt[-1].text if example.prompt else ""):
            return PASSES
        return Judgement(False, f"The answer speaks of its writer: “{_around(example.answer, found)}”.")

    return each(judge)


def _around(text: str, found: re.Match[str]) -> str:
    """Return what was found with the words after it, as evidence."""
    return folded(text[found.start() : found.end() + 40]).strip()
