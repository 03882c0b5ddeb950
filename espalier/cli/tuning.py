"""The model side of a run, shared by the verbs: loading, preparing for training, the copy that decodes."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

from espalier.cli.progress import say, working
from espalier.core.errors import ModelError, RunError
from espalier.core.records import ALONE
from espalier.core.run import RunFolder
from espalier.core.standing import read_provenance

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch
    from transformers import PreTrainedModel

    from espalier.core.recipe import ModelSection, Recipe, TrainSection
    from espalier.core.records import Ranks
    from espalier.encode.voice import Rendering
    from espalier.models.load import Loaded
    from espalier.models.precision import Format
    from espalier.train.loop import Forward


def load(section: ModelSection, cache: Path) -> Loaded:
    """Fetch and load the recipe's model onto its device. Raises ModelError."""
    from espalier.models.allocator import tune_allocator
    from espalier.models.load import find_model, load_model

    tune_allocator()
    with working(f"Loading {section.name}") as tell:
        return load_model(find_model(section.name, cache, tell), device_of(section.device))


def device_of(wish: str) -> torch.device:
    """Return the device that the recipe names; 'auto' is the first GPU, or the CPU. Raises ModelError."""
    import torch

    if wish == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(wish)
    except RuntimeError:
        raise ModelError(
            f"There is no device '{wish}'.",
            where="model.device",
            hint="Known: auto, cpu, cuda, cuda:1, mps, …",
        ) from None
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).split("\n", 1)[0].rstrip(".")
        raise ModelError(f"The device '{wish}' cannot be used: {reason}.", where="model.device") from None
    return device


def to_train(section: TrainSection, seed: int, model: PreTrainedModel) -> PreTrainedModel:
    """Return the model with the weights that the stage's method moves; fresh ones follow the seed."""
    import torch

    from espalier.models.adapters import methods

    torch.manual_seed(seed)
    method = methods.build(section.method.kind, section.method.params, "train.method")
    return cast("PreTrainedModel", method(model))


def try_methods(recipe: Recipe, model: PreTrainedModel) -> None:
    """Try peft's methods on the model without its weights, so that a wrong target costs no time.

    Raises:
        RecipeError: a stage's method cannot be used on it.
    """
    from espalier.models.adapters import methods

    for number, section in enumerate(recipe.train):
        where = f"train.{number}.method" if len(recipe.train) > 1 else "train.method"
        kind = {"qlora": "lora"}.get(section.method.kind, section.method.kind)
        if kind in ("lora", "ia3"):
            methods.build(kind, section.method.params, where)(_outline(model))
        elif kind != "full":
            return  # what it makes of the model is not known before


@dataclass(frozen=True)
class Sharing:
    """Whether the model computes prefixes once, and the forward that follows from it."""

    forward: Forward
    why_not: str | None


def sharing(model: PreTrainedModel, longest: int) -> Sharing:
    """Find out whether the model computes a prefix of rows of that length once. Raises ModelError."""
    from espalier.models.forward import edge_logprobs
    from espalier.models.support import unsupported

    why_not = unsupported(model, longest, training=True)
    return Sharing(partial(edge_logprobs, shared=why_not is None), why_not)


def say_sharing(model: PreTrainedModel, longest: int) -> None:
    """Tell where rows have to be computed one by one, and where they share more than a prefix's result.

    Raises:
        ModelError: the model's code does not train on such rows.
    """
    from espalier.models.support import drops

    if why_not := sharing(model, longest).why_not:
        say(f"Note: prefixes are not shared with this model, each row is computed by itself: {why_not}.")
    elif drops(model):
        say(
            "Note: the model drops hidden states at random while it trains (dropout), in a prefix for all "
            "the rows that share it. Gradients stay right in the mean, with other noise."
        )


def to_decode(model: PreTrainedModel, precision: Format) -> PreTrainedModel:
    """Return a copy for decoding, with adapters merged, in that number format."""
    return ready_to_decode(copy.deepcopy(model), precision)


def decoder_of(model: PreTrainedModel, precision: Format, ranks: Ranks) -> Callable[[], PreTrainedModel]:
    """Return what makes a copy for decoding of the model as it then is; every rank has to call that.

    It belongs before the ranks share out the weights: each rank then gathers all of them for a copy.
    """
    if not ranks.sharded:
        return partial(to_decode, model, precision)
    from espalier.train.parallel import whole

    outline = _outline(model)

    def gather() -> PreTrainedModel:
        pairs = zip(outline.parameters(), model.parameters(), strict=True)
        full = {id(none): _parameter(whole(weight.detach())) for none, weight in pairs}
        return ready_to_decode(copy.deepcopy(outline, full), precision)

    return gather


def _outline(model: PreTrainedModel) -> PreTrainedModel:
    """Return a copy of the model without weights: each is empty, once, however often the model uses it."""
    return copy.deepcopy(model, {id(weight): _parameter(weight.to("meta")) for weight in model.parameters()})


def _parameter(tensor: torch.Tensor) -> torch.nn.Parameter:
    import torch

    return torch.nn.Parameter(tensor, requires_grad=False)


def ready_to_decode(model: PreTrainedModel, precision: Format) -> PreTrainedModel:
    """Return the model itself, made ready as `to_decode` says: it can be trained no more."""
    import torch

    from espalier.decode.engine import try_out
    from espalier.models.adapters import merged
    from espalier.models.precision import dtype_of

    model = merged(model).requires_grad_(False).eval()
    torch.nn.Module.to(model, dtype_of(precision))
    try_out(model)
    return model


def peak_bytes() -> float:
    """Return the most memory that this process has held."""
    from espalier.train.loop import peak_mb

    return peak_mb() * 1e6


@working("Loading the tuned model", aloud=False)
def load_run(run: RunFolder, recipe: Recipe, cache: Path, *, rating: bool = False) -> Loaded:
    """Load the tuned model of a run: one that writes, or with `rating` a reward model.

    Raises:
        RunError: see `check_run`.
    """
    from espalier.models.load import load_tuned

    check_run(run, recipe, rating=rating)
    loaded = load_tuned(run.model, base_of(run, recipe, cache), device_of(recipe.model.device))
    return rendered(recipe, loaded, run)


def rendered(recipe: Recipe, loaded: Loaded, run: RunFolder | None = None, ranks: Ranks = ALONE) -> Loaded:
    """Return a model whose template renders as the recipe says, under the date of the run's first start.

    Every rank has to call it; rank 0 says which date it is.
    """
    from espalier.train.parallel import on_first

    rendering = on_first(partial(rendering_of, recipe, run), ranks)
    return replace(loaded, template=loaded.template.under(rendering))


def rendering_of(recipe: Recipe, run: RunFolder | None = None) -> Rendering:
    """Return how a run's rows are rendered: under the date of its first start, however late it goes on."""
    from espalier.encode.voice import Rendering

    begun = read_provenance(run).get("today") if run else None
    today = datetime.fromisoformat(begun) if isinstance(begun, str) else datetime.now()
    return Rendering(recipe.task.special, today.replace(microsecond=0), recipe.model.template)


def folder_of(recipe: Recipe) -> RunFolder:
    """Return the folder of the recipe's run, which need not be there."""
    return RunFolder(Path(recipe.folder) / recipe.name)


def check_run(run: RunFolder, recipe: Recipe, *, rating: bool) -> None:
    """Raise RunError where the tuned model of a run is not there yet, is damaged, or is of the other sort."""
    from espalier.core.files import damage

    if not run.model.is_dir():
        raise RunError(
            "The run has no tuned model yet.", where=str(run.path), hint="Finish it with `espalier run`."
        )
    done = run.done("train" if len(recipe.train) == 1 else f"train {len(recipe.train) - 1}")
    if done and (wrong := damage(run.model, done.files)):
        raise RunError(
            f"The run's tuned model is damaged: {wrong}.",
            where=str(run.model),
            hint="The run's own command tells whether a checkpoint is left to make it from.",
        )
    if any(choice.kind == "reward" for choice in recipe.train[-1].objective) != rating:
        does = ("writes answers", "rates them") if rating else ("rates answers", "writes them")
        raise RunError(
            f"The run's model {does[0]}; this needs one that {does[1]}.",
            where=str(run.path),
            hint="A reward model is what a run makes whose last stage has the objective 'reward'.",
        )


def base_of(run: RunFolder, recipe: Recipe, cache: Path) -> str:
    """Return the folder of the model that the run's last stage began with."""
    from espalier.models.load import find_model

    if len(recipe.train) > 1:
        return str(run.path / "stages" / str(len(recipe.train) - 2) / "model")
    return find_model(recipe.model.name, cache)
