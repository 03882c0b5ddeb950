"""What of an answer is meant to be run or read by a machine: its block of code, or all of it."""

from __future__ import annotations

import re

# A fence that is never closed goes to the end: the answer was cut off.
_BLOCK = re.compile(
    r"^[ \t]*(`{3,}|~{3,})[ \t]*([\w+#-]*)[^\n]*\n(.*?)(?:^[ \t]*\1[`~]*[ \t]*$|\Z)", re.M | re.S
)


def block(text: str, *languages: str) -> str:
    """Return an answer's first block in one of the languages, else its first that names none, else all of it.

    Args:
        text: the answer.
        languages: how its fence may call them, in small letters.
    """
    text = text.replace("\r\n", "\n")
    found = [(match.group(2).lower(), match.group(3)) for match in _BLOCK.finditer(text)]
    for wanted in (*languages, ""):
        for language, inner in found:
            if language == wanted:
                return inner.strip("\n")
    return text.strip()
