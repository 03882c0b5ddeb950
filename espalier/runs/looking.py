"""A run's looks at rows: counted before their scores are there, and no weights are chosen on sealed ones.

The ledger is in `data/looks.py`; here is what a run has to do with it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from espalier.core.errors import RecipeError
from espalier.core.files import content_hash
from espalier.core.text import counted
from espalier.data.looks import LOSS, Look, keep, keys_of, looks_in, now, record, sealed_by
from espalier.runs.events import say

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from espalier.core.records import Example
    from espalier.core.run import RunFolder
    from espalier.runs.plan import Choices, Plan, Stage


def hold_apart(plan: Plan, folder: Path) -> None:
    """Refuse to choose weights on rows of a sealed test set, and say where such rows are trained on.

    Raises:
        RecipeError: rows that are held out are sealed, by this recipe or by a run of the folder.
    """
    known, recipe = looks_in(folder), plan.choices.recipe
    own = keys_of(plan.prepared.test) if recipe.data.sealed else frozenset[str]()
    for stage in plan.stages:
        dev = keys_of(stage.dev)
        sealed = {**sealed_by(dev, known), **dict.fromkeys(dev & own, "this one")}
        if sealed:
            raise RecipeError(
                f"{len(sealed)} of {counted(len(dev), 'row')} that are held out are in the sealed test set "
                f"of {next(iter(sealed.values()))}: weights would be chosen on it.",
                where="data.dev",
                hint="Keep that run's split (its data.train, and data.seed or seed), or leave data.dev out.",
            )
        trained = keys_of(stage.examples)
        if sealed := sealed_by(trained, known):
            say(
                f"Note: {len(sealed)} of {counted(len(trained), 'row')} that are trained on are in the "
                f"sealed test set of {next(iter(sealed.values()))}: there this model's scores say nothing."
            )


def seal(run: Path, choices: Choices) -> None:
    """Seal the test rows, where the recipe says so, before anything is known of them. Raises RunError."""
    if choices.recipe.data.sealed:
        count_look(run, choices, ())


def count_look(
    run: Path, choices: Choices, models: Iterable[str], purpose: str = "run", split: str = "test"
) -> None:
    """Count a look at the rows to score; nothing where it shows what was shown before. Raises RunError."""
    sealed = choices.recipe.data.sealed and split == "test"
    count(run, choices.prepared.test, models, purpose, split, sealed=sealed)


def count_losses(run: RunFolder, stage: Stage) -> None:
    """Count each evaluation of the held-out loss as a look: by it the stage's weights were chosen.

    Raises:
        RunError: the ledger cannot be written.
    """
    done = run.done(stage.name)
    if stage.dev and done:
        events = (one for one in run.read_events() if one.get("event") == "dev")
        steps = {one["step"] for one in events if one.get("stage") == stage.name}
        models = [content_hash([done.key, step]) for step in sorted(steps)]
        count(run.path, stage.dev, models, LOSS, "dev", each=True)


def count(
    run: Path,
    examples: Sequence[Example],
    models: Iterable[str],
    purpose: str,
    split: str,
    *,
    sealed: bool = False,
    each: bool = False,
) -> None:
    """Count a look in the ledger of the run's folder, and keep what is known of its rows with the run.

    Raises:
        RunError: the ledger cannot be written, so that no score may be shown.
    """
    rows = keys_of(examples)
    look = Look(rows, tuple(models), 0, purpose, run.name, split, sealed, now())
    if record(run.parent, look, each=each):
        say(
            "Note: the ledger of looks was not there. It is written again from what the runs keep; looks by "
            "runs that were removed are lost."
        )
    keep(run, rows)
