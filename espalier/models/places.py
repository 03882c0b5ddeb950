"""Models by name: a bundled one, a folder, a run or a hub id; wherever a model is named, it is found here.

A folder may hold an adapter, as a run's often does: its base model is then found in the same way, down to one
that is whole. `load.py` loads what is found, with every adapter folded into its base.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from espalier.core.caches import keep_in
from espalier.core.errors import ModelError, RunError
from espalier.core.files import content_hash, damage, file_sha256, read_json
from espalier.core.recipe import load_recipe
from espalier.core.run import run_at, stage_name
from espalier.core.standing import read_provenance
from espalier.models.bundled import KNOWN, fetch
from espalier.models.files import CONFIG, weight_files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from espalier.core.recipe import Recipe
    from espalier.core.run import RunFolder

    Say = Callable[[str], None]

# What a configuration says besides how the model computes; it is loaded in fp32 whatever its dtype is.
UNREAD = {"_name_or_path", "base_model_name_or_path", "transformers_version", "peft_version"}
UNREAD |= {"architectures", "dtype", "torch_dtype", "use_cache", "inference_mode", "revision"}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a model lies: a folder of whole weights, or of an adapter to those of `base`."""

    folder: str
    base: Place | None = None

    @property
    def root(self) -> str:
        """The folder of whole weights below all adapters."""
        return self.base.root if self.base else self.folder

    @property
    def words(self) -> str:
        """The folder of the tokenizer: an adapter's may bring its own, with another chat template."""
        own = self.base is None or os.path.exists(os.path.join(self.folder, "tokenizer_config.json"))
        return self.folder if own or self.base is None else self.base.words


def find_model(name: str, cache: Path, say: Say = lambda _: None) -> Place:
    """Return where a model lies by its name; a bundled one or one of the hub is brought first.

    Args:
        name: a bundled name, the folder of a model, of an adapter or of a run, or a hub id.
        cache: folder of bundled models.
        say: told what takes time, and which of two is taken.

    Raises:
        ModelError: it is none of these, or the base of an adapter cannot be found.
        RunError: the run has no tuned model yet, one that is damaged, or one that rates answers.
    """
    return _found(name, keep_in(cache), say, ())


def base_of(run: RunFolder, cache: Path, say: Say = lambda _: None) -> Place:
    """Return where the model lies that a run's last stage began with. Raises ModelError, RunError."""
    return _base(run, keep_in(cache), say, (run.model.resolve(),))


def place_of(run: RunFolder, cache: Path, say: Say = lambda _: None) -> Place:
    """Return where a run's tuned model lies; what is whole needs no base. Raises ModelError, RunError."""
    return Place(str(run.model), base_of(run, cache, say) if (run.model / CONFIG).exists() else None)


def check_run(run: RunFolder, *, rating: bool) -> None:
    """Raise RunError where the tuned model of a run is not there yet, is damaged, or is of the other sort."""
    if not run.model.is_dir():
        raise RunError(
            "The run has no tuned model yet.", where=str(run.path), hint="Finish it with `espalier run`."
        )
    stages = load_recipe(run.recipe).train
    done = run.done(stage_name(len(stages) - 1, len(stages)))
    if done and (wrong := damage(run.model, done.files)):
        raise RunError(
            f"The run's tuned model is damaged: {wrong}.",
            where=str(run.model),
            hint="The run's own command tells whether a checkpoint is left to make it from.",
        )
    if any(choice.kind == "reward" for choice in stages[-1].objective) != rating:
        does = ("writes answers", "rates them") if rating else ("rates answers", "writes them")
        raise RunError(
            f"The run's model {does[0]}; this needs one that {does[1]}.",
            where=str(run.path),
            hint="A reward model is what a run makes whose last stage has the objective 'reward'.",
        )


def weights_hash(folder: Path) -> str:
    """Return the hash of a model's weight files, and of the configuration by which they are computed."""
    files = [folder / name for name in ("config.json", CONFIG) if (folder / name).is_file()]
    read = [
        [item for item in sorted(dict(read_json(file)).items()) if item[0] not in UNREAD] for file in files
    ]
    return content_hash([*map(file_sha256, weight_files(folder)), *read])


def adapted_hash(base: str, folder: Path) -> str:
    """Return the hash of the weights of an adapter in a folder with that of its base's."""
    return content_hash([base, weights_hash(folder)])


def weights_of(place: Place) -> str:
    """Return the hash of a model's weights: of an adapter with its base's."""
    if place.base is None:
        return weights_hash(Path(place.folder))
    return adapted_hash(weights_of(place.base), Path(place.folder))


def near(name: str) -> str:
    """Return a hint that names the runs and models whose names are near, or all of a few."""
    inside = sorted(Path(name).glob("*/recipe.toml")) if os.path.isdir(name) else []
    within = [found.parent for found in inside]
    runs = [
        *within,
        *(found.parent for depth in ("*", "*/*") for found in Path().glob(f"{depth}/recipe.toml")),
    ]
    known = {run.name: str(run) for run in runs} | {model: model for model in KNOWN}
    close = get_close_matches(Path(name).name, known, n=3, cutoff=0.6)
    named = [known[word] for word in close] or [str(run) for run in within[:3]]
    if named:
        return f"Did you mean {' or '.join(repr(word) for word in named)}?"
    return f"Known here: {', '.join(sorted(known.values())[:8])}."


def may_be_hub_id(name: str) -> bool:
    """Say whether a name can be a hub's, owner/model, and not a folder that is missing."""
    return (
        name.count("/") == 1 and not name.startswith((".", "/", "~")) and not os.path.isdir(Path(name).parent)
    )


def _found(name: str, cache: Path, say: Say, above: tuple[Path, ...]) -> Place:
    """Return where a model lies; `above` are the adapters that it is the base of, the last one first."""
    if name in KNOWN:
        return Place(str(fetch(name, cache, say)))
    from espalier.models.folder import check_adapter, check_file, check_folder  # they load transformers

    folder = Path(name)
    if os.path.isfile(name):
        check_file(folder)
    if not os.path.isdir(name):
        if not may_be_hub_id(name):
            raise ModelError(
                f"There is no model '{name}': it is no bundled name, no folder of a model or a run, and no "
                "hub id (owner/model).",
                where="model.name",
                hint=near(name),
            )
        say(f"Asking the hub for {name}")
        folder = from_hub(name)
    run = run_at(folder)
    if run is not None:
        check_run(run, rating=False)
        if (run.path / "config.json").exists():
            say(f"{run.path} holds a run and a model beside it: the run's is taken")
        folder = run.model
    if not (folder / CONFIG).exists():
        check_folder(folder)
        return Place(str(folder))
    if (real := folder.resolve()) in above:
        raise ModelError(
            "The model is an adapter to itself: a run that it was made from was made again, from it.",
            where=str(folder),
        )
    if run is not None:
        return Place(str(folder), _base(run, cache, say, (*above, real)))
    base = check_adapter(folder)
    return Place(str(folder), _found(base, cache, say, (*above, real)))


def _base(run: RunFolder, cache: Path, say: Say, above: tuple[Path, ...]) -> Place:
    recipe = load_recipe(run.recipe)
    earlier = [run.path / "stages" / str(number) / "model" for number in range(len(recipe.train) - 1)]
    return _stacked(earlier, run, recipe, cache, say, above)


def _stacked(
    stages: list[Path], run: RunFolder, recipe: Recipe, cache: Path, say: Say, above: tuple[Path, ...]
) -> Place:
    """Return where the last of some stages' models lies: most are whole, a projector is not."""
    if stages:
        *before, last = stages
        below = _stacked(before, run, recipe, cache, say, above) if (last / CONFIG).exists() else None
        return Place(str(last), below)
    name = recipe.model.name
    if Path(name).is_absolute() and not os.path.exists(name):
        raise ModelError(
            f"The run's model is an adapter to '{name}', which is not there.",
            where=str(run.model),
            hint="Bring that back to where it was, or tune again on another model.",
        )
    place = _found(name, cache, say, above)
    known = read_provenance(run).get("inputs", {}).get("weights")
    if known and known not in _hashes(place, recipe):
        raise ModelError(
            f"The run's model is an adapter to other weights than '{name}' has now.",
            where=str(run.model),
            hint="Bring those back, or tune again with --overwrite.",
        )
    return place


def _hashes(place: Place, recipe: Recipe) -> Iterator[str]:
    """Yield the hashes that a model's weights may be known by: alone, and with encoders before them."""
    yield (weights := weights_of(place))
    if recipe.model.encoders:
        from espalier.models.encoders.attached import features_of, fresh_hash  # it loads them

        yield fresh_hash(weights, features_of(recipe.model.encoders), recipe.seed)
    if recipe.model.pixels:
        yield content_hash([weights, recipe.model.pixels])


def from_hub(name: str) -> Path:
    """Return the folder of a hub model, from the hub's own cache where there is no network.

    transformers could be given the id itself, but without a network it tries for 46 s before it says so.
    """
    from huggingface_hub import snapshot_download

    from espalier.models.folder import first_line

    kept = ["*.json", "*.jinja", "*.model", "*.txt", "*.safetensors"]
    try:
        return Path(snapshot_download(name, allow_patterns=kept, ignore_patterns=["*/*"]))
    except (OSError, ValueError) as error:
        raise ModelError(
            f"There is no such folder, and the hub cannot be asked for it: {first_line(error)}",
            where=name,
            hint="Without the hub, use a bundled model (`espalier models`), a run or a local folder.",
        ) from None
