"""IFEval on files of any tool: the four rates, and a verdict on every instruction (Zhou et al. 2023).

Prompts are in IFEval's own form, {"key", "prompt", "instruction_id_list", "kwargs"}; replies are JSONL as
well. A reply's text is called "response", "prediction", "output" or "text". It belongs to the prompt that is
its "prompt", whose key is its "key" or "id", or whose place, from 0, is its "index"; without any of these, to
the one at the same place. A prompt without a reply is not scored, as by those copies of the public checker
that do not stop there, and is counted.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from espalier.core.errors import DataError, RecipeError, nearest
from espalier.core.files import read_jsonl
from espalier.evaluate.statistics import mean
from espalier.scorers.ifeval.judge import MODES, Instruction, Mode, Verdict, instructions_of, judged
from espalier.scorers.ifeval.kinds import UnusableInstruction
from espalier.scorers.ifeval.language import detector

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

TEXTS = ("response", "prediction", "output", "text")
NAMES = ("prompt", "key", "id", "index")


@dataclass(frozen=True, slots=True)
class Asked:
    """A prompt, and what it asks for."""

    key: str
    prompt: str
    instructions: tuple[Instruction, ...]


@dataclass(frozen=True, slots=True)
class Judged:
    """The verdicts on a prompt's reply."""

    asked: Asked
    verdicts: tuple[Verdict, ...]


def score_files(prompts: Path, predictions: Path, mode: str = "repaired") -> dict[str, Any]:
    """Judge a file of replies, and return the rates in per cent with their 95 % intervals, and all verdicts.

    Instructions of one prompt are a cluster: an interval is as wide as they are alike.

    Args:
        prompts: IFEval's prompts, JSONL.
        predictions: the replies, JSONL.
        mode: "official" or "repaired"; see docs/ifeval.md.

    Returns:
        {"mode", "n" (prompts scored), "instructions", "missing", "extra", "empty", "aligned_by", "languages",
        "prompt_strict", "prompt_loose", "instruction_strict", "instruction_loose", "kinds", "verdicts"}; a
        rate is {"value", "low", "high"}.

    Raises:
        DataError: a file or a line is none of these; a prompt's instruction is of no kind or lacks a setting;
            a key, or a reply to one prompt, comes twice; most replies are to no prompt.
        RecipeError: there is no such mode.
        MissingExtra: langdetect alone tells a language that is asked for, and is not installed.
    """
    if mode not in MODES:
        raise RecipeError(f"'{mode}' is no mode.", where="mode", hint=nearest(mode, MODES))
    manner = cast("Mode", mode)
    asked = read_prompts(prompts, manner)
    replies, aligned_by, extra = read_replies(predictions, asked)
    found = [
        Judged(one, tuple(judged(instruction, replies[place], manner) for instruction in one.instructions))
        for place, one in enumerate(asked)
        if place in replies
    ]
    return {
        "mode": mode,
        "n": len(found),
        "instructions": sum(len(one.verdicts) for one in found),
        "missing": len(asked) - len(found),
        "extra": extra,
        "empty": sum(not text.strip() for text in replies.values()),
        "aligned_by": aligned_by,
        "languages": "langdetect" if mode == "official" and detector() else "built in",
        **_rates(found),
        "kinds": _by_kind(found),
        "verdicts": [_shown(one) for one in found],
    }


def read_prompts(path: Path, mode: Mode) -> list[Asked]:
    """Read IFEval's prompts. Raises DataError; see `score_files`."""
    found: list[Asked] = []
    seen: set[str] = set()
    for line, row in read_jsonl(path):
        where = f"{path}:{line}"
        prompt, key = row.get("prompt"), str(row.get("key", len(found)))
        if not isinstance(prompt, str) or not prompt.strip():
            raise DataError("The row has no text as its 'prompt'.", where=where)
        if key in seen:
            raise DataError(f"The key {key} comes twice.", where=where)
        seen.add(key)
        try:
            asked = instructions_of(prompt, row.get("instruction_id_list"), row.get("kwargs"), mode)
        except UnusableInstruction as error:
            raise DataError(f"The prompt with the key {key}: {error}", where=where) from None
        found.append(Asked(key, prompt, tuple(asked)))
    if not found:
        raise DataError("The file has no prompts.", where=str(path))
    return found


def read_replies(path: Path, asked: Sequence[Asked]) -> tuple[dict[int, str], str, int]:
    """Return the replies by their prompt's place, by what they were aligned, and how many are to no prompt.

    Raises:
        DataError: see `score_files`.
    """
    rows = list(read_jsonl(path))
    if not rows:
        raise DataError("The file has no replies.", where=str(path))
    name = next((name for name in NAMES if all(name in row for _, row in rows)), "order")
    if name == "order" and len(rows) != len(asked):
        raise DataError(
            f"There are {len(rows)} replies to {len(asked)} prompts, and nothing says which is to which.",
            where=str(path),
            hint=f"Give each line one of these: {', '.join(NAMES)}.",
        )
    places = _places(name, asked)
    found: dict[int, str] = {}
    extra = 0
    for number, (line, row) in enumerate(rows):
        said = str(number if name == "order" else row[name]).strip()
        text = _text(row, f"{path}:{line}")
        if said not in places:
            extra += 1
        for place in places.get(said, ()):
            if place in found:
                raise DataError(f"The {name} {said[:60]!r} has two replies.", where=f"{path}:{line}")
            found[place] = text
    if extra > len(rows) / 2:
        raise DataError(
            f"{extra} of {len(rows)} replies have a '{name}' that is no prompt's, such as "
            f"{str(rows[0][1][name])[:60]!r}; the first prompt's is {next(iter(places))[:60]!r}.",
            where=str(path),
        )
    return found, name, extra


def _places(name: str, asked: Sequence[Asked]) -> dict[str, list[int]]:
    places: defaultdict[str, list[int]] = defaultdict(list)
    for place, one in enumerate(asked):
        said = one.prompt.strip() if name == "prompt" else one.key if name in ("key", "id") else str(place)
        places[said].append(place)
    return dict(places)


def _text(row: dict[str, Any], where: str) -> str:
    name = next((name for name in TEXTS if name in row), None)
    if name is None:
        raise DataError(f"The line has no reply: none of {', '.join(TEXTS)}.", where=where)
    if not isinstance(row[name], str | None):
        raise DataError(f"The '{name}' is {type(row[name]).__name__}, not text.", where=where)
    return row[name] or ""


def _rates(found: Sequence[Judged]) -> dict[str, dict[str, float | None]]:
    prompts = [one.asked.prompt for one in found]
    each = [(one.asked.prompt, verdict) for one in found for verdict in one.verdicts]
    clusters = [prompt for prompt, _ in each]
    values: dict[str, tuple[list[bool], list[str]]] = {
        "prompt_strict": ([all(v.strict for v in one.verdicts) for one in found], prompts),
        "prompt_loose": ([all(v.loose for v in one.verdicts) for one in found], prompts),
        "instruction_strict": ([verdict.strict for _, verdict in each], clusters),
        "instruction_loose": ([verdict.loose for _, verdict in each], clusters),
    }
    estimates = {name: mean([float(v) for v in ok], of) for name, (ok, of) in values.items()}
    return {
        name: {"value": _percent(one.value), "low": _percent(one.low), "high": _percent(one.high)}
        for name, one in estimates.items()
    }


def _percent(share: float) -> float | None:
    return round(100 * share, 4) if share == share else None


def _by_kind(found: Sequence[Judged]) -> dict[str, dict[str, int]]:
    counts: dict[str, dict[str, int]] = {}
    for verdict in sorted((v for one in found for v in one.verdicts), key=lambda v: v.kind):
        count = counts.setdefault(verdict.kind, {"n": 0, "strict": 0, "loose": 0})
        for name, value in (("n", True), ("strict", verdict.strict), ("loose", verdict.loose)):
            count[name] += value
    return counts


def _shown(one: Judged) -> dict[str, Any]:
    return {
        "key": one.asked.key,
        "prompt": one.asked.prompt[:80],
        "follow_all_strict": all(v.strict for v in one.verdicts),
        "follow_all_loose": all(v.loose for v in one.verdicts),
        "instructions": [
            {"id": v.kind, "strict": v.strict, "loose": v.loose, "why": v.why} for v in one.verdicts
        ],
    }
