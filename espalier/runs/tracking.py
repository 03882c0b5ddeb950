"""The trackers of a run, kept from stopping it: what one raises is told in a line, and that one is off."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from espalier.core.errors import EspalierError
from espalier.runs.events import say
from espalier.runs.trackers import Start, trackers

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping, Sequence
    from pathlib import Path

    from espalier.core.recipe import Choice, Recipe
    from espalier.core.records import Tracker
    from espalier.runs.trackers import Opener


def choose_trackers(choices: Sequence[Choice]) -> dict[str, Opener]:
    """Return what opens each of the recipe's trackers, by its name.

    Raises:
        RecipeError: an unknown tracker, or a parameter that it does not take.
        MissingExtra: a tracker's package is not installed.
    """
    return {
        choice.kind: trackers.build(choice.kind, choice.params, f"track.{number}")
        for number, choice in enumerate(choices)
    }


@contextmanager
def open_trackers(
    openers: Mapping[str, Opener], recipe: Recipe, folder: Path
) -> Generator[Callable[[Mapping[str, Any]], None]]:
    """Open trackers for a run; the function yielded sends an event to each of them."""
    start = Start(recipe.name, recipe.model_dump(mode="json", exclude_none=True), folder)
    running: dict[str, Tracker] = {}

    def guarded(kind: str, work: Callable[[], object]) -> None:
        try:
            work()
        except EspalierError:
            raise
        except Exception as error:  # anything, of packages that are not ours
            reason = str(error).strip().split("\n", 1)[0] or type(error).__name__
            say(f"Warning: the tracker '{kind}' is off from here: {reason}")
            running.pop(kind, None)

    def tell(event: Mapping[str, Any]) -> None:
        for kind, tracker in list(running.items()):
            guarded(kind, lambda: tracker.log(event))  # noqa: B023

    for kind, opener in openers.items():
        guarded(kind, lambda: running.update({kind: opener(start)}))  # noqa: B023
    try:
        yield tell
    finally:
        tell({"event": "end"})
