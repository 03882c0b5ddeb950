"""The decoding strategies by name.

A new one is a function in a module of this folder and a line below, or `kind = "my_module:function"`.
"""

from __future__ import annotations

from espalier.core.registry import Registry
from espalier.decode.strategies.beam import beam
from espalier.decode.strategies.choices import choices
from espalier.decode.strategies.constrained import constrained
from espalier.decode.strategies.contrastive import contrastive
from espalier.decode.strategies.lookup import lookup
from espalier.decode.strategies.sampling import greedy, sample
from espalier.decode.strategies.several import best_of, self_consistency
from espalier.decode.strategy import Strategy, watched

strategies: Registry[Strategy] = Registry("decoding strategy", foreign=watched)
strategies.register("greedy")(greedy)
strategies.register("sample")(sample)
strategies.register("beam")(beam)
strategies.register("lookup")(lookup)
strategies.register("best_of")(best_of)
strategies.register("self_consistency")(self_consistency)
strategies.register("constrained")(constrained)
strategies.register("contrastive")(contrastive)
strategies.register("choices")(choices)
