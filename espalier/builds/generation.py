"""The steps of a build that have a model write rows: each a stage, given rows of sources and of steps before.

A step leaves three files in `generated/`: its rows, what it could not use with the reasons, and how many. It
is not done again as long as what it is given, its settings, its code and the model are the same; and where it
is, what the model has answered before is not asked again.
"""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from pydantic import TypeAdapter, ValidationError

from espalier.building.funnel import Written
from espalier.builds.keys import choice_key
from espalier.builds.sources import at_key
from espalier.core.errors import DataError, RecipeError, nearest
from espalier.core.files import content_hash, jsonl, read_json, replacing, write_atomic
from espalier.core.memory import peak_resident
from espalier.core.records import Example
from espalier.core.spending import NOTHING, Spent
from espalier.core.text import counted
from espalier.data.pairs import Pairs, stored_rows, write_pairs
from espalier.formats.load import numbered
from espalier.generate.author import Drawing, Reject, steps
from espalier.runs.events import say, working

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from espalier.builds.model import BuildModel
    from espalier.builds.recipe import BuildRecipe, GenerateChoice
    from espalier.builds.sources import Place
    from espalier.core.recipe import Choice
    from espalier.core.run import RunFolder
    from espalier.generate.author import Step

    Rows: TypeAlias = Callable[[], Iterator[Example]]
    from typing import IO

FOLDER = "generated"


@dataclass(frozen=True)
class Writing:
    """A step that is ready.

    Attributes:
        choice: as the recipe has it.
        step: what it does.
        given: names of the sources and steps whose rows it is given.
        kept: whether its rows are for the data set.
        code: the hash of its settings, of its code and of the files that it names.
    """

    choice: GenerateChoice
    step: Step
    given: tuple[str, ...]
    kept: bool
    code: str

    @property
    def name(self) -> str:
        """What the recipe calls it."""
        return self.choice.called

    def table(self, run: RunFolder) -> Path:
        """Return the file of its rows."""
        return run.path / FOLDER / f"{self.name}.parquet"

    def outcome(self, run: RunFolder) -> Path:
        """Return the file of what became of its answers."""
        return run.path / FOLDER / f"{self.name}.json"

    def rejects(self, run: RunFolder) -> Path:
        """Return the file of what it could not use, as `rejects.jsonl` has it."""
        return run.path / FOLDER / f"{self.name}.rejects.jsonl"

    @property
    def stage(self) -> str:
        """What it is called among the stages of a build."""
        return f"generate {self.name}"


def writings(recipe: BuildRecipe, places: Sequence[Place]) -> list[Writing]:
    """Return the steps of a recipe, each with the rows that it is given by name.

    Raises:
        RecipeError: a step, a parameter or a name is wrong.
    """
    given: list[tuple[str, ...]] = []
    sources = [place.name for place in places]
    apart = [place.name for place in places if place.section.use != "rows"]
    for number, choice in enumerate(recipe.generate):
        before = [step.called for step in recipe.generate[:number]]
        if choice.called in (*before, *sources):
            raise RecipeError(
                f"'{choice.called}' is the name of two steps or sources.",
                where=f"generate.{number}.name",
                hint='Give it another: name = "…".',
            )
        names = tuple(before[-1:] or apart or sources if choice.rows is None else choice.rows)
        for name in names:
            if name not in (*before, *sources):
                raise RecipeError(
                    f"No source and no step before this one is named '{name}'.",
                    where=f"generate.{number}.rows",
                    hint=nearest(name, [*sources, *before]),
                )
        given.append(names)
    taken = {name for names in given for name in names}
    found = [
        _writing(choice, number, given[number], choice.called not in taken)
        for number, choice in enumerate(recipe.generate)
    ]
    rows = [place.name for place in places if place.section.use == "rows"]
    _check_mix(recipe, rows + [writing.name for writing in found if writing.kept])
    return found


def _check_mix(recipe: BuildRecipe, names: Sequence[str]) -> None:
    """Refuse a mixture of what gives no rows, before anything is paid for. Raises RecipeError."""
    mix = recipe.mix.model_dump(include={"weights", "tokens", "epochs"}) if recipe.mix else {}
    for key, name in [(part, name) for part in mix for name in mix[part] if name not in names]:
        raise RecipeError(f"'{name}' gives no rows.", where=f"mix.{key}", hint=nearest(name, names))


def _writing(choice: GenerateChoice, number: int, given: tuple[str, ...], last: bool) -> Writing:
    try:
        with at_key(f"generate.{number}"):
            step = steps.build(choice.kind, choice.params, f"generate.{number}")
    except RecipeError as error:
        raise _of_step(error, number) from None
    key = content_hash(choice_key(steps, choice))
    return Writing(choice, step, given, last if choice.keep is None else choice.keep, key)


def check_drawn(todo: Sequence[Writing], settings: Choice) -> None:
    """Refuse steps that want several answers of an author who draws none. Raises RecipeError."""
    for number, writing in enumerate(todo):
        try:
            if isinstance(writing.step, Drawing):
                writing.step.check(settings)
        except RecipeError as error:
            raise _of_step(error, number) from None


def _of_step(error: RecipeError, number: int) -> RecipeError:
    """Return the error of a step, which does not know which one of the recipe it is."""
    error.where = re.sub(r"^generate(?!\.\d)", f"generate.{number}", error.where)
    return error


def write_rows(
    run: RunFolder,
    todo: Sequence[Writing],
    places: Sequence[Place],
    model: BuildModel,
    *,
    again: bool = False,
    before: Callable[[], object] = lambda: None,
) -> tuple[list[Written], Spent, str]:
    """Do the steps that are not done; return what each came to, what was paid now, and the hash of all.

    Args:
        run: the build's folder.
        todo: the steps in their order.
        places: the sources.
        model: of the build.
        again: do all of them again, from what the journal holds.
        before: called where a step is to be done, before anything is asked.

    Raises:
        DataError, RecipeError: a source's rows do not fit.
        GenerationError: the server cannot be reached, or the budget is used up; what was answered stays.
        ModelError: there is no such model.
    """
    rows: dict[str, Rows] = {}
    keys: dict[str, str] = {}
    for place in places:
        rows[place.name] = _both(rows.get(place.name), place.read)
        keys[place.name] = content_hash([keys.get(place.name), place.key])
    for writing in todo:
        given = [keys[name] for name in writing.given]
        keys[writing.name] = content_hash([given, writing.code, model.identity])
        rows[writing.name] = Pairs(writing.table(run)).__iter__
    left = [writing for writing in todo if again or not _is_done(run, writing, keys[writing.name])]
    if left:
        before()
    paid = NOTHING
    for writing in left:
        run.forget(writing.stage)
        written = _write(run, writing, (row for name in writing.given for row in rows[name]()), model)
        run.mark_done(writing.stage, keys[writing.name])
        paid = paid.plus(written.paid)
    found = [read_written(writing.outcome(run)) for writing in todo]
    return found, paid, content_hash([[keys[writing.name], writing.kept] for writing in todo])


def _is_done(run: RunFolder, writing: Writing, key: str) -> bool:
    files = (writing.table(run), writing.outcome(run), writing.rejects(run))
    return run.is_done(writing.stage, key) and all(file.is_file() for file in files)


def read_written(file: Path) -> Written:
    """Return what a step's file says. Raises DataError."""
    try:
        return TypeAdapter(Written).validate_python(read_json(file))
    except ValidationError:
        raise DataError("It does not say what a step came to.", where=str(file), hint="Remove it.") from None


def _both(first: Rows | None, second: Rows) -> Rows:
    def rows() -> Iterator[Example]:
        if first:
            yield from first()
        yield from second()

    return rows


def _write(run: RunFolder, writing: Writing, given: Iterator[Example], model: BuildModel) -> Written:
    """Do a step. What it is given, makes and cannot use is in files: there may be more than memory holds."""
    started, before = time.monotonic(), model.spent(writing.name)
    left_out: Counter[str] = Counter()
    answers = made = 0
    writing.table(run).parent.mkdir(parents=True, exist_ok=True)
    shown = writing.table(run).with_suffix(".given.parquet")

    with working(f"{writing.name}: the model writes") as tell, replacing(writing.rejects(run)) as rejects:

        def on_answer() -> None:
            nonlocal answers
            answers += 1
            tell(f"{writing.name}: {counted(answers, 'answer')}, {counted(made, 'row')}", aloud=False)

        def rows(out: IO[str]) -> Iterator[Example]:
            nonlocal made
            for one in writing.step(stored_rows(shown), model.author(writing.name, on_answer)):
                if isinstance(one, Reject):
                    left_out[one.reason] += 1
                    out.write(jsonl([_reject(writing, one)]))
                else:
                    made += 1
                    yield one

        try:
            count = write_pairs(shown, numbered(given))
            with rejects.open("w", encoding="utf-8") as out:
                made = write_pairs(writing.table(run), numbered(rows(out)))
        finally:
            shown.unlink(missing_ok=True)
    total = model.spent(writing.name)
    written = Written(
        name=writing.name,
        kind=writing.choice.kind,
        model=model.name,
        given=count,
        answers=answers,
        rows=made,
        left_out=dict(left_out.most_common()),
        paid=total.plus(before, -1),
        total=total,
    )
    write_atomic(writing.outcome(run), json.dumps(asdict(written), ensure_ascii=False))
    run.log_stage(writing.stage, started, peak_resident())
    say(summary(written))
    return written


def summary(written: Written) -> str:
    """Return what a step came to, in a sentence or two."""
    text = (
        f"{written.name}: {counted(written.rows, 'row')} from {counted(written.given, 'row')} given, by "
        f"{counted(written.answers, 'answer')} of {written.model}"
    )
    out = ", ".join(f"{reason.rstrip('.')} ({count})" for reason, count in list(written.left_out.items())[:3])
    return f"{text}; left out: {out}.{bill(written)}" if out else f"{text}.{bill(written)}"


def bill(written: Written) -> str:
    """Return what a step asked and paid, with a space before; '' where it asked no server."""
    now, total = written.paid, written.total
    if now == total:
        return f" {in_words(now)}." if now.requests else ""
    return f" In this start {in_words(now)}; in all starts {in_words(total)}."


def bill_of(now: Spent, written: Sequence[Written]) -> str:
    """Return what a build asked in this start and in all, '' where it never asked."""
    total = NOTHING
    for step in written:
        total = total.plus(step.total)
    if not total.requests:
        return ""
    return f"Asked in this start: {in_words(now)}. In all starts: {in_words(total)}."


def in_words(paid: Spent) -> str:
    """Return what requests came to, in words."""
    if not paid.requests:
        return "no request"
    text = f"{counted(paid.requests, 'request')}, {paid.read:,} tokens read and {paid.written:,} written"
    return text + (f", {paid.money:,.4f} paid" if paid.money else "")


def _reject(writing: Writing, reject: Reject) -> dict[str, Any]:
    where = f"rows {', '.join(reject.parents)}" if reject.parents else "no row"
    return {
        "stage": writing.stage,
        "where": where,
        "reason": reject.reason,
        "row": reject.text,
        "request": reject.request,
    }


def renumbered(rows: Iterator[Example], source: int) -> Iterator[Example]:
    """Yield rows with the number of their source, as the table has it."""
    return (replace(row, origin={**row.origin, "source": source}) for row in rows)
