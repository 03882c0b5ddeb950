"""What a run has kept of its stages: which are done and whole, and what goes when one is saved or begun."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from espalier.core.errors import ModelError, RunError
from espalier.core.files import damage, inventory
from espalier.runs.events import say, working

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from espalier.core.run import RunFolder
    from espalier.models.load import Loaded
    from espalier.runs.plan import Stage


def is_done(run: RunFolder, stage: Stage, key: str) -> bool:
    """Say whether a stage is done and its model is whole; one that is damaged is made again.

    Raises:
        RunError: the model is damaged and no checkpoint is left to make it from, or it is of other rows or
            weights than these.
    """
    from espalier.train.checkpoint import latest

    done = run.done(stage.name)
    of_this = done is not None and done.key == key
    if not stage.model.is_dir():
        if of_this or (done and run.same):
            say(f"{stage.model} is not there: it is made again.")
        return False
    if not (of_this or run.same):
        if done:
            raise RunError(
                "The tuned model is of other rows or weights than these.",
                where=str(stage.model),
                hint="Remove it to train again, or give this run another name with -o name=NEW.",
            )
        return False
    wrong = damage(stage.model, done.files) if done else ""
    if not wrong:
        if not (of_this and done and done.files):  # an earlier version wrote less, or stages.json was lost
            run.mark_done(stage.name, key, inventory(stage.model))
        _remove_checkpoints(stage)  # a kill may have left them
        return True
    if latest(stage.folder / "checkpoints"):
        say(f"{stage.model} is damaged ({wrong}): it is made again from the checkpoint.")
        return False
    raise _damaged(stage, wrong)


def load_kept(stage: Stage, loaded: Loaded) -> Loaded:
    """Load the stage's model; `loaded` is the one that the stage began with. Raises RunError, ModelError."""
    from espalier.models.load import load_tuned, with_pixels

    try:
        tuned = load_tuned(stage.model, loaded.place, loaded.model.device)
        return with_pixels(tuned, loaded.pixels)
    except ModelError as error:
        if error.where != str(stage.model):
            raise
        raise _damaged(stage, error.message.rstrip(".")) from None


def _damaged(stage: Stage, wrong: str) -> RunError:
    return RunError(
        f"The tuned model is damaged: {wrong}.",
        where=str(stage.model),
        hint="No checkpoint is left to make it from. Remove that folder, and the same command trains again.",
    )


@working("Saving the model", aloud=False)
def keep(run: RunFolder, stage: Stage, loaded: Loaded, model: PreTrainedModel, key: str) -> None:
    """Save the stage's model, mark the stage as done, and remove its checkpoints."""
    from espalier.models.adapters import merged
    from espalier.models.load import save_tuned

    run.forget(stage.name)  # before its model is replaced: a kill must not leave the new one as its
    save_tuned(model if stage.last else merged(model), loaded, stage.model)
    run.mark_done(stage.name, key, inventory(stage.model))
    _remove_checkpoints(stage)


def _remove_checkpoints(stage: Stage) -> None:
    """Only an unfinished training needs them, and they are three times the weights."""
    shutil.rmtree(stage.folder / "checkpoints", ignore_errors=True)
