"""What cannot judge is refused, and what will be cut is told, before the first answer is written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

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
    assert "6 of 6 answers could not be judged by Judges:picky" in " ".join(result.out.split())


def test_the_same_scorer_may_be_there_twice(after, espalier) -> None:
    words = 'evaluate=["rouge_l", {kind = "rouge_l", words = "unicode"}]'
    result = espalier("run", "recipe.toml", "-o", words, cwd=after.home)
    assert result.code == 0, result.err
    scores = json.loads((after.folder / "scores.json").read_text())
    assert scores["titles"] == {"rouge_l": "ROUGE-L", "rouge_l 2": "ROUGE-L (Unicode words)"}


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
