"""BLEU and chrF of all answers together, by sacrebleu (Post 2018, arXiv 1804.08771).

Papineni et al. 2002 and Popović 2015. Both are made of counts that are summed over rows, so that intervals
and differences draw rows and compute the measure anew. sacrebleu keeps the counts of a row behind an
underscore, where its own bootstrap takes them; the tests hold what is made of them to its public scores.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal

from espalier.core.errors import MissingExtra
from espalier.core.records import Completion, Example, Metric, Score, Scorer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

BLEU = Metric("BLEU", note="Runs of up to four words in common with the references, of all answers together.")
CHRF = Metric("chrF", note="Runs of up to six characters in common with the nearest reference.")


@dataclass(frozen=True, slots=True)
class Corpus:
    """A measure of sacrebleu: `whole` of all rows, `single` of one, which is what rows are compared by."""

    metric: Metric
    whole: Any
    single: Any

    def fitted(self, examples: Sequence[Example]) -> Corpus:
        """Return it with a note that has the signature of so many references."""
        counts = {len(example.references) for example in examples if example.references}
        self.whole.num_refs = counts.pop() if len(counts) == 1 else -1
        note = f"{self.metric.note} Signature: {self.whole.get_signature()}."
        return replace(self, metric=replace(self.metric, note=note))

    def score(self, examples: Sequence[Example], completions: Sequence[Completion]) -> list[Score]:
        """Return each row's own score, with its counts as parts; not scored where there is no reference."""
        return [self._of(example, one) for example, one in zip(examples, completions, strict=True)]

    def _of(self, example: Example, completion: Completion) -> Score:
        if not example.references:
            return Score(None, "there is no reference")
        given = [completion.text], [[reference] for reference in example.references]
        (counts,) = self.whole._extract_corpus_statistics(*given)
        value = self.single._compute_score_from_stats(list(counts)).score / 100
        return Score(float(value), parts=tuple(map(float, counts)))


def build_bleu(
    *, tokenize: Literal["13a", "intl", "char", "zh", "none"] = "13a", lowercase: bool = False
) -> Scorer:
    """BLEU of all answers together, by sacrebleu; `tokenize`: how it cuts words."""
    settings = {"tokenize": tokenize, "lowercase": lowercase}
    return _corpus("BLEU", BLEU, settings, {**settings, "effective_order": True})


def build_chrf(*, words: int = 0) -> Scorer:
    """chrF of all answers together, by sacrebleu; `words` = 2 makes it chrF++."""
    settings = {"word_order": words}
    title = {0: "chrF", 2: "chrF++"}.get(words, f"chrF with runs of {words} words")
    return _corpus("CHRF", replace(CHRF, title=title), settings, settings)


def _corpus(name: str, metric: Metric, whole: Mapping[str, object], single: Mapping[str, object]) -> Scorer:
    try:
        measure = vars(import_module("sacrebleu.metrics"))[name]
    except ImportError:
        raise MissingExtra("BLEU and chrF", "translation") from None
    found = measure(**whole)

    def fold(sums: Sequence[float]) -> float:
        return float(found._compute_score_from_stats(list(sums)).score) / 100

    return Corpus(replace(metric, fold=fold), found, measure(**single))
