"""The scorers by name. A scorer judges one completion; means and intervals are made in `statistics.py`.

A new one is a factory in a module of this folder and a line below, or `kind = "my_module:function"`.
"""

from __future__ import annotations

from espalier.core.records import Scorer
from espalier.core.registry import Registry
from espalier.evaluate.scorers.checks import build_checks
from espalier.evaluate.scorers.exact import build_exact_match
from espalier.evaluate.scorers.rouge import build_rouge_l

scorers: Registry[Scorer] = Registry("scorer")
scorers.register("rouge_l")(build_rouge_l)
scorers.register("exact_match")(build_exact_match)
scorers.register("checks")(build_checks)
