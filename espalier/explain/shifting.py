"""A run's token shift: its greedy answers as both models read them, from the store, and what they tell."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import replace
from statistics import median
from typing import TYPE_CHECKING

from espalier.core.files import content_hash
from espalier.evaluate.statistics import mean, paired_difference, score_mean
from espalier.explain.record import KINDS, Place, Shift, Top
from espalier.explain.token_shift import Moved, answer_rows, shifts
from espalier.runs.events import bar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from espalier.core.journal import Journal
    from espalier.core.records import Completion, Estimate, Example
    from espalier.explain.token_shift import Models

VERSION = 1  # raised when the same answers are read otherwise
PLACES = 16  # that are told each by itself
FIRST = 3  # tokens that are the beginning of an answer
TOPS = 20
ROUNDING = 1e-6  # nats, below which two distributions are one


def read_answers(
    models: Models, examples: Sequence[Example], answers: Sequence[Completion], store: Journal
) -> tuple[list[list[Moved]], int]:
    """Return what both models say at each token of the answers, and how many of these were read now.

    What the store has is not read again, and what was read before a kill is there.

    Raises:
        ModelError: see `shifts`.
    """
    ids = [answer.ids for answer in answers]
    ours, theirs = (
        answer_rows([loaded.template.prompt_ids(example.prompt) for example in examples], ids)
        for loaded in (models.tuned, models.before)
    )
    made = [VERSION, models.tuned.weights, models.before.weights, models.tuned.formats.training]
    keys = [
        f"shift:{content_hash([*made, a.ids, b.ids, a.prompt])}" for a, b in zip(ours, theirs, strict=True)
    ]
    found = {key: [Moved(*one) for one in entry["tokens"]] for key, entry in store.find(keys).items()}
    asked = [number for number, key in enumerate(keys) if key not in found]
    mine, other = (
        [replace(side[row], number=place) for place, row in enumerate(asked)] for side in (ours, theirs)
    )
    with bar("Answers read by both models", len(asked)) as advance:
        for tree in shifts(models, mine, other):
            new = {keys[asked[place]]: moves for place, moves in tree}
            store.add({key: {"tokens": [list(one) for one in moves]} for key, moves in new.items()})
            found |= new
            advance(len(tree), "")
    return [found[key] for key in keys], len(asked)


def shift_of(
    read: Sequence[Sequence[Moved]],
    sources: Sequence[str],
    text: Callable[[int], str],
    settings: Mapping[str, Any],
    precision: str,
) -> Shift:
    """Return what the tokens of answers tell, each number with its interval by source.

    Args:
        read: of each answer its tokens.
        sources: of the answers.
        text: from a token's id to its text.
        settings: of decoding.
        precision: in which they were read.
    """
    every = [(one, source) for row, source in zip(read, sources, strict=True) for one in row]
    places: list[Place] = []
    longest = max(map(len, read), default=0)
    for place in range(min(PLACES, longest)):
        here = [(row[place], s) for row, s in zip(read, sources, strict=True) if len(row) > place]
        places.append(_place(str(place + 1), here))
    if longest > PLACES:
        later = [(one, s) for row, s in zip(read, sources, strict=True) for one in row[PLACES:]]
        places.append(_place(f"{PLACES + 1}+", later))
    return Shift(
        rows=len(read),
        sources=len(set(sources)),
        tokens=len(every),
        ties=sum(one.ties > 0 for one, _ in every),
        shares=_shares(every),
        kl=_kl(every),
        moved=any(one.kl > ROUNDING for one, _ in every),
        places=tuple(places),
        early=_early(read, sources),
        first=FIRST,
        top=_top(every, text),
        settings=dict(settings),
        precision=precision,
    )


def kind_of(rank: int) -> str:
    """Return unshifted for the base model's first choice, marginal for its second and third, else shifted."""
    return KINDS[0] if rank == 1 else KINDS[1] if rank <= 3 else KINDS[2]


def _shares(tokens: Sequence[tuple[Moved, str]]) -> dict[str, Estimate]:
    sources = [source for _, source in tokens]
    return {kind: mean([float(kind_of(one.rank) == kind) for one, _ in tokens], sources) for kind in KINDS}


def _kl(tokens: Sequence[tuple[Moved, str]]) -> Estimate:
    return replace(score_mean([one.kl for one, _ in tokens], [source for _, source in tokens]), scale=1.0)


def _place(label: str, tokens: Sequence[tuple[Moved, str]]) -> Place:
    return Place(label, len(tokens), _shares(tokens), _kl(tokens))


def _early(read: Sequence[Sequence[Moved]], sources: Sequence[str]) -> Estimate:
    """Return the mean KL of the first tokens less that of the others, over the rows that have both."""
    early, late = (
        [sum(one.kl for one in part) / len(part) if part else None for part in side]
        for side in ([row[:FIRST] for row in read], [row[FIRST:] for row in read])
    )
    return replace(paired_difference(early, late, sources), scale=1.0)


def _top(tokens: Sequence[tuple[Moved, str]], text: Callable[[int], str]) -> tuple[Top, ...]:
    """Return the tokens that were shifted most often; of as many, those of the larger KL."""
    groups: defaultdict[int, list[tuple[Moved, str]]] = defaultdict(list)
    for one, source in tokens:
        groups[one.token].append((one, source))

    def weight(token: int) -> tuple[int, float]:
        return sum(one.rank > 3 for one, _ in groups[token]), sum(one.kl for one, _ in groups[token])

    ordered = sorted((token for token in groups if weight(token)[0]), key=weight, reverse=True)
    made: list[Top] = []
    for token in ordered[:TOPS]:
        own = groups[token]
        instead, _ = Counter(one.instead for one, _ in own if one.instead != token).most_common(1)[0]
        rank = float(median(one.rank for one, _ in own if one.rank > 3))
        made.append(Top(text(token), len(own), _shares(own)[KINDS[2]], rank, text(instead)))
    return tuple(made)
