"""How a run asks: what the prompts of its training rows share."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from espalier.core.recipe import load_recipe
from espalier.data.asking import asking_of, described
from espalier.data.mixture import show
from espalier.data.table import read_examples
from espalier.runs.events import say

if TYPE_CHECKING:
    from espalier.core.run import RunFolder
    from espalier.data.asking import Asking


def run_asking(run: RunFolder) -> Asking:
    """Return how a run asks: what the prompts of its training rows share.

    It is taken from the run's own rows: the task file may have been changed or moved since.
    """
    rows = read_examples(run.data / "train.parquet")
    asking = asking_of(rows)
    several = len({row.task for row in rows}) > 1
    return replace(asking, show=show(load_recipe(run.recipe).task)) if several else asking


def words_in_first_only(run: RunFolder, asking: Asking) -> bool:
    """Say whether the words around a text stand around the first turn of the rows' conversations only."""
    rows = read_examples(run.data / "train.parquet")
    asked = (turn for row in rows for turn in row.messages[len(asking.turns) :] if turn.role == "user")
    return not all(asking.holds(turn.text) for turn in asked)


def tell_asking(asking: Asking, system: str | None, *, chat: bool = False) -> None:
    """Say in what shape texts, or the turns of a chat, are asked, and what of the rows' shape they lack."""
    asking = asking if system is None else asking.under(system)
    parts = described(asking)
    if parts:
        say(f"Asked as the run's rows are, {', '.join(parts)}; --plain sends the text as it is.")
    if asking.differs:
        say(
            "The run's rows have different system turns, so none is given to a text; --system gives one"
            + (", and /system another." if chat else ", and a row of --file can have its own.")
        )
    if asking.show and not parts:
        say(
            "The run is on several tasks, so a text is asked as it is"
            + ("." if chat else ", and a row of a task's --file under that task's words.")
        )
    if asking.later and not chat:
        say("The run's rows are answered at the end of conversations; a text is asked as the first turn.")
