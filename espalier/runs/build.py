"""A data set from its recipe to the file: sources, filters, table, export; a stage is not done twice.

The folder holds `recipe.toml`, `pairs.parquet` (all rows with the verdicts), `funnel.json`, `rejects.jsonl`
(rows that could not be read), `verdicts/` (a file a filter, kept as long as the rows and the filter are the
same), `events.jsonl`, `stages.json`, `report.html` and what was exported. A build that was killed goes on.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from inspect import getsourcefile
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from espalier.building.dataset_card import Made, write_card
from espalier.building.exporting import Exported, check_export, export
from espalier.building.funnel import FUNNEL, Asked, Funnel, Source, make_funnel, read_funnel
from espalier.core.build_recipe import load_build
from espalier.core.errors import DataError, EspalierError, RunError
from espalier.core.files import content_hash, file_sha256, read_json, write_atomic, write_changed
from espalier.core.memory import peak_resident
from espalier.core.recipe import read_toml
from espalier.core.run import RunFolder, open_run
from espalier.core.text import counted
from espalier.data.judgement import Each, filters
from espalier.data.mixture import place_of
from espalier.data.pairs import Pairs, is_pairs, join, write_each, write_pairs, write_verdicts
from espalier.formats.folders import files_of, name_of
from espalier.formats.load import iter_rows, numbered
from espalier.report.build import write_build_report
from espalier.runs.events import Logged, bar, emit, say, working
from espalier.runs.review import decisions_at
from espalier.tasks.task_files import is_task, load_task
from espalier.tasks.templates import Show, available, to_examples

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from espalier.core.build_recipe import BuildRecipe, FilterChoice, SourceSection
    from espalier.core.records import Example
    from espalier.data.judgement import Filter, Judgement
    from espalier.tasks.raw_rows import Reject

TABLE, SOURCES, VERDICTS = "pairs.parquet", "sources.json", "verdicts"
EVERY = 5_000  # rows after which it is said how many have been read


@dataclass(frozen=True)
class Build:
    """A data set that was built.

    Attributes:
        path: its folder.
    """

    path: Path

    @property
    def recipe(self) -> BuildRecipe:
        """The resolved recipe."""
        return load_build(RunFolder(self.path).recipe)

    @property
    def pairs(self) -> Pairs:
        """All rows with their verdicts, read anew each time that one goes over them."""
        return Pairs(self.path / TABLE)

    @property
    def funnel(self) -> Funnel:
        """How many rows came in, what was found in them, how many go out. Raises DataError."""
        return read_funnel(self.path / FUNNEL)

    @property
    def exported(self) -> Path | None:
        """The file that went out; None where the recipe names none."""
        asked = self.recipe.export
        return self.path / asked.path if asked else None

    @property
    def report(self) -> Path:
        """The report's file."""
        return RunFolder(self.path).report


@dataclass(frozen=True)
class _Stage:
    """A filter that is ready, its settings with the defaults, and the hash of what it judges by."""

    choice: FilterChoice
    judge: Filter
    params: Mapping[str, Any]
    key: str

    @property
    def name(self) -> str:
        return self.choice.column


def build(recipe: BuildRecipe, path: Path, patience: float = 0.0) -> Build:
    """Do every stage of a build that is not done.

    Args:
        recipe: what to build.
        path: its folder.
        patience: seconds that another process may take to let go of the folder.

    Raises:
        RecipeError: a filter, a format or a parameter is wrong; nothing was done.
        DataError: a source cannot be used, or a row cannot be exported; what was complete stays.
        RunError: the folder is another's, or cannot be written.
    """
    stages = [_stage(choice, number) for number, choice in enumerate(recipe.filter)]
    if recipe.export:
        check_export(Path(recipe.export.path), recipe.export.format)
    files = [_files(source) for source in recipe.source]
    _check_folder(path)
    with open_run(path, patience) as folder:
        run = replace(folder, listen=lambda event: emit(Logged(event)))
        _sweep(path)
        write_changed(run.recipe, recipe.to_toml().encode())
        rows = content_hash([_said(*one) for one in zip(recipe.source, files, strict=True)])
        sources = _read(run, recipe, files, rows)
        _judge(run, stages, rows)
        table = _join(run, stages, rows)
        funnel = _funnel(run, recipe, stages, sources, table)
        if recipe.export:
            _export(run, recipe, funnel, table)
        write_build_report(path)
    return Build(path)


def find_build(path: Path) -> Build:
    """Return the build in a folder. Raises RunError where there is none, or it has not got that far."""
    if not (path / TABLE).is_file() or not (path / FUNNEL).is_file():
        raise RunError(
            f"This is not the folder of a build: it holds no {TABLE} with its {FUNNEL}.",
            where=str(path),
            hint="Name the folder that `espalier build` printed, such as runs/NAME.",
        )
    return Build(path)


def _check_folder(path: Path) -> None:
    """Refuse the folder of a run that tunes a model. Raises RunError."""
    recipe = RunFolder(path).recipe
    if recipe.exists() and "source" not in read_toml(recipe):
        raise RunError(
            "A run that tunes a model has this name.",
            where=str(path),
            hint="Give this build a name of its own with -o name=NEW.",
        )


def _sweep(path: Path) -> None:
    """Remove what a kill left half-written."""
    for left in (*path.glob(f".{TABLE}.*"), *(path / VERDICTS).glob(".*.parquet.*")):
        left.unlink()


def _stage(choice: FilterChoice, number: int) -> _Stage:
    judge = filters.build(choice.kind, choice.params, f"filter.{number}")
    params = filters.filled(choice.kind, choice.params)
    code = getsourcefile(filters.find(choice.kind))
    read = [Path(code)] if code else []
    read += [Path(text) for text in _texts(params.values()) if os.path.isfile(text)]
    hashes = [file_sha256(file) for file in read]
    return _Stage(choice, judge, params, content_hash([choice.kind, params, hashes, version("espalier-lm")]))


def _texts(values: Iterable[object]) -> Iterator[str]:
    for value in values:
        if isinstance(value, str):
            yield value
        elif isinstance(value, list | tuple):
            yield from _texts(cast("list[object]", value))


def _files(source: SourceSection) -> list[Path]:
    """Return the files of a source. Raises DataError where one is not there."""
    found = files_of(place_of(source.path))
    if found.note:
        say(f"Note: {found.note}")
    for file in found.paths:
        if not file.is_file():
            raise DataError("There is no such file.", where=str(file))
    return list(found.paths)


def _said(source: SourceSection, files: list[Path]) -> list[Any]:
    """Return what determines the rows of a source: how it is read, and what its files hold."""
    how = source.model_dump(exclude={"path", "licence"})
    return [how, name_of(place_of(source.path)), [[file.name, file_sha256(file)] for file in files]]


def _read(run: RunFolder, recipe: BuildRecipe, files: list[list[Path]], key: str) -> list[Source]:
    """Read the rows of all sources into the table, and return how many came from each."""
    counts = run.path / SOURCES
    if not (run.is_done("rows", key) and (run.path / TABLE).is_file() and counts.is_file()):
        run.forget("rows")
        started = time.monotonic()
        rejects: list[Reject] = []
        read: list[dict[str, Any]] = []

        def rows() -> Iterator[Example]:
            for number, (source, places) in enumerate(zip(recipe.source, files, strict=True)):
                found = {"licence": "", "rows": 0, "rejected": -len(rejects)}
                read.append(found)
                with working(f"Reading {source.path}") as tell:
                    for example in _rows_of(source, places, rejects, found):
                        found["rows"] += 1
                        if found["rows"] % EVERY == 0:
                            tell(f"Reading {source.path}: {found['rows']} rows", aloud=False)
                        yield replace(example, origin={**example.origin, "source": number})
                found["rejected"] += len(rejects)

        write_pairs(run.path / TABLE, numbered(rows()))
        run.write_rejects({"rows": rejects})
        write_atomic(counts, json.dumps(read))
        run.mark_done("rows", key)
        run.log_stage("rows", started, peak_resident())
    found = cast("list[dict[str, Any]]", read_json(counts))
    sources = [
        Source(source.path, source.licence or one["licence"], one["rows"], one["rejected"])
        for source, one in zip(recipe.source, found, strict=True)
    ]
    if rejected := sum(source.rejected for source in sources):
        say(f"Rows left out, cannot be used: {rejected}; see {run.rejects}.")
    return sources


def _rows_of(
    source: SourceSection, files: list[Path], rejects: list[Reject], found: dict[str, Any]
) -> Iterator[Example]:
    """Yield the rows of a source; a task file's own licence is put into what was found of it."""
    on_reject = rejects.append if source.on_bad == "reject" else None
    name = source.task or name_of(place_of(source.path))
    for file in files:
        if is_pairs(file):
            yield from Pairs(file)
        elif source.format == "auto" and is_task(file):
            task = load_task(file, on_reject)
            found["licence"] = "" if task.licence == "Unknown" else task.licence
            named = replace(task, name=source.task or task.name)
            yield from to_examples(named, available(named, Show()))
        else:
            try:
                yield from iter_rows(
                    file, source.format, on_reject, _note, source.columns, name=name, own=not source.task
                )
            except EspalierError as error:
                raise _of_build(error) from None


def _note(text: str) -> None:
    say(f"Note: {text}")


def _of_build(error: EspalierError) -> EspalierError:
    """Return an error of the readers with the keys that a build calls by another name."""
    for attribute in ("message", "where", "hint"):
        text = str(vars(error)[attribute])
        for key in ("format", "columns", "on_bad"):
            text = text.replace(f"task.{key}", f"source.{key}")
        vars(error)[attribute] = text
    return error


def _judge(run: RunFolder, stages: list[_Stage], rows: str) -> None:
    """Write the verdicts that are not there: of filters that look at each row by itself in one pass."""
    keys = {stage.name: content_hash([rows, stage.key]) for stage in stages}
    files = {stage.name: run.path / VERDICTS / f"{stage.name}.parquet" for stage in stages}
    left = [s for s in stages if not (run.is_done(_called(s), keys[s.name]) and files[s.name].is_file())]
    pairs = Pairs(run.path / TABLE)
    alone = [[stage] for stage in left if not isinstance(stage.judge, Each)]
    together = [stage for stage in left if isinstance(stage.judge, Each)]
    for part in ([together] if together else []) + alone:
        for stage in part:
            run.forget(_called(stage))
        started = time.monotonic()
        names = ", ".join(stage.name for stage in part)
        with bar(f"Filter {names}", len(pairs)) as advance:
            if part is together:
                found = {files[stage.name]: stage.judge for stage in part}
                write_each(found, pairs, lambda count: advance(count, ""))
            else:
                write_verdicts(files[names], _told(part[0].judge(pairs), lambda: advance(1, "")))
        for stage in part:
            run.mark_done(_called(stage), keys[stage.name])
        run.log_stage(f"filter {names}", started, peak_resident())


def _called(stage: _Stage) -> str:
    return f"filter {stage.name}"


def _told(judgements: Iterable[Judgement], tell: Callable[[], object]) -> Iterator[Judgement]:
    for judgement in judgements:
        yield judgement
        tell()


def _join(run: RunFolder, stages: list[_Stage], rows: str) -> str:
    """Write the verdicts into the table, where they are not there, and return the key of what it holds."""
    key = content_hash([rows, [[stage.name, stage.key] for stage in stages]])
    pairs = Pairs(run.path / TABLE)
    names = [stage.name for stage in stages]
    if not run.is_done("table", key) or pairs.filters != names:
        run.forget("table")
        with working("Writing the table", aloud=False):
            join(pairs.path, {name: run.path / VERDICTS / f"{name}.parquet" for name in names})
        run.mark_done("table", key)
    return key


def _funnel(
    run: RunFolder, recipe: BuildRecipe, stages: list[_Stage], sources: list[Source], table: str
) -> Funnel:
    """Return what became of the rows, counted where it is not written down yet."""
    asked = [Asked(stage.name, stage.choice.kind, stage.params) for stage in stages]
    key = content_hash(
        [table, recipe.name, recipe.dropped, list(map(asdict, sources)), list(map(asdict, asked))]
    )
    file = run.path / FUNNEL
    if run.is_done("funnel", key) and file.is_file():
        return read_funnel(file)
    run.forget("funnel")
    with working("Counting", aloud=False):
        funnel = make_funnel(recipe.name, Pairs(run.path / TABLE), sources, asked, recipe.dropped)
    write_atomic(file, funnel.to_json())
    run.mark_done("funnel", key)
    steps = [{"filter": s.name, "found": s.found, "left": s.left, "drops": s.drops} for s in funnel.steps]
    run.log({"event": "funnel", "rows": funnel.rows, "filters": steps, "out": funnel.out})
    return funnel


def _export(run: RunFolder, recipe: BuildRecipe, funnel: Funnel, table: str) -> None:
    """Write what goes out and its card, where it is not written yet."""
    asked = recipe.export
    if asked is None:
        return
    path = run.path / asked.path
    decisions = decisions_at(run.path)
    reviewed = [decision.id for decision in decisions]
    key = content_hash([table, asked.model_dump(mode="json"), funnel.to_json(), reviewed])
    done = run.done("export")
    size = path.stat().st_size if path.is_file() else -1
    written = done.files if done else {}
    if done and done.key == key and written.get(str(path), [0])[0] == size:
        return
    if size >= 0 and Path(asked.path).is_absolute() and str(path) not in written:
        raise RunError(
            "There is a file of this name, which this build did not write.",
            where=f"{path} (export.path)",
            hint="Name another, or move it.",
        )
    with bar(f"Writing {path.name}", funnel.out) as advance:
        exported = export(
            Pairs(run.path / TABLE), path, asked.format, recipe.dropped, asked.mask, lambda: advance(1, ""),
            decisions=decisions,
        )  # fmt: skip
    _card(recipe, funnel, exported, path)
    run.mark_done("export", key, {str(path): [path.stat().st_size, ""]})


def _card(recipe: BuildRecipe, funnel: Funnel, exported: Exported, path: Path) -> None:
    asked = recipe.export
    if asked:
        made = Made(path.name, asked.format, recipe.dropped, asked.mask, recipe.hash, recipe.to_toml())
        card = write_card(path.parent, funnel, exported, made)
        say(f"{counted(exported.rows, 'row')} in {path}, with a card: {card}")
