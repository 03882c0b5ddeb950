from __future__ import annotations

import json
from dataclasses import replace

import pytest

from espalier.core.errors import DataError
from espalier.core.records import Completion, Example, message
from espalier.evaluate.harness import aligned, evaluate
from espalier.scorers.registry import scorers
from espalier.tasks.checks import SetCheck, Verdict, check, checks, set_checks

if "ends_with_mark" not in checks.names():

    @check("ends_with_mark")
    def ends_with_mark(task_input: str, output: str) -> Verdict:
        """The answer ends with a question mark."""
        return Verdict(output.endswith("?"), "It does not end with a question mark.")

    @set_checks.register("not_all_alike")
    def not_all_alike() -> SetCheck:
        """The answers are not all the same."""
        return lambda inputs, outputs: Verdict(len(set(outputs)) > 1, "All are alike.")


EXAMPLES = [
    Example(
        f"e{i}", "t", f"s{i // 2}", (message("user", "p"),), references=(f"how long was {i}?",), input=f"{i}"
    )
    for i in range(4)
]
TUNED = [Completion(f"e{i}", f"How long was {i}?") for i in (3, 1, 0, 2)]
BASE = [Completion("e0", "I do not know", finish="length"), *(Completion(f"e{i}", "?") for i in (1, 2))]
NAMES = ["ends_with_mark", "not_all_alike"]


def test_the_scores_of_two_systems_are_as_documented() -> None:
    chosen = {name: scorers.build(name, {}) for name in ("rouge_l", "exact_match")}
    result = json.loads(evaluate(EXAMPLES, {"tuned": TUNED, "base": BASE}, chosen, NAMES).to_json())
    assert (result["rows"], result["sources"]) == (4, 2)
    tuned, base = result["systems"]["tuned"], result["systems"]["base"]
    assert tuned["scores"]["rouge_l"]["value"] == tuned["all_checks"]["value"] == 1.0
    assert base["all_checks"]["value"] == 0.5
    assert base["checks"]["ends_with_mark"]["n"] == 4
    assert base["at_limit"]["value"] == pytest.approx(1 / 3)
    assert (base["missing"], tuned["missing"]) == (1, 0)
    assert tuned["distinct"] == {"count": 4, "n": 4}
    assert tuned["words"]["value"] == 4.0
    assert tuned["set_checks"] == {"not_all_alike": {"ok": True, "why": "All are alike."}}
    (difference,) = result["differences"]
    assert (difference["a"], difference["b"]) == ("tuned", "base")
    assert difference["values"]["all_checks"]["value"] == 0.5
    assert difference["values"]["all_checks"]["better"] == 2
    row = result["examples"][0]
    assert row["systems"]["base"]["values"]["ends_with_mark"] == 0.0
    assert row["systems"]["base"]["why"] == {"ends_with_mark": "It does not end with a question mark."}
    assert row["systems"]["tuned"]["why"] == {}


def test_a_task_without_checks_has_no_rate_of_checks() -> None:
    result = evaluate(EXAMPLES, {"tuned": TUNED}, {"rouge_l": scorers.build("rouge_l", {})})
    assert result.systems["tuned"].all_checks is None
    assert result.differences == ()


def test_completions_must_belong_to_the_examples() -> None:
    with pytest.raises(DataError, match="answered one example twice"):
        aligned(EXAMPLES, [TUNED[0], TUNED[0]], "tuned")
    with pytest.raises(DataError, match="1 examples that are not among the 4 scored"):
        aligned(EXAMPLES, [Completion("e9", "x")], "tuned")
    with pytest.raises(DataError, match="no example to score"):
        evaluate([], {"tuned": []}, {})


def test_a_row_is_judged_by_the_checks_of_its_own_task_only() -> None:
    mixed = [replace(example, task="t" if place < 2 else "chat") for place, example in enumerate(EXAMPLES)]
    wrong = [Completion(example.id, "no") for example in mixed]
    own = {"t": ("ends_with_mark", "not_all_alike"), "chat": ()}
    result = evaluate(mixed, {"tuned": TUNED, "base": wrong}, {}, NAMES, own=own).plain()
    rate = result["systems"]["base"]["checks"]["ends_with_mark"]
    assert (rate["value"], rate["n"], rate["missing"]) == (0.0, 2, 2)
    whole = result["systems"]["tuned"]["all_checks"]
    assert (whole["value"], whole["n"], whole["missing"]) == (1.0, 2, 2)
    values = [row["systems"]["base"]["values"]["ends_with_mark"] for row in result["examples"]]
    assert values == [0.0, 0.0, None, None]
    # The other task's answers differ; those of the task that has the check of the set do not.
    others = [Completion(example.id, "no" if n < 2 else str(n)) for n, example in enumerate(mixed)]
    verdicts = evaluate(mixed, {"tuned": others}, {}, NAMES, own=own).plain()["systems"]["tuned"][
        "set_checks"
    ]
    assert verdicts["not_all_alike"]["ok"] is False
