"""IFEval as a scorer: whether a reply does what its prompt asks for and a program can verify."""

from __future__ import annotations

from typing import Literal

from espalier.core.errors import MissingExtra
from espalier.core.records import Completion, Example, Metric, Score, Scorer
from espalier.core.scoring import Fold
from espalier.scorers.by_row import ByRow
from espalier.scorers.ifeval.judge import Mode, instructions_of, judged
from espalier.scorers.ifeval.kinds import UnusableInstruction

FOLDS: dict[str, Fold | None] = {"prompt": None, "instruction": lambda sums: sums[0] / sums[1]}


def build_ifeval(
    *, mode: Mode = "repaired", loose: bool = False, per: Literal["prompt", "instruction"] = "prompt"
) -> Scorer:
    """1 where all instructions of the row's `instruction_id_list` are followed; or the share of them."""

    def judge(example: Example, completion: Completion) -> Score:
        kinds, kwargs = (example.facts.get(name) for name in ("instruction_id_list", "kwargs"))
        prompt = "\n".join(turn.text for turn in example.prompt)
        try:
            asked = instructions_of(prompt, kinds, kwargs, mode)
            verdicts = [judged(one, completion.text, mode) for one in asked]
        except (UnusableInstruction, MissingExtra) as error:
            return Score(None, f"the row's instructions cannot be verified: {error}")
        followed = [one.loose if loose else one.strict for one in verdicts]
        failed = (f"{v.kind}: {v.why}" for v, ok in zip(verdicts, followed, strict=True) if not ok)
        if per == "prompt":
            return Score(float(all(followed)), "; ".join(failed))
        share = sum(followed) / len(followed)
        return Score(share, "; ".join(failed), parts=(float(sum(followed)), float(len(followed))))

    how = f"Verified by program ({mode}, {'loose' if loose else 'strict'})."
    phrase = f"the share of {per}s that are followed"
    metric = Metric(f"IFEval: {per}s followed", phrase=phrase, unit="%", note=how, fold=FOLDS[per])
    return ByRow(judge, metric)
