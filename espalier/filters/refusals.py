"""Answers that refuse, and answers that speak of the model that wrote them.

Both are learned fast: a few hundred rows of another assistant's refusals and a tuned model says whose it is.
A refusal is an apology, or a word on what one is, together with what its writer cannot do: "I'm sorry to hear
that" and "Unfortunately, it rains" answer. Each answer that is trained counts, not only the last.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from espalier.core.text import folded
from espalier.data.judgement import PASSES, Judgement, answered, each, filters

if TYPE_CHECKING:
    from espalier.core.records import Example
    from espalier.data.judgement import Filter

HEAD = 260  # characters of an answer in which it refuses, if it does
# What it is, and no more: an "AI researcher" is a person.
_AI = (
    r"(?:(?:large\s+)?language\s+model|artificial\s+intelligence|(?:virtual|ai|digital)\s+assistant"
    r"|chat\s?bot"
    r"|computer\s+program|ai)\b(?=\W*(?:[,.;:!?()“”\"]|$|(?:language|assistant|model|chat|i|my|and|or"
    r"|trained|developed"
    r"|created|designed|built|so|who|which|that|without|with|like|it|here|by|from)\b))"
)
_AS_AI = rf"(?:as\s+an?|i(?:['’]?m|\s+am)\s+(?:just\s+|only\s+)?an?)\s+(?:[\w-]+\s+){{0,2}}?{_AI}"
_UNABLE = (
    r"\bi(?:['’]m)?(?:\s+(?!you\b|they\b|s?he\b|it\b|that\b|this\b)[\w'’]+){0,3}?\s+"
    r"(?:can\s?not\b|can['’]?t\b|could(?:n['’]?t|\s+not)\b"
    r"|not\s+(?:able|capable|allowed|permitted|programmed|designed|comfortable|familiar|connected|aware)\b"
    r"|unable\b|incapable\b"
    r"|(?:do\s+not|don['’]?t)\s+(?:\w+\s+)?(?:have|possess|know|understand|feel|experience|hold|support"
    r"|engage)\b"
    r"|won['’]?t\b|will\s+not\b|must\s+(?:decline|refuse)|have\s+no\s+(?:access|way|information|knowledge"
    r"|ability))"
)
_MISSING = (
    r"|\byou\s+(?:did\s?n['’]?t|did\s+not|have\s?n['’]?t|have\s+not)\s+(?:provide|include|give|gave|specif"
    r"|attach|share)"
    r"|\b(?:not|is\s?n['’]?t)\s+(?:enough|sufficient)\b|\binsufficient\b|\bno\s+(?:\w+\s+)?(?:provided"
    r"|given)\b|\b(?:outside|beyond)\s+(?:of\s+)?my\b"
)
# Of each language how a refusal begins, and what then says that its writer cannot.
_REFUSES = tuple(
    (re.compile(rf"\W*(?:{begins})"), re.compile(unable))
    for begins, unable in (
        (
            r"(?:(?:oh|no|hi|hello|well)\b\W+)?(?:(?:i['’]?m|i\s+am)\s+(?:\w+\s+){0,2}(?:sorry|afraid)|sorry"
            r"|(?:my\s+)?apologies"
            r"|i\s+(?:\w+\s+)?apologi[sz]e|unfortunately|regrettably)",
            _UNABLE
            + r"|\bwe\s+(?:can\s?not|can['’]?t|are\s+unable)|\bit(?:['’]s|\s+is)\s+(?:not|against)\b"
            + _MISSING,
        ),
        (
            r"(?:es\s+)?tut\s+mir\s+(?:\w+\s+)?leid|leider|entschuldig|ich\s+bedau",
            r"\bich\b[^.!?]{0,60}\b(?:nicht|kein\w*)\b|\b(?:nicht|kein\w*)\b[^.!?]{0,30}\bich\b"
            r"|nicht\s+(?:möglich|in\s+der\s+lage)",
        ),
        (
            r"(?:je\s+suis\s+)?(?:\w+\s+)?(?:désolée?|navrée?)|malheureusement|je\s+regrette"
            r"|je\s+m['’]excuse|en\s+tant\s+qu",
            r"\bje\s+ne\b|\bje\s+n['’]|\bm['’]est\s+(?:pas\s+)?(?:im)?possible",
        ),
        (
            r"lo\s+siento|lamentablemente|desafortunadamente|lamento|disculp|perdón"
            r"|como\s+(?:una?\s+)?(?:ia\b|inteligencia|modelo|asistente)",
            r"\bno\s+(?:puedo|poder|soy|tengo|estoy|me\s+es|cuento|dispongo|sé|poseo|podré)\b",
        ),
        (
            r"desculp|sinto\s+muito|infelizmente|lamento|peço\s+desculpa|como\s+uma?\s+(?:ia\b|inteligência"
            r"|modelo|assistente)",
            r"\bnão\s+(?:posso|consigo|tenho|sou|estou|me\s+é|é\s+possível|sei|possuo|poderei)\b",
        ),
        (
            r"mi\s+dispiace|purtroppo|spiacente|mi\s+scuso",
            r"\bnon\s+(?:posso|sono|ho|riesco|mi\s+è|so|è\s+possibile|dispongo)\b",
        ),
        (
            r"к\s+сожалению|извин|простите|прошу\s+прощения|сожалею|мне\s+(?:\w+\s+)?жаль|как\s+(?:языков"
            r"|искусственн|ии\b)",
            r"\bне\s+(?:могу|имею|умею|смогу|способ|в\s+состоянии|знаю|обладаю|располагаю)|у\s+меня\s+нет"
            r"|невозможно",
        ),
        (
            r"(?:我)?(?:非常|很|十分|真的)?(?:抱歉|对不起|對不起|遗憾|遺憾|不好意思)|作[为為](?:一|名|个|個"
            r"|款|种)*(?:ai|人工智|语言模型|語言模型|大型?语言)",
            r"我[^。！？]{0,20}(?:无法|無法|不能|不可以|不具备|不会|不便|[没沒]有(?:能力|办法|权限|访问|足够"
            r"|实时|个人|情感|感情|身体))"
            r"|[,，]\s*(?:无法|無法|不能)",
        ),
        (
            r"(?:大変)?(?:申し訳(?:ありません|ございません)?|すみません|ごめん|残念ながら)"
            r"|ai(?:アシスタント)?として|言語モデルとして",
            r"できません|できかね|いたしかね|分かりません|わかりません|ありません|持っていません",
        ),
        (
            r"죄송|미안|안타깝게도|유감|(?:ai|인공지능|언어\s*모델)(?:으?로서)",
            r"수\s+없|못\s*합|못\s*해|없습니다|않습니다|어렵습니다",
        ),
        (
            r"(?:أنا\s+)?(?:آسف|عذر|للأسف|أعتذر|نعتذر)",
            r"لا\s+(?:أستطيع|يمكنني|أملك|أعرف)|لست|ليس\s+لدي|غير\s+قادر",
        ),
        (r"(?:मुझे\s+)?(?:क्षमा|माफ|खेद|दुर्भाग्य)", r"नहीं|असमर्थ"),
        (r"(?:tôi\s+)?(?:rất\s+)?(?:xin\s+lỗi|tiếc)|là\s+một\s+(?:mô\s+hình|ai|trí\s+tuệ)", r"không"),
    )
)
# No apology is needed, and nobody asks for such a text.
_SURELY = re.compile(
    r"\W*(?:well\W+|no\W+)?i\s?(?:['’]m|\s?am)?\s+(?:\w+\s+)?(?:can\s?not|can['’]?t|won['’]?t|will\s+not"
    r"|unable\s+to|not\s+able\s+to|must\s+decline\s+to)\s+(?:\w+\s+)?(?:help|assist|provide|fulfil|comply"
    r"|do\s+that|answer|create|write|generate|engage|support|access|browse|discuss|perform|condone|process"
    r"|complete)"
    r"|\W*i\s+(?:do\s+not|don['’]?t)\s+have\s+(?:access|the\s+(?:ability|capability)|personal|real-?time"
    r"|feelings"
    r"|opinions|emotions)"
    r"|\W*it\s+(?:seems|looks)\s+(?:like|that|as\s+if)\s+(?:your\s+(?:message|input)|the\s+input"
    r"|there\s+is\s+no"
    r"|you\s+(?:did|have|for))"
    r"|\W*ich\s+(?:kann|darf)\s+[^.!?]{0,60}nicht\s+(?:helfen|beantworten|unterstützen|erstellen|schreiben"
    r"|bereit)"
    r"|我(?:无法|無法|不能)(?:回答|提供|完成|帮|协助|生成|访问|满足)"
    rf"|(?:[^.!?]{{0,80}}[.!?,]\s+)?(?:\w+\W+)?{_AS_AI}[^.!?]*?(?:\b(?:not|cannot|no|nothing|never|unable"
    rf"|incapable)\b|n['’]t\b)"
)
# What asks for a text that may itself apologise.
_ASKS_FOR_ONE = re.compile(
    r"apolog|declin|refus|reject|excuse|\bact\s+as\b|pretend|paraphras|rewrit|rephras|sorry|regret|\breply\b"
    r"|translat|übersetz|tradu|перев[её]д|翻译|翻譯|翻訳|번역|ترجم|अनुवाद"
    r"|\b(?:writ|generat|compos|creat|draft|respon)\w*\b.{0,60}"
    r"\b(?:letter|e-?mail|message|story|poem|song|lyrics?|script|dialog(?:ue)?|conversation|note|speech)\b"
)
_NAMES = (
    r"(?:chatgpt|gpt-?\d|claude|gemini|bard|llama|mistral|qwen|deepseek|alpaca|vicuna|open\s?assistant|ernie"
    r"|chatglm|baichuan|grok|文心一言|通义千问|豆包)"
)
_ENDS = r"(?=\W*(?:$|[,.;:!?()]|an?\b|and\b|the\b|your\b))"
_MAKERS = (
    r"(?:openai|anthropic|google(?!\w)|meta\b|mistral|alibaba|deepseek|microsoft|baidu|lmsys"
    r"|large\s+model\s+systems|laion|阿里|百度)"
)
_WRITER = re.compile(
    rf"\bi(?:['’]?m|\s+am)\s+(?:\w+\s+){{0,2}}?{_NAMES}{_ENDS}|\b(?:my\s+name\s+is|call\s+me"
    rf"|refer\s+to\s+me\s+as|model\s+(?:called|named))\s+{_NAMES}{_ENDS}"
    rf"|\bi(?:['’]?m|\s+(?:am|was|have\s+been))\b[^.!?\n]{{0,80}}\b(?:trained|developed|created|made"
    rf"|built)\b[^.!?\n]{{0,40}}\bby\b[^.!?\n]{{0,40}}\b{_MAKERS}"
    rf"|(?:я|ich\s+bin|je\s+suis|soy|sou|sono|eu\s+sou|jestem)\W+(?:\w+\W+){{0,2}}?{_NAMES}\b|我(?:是"
    rf"|叫)[^。，,]{{0,12}}{_NAMES}|我[^。]{{0,20}}由\s*{_MAKERS}"
)
_A_MODEL = re.compile(
    rf"\b{_AS_AI}|\bmy\s+(?:training\s+data|(?:last\s+)?knowledge\s+(?:cut-?\s?off|update)"
    rf"|last\s+(?:training\s+)?update|programming|pre-?training)\b"
    rf"|\bas\s+of\s+my\s+(?:last|latest|most|knowledge|training|current)\b"
    rf"|\bknowledge\s+cut-?\s?off\s+(?:date\s+)?(?:is|was|of)\b"
    r"|\bals\s+(?:ki|künstliche\s+intelligenz|(?:\w+\s+){0,2}sprachmodell)\b"
    r"|\bich\s+bin\s+(?:nur\s+)?eine?\s+(?:ki\b|künstliche\s+intell|(?:\w+\s+)?sprachmodell|chatbot)"
    r"|\ben\s+tant\s+qu['’]?(?:ia\b|(?:une?\s+)?(?:intelligence\s+artificielle"
    r"|(?:\w+\s+)?modèle\s+de\s+lang)|e\s+modèle)|\bje\s+suis\s+une?\s+(?:ia\b|intelligence\s+art"
    r"|modèle\s+de\s+lang)"
    r"|\b(?:como|soy|sou|eu\s+sou)\s+una?\s+(?:ia\b|inteligencia\s+artificial)|\b(?:como"
    r"|soy)\s+(?:un\s+)?modelo\s+de\s+lengua|\b(?:como|sou)\s+uma?\s+(?:ia\b|inteligência\s+art"
    r"|modelo\s+de\s+ling)"
    r"|\bcome\s+(?:un['’]\s?)?(?:ia\b|intelligenza\s+art|modello\s+ling)|\b(?:как"
    r"|я)\W+(?:\w+\W+)?(?:языковая\s+модель|искусственный\s+интеллект|ии\b(?!-))"
    r"|(?:作[为為]|我(?:只)?是)(?:一|个|個|名|款|种|位)*(?:大型?)?(?:人工智[能慧]|语言模型|語言模型"
    r"|ai(?:助手|模型|语言)?)|我的知识(?:库)?截[止至]|截至我的"
    r"|aiとして|言語モデルとして|私はai|(?:ai|인공지능|언어\s*모델)(?:으?로서)|저는\s+(?:ai|인공지능|언어)"
    r"|كنموذج\s+لغ|أنا\s+(?:نموذج\s+لغ|ذكاء\s+اصط)|là\s+một\s+(?:mô\s+hình\s+ngôn|trí\s+tuệ)"
)
# The row is about models, or asks who answers: then an answer may say what it is, but not whose.
_ABOUT_AI = re.compile(
    r"\b(?:ai|a\.i\.|artificial\s+intelligence|language\s+models?|llms?|chat\s?bots?|chatgpt|gpt-?\d?"
    r"|robots?|neural\s+network|(?:virtual|digital)\s+assistant)\b"
    r"|\byou(?:r)?\b.{0,30}\b(?:model|bot|name|creator|maker|purpose)\b|\bare\s+you\s+(?:an?\s+)?(?:human"
    r"|real|person|machine|program|based|trained|created)"
    r"|\bwho\s+(?:are|made|created|built|developed|trained)\s+you\b|\bwho\s+you\s+are\b|\bwhat\s+are\s+you\b"
    r"|\b(?:introduce|about)\s+your\s?self\b"
    r"|你是谁|你是什么|你叫|你的名字|介绍.{0,4}你|人工智|语言模型|机器人|\b(?:ki|künstliche|sprachmodell)\b"
    r"|\bии\b|искусственн|языков|inteligencia\s+art|inteligência\s+art|intelligence\s+art"
)


@filters.register("refusal")
def refusal() -> Filter:
    """Answers that begin with a refusal, in thirteen languages."""

    def judge(example: Example) -> Judgement:
        for number, asked, answer in answered(example):
            head = folded(answer[: 2 * HEAD])[:HEAD]
            if _refuses(head, asked):
                why = f"The answer refuses: “{head[:60].strip()}”."
                return Judgement(False, why, spans=((number, 0, min(60, len(answer))),))
        return PASSES

    return each(judge)


@filters.register("self_identification")
def self_identification() -> Filter:
    """Answers that name the assistant which wrote them, or say that they are one where nobody asks."""

    def judge(example: Example) -> Judgement:
        for _, asked, answer in answered(example):
            plain = folded(answer)
            found = _WRITER.search(plain) or _A_MODEL.search(plain)
            if found and (found.re is _WRITER or not _ABOUT_AI.search(folded(asked))):
                around = plain[found.start() : found.end() + 40].strip()
                return Judgement(False, f"The answer speaks of its writer: “{around}”.")
        return PASSES

    return each(judge)


def _refuses(head: str, asked: str) -> bool:
    if _SURELY.match(head):
        return True
    for begins, unable in _REFUSES:
        if (found := begins.match(head)) and unable.search(head, found.end()):
            return not _ASKS_FOR_ONE.search(folded(asked))
    return False
