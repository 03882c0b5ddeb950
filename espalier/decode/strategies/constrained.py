"""Answers that come out as they have to: one of some choices, by a regular expression, or JSON by a schema.

In each step the tokens that cannot be next are made impossible, and one of the others is taken, greedily or
by a draw. A row keeps the state of its automaton; of each state the tokens are found once, for all rows.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from espalier.core.errors import DataError, GenerationError
from espalier.core.files import parse_json, read_text
from espalier.decode.automata import Automata, outlines_core, regex_of
from espalier.decode.draws import Draw
from espalier.decode.strategies.sampling import drawn, likeliest
from espalier.decode.strategy import Step, Strategy, require

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from torch import Tensor

    from espalier.core.records import Example
    from espalier.decode.strategy import Row
    from espalier.encode.template import Template

    Stepping = Callable[[Sequence[Row], Tensor], Step]

LIKELIEST = Draw(temperature=0.0)


def constrained(
    *,
    limit: int = 64,
    choices: tuple[str, ...] = (),
    regex: str = "",
    schema: dict[str, Any] | str = "",
    from_facts: bool = False,
    draw: Draw = LIKELIEST,
    samples: int = 1,
) -> Strategy:
    """Take only tokens that lead to one of `choices`, to what `regex` matches, or to JSON by a `schema`.

    `schema` is a table or a file's path. With `from_facts` a row's own "options" or "schema" go before.
    Temperature 0 takes the likeliest such token. An answer cut off at the limit may not be complete.
    """
    given = {"choices": [*choices], "regex": regex, "schema": _read(schema) if schema else ""}
    usual = {key: value for key, value in given.items() if value}
    require(len(usual) <= 1, "kind", "takes one of choices, regex and schema", " and ".join(usual))
    require(
        bool(usual) or from_facts, "kind", "needs choices, a regex, a schema, or from_facts", "constrained"
    )
    require(all(choices), "choices", "must hold no empty text", [*choices])
    if "schema" in usual:
        regex_of(usual["schema"])
    elif "regex" in usual:
        outlines_core()
    plain = drawn(limit, draw, samples)
    own = partial(_of_facts, usual) if from_facts else _no_facts
    settings = {**plain.settings, "kind": "constrained", **usual, "from_facts": from_facts}
    bind = partial(_bound, plain.step, usual)
    return Strategy(settings, limit, samples, plain.step, bind=bind, own=own)


def _bound(take: Stepping, usual: Mapping[str, Any], template: Template) -> Stepping:
    """Return the step that lets `take` take only what a row's constraint, or the usual one, allows."""
    spelling = template.dress.spelling
    automata, opening = Automata(spelling), spelling.opening

    def step(rows: Sequence[Row], logits: Tensor) -> Step:
        kept = [automata.of(_constraint(row, usual)) for row in rows]
        states = [
            automaton.start if row.state is None else row.state
            for row, automaton in zip(rows, kept, strict=True)
        ]
        allowed = np.zeros(logits.shape, bool)
        for place, (row, automaton, state) in enumerate(zip(rows, kept, states, strict=True)):
            if len(row.ids) < len(opening):
                allowed[place, opening[len(row.ids)]] = True
                continue
            mask = automaton.allowed(state)
            allowed[place, : len(mask)] = mask
            allowed[place, [*row.stop_ids]] = automaton.complete(state)
            if not allowed[place].any():
                allowed[place] = _over(row)
        barred = torch.from_numpy(~allowed).to(logits.device)
        logits = logits.masked_fill(barred, -torch.inf)
        ids = take(rows, logits).ids
        # Where penalties leave nothing of what is allowed, the likeliest of that is taken without them.
        ids = ids.where(~barred.gather(1, ids[:, None])[:, 0], likeliest(logits))
        after = [
            state
            if row.finish or token in row.stop_ids or len(row.ids) < len(opening)
            else automaton.after(state, token)
            for row, automaton, state, token in zip(rows, kept, states, ids.tolist(), strict=True)
        ]
        return Step(ids, None, after)

    return step


def _constraint(row: Row, usual: Mapping[str, Any]) -> Mapping[str, Any]:
    found = row.request.own or usual
    if not found:
        raise GenerationError(
            "There is nothing that the answer has to keep to: it is no row with options or a schema.",
            where="decode.from_facts",
            hint="Give choices, a regex or a schema besides, for what has none of its own.",
        )
    return found


def _over(row: Row) -> bool:
    """Say that a row has ended, where nothing can come next. Raises GenerationError where it has not."""
    if row.finish is not None:
        return True
    if row.stop_ids:
        raise GenerationError("No token of the model spells what has to come next.", where=row.request.key)
    raise GenerationError("The answer is complete, and no token ends it.", where=row.request.key)


def _of_facts(usual: Mapping[str, Any], example: Example) -> Mapping[str, Any]:
    """Return what an example's facts say that its answer has to be. Raises DataError."""
    options, schema = example.facts.get("options"), example.facts.get("schema")
    if isinstance(options, list | tuple) and options and all(isinstance(one, str) and one for one in options):
        return {"choices": [*options]}
    if schema is not None:
        return {"schema": _parsed(schema, f"example {example.id}, schema")}
    if not usual:
        raise DataError(
            "The row has neither options nor a schema in its facts, which decode.from_facts takes.",
            where=f"example {example.id}",
            hint="Give choices, a regex or a schema in [decode] besides, for rows without.",
        )
    return usual


def _no_facts(example: Example) -> None:
    return None


def _read(schema: dict[str, Any] | str) -> Any:
    return _parsed(read_text(Path(schema)), schema) if isinstance(schema, str) else schema


def _parsed(schema: object, where: str) -> Any:
    try:
        return parse_json(schema) if isinstance(schema, str) else schema
    except ValueError as error:
        raise DataError(f"The schema is not JSON: {error}.", where=where) from None
