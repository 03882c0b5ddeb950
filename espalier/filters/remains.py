"""What programs leave in a text: marks of chat templates and web pages, wrong decodings, holes of templates.

What the prompt has itself is no fault of the answer, and code may hold anything but a wrong decoding.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

CODE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]+`", re.DOTALL)


class _Remain(NamedTuple):
    """What is found, in words; how; which prompts ask for it; whether prompts and code are looked at, too."""

    why: str
    found: re.Pattern[str]
    asked: re.Pattern[str] | None = None
    in_prompts: bool = False
    in_code: bool = False


_TEMPLATES = re.compile(
    r"template|placeholder|boilerplate|fill[- ]?in|\bblanks?\b|mad\s?libs?|sample\s+(?:letter|e-?mail)|jinja"
    r"|mustache"
    r"|handlebars|vue|angular|ansible|helm|latex|模板|vorlage|plantilla|modèle|шаблон",
    re.IGNORECASE,
)
_REMAINS = (
    _Remain(
        "A mark of a chat template is left in it",
        re.compile(
            r"<[|｜][\w▁]{2,24}[|｜]>|\[/?INST\]|<</?SYS>>|<(?:start|end)_of_turn>|\A\s*<s>(?!.*</s>)"
            r"|</s>\s*\Z"
            r"|^#{2,3} ?(?:Instruction|Input|Response|Output|Human|Assistant|User|System) ?:\s*$"
            r"|^\d{1,2}\. ?Instruction:|^#(?:Given|Rewritten|Created|New) Prompt#",
            re.MULTILINE,
        ),
        in_prompts=True,
        in_code=True,
    ),
    _Remain(
        "The next turn of a conversation is left in it",
        re.compile(r"(?<=\n)(?:Human|User|USER|Assistant|ASSISTANT|ChatGPT|用户|助手|问题) ?[:：] ?(?=\S)"),
        re.compile(
            r"dialog|conversation|\bchat|script|interview|role|transcript|support|\buser\b|\bbot\b|assistant"
            r"|对话|客服",
            re.IGNORECASE,
        ),
    ),
    _Remain(
        "It begins with a label",
        re.compile(
            r"\A\W{0,3}(?:(?:Expected |Sample |Your )?Output|(?:AI |Model )?Response|Assistant|Completion"
            r"|ChatGPT|输出|回答"
            r"|Ausgabe|Antwort|Salida|Respuesta|Sortie|Réponse|Saída|Resposta|Вывод|Ответ)\**\s?[:：]",
            re.IGNORECASE,
        ),
        re.compile(r"format|begin|start|prefix|label|output:|\bcode\b|program|function", re.IGNORECASE),
    ),
    _Remain(
        "Marks of a web page are left in it",
        re.compile(
            r"&(?:nbsp|amp|lt|gt|quot|apos|#\d{2,5}|#x[0-9a-fA-F]{2,5});"
            r"|</?(?:p|br|div|span|font|strong|em|ul|ol|li|td|tr|table|h[1-6]|a|img)\b[^<>\n]{0,300}>"
            r"|^(?:Copy code|(?:python|bash|javascript|java|html|css|sql|cpp|json|csharp)Copy code)"
            r"|^Regenerate response$"
            r"|^\[(?:deleted|removed)\]$|This content may violate our",
            re.MULTILINE,
        ),
        re.compile(
            r"html|xml|\bcss|\bweb|\btags?\b|mark-?up|\bcode|script|php|react|jsx|svg|escap|entit|form|page"
            r"|site|<\w+",
            re.IGNORECASE,
        ),
    ),
    _Remain(
        "A hole was not filled",
        re.compile(
            r"\{\{\s*\w+\s*\}\}|\[(?i:insert|your|enter|paste|name\s+of|ihr|dein|votre|su|tu|seu|sua"
            r"|ваш\w*)\s[^\]\n]{0,40}\](?!\()"
            r"|\[(?:Recipient|Sender|Candidate|Company|Customer|Client|Employer|Manager|Hiring|Date|Address"
            r"|City|Phone|Email"
            r"|Job|Position|Product|Friend|Name|Employee|Organization|University|School|Teacher|Professor"
            r"|Signature)"
            r"(?:['’]s)?(?: [A-Z][\w'’]*){0,3}\](?!\()|\[(?:你的|您的|姓名|公司名?)[^\]\n]{0,12}\]"
            r"|[【（](?:你的|您的)(?:姓名|名字|公司)[^】）\n]{0,8}[】）]"
            r"|<(?i:insert|your)\s[^>\n]{0,40}>|\((?i:insert|your)\s(?i:name|company|address|title|city"
            r"|date)[^)\n]{0,12}\)"
            r"|\b(?i:lorem\s+ipsum)\b|\bTODO\b(?=\s*(?::|$))|\bTBD\b",
            re.MULTILINE,
        ),
        _TEMPLATES,
    ),
    _Remain(
        "It says that there is no input",
        re.compile(r"<\s?no\s?(?:in|out)put\s?>|\(no\s(?:in|out)put\)|\bNoinput\b", re.IGNORECASE),
        in_prompts=True,
    ),
    _Remain(
        "It was decoded wrongly",
        re.compile("\ufffd|锟斤拷|[\x00-\x08\x0b\x0e-\x1f]"),
        in_prompts=True,
        in_code=True,
    ),
)
_PASTE = re.compile(r"\[(?:insert|paste|enter)\s[^\]\n]{0,40}\]", re.IGNORECASE)
_MISREAD = re.compile("[\u00c2-\u00f4][^\x00-\x7f]{1,3}")


def remains(answer: str, asked: str) -> Iterator[tuple[str, int, int]]:
    """Yield what is left in an answer, as a sentence without its end, and its place."""
    prose = CODE.sub(lambda found: " " * len(found.group()), answer)
    for one in _REMAINS:
        for found in one.found.finditer(answer if one.in_code else prose):
            if found.group() not in asked and not (one.asked and one.asked.search(asked)):
                yield one.why, *found.span()
                break
    yield from misread(answer)


def remains_of_prompt(text: str, answer: str) -> Iterator[tuple[str, int, int]]:
    """Yield what is left in a prompt and makes its row useless."""
    if not _TEMPLATES.search(text) and (found := _PASTE.search(text)) and "[" not in answer:
        yield "A hole of the prompt was not filled", *found.span()
    for one in _REMAINS:
        if one.in_prompts and (found := one.found.search(text)) and found.group() not in answer:
            yield one.why.replace("in it", "in the prompt"), *found.span()
    yield from misread(text)


def misread(text: str) -> Iterator[tuple[str, int, int]]:
    """Yield the first of UTF-8's bytes that were read as Latin letters: "â€™" for ’, "Ã©" for é.

    Two of them, or one of three bytes and more: "IRMÃ”" may end a quotation.
    """
    found = [
        (match.start(), match.start() + size)
        for match in _MISREAD.finditer(text)
        if (size := _misread(match.group()))
    ]
    if len(found) > 1 or (found and found[0][1] - found[0][0] > 2):
        yield "It was decoded wrongly", *found[0]


def _misread(text: str) -> int:
    """Return how many characters are the bytes of one, from the beginning on; 0 for none."""
    for size in range(2, len(text) + 1):
        try:
            data = b"".join(bytes([ord(c)]) if c < "\u0100" else c.encode("cp1252") for c in text[:size])
            data.decode()
        except ValueError:
            continue
        return size
    return 0
