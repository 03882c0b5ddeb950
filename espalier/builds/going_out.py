"""What leaves a build: its own file, and others that are written of it later, each with its card."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from espalier.building.exporting import EXPORTED, export, read_exported
from espalier.building.funnel import TABLE, make_funnel
from espalier.building.mixer import Mixer, Subset
from espalier.building.mixing import Rates
from espalier.builds.built import find_build
from espalier.builds.code_hash import code_hash
from espalier.builds.model import token_counter, tokenizer_of
from espalier.builds.review import decisions_at
from espalier.core.errors import RecipeError, RunError, nearest
from espalier.core.files import content_hash, write_atomic
from espalier.core.text import counted
from espalier.data.pairs import Pairs
from espalier.report.dataset_card import Made, write_card
from espalier.runs.events import bar, say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from espalier.building.exporting import Exported
    from espalier.building.funnel import Funnel
    from espalier.builds.built import Build
    from espalier.builds.recipe import BuildRecipe, ExportSection
    from espalier.core.run import RunFolder

NONE = "none"
CARD_CODE = "espalier.report.dataset_card"


def check_target(run: RunFolder, asked: ExportSection) -> None:
    """Refuse to write over a file that is somebody else's. Raises RunError."""
    path = run.path / asked.path
    done = run.done("export")
    if Path(asked.path).is_absolute() and path.exists() and not (done and str(path) in done.files):
        raise RunError(
            "There is a file of this name, which this build did not write.",
            where=f"{path} (export.path)",
            hint="Name another, or move it.",
        )


def write_export(
    run: RunFolder, recipe: BuildRecipe, asked: ExportSection, funnel: Funnel, table: str, cache: Path
) -> None:
    """Write the file that a build's recipe asks for, and its card, each where it is not written yet."""
    path = run.path / asked.path
    decisions = decisions_at(run.path)
    reviewed = [decision.id for decision in decisions]
    mix = [recipe.seed, recipe.mix.model_dump(mode="json"), tokenizer_of(recipe)] if recipe.mix else []
    key = content_hash([table, asked.model_dump(mode="json"), funnel.to_json(), reviewed, mix])
    done = run.done("export")
    size = path.stat().st_size if path.exists() else -1
    exported = read_exported(run.path)
    if not (done and done.key == key and done.files.get(str(path), [0])[0] == size) or exported is None:
        check_target(run, asked)
        run.mark_done("export", "", {str(path): [0, ""]})  # the file is this build's, whatever comes between
        mixer = _mixer(recipe, funnel, cache) if recipe.mix else None
        with bar(f"Writing {path.name}", funnel.out) as advance:
            exported = export(
                Pairs(run.path / TABLE), path, asked.format, recipe.dropped, asked.mask,
                lambda: advance(1, ""), decisions=decisions, mixer=mixer,
            )  # fmt: skip
        write_atomic(run.path / EXPORTED, json.dumps(asdict(exported), ensure_ascii=False))
        run.mark_done("export", key, {str(path): [path.stat().st_size, ""]})
    _write_own_card(run, recipe, asked, funnel, exported, key)


def _write_own_card(
    run: RunFolder, recipe: BuildRecipe, asked: ExportSection, funnel: Funnel, exported: Exported, key: str
) -> None:
    """Write the card of a build's file: it shows the whole recipe, more than the file depends on."""
    path = run.path / asked.path
    made = Made(path.name, asked.format, recipe.dropped, asked.mask, recipe.hash, recipe.to_toml())
    key = content_hash([key, asdict(made), code_hash(CARD_CODE)])
    done = run.done("card")
    if done and done.key == key and all(Path(card).is_file() for card in done.files):
        return
    card = write_card(path.parent, funnel, exported, made)
    say(f"{counted(exported.rows, 'row')} in {path}, with a card: {card}")
    run.mark_done("card", key, {str(card): [card.stat().st_size, ""]})


def export_rows(
    folder: Path,
    to: Path,
    format: str,
    drop: Sequence[str] | None = None,
    mask: Sequence[str] = (),
    *,
    mix: Path | None = None,
) -> tuple[Exported, Path]:
    """Write the rows of a build to a file, and its card beside it.

    Args:
        folder: of the build.
        to: the file, by its ending JSONL, CSV or Parquet.
        format: of its rows.
        drop: names of the filters whose rows stay behind; None for all but those of `mask`.
        mask: names of the filters of which what they found is replaced by a tag.
        mix: mix the sources as the recipe's `[mix]` says, with the tokenizer in this folder of bundled
            models; without it all rows that pass go out.

    Raises:
        RecipeError: no such filter or format, or the recipe has no `[mix]`.
        RunError, DataError: see `find_build` and `export`.
    """
    build = find_build(folder)
    recipe, funnel = build.recipe, _counted_anew(build, drop, mask)
    if mix and not recipe.mix:
        raise RecipeError(
            "The recipe of this build does not say how to mix.",
            where="mix",
            hint="Add [mix] to it and build again, or leave --mix out.",
        )
    if recipe.mix and not mix:
        say("Note: all rows that pass are written, without the recipe's [mix]; --mix mixes them.")
    return _write(build, to, format, mask, funnel, _mixer(recipe, funnel, mix) if mix else None)


def export_nested(
    folder: Path,
    to: Path,
    format: str,
    sizes: Sequence[int],
    drop: Sequence[str] | None = None,
    mask: Sequence[str] = (),
) -> dict[int, tuple[Path, Path]]:
    """Write subsets of a build's rows, each within every larger one, for a study of size.

    Sources are taken in an order that the recipe's seed draws: the rows of one source stay together, but for
    the source at a subset's end.

    Args:
        folder, format, drop, mask: as of `export_rows`.
        to: what the files are called, each with its size: `rows.jsonl` is `rows-100.jsonl`.
        sizes: in rows.

    Returns:
        The file of each size, from the largest on, with its card.

    Raises:
        RecipeError: a size is under 1, or over the number of rows that go out; and as `export_rows`.
        RunError, DataError: see `find_build` and `export`.
    """
    build = find_build(folder)
    funnel = _counted_anew(build, drop, mask)
    written: dict[int, tuple[Path, Path]] = {}
    for size, path in subset_files(to, sizes).items():
        _, card = _write(build, path, format, mask, funnel, Subset(size, build.recipe.seed))
        written[size] = (path, card)
    return written


def subset_files(to: Path, sizes: Sequence[int]) -> dict[int, Path]:
    """Return the files of subsets of some sizes, from the largest on."""
    return {size: to.with_name(f"{to.stem}-{size}{to.suffix}") for size in sorted(set(sizes), reverse=True)}


def _counted_anew(build: Build, drop: Sequence[str] | None, mask: Sequence[str]) -> Funnel:
    """Return a build's funnel with other filters whose rows are taken out. Raises RecipeError."""
    names = build.pairs.filters
    dropped = [name for name in names if name not in mask] if drop is None else [n for n in drop if n != NONE]
    for name in (*dropped, *mask):
        if name not in names:
            raise RecipeError(f"No filter '{name}' has judged these rows.", hint=nearest(name, names))
    before = build.funnel
    return make_funnel(before.name, build.pairs, before.sources, before.steps, dropped, before.written)


def _write(
    build: Build, to: Path, format: str, mask: Sequence[str], funnel: Funnel, mixer: Mixer | Subset | None
) -> tuple[Exported, Path]:
    dropped = [step.name for step in funnel.steps if step.drops]
    decisions = decisions_at(build.path)
    with bar(f"Writing {to.name}", funnel.rows) as advance:
        exported = export(
            build.pairs, to, format, dropped, mask, lambda: advance(1, ""), decisions=decisions, mixer=mixer
        )
    recipe, part = build.recipe, mixer.words if isinstance(mixer, Subset) else ""
    made = Made(to.name, format, dropped, mask, recipe.hash, recipe.to_toml(), part)
    return exported, write_card(to.parent, funnel, exported, made)


def _mixer(recipe: BuildRecipe, funnel: Funnel, cache: Path) -> Mixer:
    """Return what mixes the sources as the recipe says. Raises ModelError."""
    given = recipe.mix.model_dump(exclude={"tokenizer"}) if recipe.mix else {}
    names = [source.name for source in funnel.sources]
    return Mixer(Rates(**given), recipe.seed, names, token_counter(recipe, cache))
