"""A data set from its recipe to the file: sources, filters, table, export; a stage is not done twice.

The folder holds `recipe.toml`, `pairs.parquet` (all rows with the verdicts), `funnel.json`, `rejects.jsonl`
(rows that could not be read), `verdicts/` (a file a filter, kept as long as the rows and the filter are the
same), `events.jsonl`, `stages.json`, `report.html` and what was exported. A build that was killed goes on.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from espalier.building.exporting import check_export
from espalier.building.funnel import FUNNEL, TABLE, Funnel, NamedFilter, Source, make_funnel, read_funnel
from espalier.builds.ahead import Named, check_ahead
from espalier.builds.built import Build
from espalier.builds.code_hash import code_hash
from espalier.builds.generation import FOLDER, renumbered, write_rows, writings
from espalier.builds.going_out import check_target, write_export
from espalier.builds.keys import choice_key
from espalier.builds.model import BuildModel, weights_of
from espalier.builds.sources import SourceCounts, at_key, note, places
from espalier.core.errors import RunError
from espalier.core.files import content_hash, jsonl, read_json, replacing, write_atomic, write_changed
from espalier.core.memory import peak_resident
from espalier.core.recipe import read_toml
from espalier.core.run import RunFolder, open_run
from espalier.data.judgement import Each, filters, weighing
from espalier.data.pairs import Pairs, join, write_each, write_pairs, write_verdicts
from espalier.formats.load import numbered
from espalier.report.build import write_build_report
from espalier.runs.events import Logged, bar, emit, say, working

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from typing import IO

    from espalier.building.funnel import Written
    from espalier.builds.generation import Writing
    from espalier.builds.model import Terms
    from espalier.builds.recipe import BuildRecipe, FilterChoice
    from espalier.builds.sources import Place
    from espalier.core.records import Example
    from espalier.core.registry import Registry
    from espalier.data.judgement import Filter, Judgement
    from espalier.tasks.raw_rows import OnReject, Reject

SOURCES, VERDICTS = "sources.json", "verdicts"
MODEL_CODE = "espalier.decode.local"
EVERY = 5_000  # rows after which it is said how many have been read


@dataclass(frozen=True)
class _Stage:
    """A filter that is ready, its settings with the defaults, and the hash of what it judges by."""

    choice: FilterChoice
    judge: Any  # a Filter, or a Weighing where it weighs
    params: Mapping[str, Any]
    key: str
    weighs: bool = False

    def ready(self, model: BuildModel) -> Filter:
        """Return the filter, bound to the model where it weighs. Raises ModelError, RecipeError."""
        return self.judge(model.likelihood()) if self.weighs else self.judge

    @property
    def name(self) -> str:
        return self.choice.column


def build(recipe: BuildRecipe, path: Path, terms: Terms, patience: float = 0.0) -> Build:
    """Do every stage of a build that is not done.

    Args:
        recipe: what to build.
        path: its folder.
        terms: what the model is given besides.
        patience: seconds that another process may take to let go of the folder.

    Raises:
        RecipeError: a step, a filter, a format or a parameter is wrong; nothing was done.
        DataError: a source cannot be used, or a row cannot be exported; what was complete stays.
        GenerationError: the server cannot be reached, or the budget is used up; what was answered stays.
        ModelError: there is no such model.
        RunError: the folder is another's, or cannot be written.
    """
    stages = [_stage(choice, number, weights_of(recipe)) for number, choice in enumerate(recipe.filter)]
    if recipe.export:
        check_export(Path(recipe.export.path), recipe.export.format)
    files = places(recipe.source, recipe.seed)
    todo = writings(recipe, files)
    _check_folder(path)

    def before() -> None:
        judges = [Named(f"filter.{n}", one.judge) for n, one in enumerate(stages) if not one.weighs]
        check_ahead(recipe, files, todo, judges, terms.cache)

    with open_run(path, patience) as folder, BuildModel(recipe, folder, terms) as model:
        run = replace(folder, listen=lambda event: emit(Logged(event)))
        _sweep(path)
        if recipe.export:
            check_target(run, recipe.export)
        write_changed(run.recipe, recipe.to_toml().encode())
        written, paid, made = write_rows(run, todo, files, model, again=terms.replay, before=before)
        rows = content_hash([[place.key for place in files], made])
        read = _read(run, files, todo, rows)
        sources = _sources(recipe, files, read) + _steps(written, todo)
        _tell(sources, run)
        _judge(run, stages, rows, model)
        table = _join(run, stages, rows)
        funnel = _funnel(run, recipe, stages, sources, written, table)
        if recipe.export:
            write_export(run, recipe, recipe.export, funnel, table, terms.cache)
        write_build_report(path)
    return Build(path, paid)


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
    for folder in (path, path / VERDICTS, path / FOLDER):
        for half in (".*.parquet.*", ".*.jsonl.????????", "*.given.parquet"):
            for left in folder.glob(half):
                left.unlink()


def _stage(choice: FilterChoice, number: int, weights: list[Any]) -> _Stage:
    """Return a filter that is ready, or what makes one of the model's likelihoods."""
    registry: Registry[Any] = weighing if choice.kind in weighing.names() else filters
    with at_key(f"filter.{number}"):
        judge = registry.build(choice.kind, choice.params, f"filter.{number}")
    params = registry.filled(choice.kind, choice.params)
    weighs = registry is weighing
    # What weighs a row is the model, and the code that computes it.
    model = [weights, code_hash(MODEL_CODE)] if weighs else []
    return _Stage(choice, judge, params, content_hash([choice_key(registry, choice), model]), weighs)


def _read(run: RunFolder, places: Sequence[Place], todo: Sequence[Writing], key: str) -> list[SourceCounts]:
    """Read the rows of the data set into the table, and return what was found in each source and step."""
    counts = run.path / SOURCES
    if not (run.is_done("rows", key) and (run.path / TABLE).is_file() and counts.is_file()):
        run.forget("rows")
        started = time.monotonic()
        found = [SourceCounts() for _ in places]

        def rows(rejects: IO[str]) -> Iterator[Example]:
            def reject(row: Reject) -> None:
                rejects.write(jsonl([{"stage": "rows", **row}]))

            for number, (place, one) in enumerate(zip(places, found, strict=True)):
                for example in renumbered(_announced(place, one, reject), number):
                    if place.section.use == "rows":  # others are only counted here
                        yield example
            for number, writing in enumerate(todo, start=len(places)):
                if writing.kept:
                    yield from renumbered(iter(Pairs(writing.table(run))), number)

        with replacing(run.rejects) as new, new.open("w", encoding="utf-8") as out:
            write_pairs(run.path / TABLE, numbered(rows(out)))
            for writing in todo:
                with writing.rejects(run).open(encoding="utf-8") as lines:
                    out.writelines(lines)
        write_atomic(counts, json.dumps([asdict(one) for one in found], ensure_ascii=False))
        run.mark_done("rows", key)
        run.log_stage("rows", started, peak_resident())
    return [SourceCounts(**one) for one in cast("list[dict[str, Any]]", read_json(counts))]


def _announced(place: Place, found: SourceCounts, on_reject: OnReject) -> Iterator[Example]:
    """Yield the rows of a source, telling how many have come."""
    with working(f"Reading {place.section.path}") as tell:
        for example in place.read(found, on_reject, note):
            if found.rows % EVERY == 0:
                tell(f"Reading {place.section.path}: {found.rows} rows", aloud=False)
            yield example


def _sources(recipe: BuildRecipe, places: Sequence[Place], read: Sequence[SourceCounts]) -> list[Source]:
    """Return the sources as the funnel has them."""
    return [
        Source(s.path, s.licence or one.licence, one.rows, one.rejected, s.use, one.note, place.name)
        for s, place, one in zip(recipe.source, places, read, strict=True)
    ]


def _steps(written: Sequence[Written], todo: Sequence[Writing]) -> list[Source]:
    """Return the steps of generation as sources, in the order in which rows number them."""
    return [
        Source(
            step.model,
            "",
            step.rows,
            sum(step.left_out.values()),
            "generated" if writing.kept else "step",
            name=step.name,
        )
        for step, writing in zip(written, todo, strict=True)
    ]


def _tell(sources: Sequence[Source], run: RunFolder) -> None:
    """Say what is to be known of the sources before the rows are judged."""
    for source in sources:
        if source.note:
            say(f"{source.name}: {source.note}")
        if not source.rows:
            say(f"Note: {source.name} gave no rows.")
    given = [source for source in sources if source.use not in ("generated", "step")]
    if rejected := sum(source.rejected for source in given):
        say(f"Rows left out, cannot be used: {rejected}; see {run.rejects}.")


def _judge(run: RunFolder, stages: list[_Stage], rows: str, model: BuildModel) -> None:
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
                write_verdicts(
                    files[names], _with_progress(part[0].ready(model)(pairs), lambda: advance(1, ""))
                )
        for stage in part:
            run.mark_done(_called(stage), keys[stage.name])
        run.log_stage(f"filter {names}", started, peak_resident())


def _called(stage: _Stage) -> str:
    return f"filter {stage.name}"


def _with_progress(judgements: Iterable[Judgement], tell: Callable[[], object]) -> Iterator[Judgement]:
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
    run: RunFolder,
    recipe: BuildRecipe,
    stages: list[_Stage],
    sources: list[Source],
    written: list[Written],
    table: str,
) -> Funnel:
    """Return what became of the rows, counted where it is not written down yet."""
    asked = [NamedFilter(stage.name, stage.choice.kind, stage.params) for stage in stages]
    said = [[asdict(one) for one in part] for part in (sources, written, asked)]
    key = content_hash([table, recipe.name, recipe.dropped, said])
    file = run.path / FUNNEL
    if run.is_done("funnel", key) and file.is_file():
        return read_funnel(file)
    run.forget("funnel")
    with working("Counting", aloud=False):
        funnel = make_funnel(recipe.name, Pairs(run.path / TABLE), sources, asked, recipe.dropped, written)
    write_atomic(file, funnel.to_json())
    run.mark_done("funnel", key)
    steps = [{"filter": s.name, "found": s.found, "left": s.left, "drops": s.drops} for s in funnel.steps]
    run.log({"event": "funnel", "rows": funnel.rows, "filters": steps, "out": funnel.out})
    return funnel
