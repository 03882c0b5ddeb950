"""What cannot judge is refused, and what will be cut is told, before the first answer is written."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from espalier.api import compare
from espalier.core.errors import RecipeError
from espalier.core.records import Completion, Example, Metric, Score, message
from espalier.evaluate.findings import findings
from espalier.evaluate.harness import evaluate
from espalier.evaluate.scores import Scores
from espalier.runs.run import Run
from espalier.scorers.by_row import ByRow

SCORERS = """
from espalier.core.records import Metric, Score
from espalier.scorers.by_row import ByRow


def Own(judge):
    return ByRow(lambda example, completion: judge(completion.text), Metric("Own"))


class Lists:
    def __init__(self, judge):
        self.judge = judge

    def score(self, examples, completions):
        return self.judge(completions)


class Alone:
    def score(self, example, completion):
        return Score(1.0)


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


def alone():
    return Alone()


def wild():
    return Lists(lambda answers: 1 / 0)


def one():
    return Lists(lambda answers: Score(1.0))


def unfolded():
    metric = Metric("Own", fold=lambda sums: sums["what"])
    return ByRow(lambda example, completion: Score(None, parts=(1.0, 2.0)), metric)


def partless():
    return ByRow(lambda example, completion: Score(1.0), Metric("Own", fold=sum))


def short():
    return Lists(lambda answers: [])


def first():
    return Lists(lambda answers: [Score(1.0)])


def ragged():
    return Lists(lambda answers: [Score(None, parts=(1.0,) * (1 + n)) for n, _ in enumerate(answers)] * 2)


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
        ("words", "it gave 'good'"),
        ("wild", "it raised ZeroDivisionError: division by zero"),
        ("one", "it returned Score, not a list"),
        ("unfolded", "its fold makes no number of the sums of their parts"),
        ("partless", "its fold makes no number of the sums of their parts"),
        ("short", "it gave 0 scores for 6 answers"),
        ("first", "it gave 1 scores for 6 answers"),
        ("ragged", "it gave different numbers of parts to 6 answers"),
    ],
)
def test_a_scorer_that_can_judge_no_row_is_refused(home: Path, espalier, scorer: str, why: str) -> None:
    err = refused(home, espalier, f'evaluate=["rouge_l", "judges:{scorer}"]')
    assert "evaluate.1: The scorer 'judges:" in err
    assert "can judge none of the 6 test rows" in err
    assert why in err


@pytest.mark.parametrize(
    ("scorer", "why"),
    [
        ("alone", "evaluate.1: The `score` of 'judges:alone' takes one example at a time."),
        ("bare", "evaluate.1: 'judges:bare' returned int, which has no `score`."),
    ],
)
def test_a_scorer_of_another_form_is_refused_with_what_is_expected(
    home: Path, espalier, scorer: str, why: str
) -> None:
    err = refused(home, espalier, f'evaluate=["rouge_l", "judges:{scorer}"]')
    assert f"{why} A scorer's `score` takes the lists of all examples and all completions" in err
    assert "ByRow makes one of what judges one answer" in err


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


@pytest.mark.parametrize("scorer", ["short", "first"])
def test_too_few_scores_of_predictions_are_refused(home: Path, espalier, scorer: str) -> None:
    (home / "judges.py").write_text(SCORERS)
    (home / "said.jsonl").write_text('{"prediction": "a"}\n' * 30)
    command = ("score", f"judges:{scorer}", "--predictions", "said.jsonl", "--task", "plural.toml")
    done = espalier(*command, cwd=home)
    assert done.code == 2, done.out
    assert f"{0 if scorer == 'short' else 1} score" in done.err
    assert "for 30 answers" in done.err


def test_a_scorer_that_fails_on_an_answer_leaves_the_run_whole(after, espalier) -> None:
    (after.home / "judges.py").write_text(SCORERS)
    result = espalier("run", "recipe.toml", "-o", 'evaluate=["rouge_l", "judges:picky"]', cwd=after.home)
    assert result.code == 0, result.err
    scores = json.loads((after.folder / "scores.json").read_text())
    judged = scores["systems"]["tuned"]["scores"]["judges:picky"]
    assert judged["missing"] == 6, "the tuned model says one letter"
    assert "6 of 6 answers could not be judged by Own" in " ".join(result.out.split())


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

    found = findings(Scores.read(finished.folder / "scores.json"))
    assert found
    told = " ".join(finished.result.out.split())
    report = (finished.folder / "report.html").read_text()
    for finding in found:
        assert finding.text in told
    assert found[0].kind in ("no change", "not above a floor", "below a floor")
    assert "Tuning raised" not in report


MEASURES = """
from espalier.core.records import Metric, Score
from espalier.scorers.by_row import ByRow

def Measure(metric, of):
    return ByRow(lambda example, completion: Score(of(completion.text)), metric)

def vowels():
    metric = Metric("Vowel share", phrase="the share of vowels", unit="%", note="Of all letters.")
    return Measure(metric, lambda text: sum(text.count(v) for v in "aeiou") / max(1, len(text)))

def waste():
    metric = Metric("Waste", phrase="what is wasted", better="lower", note="Of the limit.")
    return Measure(metric, lambda text: min(1.0, len(text) / 100))


class Letters:
    # Micro-F1 of letters: no mean of rows, but a share of sums.
    metric = Metric(
        "Letter F1",
        phrase="the F1 of letters",
        note="Over all rows at once.",
        fold=lambda sums: 2 * sums[0] / (sums[1] + sums[2]),
    )

    def score(self, examples, completions):
        return [self.of(e.references[0], c.text) for e, c in zip(examples, completions)]

    def of(self, reference, text):
        shared = sum(min(reference.count(one), text.count(one)) for one in set(text))
        return Score(None, answer=text[:1], parts=(shared, len(text), len(reference)))


def letters():
    return Letters()


def surprise():
    fold = lambda sums: 2.0 ** (sums[0] / sums[1])
    return Surprise(Metric("Surprise", better="lower", scale=1.0, ceiling=1.0, fold=fold))


class Surprise:
    # A perplexity of sorts: from 1 up, shown as it is, better when lower.
    def __init__(self, metric):
        self.metric = metric

    def score(self, examples, completions):
        return [Score(None, parts=(8.0 * len(e.references[0]) + len(c.text), 8.0))
                for e, c in zip(examples, completions)]
"""


def test_measures_from_outside_appear_wherever_the_own_ones_do(
    home: Path, espalier, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Means and measures of the whole set, some better when lower, with nothing of the package edited."""
    monkeypatch.chdir(home)
    (home / "outside.py").write_text(MEASURES)
    names = [f"outside:{name}" for name in ("waste", "vowels", "letters", "surprise")]
    result = espalier("run", "recipe.toml", "-o", f"evaluate={json.dumps(names)}", cwd=home)
    assert result.code == 0, result.err
    words = " ".join(result.out.split())
    for title in ("Waste", "Vowel share", "Letter F1", "Surprise (not in %)"):
        assert title in result.out
    assert "what is wasted" in words  # the sentence that leads
    report = (home / "runs" / "plural" / "report.html").read_text()
    notes = ("Of the limit. Lower is better.", "Of all letters.", "Over all rows at once.")
    for said in ("Waste", "Vowel share", "Letter F1", "Surprise", *notes):
        assert said in report
    run = Run(home / "runs" / "plural", home)
    assert [*run.scores["tuned"]] == names
    compared = compare(f"{run.path}:base", run)
    assert (
        sum((compared["outside:waste"].won, compared["outside:waste"].lost, compared["outside:waste"].tied))
        == 6
    )
    assert compared["outside:letters"].difference.value == run.gains["outside:letters"].value
    assert compared["outside:letters"].difference.n == 6
    surprise = run.scores["tuned"]["outside:surprise"]
    assert str(surprise).startswith(f"{surprise.value:.1f} (")
    assert surprise.value > 1


def test_a_measure_of_the_whole_set_leads_and_is_compared(
    home: Path, espalier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(home)
    (home / "outside.py").write_text(MEASURES)
    (home / "whole.py").write_text("from outside import letters")
    for name, epochs in (("a", 0.4), ("b", 8)):
        changes = (f"name={name}", 'evaluate=["whole:letters"]', f"train.epochs={epochs}")
        result = espalier("run", "recipe.toml", *(w for c in changes for w in ("-o", c)), cwd=home)
        assert result.code == 0, result.err
        assert "the F1 of letters" in " ".join(result.out.split()), "the headline"
    a, b = (Run(home / "runs" / name, home) for name in "ab")
    outputs = {r: (home / "runs" / r / "outputs.jsonl").read_text() for r in "ab"}
    assert outputs["a"] != outputs["b"]
    gap = compare(a, b)["whole:letters"].difference
    one, other = (run.scores["tuned"]["whole:letters"] for run in (a, b))
    assert gap.value == other.value - one.value
    assert a.gains["whole:letters"].value == one.value - a.scores["base"]["whole:letters"].value
    row = json.loads((a.path / "scores.json").read_text())["examples"][0]["systems"]["tuned"]
    assert len(row["parts"]["whole:letters"]) == 3
    (home / "whole.py").unlink()
    monkeypatch.delitem(sys.modules, "whole", raising=False)
    with pytest.raises(RecipeError, match="'whole:letters' cannot be imported"):
        compare(a, b)


def test_lower_may_be_better() -> None:
    values = {"waste": {"base": 0.9, "tuned": 0.2, "constant": 0.4, "copy": 0.6}}
    scores = _scores(values["waste"])
    first = findings(scores)[0]
    assert first.severity == "good"
    assert first.text.startswith("Tuning lowered what is wasted from 90.0 to 20.0, 20.0 points (")
    assert "below the lowest floor, one constant answer (40.0)." in first.text
    worse = findings(_scores({**values["waste"], "tuned": 0.95, "base": 0.3}))[0]
    assert worse.text.startswith("Tuning made it worse: what is wasted rose from 30.0 to 95.0")


def _scores(reached: dict[str, float]) -> Scores:
    """Return the scores of systems of which each has about the same value everywhere."""
    examples = [Example(str(n), "t", str(n), (message("user", str(n)),), ("r",)) for n in range(40)]
    systems = {
        name: [Completion(str(n), f"{name} {n} {reached[name] + (n % 5 - 2) / 500}") for n in range(40)]
        for name in ("tuned", *(name for name in reached if name != "tuned"))
    }
    metric = Metric("Waste", phrase="what is wasted", better="lower")
    waste = ByRow(lambda example, completion: Score(float(completion.text.split()[-1])), metric)
    return evaluate(examples, systems, {"waste": waste})
