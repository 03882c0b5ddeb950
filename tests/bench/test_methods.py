"""The bench of methods: its rows are methods that can be built, and its table says what was measured."""

from __future__ import annotations

from importlib.util import find_spec

from bench.methods import METHODS, table
from espalier.models.adapters import methods

ESTIMATE = {"value": 0.5, "low": 0.25, "high": 0.75}


def test_every_method_is_measured_with_parameters_that_it_takes() -> None:
    assert {method.kind for method in METHODS.values()} == set(methods.names()) - {"projector"}
    for method in METHODS.values():
        if method.kind == "qlora" and find_spec("bitsandbytes") is None:
            continue
        methods.build(method.kind, method.params)


def test_a_method_that_cannot_run_says_so_in_the_table() -> None:
    measured = {"rate": 5e-4, "trained": 1200, "seconds": 9.6, "peak": 1234.5}
    found = {
        "none": {**measured, "trained": 0, "checks": ESTIMATE, "rouge_l": ESTIMATE},
        "lora": {**measured, "checks": ESTIMATE, "rouge_l": ESTIMATE},
        "qlora": {"error": "It needs packages."},
    }
    head, _, none, lora, qlora = table(found).split("\n")
    assert none == "| none | – | – | – | – | 0.50 [0.25, 0.75] | 0.50 [0.25, 0.75] |"
    assert lora == "| lora | 0.0005 | 1,200 | 10 | 1234 | 0.50 [0.25, 0.75] | 0.50 [0.25, 0.75] |"
    assert head.count("|") == lora.count("|") == qlora.count("|")
