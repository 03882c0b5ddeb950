"""The scorers by name. A scorer judges completions; means and intervals are made in `compare.py`.

A new one is a factory in a module of this folder and a line below, or `kind = "my_module:function"`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from inspect import signature
from typing import Any, cast

from espalier.core.errors import RecipeError
from espalier.core.recipe import Choice
from espalier.core.records import Example, Fitted, Scorer
from espalier.core.registry import Registry
from espalier.scorers.checks import build_checks
from espalier.scorers.choice import build_choice
from espalier.scorers.cider import build_cider
from espalier.scorers.code import build_code
from espalier.scorers.exact import build_exact_match, build_quasi_exact, build_token_f1
from espalier.scorers.ifeval.scorer import build_ifeval
from espalier.scorers.labels import build_label
from espalier.scorers.likelihood import build_reference_logprob
from espalier.scorers.mctaco import build_mctaco
from espalier.scorers.numeric import build_numeric
from espalier.scorers.patterns import build_regex
from espalier.scorers.rouge import build_rouge_l
from espalier.scorers.sql import build_sql
from espalier.scorers.structured import build_json, build_table
from espalier.scorers.super_ni import build_super_ni
from espalier.scorers.transcripts import build_cer, build_wer
from espalier.scorers.translation import build_bleu, build_chrf
from espalier.scorers.vqa import build_vqa

LISTS = (
    "A scorer's `score` takes the lists of all examples and all completions, and returns a list of Scores; "
    "espalier.scorers.by_row.ByRow makes one of what judges one answer."
)
scorers: Registry[Scorer] = Registry("scorer", foreign=lambda made, _: made)  # see `build_scorer`
scorers.register("rouge_l")(build_rouge_l)
scorers.register("exact_match")(build_exact_match)
scorers.register("quasi_exact")(build_quasi_exact)
scorers.register("token_f1")(build_token_f1)
scorers.register("numeric")(build_numeric)
scorers.register("label")(build_label)
scorers.register("regex")(build_regex)
scorers.register("chrf")(build_chrf)
scorers.register("bleu")(build_bleu)
scorers.register("cider")(build_cider)
scorers.register("wer")(build_wer)
scorers.register("cer")(build_cer)
scorers.register("vqa")(build_vqa)
scorers.register("mctaco")(build_mctaco)
scorers.register("super_ni")(build_super_ni)
scorers.register("checks")(build_checks)
scorers.register("code")(build_code)
scorers.register("choice")(build_choice)
scorers.register("ifeval")(build_ifeval)
scorers.register("json")(build_json)
scorers.register("sql")(build_sql)
scorers.register("table")(build_table)
scorers.register("reference_logprob")(build_reference_logprob)
# Of one kind several measures are usual: those that `espalier score` gives together, what leads first.
TOGETHER: dict[str, dict[str, dict[str, Any]]] = {
    "numeric": {"flexible": {}, "strict": {"form": "strict"}},
    "label": {"accuracy": {}, "macro_f1": {"measure": "macro_f1"}},
    "mctaco": {name: {"measure": name, "strict": True} for name in ("em", "f1", "accuracy")},
    "super_ni": {name: {"measure": name} for name in ("rougeL", "exact_match", "mixed")},
}
SLOW = {"code", "sql"}  # each answer is run: no hundreds of them for a floor


def build_scorer(kind: str, params: Mapping[str, Any], where: str) -> Scorer:
    """Build a scorer by its name. Raises RecipeError where there is none, or it is none."""
    scorer = cast("object", scorers.build(kind, params, where))
    if not isinstance(scorer, Scorer):
        name = type(scorer).__name__
        raise RecipeError(f"'{kind}' returned {name}, which has no `score`.", where=where, hint=LISTS)
    if "example" in signature(scorer.score).parameters:
        raise RecipeError(f"The `score` of '{kind}' takes one example at a time.", where=where, hint=LISTS)
    return scorer


def named_scorers(choices: Sequence[Choice]) -> dict[str, Scorer]:
    """Return a recipe's scorers by name; one that is there twice is numbered. Raises RecipeError."""
    built: dict[str, Scorer] = {}
    for index, choice in enumerate(choices):
        before = sum(other.kind == choice.kind for other in choices[:index])
        name = f"{choice.kind} {before + 1}" if before else choice.kind
        built[name] = build_scorer(choice.kind, choice.params, f"evaluate.{index}")
    return built


def fitted(scorer: Scorer, examples: Sequence[Example]) -> Scorer:
    """Return the scorer for these rows."""
    return scorer.fitted(examples) if isinstance(scorer, Fitted) else scorer
