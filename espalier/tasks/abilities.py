"""The bundled questions of general ability, which show what a model forgets while it is tuned.

Knowledge and arithmetic have four options, of which the likeliest answer is taken; instructions and form are
answered freely, and each says in a regular expression what an answer that obeys looks like. They are easy, so
that small models can lose something, and none of them is of a public test set.
"""

from __future__ import annotations

import json
from importlib.resources import files

from espalier.core.records import Example, example_id, message

FILE = "abilities.jsonl"


def abilities() -> list[Example]:
    """Return the questions as examples, each kind as a task of its own.

    The first reference is the right option, or an answer that obeys. `facts` has "options", or as "passes"
    the expression that a whole answer has to match.
    """
    text = (files("espalier.tasks") / "bundled" / FILE).read_text(encoding="utf-8")
    found: list[Example] = []
    for line in text.splitlines():
        row = json.loads(line)
        right = row["options"][0] if "options" in row else row["good"]
        found.append(
            Example(
                id=example_id(row["kind"], row["ask"], [right]),
                task=row["kind"],
                source=row["ask"],
                messages=(message("user", row["ask"]),),
                references=(right,),
                input=row["ask"],
                facts={name: row[name] for name in ("options", "passes") if name in row},
            )
        )
    return found
