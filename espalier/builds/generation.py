"""The steps of a build that have a model write rows: each a stage, given rows of sources and of steps before.

A step leaves two files in `generated/`: its rows, and what it could not use with the reasons. It is not done
again as long as what it is given, its settings, its code and the model are the same; and where it is, what
the model has answered before is not asked again.
"""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from espalier.building.funnel import Written
from espalier.builds.keys import choice_key
from espalier.builds.sources import Found
from espalier.core.errors import RecipeError, nearest
from espalier.core.files import content_hash, read_json, write_atomic
from espalier.core.memory import peak_resident
from espalier.core.records import Example
from espalier.core.text import counted
from espalier.data.pairs import Pairs, write_pairs
from espalier.formats.load import numbered
from espalier.generate.author import Reject, steps
from espalier.runs.events import say, working

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from espalier.builds.authors import Authors
    from espalier.builds.recipe import BuildRecipe, GenerateChoice
    from espalier.builds.sources import Place
    from espalier.core.run import RunFolder
    from espalier.core.spending import Spent
    from espalier.generate.author import Step

    Rows: TypeAlias = Callable[[], Iterator[Example]]

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
        step = steps.build(choice.kind, choice.params, f"generate.{number}")
    except RecipeError as error:  # a step does not know which one of the recipe it is
        error.where = re.sub(r"^generate(?!\.\d)", f"generate.{number}", error.where)
        raise
    key = content_hash(choice_key(steps, choice))
    return Writing(choice, step, given, last if choice.keep is None else choice.keep, key)


def write_rows(
    run: RunFolder, todo: Sequence[Writing], places: Sequence[Place], authors: Authors, again: bool
) -> tuple[list[Written], str]:
    """Do the steps that are not done; return what each came to, and the hash of all.

    Args:
        run: the build's folder.
        todo: the steps in their order.
        places: the sources.
        authors: the model.
        again: do all of them again, from what the journal holds.

    Raises:
        DataError, RecipeError: a source's rows do not fit.
        GenerationError: the server cannot be reached, or the budget is used up; what was answered stays.
        ModelError: there is no such model.
    """
    rows: dict[str, Rows] = {}
    keys: dict[str, str] = {}
    for place in places:
        before = rows.get(place.name)
        rows[place.name] = _both(before, lambda place=place: place.read(Found(), lambda _: None))
        keys[place.name] = content_hash([keys.get(place.name), place.key])
    found: list[Written] = []
    for writing in todo:
        key = content_hash([[keys[name] for name in writing.given], writing.code, authors.identity])
        keys[writing.name] = key
        stage = f"generate {writing.name}"
        table, outcome = writing.table(run), writing.outcome(run)
        if again or not (run.is_done(stage, key) and table.is_file() and outcome.is_file()):
            run.forget(stage)
            given = list(numbered(row for name in writing.given for row in rows[name]()))
            _write(run, writing, given, authors)
            run.mark_done(stage, key)
        found.append(read_written(outcome))
        rows[writing.name] = Pairs(table).__iter__
    return found, content_hash([[keys[writing.name], writing.kept] for writing in todo])


def read_written(file: Path) -> Written:
    """Return what a step's file says. Raises DataError."""
    table = cast("dict[str, Any]", read_json(file))
    return Written(**{name: table[name] for name in Written.__dataclass_fields__})


def rejected(run: RunFolder, todo: Sequence[Writing]) -> dict[str, list[dict[str, Any]]]:
    """Return what the steps could not use, by stage, as `rejects.jsonl` holds it."""
    tables = {writing.name: cast("dict[str, Any]", read_json(writing.outcome(run))) for writing in todo}
    return {f"generate {name}": table["rejects"] for name, table in tables.items()}


def _both(first: Rows | None, second: Rows) -> Rows:
    def rows() -> Iterator[Example]:
        if first:
            yield from first()
        yield from second()

    return rows


def _write(run: RunFolder, writing: Writing, given: list[Example], authors: Authors) -> None:
    started = time.monotonic()
    rejects: list[Reject] = []
    answers = made = 0

    with working(f"{writing.name}: the model writes") as tell:

        def on_answer() -> None:
            nonlocal answers
            answers += 1
            tell(f"{writing.name}: {counted(answers, 'answer')}, {counted(made, 'row')}", aloud=False)

        def rows() -> Iterator[Example]:
            nonlocal made
            for one in writing.step(given, authors.author(writing.name, on_answer)):
                if isinstance(one, Reject):
                    rejects.append(one)
                else:
                    made += 1
                    yield one

        writing.table(run).parent.mkdir(parents=True, exist_ok=True)
        count = write_pairs(writing.table(run), numbered(rows()))
    written = Written(
        name=writing.name,
        kind=writing.choice.kind,
        model=authors.name,
        given=len(given),
        answers=answers,
        rows=count,
        left_out=dict(Counter(reject.reason for reject in rejects).most_common()),
        **_cost(authors.spent().get(writing.name)),
    )
    lines = [_reject(reject) for reject in rejects]
    write_atomic(writing.outcome(run), json.dumps({**asdict(written), "rejects": lines}, ensure_ascii=False))
    run.log_stage(f"generate {writing.name}", started, peak_resident())
    say(summary(written))


def summary(written: Written) -> str:
    """Return what a step came to, in a sentence or two."""
    text = (
        f"{written.name}: {counted(written.rows, 'row')} from {counted(written.given, 'row')} given, by "
        f"{counted(written.answers, 'answer')} of {written.model}"
    )
    out = ", ".join(f"{reason.rstrip('.')} ({count})" for reason, count in list(written.left_out.items())[:3])
    text += f"; left out: {out}." if out else "."
    if written.requests:
        text += f" {counted(written.requests, 'request')}, {written.read:,} tokens read and "
        text += f"{written.written:,} written" + (f", {written.money:,.4f} paid." if written.money else ".")
    return text


def _cost(cost: Spent | None) -> dict[str, Any]:
    if cost is None:
        return {}
    return {
        "requests": cost.requests,
        "read": cost.read,
        "written": cost.written,
        "money": cost.money,
        "unsure": cost.unsure,
    }


def _reject(reject: Reject) -> dict[str, Any]:
    where = f"rows {', '.join(reject.parents)}" if reject.parents else "no row"
    return {"where": where, "reason": reject.reason, "row": reject.text, "request": reject.request}


def renumbered(rows: Iterator[Example], source: int) -> Iterator[Example]:
    """Yield rows with the number of their source, as the table has it."""
    return (replace(row, origin={**row.origin, "source": source}) for row in rows)
