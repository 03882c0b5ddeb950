"""A recipe of several stages: each begins where the one before ended, and none is done twice."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest

from espalier.core.run import RunFolder
from espalier.models.load import load_tuned
from espalier.report.gather import gather

if TYPE_CHECKING:
    from pathlib import Path

STAGES = """
name = "staged"
evidence = false
[task]
path = "plural.toml"
[data]
train = 0.7
limit = 12
test_limit = 3
[model]
name = "tiny"
precision = "fp32"
[decode]
kind = "greedy"
limit = 3

[[train]]
rate = 3e-3
epochs = 1
rows = 6
checkpoint = 1

[[train]]
data = "pairs.jsonl"
objective = [{kind = "dpo", beta = 0.3}, {kind = "sft", weight = 0.1}]
method = {kind = "lora", rank = 2}
rate = 3e-3
epochs = 1
rows = 3
checkpoint = 1

[[train]]
rate = 1e-3
epochs = 1
rows = 6
checkpoint = 1
[[train.objective]]
kind = "grpo"
rewards = {diversity = 1.0, "house_rules:length" = 0.5}
group = 3
limit = 4
kl = 0.05
updates = 2
"""
COMMAND = ("run", "staged.toml")


def make_stages(home: Path) -> Path:
    (home / "staged.toml").write_text(STAGES)
    (home / "house_rules.py").write_text("def length(example, text):\n    return len(text.encode()) % 3\n")
    words = ["wagon", "cello", "pear", "tulip", "robin", "cedar", "acorn", "raft", "gate"]
    pairs = [{"prompt": f"Many of a {word}?", "chosen": f"{word}s", "rejected": word} for word in words]
    (home / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in pairs))
    return home


def told(run: Path, kind: str) -> list[dict]:
    return [event for event in RunFolder(run).read_events() if event["event"] == kind]


def contents(run: Path) -> dict[str, bytes]:
    """Return the weights of every stage by their place."""
    return {str(path.relative_to(run)): path.read_bytes() for path in run.glob("**/model/*.safetensors")}


@pytest.fixture(scope="module")
def staged(tmp_path_factory: pytest.TempPathFactory, new_home, espalier) -> Path:
    """The folder of a user whose run of three stages went through."""
    home = make_stages(new_home(tmp_path_factory.mktemp("staged") / "home"))
    result = espalier(*COMMAND, cwd=home)
    assert result.code == 0, result.err
    for line in (
        "Stage 1 of 3: sft, full",
        "Stage 2 of 3: dpo + sft, lora",
        "Stage 3 of 3: grpo, full",
    ):
        assert line in result.err
    return home


def test_each_stage_leaves_a_model_and_says_what_it_did(staged: Path):
    run = staged / "runs" / "staged"
    assert set(contents(run)) == {f"{at}model/model.safetensors" for at in ("", "stages/0/", "stages/1/")}
    assert len(set(contents(run).values())) == 3
    steps = told(run, "step")
    assert [step["stage"] for step in steps] == ["train 0"] * 2 + ["train 1"] * 3 + ["train 2"] * 4
    assert 0 <= steps[3]["said"]["accuracy"] <= 1
    assert {"reward", "reward diversity", "reward house_rules:length", "kl", "length"} <= steps[-1][
        "said"
    ].keys()
    assert steps[5]["said"]["kl"] == pytest.approx(
        0, abs=1e-6
    )  # the reference is the model as the stage found it
    assert steps[5]["said"]["ratio"] == pytest.approx(1, abs=1e-5)
    assert [event["stage"] for event in told(run, "stage") if event["stage"].startswith("train")] == [
        "train 0", "train 1", "train 2",
    ]  # fmt: skip
    rounds = {event["round"]: event["answers"] for event in told(run, "samples")}
    assert [(turn, len(answers)) for turn, answers in rounds.items()] == [(0, 18), (1, 18)]
    assert not list(run.glob("**/checkpoints"))
    assert (run / "report.html").exists()


def test_an_earlier_stage_is_a_whole_model(staged: Path):
    stage = staged / "runs" / "staged" / "stages" / "1" / "model"
    assert (stage / "config.json").exists()
    assert load_tuned(stage, str(stage), "cpu").model.num_parameters() > 1000


@pytest.fixture
def again(staged: Path, tmp_path: Path) -> Path:
    """A copy of that user's folder."""
    shutil.copytree(staged, tmp_path / "again", symlinks=True)
    return tmp_path / "again"


def test_nothing_is_done_twice(again: Path, espalier):
    run = again / "runs" / "staged"
    before = contents(run)
    result = espalier(*COMMAND, cwd=again)
    assert result.code == 0, result.err
    assert result.err.count("Training is done") == 3
    assert len(told(run, "step")) == 9
    assert contents(run) == before


def test_a_changed_stage_is_done_again_with_those_after_it(again: Path, espalier):
    run = again / "runs" / "staged"
    before = contents(run)
    changes = ("-o", "train.1.rate=1e-3", "-o", "train.2.epochs=0.5", "--overwrite")
    result = espalier(*COMMAND, *changes, cwd=again)
    assert result.code == 0, result.err
    assert result.err.count("Training is done") == 1
    assert [step["stage"] for step in told(run, "step")[9:]] == ["train 1"] * 3 + ["train 2"] * 2
    after = contents(run)
    assert [name for name in before if before[name] == after[name]] == ["stages/0/model/model.safetensors"]
    assert {line["round"] for line in gather(run).samples["train 2"]} == {0}


def test_a_kill_in_a_stage_changes_nothing(home: Path, staged: Path, espalier, espalier_process, wait_for):
    """Killed in a reference pass, while it learns from pairs, and while it samples: the same weights."""
    make_stages(home)
    run = home / "runs" / "staged"
    for pattern in ("stages/1", "stages/1/checkpoints/step-*", "sampled", "checkpoints/step-000001"):
        process = espalier_process(*COMMAND, cwd=home)
        if pattern == "sampled":
            while not told(run, "samples"):
                assert process.poll() is None, process.communicate()
        else:
            wait_for(run, pattern, process)
        process.kill()
        process.communicate()
        assert pattern == "sampled" or any(run.glob(pattern.rsplit("-", 1)[0] + "*"))
    assert not (run / "model").exists()
    assert told(run, "samples")
    assert espalier(*COMMAND, cwd=home).code == 0
    assert contents(run) == contents(staged / "runs" / "staged")
    assert gather(run).samples == gather(staged / "runs" / "staged").samples
    assert len(gather(run).samples["train 2"]) == 36
    first = [(step["stage"], step["step"], step["loss"]) for step in told(staged / "runs" / "staged", "step")]
    assert set(first) == {(step["stage"], step["step"], step["loss"]) for step in told(run, "step")}


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("train.1.raet=1", "train.1.raet: There is no key 'raet' here. Did you mean 'rate'?"),
        ("train.2.rate=-1", "train.2.rate: -1"),
        ("train.rate=1", "'train' is a list of 3 here, so an override has to say which one"),
        ("train.3.rate=1", "'train' is a list of 3 here, counted from 0; there is no 3."),
        ("train.0.method=prompt", "train.0.method: The method 'prompt' adds to a model"),
        (
            "train.1.method=lroa",
            "train.1.method.kind: No method is named 'lroa'. Did you mean 'lora'?",
        ),
        ("train.1.optimizer=adam", "train.1.optimizer.kind: No optimizer is named 'adam'"),
        ("train.2.objective=[{kind='grpo', rewards={}}]", "grpo has no reward"),
        (
            "train.1.objective=[{kind='dpo', beat=1}]",
            "train.1.objective.0.beat: objective 'dpo' takes no 'beat'",
        ),
        ("train.0.objective=['dpo']", "None of the 12 examples has both an answer and a rejected one"),
        ("train.1.data=nowhere.jsonl", "Error: nowhere.jsonl: "),
    ],
)
def test_what_is_wrong_in_a_stage_is_named(home: Path, espalier, override: str, said: str):
    result = espalier(*COMMAND, "-o", override, cwd=make_stages(home))
    assert result.code == 2
    assert said in result.err
    assert "Traceback" not in result.err
