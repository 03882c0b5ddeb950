"""Each setting's answers to the same rows, from the journal where it has them, and the verdicts on them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from espalier.core.errors import RecipeError, nearest
from espalier.core.journal import store_of
from espalier.core.records import Score
from espalier.decode.journal import Generations
from espalier.evaluate.harness import evaluate
from espalier.runs.answers import answers_of
from espalier.runs.events import bar, working

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from espalier.core.records import Completion, Example, Metric
    from espalier.decode.local import Local
    from espalier.evaluate.scores import Scores
    from espalier.trials.decoding_settings import Setting
    from espalier.trials.decoding_subject import Subject


@dataclass(frozen=True)
class Answered:
    """What a setting's answers to some rows come to.

    Attributes:
        samples: the completions, in the order of the rows.
        columns: by measure a score of each row: of several samples their mean.
        best: of the leading measure, the best of each row's samples; None where it judged none.
    """

    samples: Sequence[Sequence[Completion]]
    columns: Mapping[str, Sequence[Score]]
    best: Sequence[float | None]


@dataclass(frozen=True)
class Verdicts:
    """What settings answered to the same rows, by their names, and the measure that leads."""

    answered: Mapping[str, Answered]
    metrics: Mapping[str, Metric]
    measure: str


@dataclass(frozen=True)
class Asker:
    """A model that answers by any setting, and the journals in which its answers are kept.

    Answers by code that is not ours have a journal by the hash of that code, and are shared with no other
    run: nothing else tells them from what another version of it writes.
    """

    subject: Subject
    local: Local
    folder: Path
    journals: dict[str, Generations] = field(default_factory=dict[str, Generations])

    def ask(
        self, rows: Sequence[Example], settings: Sequence[Setting], title: str, metric: str = ""
    ) -> Verdicts:
        """Return what each setting answers to the rows, judged; `metric` names the measure to lead.

        Raises:
            RecipeError: no measure has that name.
            GenerationError, DataError: see `Generator`.
        """
        systems: dict[tuple[str, int], list[Completion]] = {}
        with bar(title, len(rows) * sum(len(setting.choices) for setting in settings)) as advance:
            for setting in settings:
                local = replace(self.local, journal=self.journal(setting))
                for number, choice in enumerate(setting.choices):
                    told = f"{setting.name}, seed {number + 1}" if number else setting.name
                    found = answers_of(local, rows, choice, lambda told=told: advance(1, told))
                    systems[setting.name, number] = found
        with working("Scoring", aloud=False):
            scores = self.judged(rows, {_system(*key): answers for key, answers in systems.items()})
        if metric and metric not in scores.listed:
            raise RecipeError(
                f"No measure is named '{metric}'.", where="--metric", hint=nearest(metric, scores.listed)
            )
        metrics = {name: scores.metric(name) for name in scores.listed}
        measure = metric or scores.leading
        answered = {
            setting.name: pooled(
                scores,
                metrics,
                measure,
                [systems[setting.name, n] for n in range(len(setting.choices))],
                setting,
            )
            for setting in settings
        }
        return Verdicts(answered, metrics, measure)

    def judged(self, rows: Sequence[Example], systems: Mapping[str, Sequence[Completion]]) -> Scores:
        """Score answers as a run does."""
        subject = self.subject
        own = subject.own
        return evaluate(rows, systems, subject.scorers, subject.checks, subject.recipe.seed, own=own)

    def journal(self, setting: Setting) -> Generations:
        """Return where a setting's answers are kept."""
        if setting.code not in self.journals:
            name = f"outside-{setting.code[:16]}.jsonl" if setting.code else "generations.jsonl"
            store = None if setting.code else store_of(self.folder.parent.parent)
            self.journals[setting.code] = Generations(self.folder / name, store)
        return self.journals[setting.code]

    @property
    def made(self) -> int:
        """How many answers were made, and not taken from a journal."""
        return sum(journal.made for journal in self.journals.values())


def pooled(
    scores: Scores,
    metrics: Mapping[str, Metric],
    measure: str,
    samples: Sequence[Sequence[Completion]],
    setting: Setting,
) -> Answered:
    """Return the verdicts on a setting, those on several samples of a row as one."""
    names = [_system(setting.name, number) for number in range(len(samples))]
    columns = {
        name: [together([row.systems[system][name] for system in names]) for row in scores.examples]
        for name in metrics
    }
    sign = metrics[measure].sign
    values = [[row.systems[system][measure].value for system in names] for row in scores.examples]
    known = [[sign * value for value in row if value is not None] for row in values]
    return Answered(samples, columns, [sign * max(row) if row else None for row in known])


def together(scores: Sequence[Score]) -> Score:
    """Return the mean verdict; what not all samples have is not known."""
    if len(scores) == 1:
        return scores[0]
    values = [score.value for score in scores if score.value is not None]
    value = sum(values) / len(values) if len(values) == len(scores) else None
    parts = [score.parts for score in scores if score.parts]
    whole = len(parts) == len(scores)
    return Score(value, parts=tuple(sum(p) / len(p) for p in zip(*parts, strict=True)) if whole else ())


def _system(name: str, number: int) -> str:
    return f"{name} #{number}"
