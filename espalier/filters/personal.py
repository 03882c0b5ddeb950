"""Personal data and secrets: found by their form, and proven by their check digits where they have any.

Mail addresses, telephone numbers, addresses of computers, payment cards (Luhn), bank accounts (ISO 13616) and
keys to services. A form alone proves little: a version number is no address, and a year no telephone. What
manuals and résumés make up is nobody's: user@example.com, (555) 555-5555.
"""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING

from espalier.data.judgement import PASSES, Judgement, each, filters
from espalier.filters.patterns import pattern

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from espalier.core.records import Example
    from espalier.data.judgement import Filter


# Of each issuer of cards how a number begins, and how many digits it has (ISO/IEC 7812).
_ISSUERS = (
    ("4", (13, 16, 19)),
    ("5[1-5]|2(?:22[1-9]|2[3-9]|[3-6]|7[01]|720)", (16,)),
    ("3[47]", (15,)),
    ("3(?:0[0-5]|[689])", (14, 16)),
    ("6(?:011|5|4[4-9])|35(?:2[89]|[3-8])", (16, 19)),
    ("62|81", (16, 17, 18, 19)),
    ("5018|5020|5038|6304|6759|676[1-3]|220[0-4]", (16, 18, 19)),
)
# One of these stands in each text that holds such a thing: most texts have none, and need no closer look.
_SIGNS = {
    "email": ("@", "＠", "(at)", "[at]"),
    "key": tuple(
        """
        -----BEGIN AKIA ASIA ghp_ gho_ ghu_ ghs_ ghr_ github_pat_ glpat- sk- hf_ xox AIza k_live_ k_test_
        whsec_ eyJ
        SG. npm_ pypi- ya29. GOCSPX- dop_v1_ shpat_ gsk xai r8_ pplx nvapi :AA hooks.slack AccountKey=
        """.split()  # noqa: SIM905
    ),
}
_DIGIT = re.compile(r"\d")
_YEAR = r"(?:19|20)\d\d"
_SAMPLE_MAIL = pattern("sample_mail")
_SAMPLE_PHONE = re.compile(r"555\D?(?:\d{3}\D?)?\d{4}$|^\D*(?:1\D)?0?123\D{0,3}45|(\d)(?:\D?\1){6,}")
_BEFORE_PHONE = pattern("before_phone")
# Numbers that are written as telephones are and nothing else: (0171) 23 45 67, 650-636-4884.
_PHONES = pattern("phones")
_VERSION = pattern("version")


def is_card(text: str) -> bool:
    """Tell whether digits are those of a payment card: an issuer's (ISO/IEC 7812), with the check of Luhn."""
    digits = re.sub(r"\D", "", text)
    signs = set(re.findall(r"\D", text))
    groups = [len(group) for group in re.findall(r"\d+", text)]
    if len(signs) > 1 or (signs and (min(groups[:-1]) < 4 or max(groups) > 7 or len(groups) < 3)):
        return False
    if not any(len(digits) in sizes and re.match(begins, digits) for begins, sizes in _ISSUERS):
        return False
    doubled = [2 * int(digit) - 9 * (int(digit) > 4) for digit in digits[-2::-2]]
    return len(set(digits)) > 1 and (sum(map(int, digits[-1::-2])) + sum(doubled)) % 10 == 0


def is_account(text: str) -> bool:
    """Tell whether an IBAN passes its check (ISO 13616: 1 modulo 97)."""
    plain = re.sub(r"[\s-]", "", text).upper()
    moved = plain[4:] + plain[:4]
    return 15 <= len(plain) <= 34 and int("".join(str(int(sign, 36)) for sign in moved)) % 97 == 1


def is_address(text: str) -> bool:
    """Tell whether it is an address of the internet, and no private, local or documented one."""
    try:
        return ipaddress.ip_address(text).is_global
    except ValueError:
        return False


def is_phone(text: str, before: str = "") -> bool:
    """Tell whether it is a telephone number: it has the form of one, or a word before it says so.

    None is a date, an address of a computer, an amount in thousands, or what is made up (555, 12345).
    """
    count = sum(character.isdigit() for character in text)
    if not 7 <= count <= 15 or _SAMPLE_PHONE.search(text):
        return False
    if re.fullmatch(
        rf"\d{{1,2}}([ ./-])\d{{1,2}}\1{_YEAR}|{_YEAR}([ ./-])\d\d?\2\d\d?|{_YEAR}(?:\W+{_YEAR})+", text
    ):
        return False
    if text.startswith("+"):
        return count >= 8 and not re.search(r"0{5}", text)
    return bool(_PHONES.fullmatch(text) or _BEFORE_PHONE.search(before))


def _is_mail(text: str) -> bool:
    return not _SAMPLE_MAIL.search(text)


def _is_key(text: str) -> bool:
    """Tell whether a key is none of a manual's: many different signs, digits, and no word for an example."""
    made_up = re.search(r"example|your|xxxx|\.\.\.|0000", text, re.IGNORECASE)
    varied = len(set(text)) >= 10 and any(character.isdigit() for character in text)
    return "PRIVATE KEY" in text or (varied and not made_up)


KINDS: dict[str, tuple[str, re.Pattern[str], Callable[[str, str], bool]]] = {
    "key": (
        "a key",
        re.compile(
            r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----"
            r"(?:[\s\S]{0,4000}?-----END (?:[A-Z]+ )*PRIVATE KEY-----)?"
            r"|\b(?:AKIA|ASIA)[0-9A-Z]{16}\b|\bgh[pousr]_\w{36,}\b"
            r"|\bgithub_pat_\w{40,}|\bglpat-[\w-]{20,}|\bsk-(?:proj-|ant-|or-)?[A-Za-z0-9_-]{20,}"
            r"|\bhf_[A-Za-z0-9]{30,}\b"
            r"|\bxox[abeprs]-[A-Za-z0-9-]{10,}|\bAIza[\w-]{35}\b|\b(?:[sr]k_(?:live|test)"
            r"|whsec)_[A-Za-z0-9]{20,}"
            r"|\beyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{10,}|\bSG\.[\w-]{16,}\.[\w-]{30,}"
            r"|\bnpm_[A-Za-z0-9]{36}\b"
            r"|\bpypi-[\w-]{50,}|\bya29\.[\w-]{20,}|\bGOCSPX-[\w-]{20,}|\bdop_v1_[0-9a-f]{64}\b"
            r"|\bshpat_[0-9a-f]{32}\b"
            r"|\b(?:gsk|xai|r8|pplx|nvapi)[_-][A-Za-z0-9]{30,}|\b\d{8,10}:AA[\w-]{33}\b"
            r"|hooks\.slack\.com/services/T\w+/B\w+/\w+|\bAccountKey=[\w+/]{80,}={0,2}"
        ),
        lambda text, _: _is_key(text),
    ),
    "email": (
        "a mail address",
        re.compile(
            r"(?<![\w.+-])[\w.+-]{0,63}\w[@＠](?:[^\W_](?:[\w-]{0,61}[^\W_])?\.)+[^\W\d_]{2,24}(?![\w-])"
            r"|\b[\w.+-]{1,64} ?[\[(]at[\])] ?[\w-]+(?: ?(?:[\[(]dot[\])]|\.) ?[A-Za-z]{2,24})+\b"
        ),
        lambda text, _: _is_mail(text),
    ),
    "account": (
        "a bank account",
        re.compile(r"\b[A-Z]{2}\d{2}(?:[ -]?[A-Z0-9]{4}){2,7}(?:[ -]?[A-Z0-9]{1,3})?\b"),
        lambda text, _: is_account(text),
    ),
    "card": (
        "a payment card",
        re.compile(r"(?<![\d.,+*/=^-])(?<![+*/=×÷^-] )\d(?:[ -]?\d){12,18}(?![\d%-]|[.,]\d| ?[+*/=×÷^])"),
        lambda text, _: is_card(text),
    ),
    "identity": (
        "an identity number",
        re.compile(r"(?<![\d-])(?!000|666|9|123-45-6789)\d{3}-(?!00)\d{2}-(?!0000)\d{4}(?![\d-])"),
        lambda text, _: bool(text),
    ),
    "ip": (
        "an address of a computer",
        re.compile(
            r"(?<![\d.])(?<!\bv)(?:\d{1,3}\.){3}\d{1,3}(?![\d.]*\d)"
            r"|(?<![\w:])(?:[0-9A-Fa-f]{1,4}:){1,7}(?::?[0-9A-Fa-f]{1,4}){1,7}(?![\w:])"
        ),
        lambda text, before: is_address(text) and not _VERSION.search(before),
    ),
    "phone": (
        "a telephone number",
        re.compile(
            r"(?<![\w+])(?<![=×*] )\+\d{1,3}(?:[ .-]?(?:\(\d{1,4}\)|\d{1,5})){2,6}(?!\w)"
            r"|(?<![\w+.,/*=$€£-])(?<![+*=×÷^$€£] )(?:\+\d{1,3}[ .-]?"
            r"|\+?\d{1,3}[ .-])?(?:\(\+?\d{1,5}\)[ .-]?)?"
            r"\d{2,5}(?:[ ./-]\d{2,8}){1,5}(?![\w*=%-]|[.,/]\d|\s?[*=+/])"
            r"|(?<![\w+.,/*=$-])(?:\+\d{8,15}|\d{7,12})(?![\w%]|[.,]\d|\s?[*=+/])"
            r"|\(\d{2,5}\)[ .-]?\d{4,9}(?!\w)"
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
    digits = _DIGIT.search(text) is not None
    found = [
        (match.start(), -match.start() - size, kind)
        for kind in kinds
        if (any(sign in text for sign in _SIGNS[kind]) if kind in _SIGNS else digits)
        for match in KINDS[kind][1].finditer(text)
        if (size := _proven(kind, match.group(), text[max(0, match.start() - 30) : match.start()]))
    ]
    end = 0
    for start, last, kind in sorted(found):
        if start >= end:
            end = -last
            yield kind, (start, end)


def _proven(kind: str, text: str, before: str) -> int:
    """Return how many characters of what has the form of a kind are of it: a word may follow an account."""
    check = KINDS[kind][2]
    text = re.sub(r"\d", lambda digit: str(int(digit.group())), text)
    while text and not check(text, before):
        text = text.rpartition(" ")[0] if kind == "account" else ""
    return len(text)
