"""`espalier evaluate`: a model scored as it is, on this machine, behind a server, and by lm-eval's tasks."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from espalier.api import evaluate
from espalier.core.recipe import load_recipe
from espalier.data.table import read_examples
from espalier.evaluate.scores import Scores

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.cli.conftest import Finished, Result

QUESTIONS = [
    {"question": f"What is {a} and {b}?", "choices": [str(a + b), str(a * b + 9), "a kettle"], "answer": 0}
    for a, b in ((1, 2), (2, 3), (3, 4), (4, 5))
]


HOSTILE = Path(__file__).parents[1] / "servers" / "hostile_server.py"


@dataclass(frozen=True)
class Served:
    """A server, in its own process, and the log of what it was asked."""

    url: str
    log: Path

    def asked(self) -> int:
        return len(self.log.read_text().splitlines())


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    log = tmp_path / "server.log"
    command = [sys.executable, str(HOSTILE), "0", str(log), "{}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield Served(f"http://127.0.0.1:{int(process.stdout.readline())}/v1", log)
        process.kill()


@pytest.fixture
def asked(home: Path) -> Path:
    (home / "sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in QUESTIONS))
    return home


def test_a_model_is_scored_on_a_recipes_test_set_and_a_second_time_nothing_is_done(
    espalier: Callable[..., Result], home: Path, monkeypatch: pytest.MonkeyPatch
):
    done = espalier("evaluate", "tiny", "recipe.toml", "--name", "before", cwd=home)
    assert done.code == 0, done.err
    scores = Scores.read(home / "runs/before/scores.json")
    assert [*scores][:3] == ["model", "constant", "copy"]
    assert scores.rows == 6
    assert scores["model"]["rouge_l"].bounded
    page = (home / "runs/before/report.html").read_text()
    assert "Nothing was trained" in page
    assert "<h2>Training</h2>" not in page
    assert "does worse than" in done.out
    files = {path: path.read_bytes() for path in (home / "runs/before").rglob("*") if path.is_file()}

    def never(*_: object) -> None:
        raise AssertionError("loaded")

    monkeypatch.setattr("espalier.trials.evaluation.local_model", never)
    again = espalier("evaluate", "tiny", "recipe.toml", "--name", "before", cwd=home)
    assert "nothing has changed" in again.err
    assert again.out == done.out
    assert files == {path: path.read_bytes() for path in (home / "runs/before").rglob("*") if path.is_file()}
    monkeypatch.undo()
    options = ("-o", "data.test_limit=3", "--name=before")
    assert espalier("evaluate", "tiny", "recipe.toml", *options, cwd=home).code == 0
    assert Scores.read(home / "runs/before/scores.json").rows == 3
    assert [*(home / "runs/before/earlier").rglob("scores.json")]  # those of before are kept


def test_that_nothing_has_changed_is_seen_without_torch():
    what = "import sys, espalier.cli.evaluate, espalier.trials.evaluation; assert 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", what], check=False).returncode == 0


def test_a_runs_answers_are_known_to_its_evaluation(espalier: Callable[..., Result], after: Finished):
    done = espalier("evaluate", "runs/plural", "--name", "again", cwd=after.home)
    assert done.code == 0, done.err
    run, alone = (Scores.read(after.home / "runs" / name / "scores.json") for name in ("plural", "again"))
    assert alone["model"]["rouge_l"].value == run["tuned"]["rouge_l"].value
    assert alone["constant"]["rouge_l"].value == run["constant"]["rouge_l"].value
    events = (after.home / "runs/again/events.jsonl").read_text()
    assert "decode" not in events  # nothing was generated


@pytest.fixture(scope="module")
def under_a_turn(espalier: Callable[..., Result], new_home: Callable[[Path], Path], tmp_path_factory: Any):
    """A run whose rows stand under one system turn, and other rows: a prompt, a text, a turn of their own."""
    home = new_home(tmp_path_factory.mktemp("turn") / "home")
    system = {"role": "system", "content": "Be brief."}
    rows = [
        {"messages": [system, *_talk(f"Say {word}:\n{word}", f"{word}s")]}
        for word in ("kettle", "boat", "ladder", "window", "violin", "teapot")
    ]
    (home / "talks.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    others = [{"prompt": "a drum", "completion": "drums"}]
    others += [{"messages": [{"role": "system", "content": "Shout."}, *_talk("a kite", "KITES")]}]
    (home / "others.jsonl").write_text(json.dumps(others[0]) + "\n")
    (home / "own.jsonl").write_text(json.dumps(others[1]) + "\n")
    done = espalier(
        "run", "recipe.toml", "-o", "task.path=talks.jsonl", "-o", "name=turned", "-o", "train.epochs=0.1",
        "-o", "decode.limit=3", "-o", 'evaluate=["exact_match"]', cwd=home,
    )  # fmt: skip
    assert done.code == 0, done.err
    return home


def _talk(asked: str, answer: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": asked}, {"role": "assistant", "content": answer}]


def _asked_of(folder: Path) -> list[str]:
    rows = read_examples(folder / "data/test.parquet")
    return ["|".join(f"{turn.role}: {turn.text}" for turn in row.prompt) for row in rows]


def test_a_run_is_asked_other_rows_as_its_own_were(espalier: Callable[..., Result], under_a_turn: Path):
    home = under_a_turn
    done = espalier("evaluate", "runs/turned", "others.jsonl", "own.jsonl", "--name=one", cwd=home)
    assert done.code == 0, done.err
    said = " ".join(done.err.split())
    assert "Rows are asked as the run's are, under the system turn “Be brief.”; --plain" in said
    assert _asked_of(home / "runs/one") == ["system: Be brief.|user: a drum", "system: Shout.|user: a kite"]
    recipe = load_recipe(home / "runs/one/recipe.toml")
    assert (recipe.decode.params["limit"], [one.kind for one in recipe.evaluate]) == (3, ["exact_match"])
    again = espalier("evaluate", "runs/turned", "others.jsonl", "own.jsonl", "--name=one", cwd=home)
    assert "nothing has changed" in again.err
    plain = espalier("evaluate", "runs/turned", "others.jsonl", "--plain", "--name=two", cwd=home)
    assert plain.code == 0, plain.err
    assert _asked_of(home / "runs/two") == ["user: a drum"]
    assert "as the run's are" not in plain.err


def test_a_text_is_asked_in_the_words_of_a_runs_task(espalier: Callable[..., Result], after: Finished):
    rows = [{"input": "a drum", "output": "drums"}, {"prompt": "a kite", "completion": "kites"}]
    for row, name in zip(rows, ("text", "whole"), strict=True):
        (after.home / f"{name}.jsonl").write_text(json.dumps(row) + "\n")
        assert espalier("evaluate", "runs/plural", f"{name}.jsonl", "--name", name, cwd=after.home).code == 0
    (text,), (whole,) = (_asked_of(after.home / "runs" / name) for name in ("text", "whole"))
    assert text.startswith("user: Write the plural of the noun.")
    assert text.endswith("Input: a drum")
    assert whole == "user: a kite"


def test_a_runs_server_is_asked_as_the_run_is(
    espalier: Callable[..., Result], under_a_turn: Path, served: Served
):
    ask = ("evaluate", "runs/turned", "--server", served.url, "--model-name=theirs")
    assert espalier(*ask, "others.jsonl", cwd=under_a_turn).code == 0
    assert _asked_of(under_a_turn / "runs/others-by-theirs") == ["system: Be brief.|user: a drum"]
    own = espalier(*ask, "--name=own", cwd=under_a_turn)  # the run's own test set
    assert own.code == 0, own.err
    assert load_recipe(under_a_turn / "runs/own/recipe.toml").model.name == "theirs"


def test_a_number_format_that_is_asked_for_is_taken(espalier: Callable[..., Result], under_a_turn: Path):
    options = ("-o", "model.precision=bf16", "--name=coarse")
    done = espalier("evaluate", "runs/turned", "others.jsonl", *options, cwd=under_a_turn)
    assert done.code == 0, done.err
    made = (under_a_turn / "runs/coarse/generations.jsonl").read_text()
    fine = espalier("evaluate", "runs/turned", "others.jsonl", "--name=fine", cwd=under_a_turn)
    assert fine.code == 0
    assert made != (under_a_turn / "runs/fine/generations.jsonl").read_text()


def test_rows_with_options_are_chosen_from_raw_and_by_length(espalier: Callable[..., Result], asked: Path):
    done = espalier("evaluate", "tiny", "sums.jsonl", cwd=asked)
    assert done.code == 0, done.err
    folder = asked / "runs/sums-by-tiny"
    lines = [json.loads(line) for line in (folder / "outputs.jsonl").read_text().splitlines()]
    chosen = [line for line in lines if line["system"] == "model"]
    assert all(len(line["options"]) == 3 and line["text"][:3] in ("A. ", "B. ", "C. ") for line in chosen)
    scores = Scores.read(folder / "scores.json")
    assert scores.metric("choice").title == "Right choices"
    assert scores.metric("choice 2").title == "Right choices (per character)"
    assert scores.floors("choice")["guessing"].value == pytest.approx(1 / 3)
    other = espalier(
        "evaluate", "tiny", "sums.jsonl", "-o", "decode=choices", "-o", "decode.normalise=tokens",
        "-o", 'evaluate=["exact_match"]', "--name=other", cwd=asked,
    )  # fmt: skip
    assert other.code == 0, other.err
    assert "decode" not in (asked / "runs/other/events.jsonl").read_text()  # each option is weighed once


def test_a_run_may_choose(espalier: Callable[..., Result], asked: Path):
    done = espalier(
        "run", "recipe.toml", "-o", "task.path=sums.jsonl", "-o", "decode={kind='choices'}", "-o",
        'evaluate=["choice", "exact_match"]', "-o", "train.epochs=0.1", "-o", "name=sums", cwd=asked,
    )  # fmt: skip
    assert done.code == 0, done.err
    assert {*Scores.read(asked / "runs/sums/scores.json")} >= {"tuned", "base"}
    told = espalier("generate", "runs/sums", "What is 1 and 1?", cwd=asked)
    assert told.code == 0, told.err  # a text has no options: it is answered in words


@pytest.mark.parametrize(
    ("options", "answer", "said"),
    [
        (None, "4", "has no options"),
        (["4"], "4", "has one option, '4'"),
        (["4", "5"], "seven", "'seven' is none of the options '4', '5'"),
        (["4", "4"], "4", "'4' is there twice"),
    ],
)
def test_rows_that_cannot_be_chosen_from_are_refused_in_a_sentence(
    espalier: Callable[..., Result], home: Path, options: list[str] | None, answer: str, said: str
):
    row: dict[str, Any] = {"prompt": "What is 2 and 2?", "completion": answer}
    rows = [{**row, "facts": {"options": ["4", "5"]}, "completion": "4"}]
    rows += [row if options is None else {**row, "facts": {"options": options}}]
    (home / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = espalier("evaluate", "tiny", "rows.jsonl", "-o", "decode=choices", cwd=home)
    assert done.code == 2
    assert said in done.err.replace("\n", " ")
    assert "rows.jsonl" in done.err
    assert not (home / "runs/rows-by-tiny").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["tiny"], "nothing to score the model on"),
        (["nowhere", "plural.toml"], "There is no 'nowhere'"),
        (["tiny", "nowhere.jsonl"], "nowhere.jsonl"),
        (["tiny", "plural.toml", "--harness", "x"], "neither rows nor a server"),
        (["served", "sums.jsonl", "--server", "ftp://x"], "no address of a server"),
        (
            ["served", "sums.jsonl", "--server", "http://localhost:1/v1", "-o", "decode=choices"],
            "does not say",
        ),
    ],
)
def test_what_cannot_be_evaluated_is_told(
    espalier: Callable[..., Result], asked: Path, arguments: list[str], said: str
):
    done = espalier("evaluate", *arguments, cwd=asked)
    assert done.code == 2
    assert said in done.err.replace("\n", " ")


def test_rows_of_a_program_are_scored(asked: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(asked)
    run = evaluate("tiny", QUESTIONS, name="held")
    from_file = evaluate("tiny", "sums.jsonl")
    assert run.scores["model"] == from_file.scores["model"]
    assert (run.path, from_file.path) == (Path("runs/held"), Path("runs/sums-by-tiny"))


def test_a_server_is_asked_once(espalier: Callable[..., Result], asked: Path, served: Served):
    ask = ("evaluate", "theirs", "sums.jsonl", "-o", "decode.limit=8", "--server", served.url)
    done = espalier(*ask, cwd=asked)
    assert done.code == 0, done.err
    scores = Scores.read(asked / "runs/sums-by-theirs/scores.json")
    assert scores["model"]["exact_match"].n == 4
    assert served.asked() == 4
    assert "nothing has changed" in espalier(*ask, cwd=asked).err
    assert espalier(*ask, "-o", 'evaluate=["rouge_l"]', cwd=asked).code == 0
    assert served.asked() == 4  # the journal knows


def test_lm_evals_tasks_score_as_with_its_own_backend(espalier: Callable[..., Result], home: Path):
    pytest.importorskip("lm_eval", reason="lm-eval (the extra harness) is not installed")
    write_tasks(home)
    tasks = ["house_pick", "house_write", "house_last", "house_roll"]
    done = espalier("evaluate", "tiny", "--harness", ",".join(tasks), "--include", home, "--name=h", cwd=home)
    assert done.code == 0, done.err
    scores = Scores.read(home / "runs/h/scores.json")
    evaluator, backend, found = map(
        importlib.import_module, ("lm_eval.evaluator", "lm_eval.models.huggingface", "lm_eval.tasks")
    )
    theirs = evaluator.simple_evaluate(
        model=backend.HFLM(pretrained=str(home / "tiny"), batch_size=2, device="cpu", dtype="float32"),
        tasks=tasks, task_manager=found.TaskManager(include_path=str(home)), bootstrap_iters=0,
    )["results"]  # fmt: skip
    for name in ("pick/acc", "pick/acc_norm", "write/exact_match", "last/perplexity", "roll/bits_per_byte"):
        task, metric = f"house_{name}".split("/")
        ours = scores["model"][f"{task}/{metric}"]
        assert ours.value == pytest.approx(theirs[task][f"{metric},none"], rel=1e-4)
        assert ours.bounded
    guessing = scores.floors("house_pick/acc")["guessing"].value
    assert guessing == pytest.approx((1 / 3 + 1 / 3 + 1 / 2 + 1 / 4) / 4)
    unknown = espalier("evaluate", "tiny", "--harness", "house_pik", "--include", home, cwd=home)
    assert unknown.code == 2
    assert "Did you mean 'house_pick'?" in unknown.err.replace("\n", " ")


def test_what_answers_lm_eval_can_be_imported_without_it():
    assert callable(importlib.import_module("espalier.trials.asked").lm_of)


def test_without_lm_eval_the_extra_is_named(
    espalier: Callable[..., Result], home: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    done = espalier("evaluate", "tiny", "--harness", "mmlu", cwd=home)
    assert done.code == 2
    assert "espalier-lm[harness]" in done.err.replace("\n", "")


def write_tasks(folder: Path) -> None:
    """Write four small tasks as lm-eval has them: choices, an answer, a last word, whole texts."""
    rows = [
        {"q": "The cat sat on the", "choices": ["mat", "moon", "meeting that lasted two hours"], "gold": 0},
        {"q": "How long did it last? It lasted", "choices": ["two hours", "a cat", "sat"], "gold": 0},
        {"q": "The mat sat on ", "choices": ["the cat", "it"], "gold": 1},
        {"q": "It lasted", "choices": ["long", "two", "the", "on the mat"], "gold": 2},
    ]
    (folder / "house.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    until = {"until": ["a", "\n"], "max_gen_toks": 6, "do_sample": False}
    asked: dict[str, tuple[str, str, str, list[str], dict[str, Any]]] = {
        "pick": ("multiple_choice", "{{q}}", "gold", ["acc", "acc_norm"], {"doc_to_choice": "choices"}),
        "write": (
            "generate_until",
            "{{q}}",
            "{{choices[gold]}}",
            ["exact_match"],
            {"generation_kwargs": until},
        ),
        "last": ("loglikelihood", "{{q}}", " {{choices[gold]}}", ["acc", "perplexity"], {}),
        "roll": ("loglikelihood_rolling", "", "{{q}}", ["bits_per_byte"], {}),
    }
    for name, (kind, text, target, metrics, more) in asked.items():
        table = {
            "task": f"house_{name}",
            "dataset_path": "json",
            "dataset_kwargs": {"data_files": {"test": str(folder / "house.jsonl")}},
            "output_type": kind,
            "test_split": "test",
            "doc_to_text": text,
            "doc_to_target": target,
            "metric_list": [{"metric": metric} for metric in metrics],
            "metadata": {"version": 1.0},
            **more,
        }
        (folder / f"house_{name}.yaml").write_text(json.dumps(table))  # which is YAML, too
