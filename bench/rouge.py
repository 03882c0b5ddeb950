"""ROUGE-L of pairs of texts beside `rouge-score`, with its stemmer, as the published one, and without.

    python -m bench rouge

Seconds are the processor's, of one thread. The sides take turns, ours knows no word before a round, and the
peer does the first of each round's pairs, as all would take minutes.
"""

from __future__ import annotations

import random
import statistics
import time
from typing import TYPE_CHECKING, Any

from bench.filtering import made_texts
from bench.rows import BUNDLED, TASKS
from espalier.core.porter import stem
from espalier.scorers.rouge import rouge_l_of
from espalier.tasks.task_files import load_task

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    Pairs = Sequence[tuple[str, str]]

PEER = 2000  # pairs of a round that the peer does


def main(say: Callable[[str], None], *, pairs: int = 100_000, rounds: int = 3) -> dict[str, Any]:
    """Return microseconds a pair of each side, and the furthest from the peer, for each kind of texts."""
    from rouge_score.rouge_scorer import RougeScorer

    peers = {
        f"rouge_score{'' if stemmed else ', no stemmer'}": RougeScorer(["rougeL"], use_stemmer=stemmed)
        for stemmed in (True, False)
    }
    found: dict[str, Any] = {"pairs": pairs}
    for kind, held in _kinds(pairs).items():
        taken: dict[str, list[float]] = {"espalier": [], **{name: [] for name in peers}}
        furthest = 0.0
        for _ in range(rounds):
            stem.cache_clear()
            started = time.process_time()
            ours = rouge_l_of(held)
            taken["espalier"].append((time.process_time() - started) / len(held))
            for name, peer in peers.items():
                started = time.process_time()
                theirs = [peer.score(reference, text)["rougeL"].fmeasure for text, reference in held[:PEER]]
                taken[name].append((time.process_time() - started) / len(theirs))
                if name == "rouge_score":
                    furthest = max(abs(a - b) for a, b in zip(ours, theirs, strict=False))
        medians = {name: statistics.median(seconds) for name, seconds in taken.items()}
        found[kind] = {
            "texts": len({text for pair in held for text in pair}),
            "words": round(statistics.fmean(len(text.split()) for pair in held for text in pair), 1),
            **{name: f"{1e6 * seconds:.1f} us" for name, seconds in medians.items()},
            "ratios": [round(medians[name] / medians["espalier"]) for name in peers],
            "furthest": furthest,
        }
        say(f"  {kind}: {found[kind]}")
    return found


def _kinds(pairs: int) -> dict[str, Pairs]:
    """Return pairs of texts of which none comes twice, and pairs of one task's questions as they are."""
    file = next(TASKS.glob("task003*.json"), BUNDLED)
    sentences = [*dict.fromkeys(made_texts(9 * pairs))]
    return {
        "questions": _paired(_halves(_outputs(sorted(TASKS.glob("*.json")) or [BUNDLED]), 2 * pairs)),
        "sentences": _paired(sentences[: 2 * pairs]),
        "paragraphs": _paired([" ".join(sentences[at : at + 4]) for at in range(0, 8 * pairs, 4)]),
        "questions of one task": _paired(random.Random(0).choices(_outputs([file]), k=2 * pairs)),
    }


def _outputs(files: Sequence[str | Path]) -> list[str]:
    """Return the short answers of tasks, in ASCII; of a task of questions they are questions."""
    answers = (one for file in files for row in load_task(str(file)).rows[:1000] for one in row.outputs)
    return [one for one in answers if one.isascii() and 5 <= len(one.split()) <= 14]


def _halves(texts: Sequence[str], count: int) -> list[str]:
    """Return so many texts, none twice, of which each is the first half of one and the second of another."""
    draw = random.Random(0)
    words = [text.split() for text in texts]
    made: dict[str, None] = {}
    while len(made) < count:
        first, second = draw.choice(words), draw.choice(words)
        made[" ".join([*first[: len(first) // 2], *second[len(second) // 2 :]])] = None
    return [*made]


def _paired(texts: Sequence[str]) -> Pairs:
    return list(zip(texts[::2], texts[1::2], strict=True))
