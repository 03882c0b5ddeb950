"""Code against the tests that a row has: run in limited processes, where it cannot reach its tests.

Python alone is run. The tests are assertions: a text or a list of texts (MBPP), functions that are called
`test…`, or HumanEval's `check(candidate)` with an `entry_point`. What the processes are kept from, and where
that cannot be, is said in `sandbox/isolation.py`; how tests stay honest, in `sandbox/remote.py`.
"""

from __future__ import annotations

import math
import tempfile
from typing import cast

from espalier.core.errors import RecipeError
from espalier.core.records import Completion, Example, Metric, Score, Scorer
from espalier.sandbox.worker import Worker
from espalier.scorers.blocks import block
from espalier.scorers.by_row import ByRow

CODE = Metric(
    "Passes its tests",
    phrase="the share of programs that pass their tests",
    unit="%",
    note="Python, run in limited processes; a row without tests that assert something is not scored.",
)
MIB = 1 << 20
HOOK_ALONE = "run without namespaces: an audit hook alone kept it from files and the network"


def build_code(*, seconds: float = 5.0, memory: int = 1024) -> Scorer:
    """1 where the code passes the row's tests, within so many seconds and MiB."""
    if not 0 < seconds <= 600 or memory < 64:
        raise RecipeError(
            f"seconds = {seconds:g}, memory = {memory} do not fit: 0 to 600, and at least 64.", where="code"
        )

    def judge(example: Example, completion: Completion) -> Score:
        given: object = example.facts.get("tests")
        tests = cast("list[object]", given) if isinstance(given, list) else [given] if given else []
        if not tests or not all(isinstance(test, str) for test in tests):
            return Score(None, "the row has no tests" if not tests else "the row's tests are no texts")
        code = block(completion.text, "python", "python3", "py")
        if not code.strip():
            return Score(0.0, "there is no code")
        setup, entry = (str(example.facts.get(key) or "") for key in ("setup", "entry_point"))
        with tempfile.TemporaryDirectory() as folder, Worker("espalier.sandbox.referee") as worker:
            limits = {"folder": folder, "seconds": math.ceil(seconds) + 1, "memory": memory * MIB}
            parts: list[object] = [{"code": code, "setup": setup, **limits}, {"tests": tests, "entry": entry}]
            reply = worker.ask(parts, seconds)
        if reply is None:
            return Score(0.0, f"it takes longer than {seconds:g} s, or more than it may", code)
        why = reply["why"] or ("" if reply["alone"] else HOOK_ALONE)
        return Score(reply["value"], why, code)

    return ByRow(judge, CODE)
