"""The evaluation of Super-NaturalInstructions (Wang et al. 2022, arXiv 2204.07705), number for number.

ROUGE-L (`rouge_score` with its stemmer) and exact match of its own normalisation, which keeps articles and
knows ASCII's punctuation alone; both the maximum over references. The paper reports exact match for six
categories of classification and ROUGE-L for the others: "mixed" is that. Rows of the track "xlingual" are
cut by GPT-2's tokenizer, without the mark of a space and without a stemmer.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, lru_cache
from importlib import import_module
from pathlib import Path
from string import punctuation
from typing import TYPE_CHECKING, Any, Literal, cast

from rapidfuzz.distance import LCSseq

from espalier.core.errors import DataError
from espalier.core.files import read_jsonl
from espalier.core.records import Completion, Example, Metric, Score, Scorer, message
from espalier.scorers.rouge import RougeL
from espalier.tasks.task_files import load_task, tasks_in

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Measure = Literal["mixed", "rougeL", "exact_match"]
# Categories whose answers are labels.
CLASSIFICATION = frozenset(
    {
        "textual_entailment",
        "cause_effect_classification",
        "coreference_resolution",
        "dialogue_act_recognition",
        "answerability_classification",
        "word_analogy",
    }
)
FIRST = 100  # instances of a task that its evaluation has
TRACKS = ("default", "xlingual")
_OF = {
    "mixed": Metric(
        "Super-NaturalInstructions",
        note="Exact match where answers are labels, by the row's category, and ROUGE-L elsewhere.",
    ),
    "rougeL": Metric("ROUGE-L (official)", note="ROUGE-L as the official evaluation computes it."),
    "exact_match": Metric(
        "Exact match (official)",
        phrase="exact match",
        unit="%",
        note="Equal but for case, white space and ASCII's punctuation.",
    ),
}
_PUNCTUATION = str.maketrans("", "", punctuation)


def read_references(path: Path, first: int = FIRST) -> list[Example]:
    """Return what an evaluation scores: its own file of references, or the first rows of tasks.

    Args:
        path: JSONL of {"id", "references", "task_id", "task_category", "track"}, the last three as far as
            known; a task's file, or a folder of them.
        first: so many instances of each task.

    Raises:
        DataError: a line has no id or no references, an id stands twice, or nothing is there.
    """
    tasks = [*tasks_in(path)] if path.is_dir() else [path] if path.suffix == ".json" else []
    rows: list[Example] = []
    for file in tasks:
        task = load_task(file)
        category = next(iter(task.categories), "")
        rows += [_row(row.id, list(row.outputs), task.name, category) for row in task.rows[:first]]
    for number, item in () if tasks or path.is_dir() else read_jsonl(path):
        match item:
            case {"id": str() | int() as name, "references": [*given]} if given and _texts(given):
                about = (str(item.get(key) or "") for key in ("task_id", "task_category"))
                rows.append(_row(str(name), given, *about, track=str(item.get("track") or TRACKS[0])))
            case _:
                raise DataError(
                    'A line should be {"id": text, "references": [text, …]}.', where=f"{path}:{number}"
                )
    seen: set[str] = set()
    for row in rows:
        if row.id in seen:
            raise DataError(f"The id '{row.id}' stands twice.", where=str(path))
        seen.add(row.id)
    if not rows:
        raise DataError("There are neither references nor tasks.", where=str(path))
    return rows


def _texts(given: Sequence[object]) -> bool:
    return all(isinstance(one, str) for one in given)


def _row(name: str, references: Sequence[str], task: str, category: str, track: str = TRACKS[0]) -> Example:
    facts = {"category": "_".join(category.lower().split()), "track": track}
    prompt = (message("user", name),)
    return Example(name, task, name, prompt, tuple(references), facts=facts)


def official_exact(text: str, reference: str) -> bool:
    """Tell whether two texts are one to the official evaluation."""
    return _normalised(text) == _normalised(reference)


@lru_cache(maxsize=16384)
def _normalised(text: str) -> str:
    return " ".join(text.lower().translate(_PUNCTUATION).split())


@dataclass(frozen=True, slots=True)
class SuperNI:
    """The official evaluation of each row; `tokenizer` is of the track xlingual."""

    measure: Measure
    tokenizer: str

    @property
    def metric(self) -> Metric:
        """What it measures."""
        return _OF[self.measure]

    def score(self, examples: Sequence[Example], completions: Sequence[Completion]) -> list[Score]:
        """Return each row's exact match or ROUGE-L, the largest over its references."""
        nearest = RougeL(official=True).score(examples, completions)
        return [self._of(*row) for row in zip(examples, completions, nearest, strict=True)]

    def _of(self, example: Example, completion: Completion, nearest: Score) -> Score:
        text, category = completion.text, example.facts.get("category")
        if not example.references:
            return Score(None, "there is no reference")
        if self.measure == "mixed" and not category:
            return Score(None, "the row has no category")
        if self.measure == "exact_match" or (self.measure == "mixed" and category in CLASSIFICATION):
            return Score(float(any(official_exact(text, one) for one in example.references)))
        if example.facts.get("track") == "xlingual":
            cut = gpt2(self.tokenizer)
            if cut is None:
                return Score(None, f"the tokenizer {self.tokenizer} of the track xlingual is not here")
            return Score(max(_overlap(cut(text), cut(one)) for one in example.references))
        return nearest


@cache
def gpt2(name: str) -> Callable[[str], tuple[str, ...]] | None:
    """Return what cuts a text into GPT-2's tokens without the mark of a space; None where it is not here.

    Args:
        name: a folder with `tokenizer.json`, such a file, or the hub's name.
    """
    from tokenizers import Tokenizer

    place = Path(name) / "tokenizer.json" if Path(name).is_dir() else Path(name)
    try:
        made = cast("Any", Tokenizer.from_file(str(place) if place.is_file() else _fetched(name)))
    except (OSError, ValueError):
        return None

    def cut(text: str) -> tuple[str, ...]:
        return tuple(token.lstrip("Ġ") for token in made.encode(text, add_special_tokens=False).tokens)

    return cut


def _fetched(name: str) -> str:
    """Return the hub's file, from its cache where that has it. Raises OSError or ValueError."""
    hub: Any = import_module("huggingface_hub")
    return str(hub.hf_hub_download(name, "tokenizer.json"))


def _overlap(ours: Sequence[str], theirs: Sequence[str]) -> float:
    if not ours or not theirs:
        return 0.0
    return 2 * LCSseq.similarity(ours, theirs) / (len(ours) + len(theirs))


def build_super_ni(*, measure: Measure = "mixed", tokenizer: str = "openai-community/gpt2") -> Scorer:
    """As Super-NaturalInstructions scores: exact match where the row's fact "category" is one of labels."""
    return SuperNI(measure, tokenizer)
