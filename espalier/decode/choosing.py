"""Answers by choice: which of its options a row is answered with, by how likely the model holds each.

The options of all rows are weighed together along trees, so a prompt is computed once for its options, and
what prompts share once for as many rows as a tree has room for. The journal keeps what each option weighs, so
that another normalisation weighs nothing again.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from espalier.core.errors import DataError
from espalier.core.files import content_hash
from espalier.core.records import Completion
from espalier.decode.likelihood import answer_rows, check_context, numbers
from espalier.tasks.options import likeliest, options_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from espalier.core.records import Encoded, Example
    from espalier.decode.journal import Generations
    from espalier.models.load import Loaded
    from espalier.tasks.options import Normalise

TOGETHER = 256  # rows between two entries of the journal: a kill loses no more, and they share as well


class _Asked(NamedTuple):
    example: Example
    options: tuple[str, ...]
    rows: list[Encoded]  # of each option
    key: str


def choose(
    loaded: Loaded,
    examples: Sequence[Example],
    normalise: Normalise,
    *,
    weights: str = "",
    journal: Generations | None = None,
) -> Iterator[Completion]:
    """Yield each example's likeliest option, with the log-probabilities of all as `Completion.options`.

    Args:
        loaded: the model that weighs.
        examples: with options, see `options_of`.
        normalise: what a log-probability is divided by; `Completion.logprob` is undivided.
        weights: hash of the weights, for the keys.
        journal: what it holds is not weighed again.

    Raises:
        DataError: options that cannot be chosen from, or that do not fit into the model's context.
        TemplateError: the template cannot render a prompt with one of its options.
    """
    for start in range(0, len(examples), TOGETHER):
        asked = _asked(loaded, examples[start : start + TOGETHER], weights)
        if journal is not None:
            journal.fetch(one.key for one in asked)
        known = dict(journal.done) if journal is not None else {}
        new = list({one.key: one for one in asked if one.key not in known}.values())
        for one, completion in zip(new, _weighed(loaded, new), strict=True):
            known[one.key] = completion
            if journal is not None:
                journal.append(completion)
        if journal is not None and new:
            journal.share(one.key for one in new)
        for one in asked:
            yield _chosen(known[one.key], one, normalise)


def _asked(loaded: Loaded, examples: Sequence[Example], weights: str) -> list[_Asked]:
    made = f"{weights}/{loaded.model.dtype}/{loaded.formats.training}"
    options = [options_of(example) for example in examples]
    found: list[_Asked] = []
    for example, texts, rows in zip(
        examples, options, answer_rows(examples, options, loaded.template), strict=True
    ):
        check_context(rows, loaded.template.context)
        tokens = [row.ids for row in rows]
        key = content_hash([made, loaded.template.hash, "choices", tokens, [row.prompt for row in rows]])
        found.append(_Asked(example, texts, rows, key))
    return found


def _weighed(loaded: Loaded, asked: Sequence[_Asked]) -> list[Completion]:
    found = iter(numbers(loaded, [row for one in asked for row in one.rows]))
    return [
        Completion(
            example=one.example.id,
            text="",
            request=one.key,
            options=tuple((next(found), sum(weight > 0 for weight in row.weights)) for row in one.rows),
        )
        for one in asked
    ]


def _chosen(completion: Completion, one: _Asked, normalise: Normalise) -> Completion:
    weighed = completion.options
    if len(weighed) != len(one.options):
        raise DataError("The journal holds another number of options.", where=f"example {one.example.id}")
    place = likeliest(one.options, weighed, normalise)
    text, ids = one.options[place], one.rows[place].ids[one.rows[place].prompt :]
    return replace(completion, example=one.example.id, text=text, ids=ids, logprob=weighed[place][0])
