"""What a study will take: one training of each cost is begun and thrown away, and a few answers are timed.

A run of very few rows is gone through besides, for what a run takes whatever its rows are. Trainings cost
alike where they move the same weights of one model in the same steps; what they learn from may be more or
less text, and costs in proportion. What is done is not counted.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from espalier.core.errors import DataError
from espalier.core.files import content_hash
from espalier.core.run import RunFolder
from espalier.runs.events import listening, say, working
from espalier.runs.plan import chosen
from espalier.runs.prepare import copied, prepare
from espalier.runs.trunk import alone_as
from espalier.study.carrying_out import is_complete
from espalier.study.cells import planned
from espalier.study.effects import reached
from espalier.tasks.once import reading_once

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from espalier.core.recipe import Recipe
    from espalier.core.records import Example
    from espalier.runs.prepare import Prepared
    from espalier.study.carrying_out import Book
    from espalier.study.cells import Planned, Training

ASKED = 64  # answers that are timed, and a quarter of them: many at once cost less each
FEW = 4  # rows that the run learns from which is gone through
FREE = {"rate", "epochs", "warmup", "schedule", "clip", "decay", "noise", "checkpoint", "data"}
NO_PART = {"checkpoint", "parallel", "dev", "patience", "keep", "states"}  # of the weights


@dataclass(frozen=True, slots=True)
class Price:
    """Seconds of a study that are still to be spent.

    Attributes:
        training: of all trainings.
        answering: of all answers, base models' too.
        besides: what each run and evaluation takes whatever its rows are: models loaded and written, scores,
            reports.
        probed: how many trainings were begun for it.
    """

    training: float
    answering: float
    besides: float
    probed: int

    @property
    def seconds(self) -> float:
        """All of it."""
        return self.training + self.answering + self.besides


@dataclass(frozen=True, slots=True)
class Pace:
    """What trainings of one cost take, in seconds.

    Attributes:
        letter: of each letter that is learned from.
        ahead: of looking ahead in a training that is long enough for it.
        prompts: of what prompts share, once for all that are asked at once.
        answer: of an answer of the base model.
        own: of one of the tuned model.
        load: of reading a model.
        run: of a run besides.
        evaluation: of an evaluation besides, once the model is there.
    """

    letter: float
    ahead: float
    prompts: float
    answer: float
    own: float
    load: float
    run: float
    evaluation: float


@dataclass(frozen=True, slots=True)
class _Rows:
    """What a recipe's rows come to: how many letters an epoch has, what is learned, what is asked."""

    letters: int
    learned: str
    asked: str
    count: int


def foreseen(plan: Planned, book: Book) -> Planned:
    """Return a study whose design grows with what it finds as it will be: so many cells, if not these.

    What is not known yet is taken to be a tie.
    """
    while plan.layout.next:
        known = all(is_complete(plan, book, one) for one in plan.trainings)
        scores = reached(plan) if known else dict.fromkeys(plan.layout.cells, 0.0)
        plan = planned(plan.study, book.folders, plan.layout.next(scores))
    return plan


def sizes_said(plan: Planned) -> str:
    """Say whether trainings of several sizes share their first steps; '' where there is one size."""
    recipes = [one.recipe for one in plan.trainings]
    if len({recipe.data.limit for recipe in recipes}) == 1:
        return ""
    whys = [alone_as(recipe) for recipe in recipes]
    if "" in whys:
        return "Sizes go on from each other: a smaller set's steps are trained once."
    return f"Sizes share no steps: {whys[-1]}."


@reading_once()
def price(plan: Planned, left: Sequence[Training], done: Collection[str], cache: Path) -> Price:
    """Return what is left to spend; what several cells come to is done once, and counted once.

    Args:
        plan: the study.
        left: trainings with something to do.
        done: names of the trainings and the cells that are.
        cache: folder of converted models.

    Raises:
        EspalierError: a training cannot be begun.
    """
    known: dict[str, _Rows] = {}
    paces: dict[str, Pace] = {}
    spent: set[str] = set()  # by what determines it
    grown: dict[str, int] = {}  # letters that trainings which go on from each other have learned, by all else
    training = answering = besides = 0.0

    def once(seconds: float, *key: object) -> float:
        told = content_hash(key)
        counted = 0.0 if told in spent else seconds
        spent.add(told)
        return counted

    for one in left:
        recipe, rows = one.recipe, _rows(one.recipe, known)
        if (cost := _cost(recipe)) not in paces:
            say(f"Probing {one.name}: a few steps and answers, of which nothing is kept.")
            with working("Probing", aloud=False), listening(lambda _: None):
                paces[cost] = _probe(recipe, prepare(recipe), cache)
        pace, model = paces[cost], recipe.model.model_dump(mode="json")
        stages = [stage.model_dump(mode="json", exclude=NO_PART) for stage in recipe.train]
        weights = [recipe.seed, model, stages, rows.learned]
        if one.name not in done:
            asked = [rows.asked, recipe.decode.model_dump(mode="json")]
            training += once(_trained(recipe, rows, pace, grown), weights)
            answering += once(pace.prompts + pace.answer * rows.count, model, asked)
            answering += once(pace.prompts + pace.own * rows.count, weights, asked)
            besides += pace.run
        cells = [cell for cell in one.cells if not cell.run and cell.name not in done]
        besides += pace.load * bool(cells) + pace.evaluation * len(cells)
        for cell in cells:
            rows = _rows(cell.recipe, known)
            asked = [rows.asked, cell.recipe.decode.model_dump(mode="json")]
            answering += once(pace.prompts + pace.own * rows.count, weights, asked)
    return Price(training, answering, besides, len(paces))


def _rows(recipe: Recipe, known: dict[str, _Rows]) -> _Rows:
    """Return what a recipe's rows come to, computed once for recipes that read the same."""
    key = content_hash([recipe.task.model_dump(), recipe.data.model_dump(), recipe.split_seed])
    if key not in known:
        made = prepare(recipe)
        learned = [(row.id, [turn.text for turn in row.messages]) for row in made.train]
        asked = [(row.id, [turn.text for turn in row.prompt]) for row in made.test]
        letters = sum(len(text) for _, texts in learned for text in texts)
        known[key] = _Rows(letters, content_hash(learned), content_hash(asked), len(asked))
    return known[key]


def _cost(recipe: Recipe) -> str:
    """Return a name of what a training costs for each letter."""
    stages = [stage.model_dump(mode="json", exclude=FREE) for stage in recipe.train]
    return content_hash([stages, recipe.model.model_dump(mode="json"), recipe.decode.kind])


def _trained(recipe: Recipe, rows: _Rows, pace: Pace, grown: dict[str, int]) -> float:
    """Return the seconds of a training's steps: of nested sizes, those beyond the size before."""
    if alone_as(recipe):
        return pace.ahead + pace.letter * rows.letters * sum(stage.epochs for stage in recipe.train)
    task, train = recipe.task.model_dump(), [stage.model_dump() for stage in recipe.train]
    data = recipe.data.model_dump(exclude={"limit"})
    key = content_hash([task, data, train, recipe.model.model_dump(), recipe.seed])
    begun, grown[key] = grown.get(key, 0), max(rows.letters, grown.get(key, 0))
    return pace.ahead * (begun == 0) + pace.letter * max(0, rows.letters - begun)


def _probe(recipe: Recipe, made: Prepared, cache: Path) -> Pace:
    """Begin a training, time a few answers of its model as it is, and go through a run of very few rows."""
    from espalier.runs.answers import answers_of
    from espalier.runs.forecast import forecasts
    from espalier.runs.stages import FORETOLD
    from espalier.trials.evaluation import local_model

    found = [one for _, one, _ in forecasts(chosen(recipe, copied(made)), cache)]
    training = sum(one.seconds - one.checkpoint_seconds for one in found)  # one is in what is gone through
    ahead = sum(2 * f.step_seconds + f.checkpoint_seconds for f in found if f.steps >= FORETOLD)
    learned = sum(len(turn.text) for row in made.train for turn in row.messages)
    epochs = sum(stage.epochs for stage in recipe.train)
    begun = time.monotonic()
    local = local_model(recipe, None, cache)
    load = time.monotonic() - begun

    def asked(rows: Sequence[Example]) -> tuple[float, int]:
        begun = time.monotonic()
        answers = answers_of(local, rows, recipe.decode, lambda: None)
        written = sum(len(one.text) for one in answers if one.sample == 0)
        return time.monotonic() - begun, written

    some = made.test[:: -(-len(made.test) // ASKED)]
    asked(some[:1])  # in a cold process
    part = some[::4]
    (quarter, _), (every, written) = asked(part), asked(some)
    answer = max(0.0, every - quarter) / (len(some) - len(part)) if len(some) > 1 else every
    run, evaluation = _besides(recipe, made, cache, load)
    return Pace(
        letter=training / (epochs * learned),
        ahead=ahead,
        prompts=max(0.0, every - answer * len(some)),
        answer=answer,
        own=answer * _shorter(some, written),
        load=load,
        run=run,
        evaluation=evaluation,
    )


def _besides(recipe: Recipe, made: Prepared, cache: Path, load: float) -> tuple[float, float]:
    """Return the seconds of a run, and of an evaluation, that are neither steps nor answers."""
    from espalier.runs.execute import execute

    stages = tuple(stage.model_copy(update={"epochs": 1e-9}) for stage in recipe.train)  # a step
    data = recipe.data.model_copy(update={"sealed": False})
    with tempfile.TemporaryDirectory(prefix="espalier-probe-") as folder:
        own = {"name": "probe", "folder": folder, "train": stages, "data": data, "track": ()}
        short = recipe.model_copy(update=own)
        few = copied(made)
        few.train[:], few.test[:] = made.train[:FEW], made.test[:1]
        path = Path(folder) / "probe"
        begun = time.monotonic()
        try:
            execute(chosen(short, few), path, cache)
        except DataError:  # these few have nothing that the objective learns from
            begun = time.monotonic()
            execute(chosen(short, copied(made)), path, cache)
        whole = time.monotonic() - begun
        events = RunFolder(path).read_events()
    taken = {one["stage"]: one["seconds"] for one in events if one["event"] == "stage"}
    steps = sum(one["seconds"] for one in events if one["event"] == "step")
    answers = sum(seconds for name, seconds in taken.items() if name.startswith("decode"))
    trained = sum(seconds for name, seconds in taken.items() if name.startswith(("train", "stage")))
    rest = whole - answers - trained
    return whole - answers - steps, max(0.0, rest - taken["prepare"] - load)


def _shorter(rows: Sequence[Example], written: int) -> float:
    """Return how much shorter answers will be once they are learned: as references are, or not at all."""
    wanted = sum(len(row.answer) for row in rows)
    return min(1.0, wanted / written) if written else 1.0
