"""Personal data and secrets: found by their form, and proven by their check digits where they have any.

Mail addresses, telephone numbers, addresses of computers, payment cards (Luhn), bank accounts (ISO 13616) and
keys to services. A form alone proves little: a version number is no address, and a year no telephone.
"""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING

from espalier.data.judgement import PASSES, Judgement, each, filters

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from espalier.core.records import Example
    from espalier.data.judgement import Filter


def is_card(text: str) -> bool:
    """Tell whether digits pass the check of payment cards (Luhn, ISO/IEC 7812), and are not all the same."""
    digits = [int(digit) for digit in re.sub(r"\D", "", text)]
    if not 13 <= len(digits) <= 19 or len(set(digits)) < 2:
        return False
    doubled = [2 * digit - 9 * (digit > 4) for digit in digits[-2::-2]]
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def is_account(text: str) -> bool:
    """Tell whether an IBAN passes its check (ISO 13616: 1 modulo 97)."""
    plain = re.sub(r"\s", "", text).upper()
    moved = plain[4:] + plain[:4]
    return 15 <= len(plain) <= 34 and int("".join(str(int(sign, 36)) for sign in moved)) % 97 == 1


def is_address(text: str) -> bool:
    """Tell whether it is an address of the internet, and no private, local or documented one."""
    try:
        return ipaddress.ip_address(text).is_global
    except ValueError:
        return False


def is_phone(text: str) -> bool:
    """Tell whether it can be a telephone number: 8 to 15 digits, with a prefix or in groups, no date."""
    if re.search(r"(?:19|20)\d\d-\d\d-\d\d", text):
        return False
    groups = re.findall(r"\d+", text)
    count = sum(map(len, groups))
    return 8 <= count <= 15 and (
        text.startswith(("+", "(")) or (len(groups) > 2 and min(map(len, groups)) > 1)
    )


def _always(text: str) -> bool:
    return bool(text)


KINDS: dict[str, tuple[str, re.Pattern[str], Callable[[str], bool]]] = {
    "key": (
        "a key",
        re.compile(
            r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----|\b(?:AKIA|ASIA)[0-9A-Z]{16}\b|\bgh[pousr]_\w{36,}\b"
            r"|\bgithub_pat_\w{40,}|\bglpat-[\w-]{20,}|\bsk-(?:proj-|ant-)?[A-Za-z0-9_-]{20,}|\bhf_[A-Za-z0-9]{30,}\b"
            r"|\bxox[abprs]-[A-Za-z0-9-]{10,}|\bAIza[\w-]{35}\b|\b[sr]k_(?:live|test)_[A-Za-z0-9]{20,}"
            r"|\beyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{10,}"
        ),
        _always,
    ),
    "email": (
        "a mail address",
        re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@(?:[^\W_](?:[\w-]{0,61}[^\W_])?\.)+[^\W\d_]{2,24}(?![\w-])"),
        lambda text: (
            not re.search(r"@(?:\w+\.)*example\.(?:com|org|net)$|\.(?:test|invalid|example)$", text.lower())
        ),
    ),
    "account": (
        "a bank account",
        re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b"),
        is_account,
    ),
    "card": ("a payment card", re.compile(r"(?<![\d.,-])\d(?:[ -]?\d){12,18}(?![\d-]|[.,]\d)"), is_card),
    "ip": (
        "an address of a computer",
        re.compile(
            r"(?<![\d.])(?<!ersion )(?<!\bv)(?:\d{1,3}\.){3}\d{1,3}(?![\d.]*\d)"
            r"|(?<![\w:])(?:[0-9A-Fa-f]{1,4}:){2,7}(?::?[0-9A-Fa-f]{1,4}){1,7}(?![\w:])"
        ),
        is_address,
    ),
    "phone": (
        "a telephone number",
        re.compile(
            r"(?<![\w+.,/*=$-])(?:\+\d{1,3}[ .-]?|\+?\d{1,3}[ .-])?(?:\(\d{1,4}\)[ .-]?)?"
            r"\d{2,5}(?:[ .-]\d{2,5}){1,4}(?![\w*=%-]|[.,/]\d|\s?[*=+/])"
            r"|(?<![\w+])\+\d{8,15}(?!\w)"
        ),
        is_phone,
    ),
}


@filters.register("personal")
def personal(*, kinds: tuple[str, ...] = tuple(KINDS)) -> Filter:
    """Personal data and secrets; where each stands is noted, so that `export` can mask it."""

    def judge(example: Example) -> Judgement:
        found = [
            (kind, (number, *span))
            for number, turn in enumerate(example.messages)
            for kind, span in personal_in(turn.text, kinds)
        ]
        if not found:
            return PASSES
        names = " and ".join(dict.fromkeys(KINDS[kind][0] for kind, _ in found))
        return Judgement(
            False, f"It holds {names}.", float(len(found)), spans=tuple(span for _, span in found)
        )

    return each(judge)


def personal_in(text: str, kinds: tuple[str, ...] = tuple(KINDS)) -> Iterator[tuple[str, tuple[int, int]]]:
    """Yield the kind and the place of what is personal in a text, from its beginning on, none twice."""
    found = [
        (match.start(), -match.end(), kind)
        for kind in kinds
        for match in KINDS[kind][1].finditer(text)
        if KINDS[kind][2](match.group())
    ]
    end = 0
    for start, last, kind in sorted(found):
        if start >= end:
            end = -last
            yield kind, (start, end)
