"""What cannot judge is refused, and what will be cut is told, before the first answer is written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from espalier.core.records import Completion, Example, Metric, Score, message
from espalier.evaluate.findings import findings
from espalier.evaluate.harness import evaluate
from espalier.runs.judging import Guarded
from espalier.runs.run import Run

SCORERS = """
from espalier.core.records import Score


class Own:
    def __init__(self, judge):
        self.judge = judge

    def score(self, example, completion):
        return self.judge(completion.text)


def unable():
    return Own(lambda text: Score(None, "no key is set"))


def broken():
    return Own(lambda text: 1 / 0)


def number():
    return Own(lambda text: 0.5)


def words():
    return Own(lambda text: Score("good"))


def picky():
    return Own(lambda text: Score(1.0 if len(text) > 1 else 1 / 0))


def bare():
    return 3


def raising(example, text):
    raise KeyError("length")


def silent(example, text):
    return None
"""


def refused(home: Path, espalier, *changes: str, verb: str = "run") -> str:
    (home / "judges.py").write_text(SCORERS)
    result = espalier(verb, "recipe.toml", *(word for change in changes for word in ("-o", change)), cwd=home)
    assert result.code == 2, result.err
    assert "Answers of the base model" not in result.err
    assert not (home / "runs" / "plural" / "generations.jsonl").exists()
    return result.err


@pytest.mark.parametrize(
    ("scorer", "why"),
    [
        ("unable", "no key is set"),
        ("broken", "it raised ZeroDivisionError: division by zero"),
        ("number", "it returned float, not a Score"),
        ("bare", "it raised AttributeError"),
        ("words", "it gave 'good'"),
    ],
)
def test_a_scorer_that_can_judge_no_row_is_refused(home: Path, espalier, scorer: str, why: str) -> None:
    err = refused(home, espalier, f'evaluate=["rouge_l", "judges:{scorer}"]')
    assert "evaluate.1: The scorer 'judges:" in err
    assert "can judge none of the 6 test rows" in err
    assert why in err


def test_references_are_needed_where_a_scorer_compares(home: Path, espalier) -> None:
    rows = [{"input": f"a {i}", "output": f"b {i}", "label": False} for i in range(12)]
    (home / "plural.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    objective = 'train.objective=["kto"]'
    for verb in ("inspect", "run"):
        assert "The scorer 'rouge_l' can judge none of the" in refused(home, espalier, objective, verb=verb)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ('task.checks=["asks_duration"]', "The check 'asks_duration' fails the references of all 30 rows"),
        ('task.checks=["grounded", "well_formed"]', "Leave it out: -o 'task.checks=[\"grounded\"]'."),
        ('evaluate=["rouge"]', "No scorer is named 'rouge'"),
        ('evaluate=[{kind = "rouge_l", stem = false}]', "scorer 'rouge_l' takes no 'stem'"),
    ],
)
def test_checks_of_another_task_and_wrong_names_are_refused(
    home: Path, espalier, change: str, said: str
) -> None:
    assert said in refused(home, espalier, change)


@pytest.mark.parametrize(
    ("reward", "said"),
    [
        ("judges:raising", "The reward 'judges:raising' failed on "),
        ("judges:silent", "The reward 'judges:silent' can judge none of 24 rows"),
        ("ruge_l", "No reward is named 'ruge_l'"),
    ],
)
def test_a_reward_that_cannot_judge_is_refused(home: Path, espalier, reward: str, said: str) -> None:
    objective = f'train.objective=[{{kind = "grpo", limit = 4, rewards = {{"{reward}" = 1.0}}}}]'
    assert said in refused(home, espalier, objective)


def test_a_check_that_is_rewarded_may_be_what_no_reference_keeps(home: Path, espalier) -> None:
    objective = 'train.objective=[{kind = "grpo", limit = 4, rewards = {asks_duration = 1.0}}]'
    result = espalier(
        "inspect", "recipe.toml", "-o", 'task.checks=["asks_duration"]', "-o", objective, cwd=home
    )
    assert result.code == 0, result.err


def test_a_scorer_that_fails_on_an_answer_leaves_the_run_whole(after, espalier) -> None:
    (after.home / "judges.py").write_text(SCORERS)
    result = espalier("run", "recipe.toml", "-o", 'evaluate=["rouge_l", "judges:picky"]', cwd=after.home)
    assert result.code == 0, result.err
    scores = json.loads((after.folder / "scores.json").read_text())
    judged = scores["systems"]["tuned"]["scores"]["judges:picky"]
    assert judged["missing"] == 6, "the tuned model says one letter"
    assert "6 of 6 answers could not be judged by Picky" in " ".join(result.out.split())


def test_the_same_scorer_may_be_there_twice(after, espalier) -> None:
    words = 'evaluate=["rouge_l", {kind = "rouge_l", words = "unicode"}]'
    result = espalier("run", "recipe.toml", "-o", words, cwd=after.home)
    assert result.code == 0, result.err
    scores = json.loads((after.folder / "scores.json").read_text())
    titles = {name: metric["title"] for name, metric in scores["metrics"].items()}
    assert titles == {"rouge_l": "ROUGE-L", "rouge_l 2": "ROUGE-L (Unicode words)"}


def test_references_beyond_the_limit_are_told_before_the_first_answer(home: Path, espalier) -> None:
    told = "6 of 6 test rows have no reference that fits into the limit of 3 tokens; -o decode.limit="
    result = espalier("inspect", "recipe.toml", "--rows", "0", "-o", "decode.limit=3", cwd=home)
    assert told in result.out
    needed = int(result.out.split(told)[1].split(" ")[0])
    assert f"the references need at most {needed}." in result.out
    result = espalier("run", "recipe.toml", "-o", "decode.limit=3", "-o", "train.epochs=0.4", cwd=home)
    assert result.code == 0, result.err
    assert told in result.err
    assert result.err.index(told) < result.err.index("Answers of the base model")
    assert told in " ".join(result.out.split())
    scores = json.loads((home / "runs" / "plural" / "scores.json").read_text())
    assert scores["limit"] == {"tokens": 3, "too_long": 6, "needed": needed}
    result = espalier("inspect", "recipe.toml", "--rows", "0", "-o", f"decode.limit={needed}", cwd=home)
    assert "no reference that fits" not in result.out


def test_the_terminal_tells_what_the_report_tells(finished) -> None:
    from espalier.evaluate.findings import findings

    found = findings(json.loads((finished.folder / "scores.json").read_text()))
    assert found
    told = " ".join(finished.result.out.split())
    report = (finished.folder / "report.html").read_text()
    for finding in found:
        assert finding.text in told
    assert found[0].kind in ("no change", "not above a floor", "below a floor")
    assert "Tuning raised" not in report


MEASURES = """
from espalier.core.records import Metric, Score

class Measure:
    def __init__(self, metric, of):
        self.metric, self.of = metric, of

    def score(self, example, completion):
        return Score(self.of(completion.text))

def vowels():
    metric = Metric("Vowel share", phrase="the share of vowels", unit="%", note="Of all letters.")
    return Measure(metric, lambda text: sum(text.count(v) for v in "aeiou") / max(1, len(text)))

def waste():
    metric = Metric("Waste", phrase="what is wasted", better="lower", note="Of the limit.")
    return Measure(metric, lambda text: min(1.0, len(text) / 100))
"""


def test_measures_from_outside_appear_wherever_the_own_ones_do(
    home: Path, espalier, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two measures, one of them better when lower, with nothing of the package edited."""
    monkeypatch.chdir(home)
    (home / "outside.py").write_text(MEASURES)
    chosen = ("-o", 'evaluate=["outside:waste", "outside:vowels"]')
    result = espalier("run", "recipe.toml", *chosen, cwd=home)
    assert result.code == 0, result.err
    words = " ".join(result.out.split())
    assert "Waste" in result.out
    assert "Vowel share" in result.out
    assert "what is wasted" in words  # the sentence that leads
    report = (home / "runs" / "plural" / "report.html").read_text()
    for said in ("Waste", "Vowel share", "Of the limit. Lower is better.", "Of all letters."):
        assert said in report
    run = Run(home / "runs" / "plural", home)
    assert {"outside:waste", "outside:vowels"} <= run.scores["tuned"].keys()
    assert run.compare(run)["outside:waste"].same == 6


def test_lower_may_be_better() -> None:
    values = {"waste": {"base": 0.9, "tuned": 0.2, "constant": 0.4, "copy": 0.6}}
    scores = _scores(values["waste"])
    first = findings(scores)[0]
    assert first.severity == "good"
    assert first.text.startswith("Tuning lowered what is wasted from 90.0 to 20.0, 20.0 points (")
    assert "below the lowest floor, one constant answer (40.0)." in first.text
    worse = findings(_scores({**values["waste"], "tuned": 0.95, "base": 0.3}))[0]
    assert worse.text.startswith("Tuning made it worse: what is wasted rose from 30.0 to 95.0")


def _scores(reached: dict[str, float]) -> dict[str, Any]:
    """Return the scores of systems of which each has about the same value everywhere."""
    examples = [Example(str(n), "t", str(n), (message("user", str(n)),), ("r",)) for n in range(40)]
    systems = {
        name: [Completion(str(n), f"{name} {n} {reached[name] + (n % 5 - 2) / 500}") for n in range(40)]
        for name in ("tuned", *(name for name in reached if name != "tuned"))
    }
    waste = Guarded(Waste(), Metric("Waste", phrase="what is wasted", better="lower"))
    return evaluate(examples, systems, {"waste": waste})


class Waste:
    """What an answer says of itself."""

    def score(self, example: Example, completion: Completion) -> Score:
        """Return it."""
        return Score(float(completion.text.split()[-1]))
