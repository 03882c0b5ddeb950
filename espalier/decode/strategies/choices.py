"""The likeliest of a row's options: nothing is written, options are weighed (`decode/choosing.py`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from espalier.core.errors import RecipeError
from espalier.decode.strategy import Strategy
from espalier.tasks.options import Normalise

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from espalier.decode.strategy import Row


def choices(*, normalise: Normalise = "none") -> Strategy:
    """The option (`facts["options"]`) that is likeliest, or likeliest for each character, token or byte.

    Long options are less likely than short ones; `normalise` divides by length, as lm-eval's acc_norm does by
    characters (Gao 2021). Nothing is written. The scorer `choice` reports both ways from one run.
    """
    return Strategy({"kind": "choices", "normalise": normalise}, 1, 1, _writes_nothing, weighs=normalise)


def _writes_nothing(rows: Sequence[Row], logits: Tensor) -> NoReturn:
    raise RecipeError(
        "'choices' weighs the options of rows, and this asks for text.",
        where="decode.kind",
        hint="Take 'greedy' or 'sample' here.",
    )
