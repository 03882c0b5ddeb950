"""What a reward model is for: rating answers. Its own scores, best-of-n and rewards all come from here."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from espalier.core.errors import TemplateError
from espalier.core.records import Score
from espalier.core.run import find_run
from espalier.decode.likelihood import answer_row, check_context, numbers
from espalier.encode.tokens import encode_unit
from espalier.evaluate.pairs import evaluate_pairs
from espalier.evaluate.rewards import MODEL
from espalier.models.places import check_run, weights_hash
from espalier.runs.asking import run_asking
from espalier.runs.events import working
from espalier.runs.load import load_run
from espalier.runs.precision import of_run
from espalier.runs.results import write_results
from espalier.train.peak import peak_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from espalier.core.records import Completion, Encoded, Example, Scorer
    from espalier.core.run import RunFolder
    from espalier.data.asking import Asking
    from espalier.data.inputs import Asked
    from espalier.decode.picking import Raters
    from espalier.models.load import Loaded

    # By name, what a system gives to the answers of each example.
    Systems: TypeAlias = Mapping[str, Sequence[Sequence[float]]]
    # From examples to answers to their prompts.
    Write: TypeAlias = Callable[[Sequence[Example]], Iterable[Completion]]


@dataclass(frozen=True)
class Rater:
    """A reward model, ready to rate; `asking` is how its own prompts ask."""

    loaded: Loaded
    asking: Asking

    def rate(self, examples: Sequence[Example], answers: Sequence[str]) -> list[float | None]:
        """Return the number of each answer to its example's prompt; None where the template refuses it.

        Raises:
            TemplateError: the template refuses all of them.
            DataError: a prompt with its answer does not fit into the model's context.
        """
        rows: list[Encoded] = []
        refused: dict[int, TemplateError] = {}
        for place, (example, answer) in enumerate(zip(examples, answers, strict=True)):
            try:
                rows.append(answer_row(example, answer, self.loaded.template))
            except TemplateError as error:
                refused[place] = error
        if not rows:
            raise refused[0]
        check_context(rows, self.loaded.template.context)
        found = iter(numbers(self.loaded, rows))
        return [None if place in refused else next(found) for place in range(len(answers))]

    def asked(self, ask: Asked) -> Example:
        """Return what is asked in the shape that this model was trained in, which may be another one's."""
        system, *rest = ask.prompt if ask.prompt[0].role == "system" else (None, *ask.prompt)
        if len(rest) > 1:  # a conversation
            prompt = self.asking.around(ask.prompt)
        else:
            said = rest[0].text
            prompt = self.asking.prompt(said if self.asking.holds(said) else ask.text)
            if system is not None and self.asking.differs:
                prompt = (system, *prompt)
        return replace(ask, prompt=prompt).example()

    def score(self, examples: Sequence[Example], completions: Sequence[Completion]) -> list[Score]:
        """Return the same as a scorer does."""
        return [Score(number) for number in self.rate(examples, [one.text for one in completions])]


def load_rater(path: Path, cache: Path) -> Rater:
    """Load the reward model of a run.

    Raises:
        RunError: the run has no model yet, or one that writes.
    """
    run = find_run(path)
    return Rater(of_run(run, load_run(run, cache, rating=True), "training"), run_asking(run))


def raters(rewards: Iterable[str], cache: Path) -> dict[str, Scorer]:
    """Load the reward models among the names of rewards: "model:" and the folder of a run."""
    names = [name for name in rewards if name.startswith(MODEL)]
    return {name: load_rater(Path(name.removeprefix(MODEL)), cache) for name in names}


def raters_from(cache: Path) -> Raters:
    """Return what loads reward models among names of rewards, each when it is first named."""
    known: dict[str, Scorer] = {}

    def load(rewards: Iterable[str]) -> Mapping[str, Scorer]:
        known.update(raters((name for name in rewards if name not in known), cache))
        return known

    return load


def rater_weights(rewards: Iterable[str]) -> dict[str, str]:
    """Return the hash of the weights of each reward model among the names of rewards.

    Raises:
        RunError: see `check_run`.
    """
    found: dict[str, str] = {}
    for name in rewards:
        if name.startswith(MODEL):
            run = find_run(Path(name.removeprefix(MODEL)))
            check_run(run, rating=True)
            found[name] = weights_hash(run.model)
    return found


def best_of(rater: Rater, write: Write, ask: Asked) -> tuple[Completion, list[float]]:
    """Return the best of the answers that are written to a question, and the numbers of all (best-of-n).

    An answer that cannot be rated is not the best.
    """
    written = list(write([ask.example()]))
    found = rater.rate([rater.asked(ask)] * len(written), [completion.text for completion in written])
    rated = [number for number in found if number is not None]
    return written[found.index(max(rated))], rated


@working("Scoring", aloud=False)
def score_pairs(seed: int, run: RunFolder, examples: Sequence[Example], systems: Systems) -> None:
    """Write the scores.json of a reward model; see `order`."""
    started = time.monotonic()
    write_results(run, None, evaluate_pairs(examples, systems, seed).to_json())
    run.log_stage("evaluate", started, peak_bytes())


def order(run: RunFolder, examples: Sequence[Example], loaded: Loaded, system: str) -> list[list[float]]:
    """Return what a model gives to each example's answer, and then to each rejected one."""
    started = time.monotonic()
    units = [encode_unit(example, loaded.template) for example in examples]
    with working(f"The pairs of the test set, by the {system} model"):
        found = iter(numbers(loaded, [row for unit in units for row in unit.rows]))
    run.log_stage(f"rate {system}", started, peak_bytes())
    return [[next(found) for _ in unit.rows] for unit in units]


def lengths(examples: Sequence[Example]) -> list[list[float]]:
    """Return how long each answer is: the floor, as people and reward models are fond of long ones."""
    return [
        [float(len(text)) for text in (example.answer, *(turn.text for turn in example.rejected))]
        for example in examples
    ]
