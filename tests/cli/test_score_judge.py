"""A model as judge: planted judges, a server that is asked once, a kill half-way, a model of this machine."""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from espalier import api
from espalier.core.errors import DataError, RecipeError
from espalier.core.records import Completion
from espalier.judge.pairs import PairScore
from espalier.trials.judging import Judge, Manner
from tests.servers.judging_server import MANNERS, parts, served

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from espalier.core.recipe import Choice
    from espalier.core.records import Example

FEW = Manner(controls=20)


class Manners:
    """A judge of one manner, in this process."""

    def __init__(self, manner: str) -> None:
        self.judge, self.asked = MANNERS[manner], list[str]()

    def generate(self, examples: Sequence[Example], settings: Choice) -> Iterator[Completion]:
        for example in examples:
            self.asked.append(example.messages[-1].text)
            yield Completion(example.id, self.judge(*parts(self.asked[-1])), request=example.id)


@pytest.fixture
def sums(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """60 sums, answered rightly by A in nine of ten rows and by B in four; lengths are of no account."""
    rng, files = random.Random(1), {name: list[dict[str, Any]]() for name in ("prompts", "a", "b", "gold")}
    for number in range(60):
        one, other = rng.randint(1, 99), rng.randint(1, 99)
        right = {"a": rng.random() < 0.9, "b": rng.random() < 0.4}
        files["prompts"].append({"id": number, "prompt": f"What is {one} plus {other}?", "completion": "-"})
        for name in ("a", "b"):
            value = one + other + (0 if right[name] else rng.choice([-2, -1, 1, 2]))
            form = rng.choice(["{}", "It is {}.", "The sum of both numbers is {}, as one finds by adding."])
            files[name].append({"id": number, "prediction": form.format(value)})
        gold = "tie" if right["a"] == right["b"] else "A" if right["a"] else "B"
        files["gold"].append({"id": number, "winner": gold})
    for name, rows in files.items():
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("manner", "trust", "winner", "words"),
    [
        ("first", "none", "No winner can be called", "prefers the first answer"),
        ("second", "none", "No winner can be called", "prefers the second answer"),
        ("tie", "none", "No winner can be called", "calls every pair a tie"),
        ("coin", "none", "No winner can be called", "half of a coin's"),
        ("garbage", "none", "No winner can be called", "60 of 60 pairs have no verdict"),
        ("longer", "little", "No winner can be called", "sentences that say nothing win 100.0"),
        ("numbers", "little", "a wins", "without the request 100.0"),
        ("sums", "some", "a is judged better", "100.0"),
        ("wordy", "some", "a is judged better", "100.0"),
    ],
)
def test_planted_judges_are_seen(sums: Path, manner: str, trust: str, winner: str, words: str) -> None:
    judge = Manners(manner)
    found = api.judge(
        "a.jsonl", "prompts.jsonl", "b.jsonl", model=Judge(judge, manner), gold="gold.jsonl", manner=FEW
    )
    assert found.trust == trust
    assert winner in found.told.winner
    assert words in found.told.judge
    assert str(found) == "\n".join(found.sentences)
    assert len(judge.asked) == len({*judge.asked}) == found.asked
    assert isinstance(found.score, PairScore)
    assert found.score.agreed is not None
    assert (found.score.agreed[0].value == 1) == (manner in ("sums", "wordy"))
    assert found.folder is not None
    record = json.loads((found.folder / "judged.json").read_text())
    assert record["said"] == found.sentences
    assert record["controls"] == 20
    assert "[Request]\n{request}" in record["prompt"]
    rows = [json.loads(line) for line in (found.folder / "verdicts.jsonl").read_text().splitlines()]
    assert [row["id"] for row in rows] == list(map(str, range(60)))
    assert {*rows[0]} == {"id", "winner", "verdicts", "replies"}


def test_grades_of_one_system(sums: Path) -> None:
    found = api.judge("a.jsonl", "prompts.jsonl", model=Judge(Manners("grade"), "g"), manner=FEW)
    assert found.plain()["grade"]["value"] == pytest.approx(found.score.rate.value, abs=1e-4)
    assert "a is graded" in found.told.winner
    same = api.judge("a.jsonl", "prompts.jsonl", model=Judge(Manners("seven"), "7"), manner=FEW)
    assert same.trust == "none"


def test_texts_in_memory_are_judged(sums: Path) -> None:
    asked = [f"What is {n} plus 1?" for n in range(30)]
    right, wrong = [str(n + 1) for n in range(30)], [str(n + 2) for n in range(30)]
    judge = Judge(Manners("sums"), "sums")
    found = api.judge(right, asked, wrong, model=judge, gold=["A"] * 30, manner=Manner(controls=0))
    assert found.score.rate.value == 1
    assert "no other control was tried" in found.told.judge


def test_a_server_is_asked_once_and_a_kill_loses_nothing(
    sums: Path,
    espalier: Callable[..., Any],
    espalier_process: Callable[..., Any],
    wait_for: Callable[..., None],
) -> None:
    command = ["score", "judge", "--predictions", "a.jsonl", "--against", "b.jsonl", "--prompts"]
    command += ["prompts.jsonl", "--model", "m", "-o", "controls=10", "--json"]
    with served(sums, "wordy", 0.02) as url:
        first = espalier_process(*command, "--server", url, cwd=sums)
        wait_for(sums, "log", first)
        while len((sums / "log").read_text().splitlines()) < 20:
            assert first.poll() is None, first.communicate()
            time.sleep(0.01)
        first.kill()
        first.communicate()
        done = espalier(*command, "--server", url, cwd=sums)
        assert done.code == 0, done.err
        found = json.loads(done.out)
        asked = Counter((sums / "log").read_text().splitlines())
        assert (len(asked), {*asked.values()}) == (found["asked"], {1})
        assert {line.split()[1] for line in asked} == {"0.0"}
        other = espalier(*command, "--server", url, "--name", "again", "--gold", "gold.jsonl", cwd=sums)
        assert json.loads(other.out)["win_rate"] == found["win_rate"]
        assert json.loads(other.out)["agreement"]["value"] == 100
        assert asked == Counter((sums / "log").read_text().splitlines())
    assert found["trust"] == "some"


def test_a_model_of_this_machine_weighs_the_labels(
    espalier: Callable[..., Any], sums: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = [
        "--prompts",
        "prompts.jsonl",
        "--judge",
        str(tiny_model),
        "-o",
        "controls=3",
        "--name",
        "local",
    ]
    command = ["score", "judge", "--predictions", "a.jsonl", "--against", "b.jsonl", *options]
    done = espalier(*command, cwd=sums)
    assert done.code == 0, done.err
    assert "This judge" in done.out
    assert "[Answer A]\n{first answer}" in done.out
    record = json.loads((sums / "runs/local/judged.json").read_text())
    assert record["counts"]["unread"] == 0  # it can but name a label

    def never(_: object, rows: list[object]) -> list[float]:
        assert not rows, "weighed again"
        return []

    monkeypatch.setattr("espalier.decode.choosing.numbers", never)
    again = espalier(*command, "--json", cwd=sums)
    assert {**json.loads(again.out), "rows": 0} == {**record, "rows": 0}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "Who judges is not said"),
        (["--judge", "x", "--server", "http://localhost:1/v1"], "Who judges is said twice"),
        (["--model", "x"], "--model is the name of a server's model"),
        (["--server", "http://localhost:1/v1"], "Who judges is not said"),
        (["--judge", "nobody"], "There is no 'nobody'"),
        (["--judge", "x", "-o", "control=3"], "A judge has no setting 'control'"),
        (["--judge", "x", "-o", "controls=many"], "a whole number was expected"),
        (["--judge", "x", "-o", "controls=-1"], "no fewer than 0 controls"),
        (["--judge", "x", "--against", "c.jsonl"], "There is no such file"),
        (["--judge", "x", "--against", "runs"], "not a run folder"),
        (["--judge", "x", "--gold", "a.jsonl"], "called winner, preference"),
    ],
)
def test_what_cannot_be_judged_is_refused_in_a_sentence(
    espalier: Callable[..., Any], sums: Path, options: list[str], said: str
) -> None:
    command = ["score", "judge", "--predictions", "a.jsonl", "--prompts", "prompts.jsonl", *options]
    done = espalier(*command, cwd=sums)
    assert done.code == 2, done.out
    assert said in done.err
    assert not (sums / "runs").exists()


def test_gold_that_names_no_winner_and_rows_that_do_not_fit_are_refused(sums: Path) -> None:
    judge = Judge(Manners("tie"), "tie")
    with pytest.raises(DataError, match="'perhaps' names no winner"):
        api.judge(["a"], ["q"], ["b"], model=judge, gold=["perhaps"])
    with pytest.raises(DataError, match="1 and 2 prompts"):
        api.judge(["a"], ["q", "r"], ["b"], model=judge)
    with pytest.raises(DataError, match="in memory are given together"):
        api.judge(["a"], "prompts.jsonl", ["b"], model=judge)
    with pytest.raises(RecipeError, match="rubric"):
        Manner(rubric=" ")
