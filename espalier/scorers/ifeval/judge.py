"""Verdicts on replies: strict, of the reply as it is, and loose, of what is left without its frame."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, cast

from espalier.scorers.ifeval.kinds import Check, UnusableInstruction, settings_of
from espalier.scorers.ifeval.official import OFFICIAL
from espalier.scorers.ifeval.repaired import REPAIRED

Mode: TypeAlias = Literal["official", "repaired"]
MODES: dict[str, Mapping[str, Check]] = {"official": OFFICIAL, "repaired": REPAIRED}


@dataclass(frozen=True, slots=True)
class Instruction:
    """One thing that a prompt asks for, its settings checked (see `kinds.KINDS`)."""

    kind: str
    settings: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether one instruction is followed, strictly and loosely, and where not strictly, `why`."""

    kind: str
    strict: bool
    loose: bool
    why: str = ""


def instructions_of(prompt: str, kinds: object, kwargs: object, mode: Mode) -> list[Instruction]:
    """Return what a prompt asks for, by its lists of kinds and of their settings.

    In the repaired mode what IFEval's own lists get wrong is put right by the prompt: a number of words that
    is another there, and an instruction listed twice in place of "lower case".

    Raises:
        UnusableInstruction: they are no such lists, or an instruction is of no kind or lacks a setting.
    """
    if not (isinstance(kinds, list) and isinstance(kwargs, list)):
        raise UnusableInstruction("instruction_id_list and kwargs should be lists.")
    names, given = cast("list[object]", kinds), cast("list[object]", kwargs)
    if not names or len(names) != len(given):
        raise UnusableInstruction(f"There are {len(names)} instructions and {len(given)} kwargs.")
    found = [Instruction(str(n), settings_of(str(n), one)) for n, one in zip(names, given, strict=True)]
    return found if mode == "official" else _intended(prompt, found)


def judged(instruction: Instruction, reply: str, mode: Mode) -> Verdict:
    """Return the verdict on a reply. What is blank follows nothing, in either mode.

    Raises:
        MissingExtra: it asks for a language that only langdetect tells, which is not installed.
    """
    check = MODES[mode][instruction.kind]
    why = _problem(check, reply, instruction.settings)
    loose = not why or not all(_problem(check, one, instruction.settings) for one in variants(reply))
    return Verdict(instruction.kind, not why, loose, why)


def variants(reply: str) -> list[str]:
    """Return a reply without its first line, its last, and both, and all of these without asterisks too.

    What a chat model says around its answer, and emphasis, is no reason to fail in the loose verdict.
    """
    lines = reply.split("\n")
    cut = [reply, *("\n".join(part).strip() for part in (lines[1:], lines[:-1], lines[1:-1]))]
    return [*cut[1:], *(one.replace("*", "") for one in cut)]


def _problem(check: Check, reply: str, settings: Mapping[str, Any]) -> str:
    if not reply.strip():
        return "there is no reply"
    try:
        return check(reply, settings)
    except re.error as error:
        return f"the public checker takes a word for a regular expression, and it is none: {error}"


def _intended(prompt: str, listed: Sequence[Instruction]) -> list[Instruction]:
    found: list[Instruction] = []
    for one in listed:
        said = re.search(r"\b(at least|less than) (\d+) words\b", prompt)
        if one.kind.endswith(":number_words") and said and said[1] == one.settings["relation"]:
            one = Instruction(one.kind, {**one.settings, "num_words": int(said[2])})
        elif one in found and "lower case" in prompt:
            one = Instruction("change_case:english_lowercase", {})
        if one not in found:
            found.append(one)
    return found
