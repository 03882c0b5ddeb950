"""`espalier decode`: ways of decoding compared on a run's own rows, planted ones among them."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from espalier.decode import engine, gates
from espalier.decode.gates import Difference
from espalier.trials import decoding_times
from espalier.trials.decoding import compare_decodings

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PLANTED = '''
"""Ways of decoding whose worth is known."""

import math
import time

from espalier.core.records import Score
from espalier.decode.strategies.sampling import greedy
from espalier.decode.strategy import Step, Strategy


def _as(kind, limit, pause, step=None):
    usual = greedy(limit=limit)

    def slowed(rows, logits):
        time.sleep(pause)
        return (step or usual.step)(rows, logits)

    return Strategy({"kind": kind, "limit": limit}, limit, 1, slowed)


def quick(*, limit: int = 6) -> Strategy:
    """Greedy."""
    return _as("planted", limit, 0.0)


def slow(*, limit: int = 6) -> Strategy:
    """Greedy, at leisure."""
    return _as("planted", limit, 0.03)


def bad(*, limit: int = 6) -> Strategy:
    """The unlikeliest token each time, and that at leisure."""
    return _as("planted", limit, 0.03, lambda rows, logits: Step(logits.argmin(-1)))


class Likely:
    def score(self, examples, completions):
        return [Score(math.exp(one.logprob / len(one.ids))) for one in completions]


def likely():
    """How likely the answer is to the model itself."""
    return Likely()
'''
FEW = ("--try", "greedy", "--try", "beam beams=2", "--try", "sample temperature=0.7 top_p=0.9")
QUICK = ("--rounds", "1", "--samples", "2")


@pytest.fixture
def forward(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Counts what the engine is asked to decode."""
    asked: list[int] = []
    decode = engine.decode_tokens

    def counted(model: Any, requests: Any, *rest: Any, **more: Any) -> Any:
        asked.append(len(requests))
        return decode(model, requests, *rest, **more)

    monkeypatch.setattr(engine, "decode_tokens", counted)
    return asked


def found_in(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "decoding" / "decoding.json").read_text())


def test_a_run_is_told_which_decoding(espalier: Callable[..., Any], after: Any, forward: list[int]):
    done = espalier("decode", after.folder, *FEW, *QUICK, cwd=after.home)
    assert done.code == 0, done.err
    found = found_in(after.folder)
    assert found["sentence"] == done.out.splitlines()[0] or found["sentence"].startswith("Take ")
    assert {one["setting"] for one in found["tested"]} == {
        "greedy",
        "beam beams=2",
        "sample temperature=0.7 top_p=0.9",
    }
    assert found["tried"] == []  # there is one setting of each kind: all rows are tested on
    assert found["dev_rows"] == 0
    assert set(found["gates"].values()) == {""}
    by_name = {one["setting"]: one for one in found["tested"]}
    drawn = by_name["sample temperature=0.7 top_p=0.9"]
    assert drawn["samples"] == 2
    assert drawn["best_of_samples"]["value"] >= drawn["scores"]["rouge_l"]["value"]
    assert by_name["greedy"]["best_of_samples"] is None
    assert re.search(r"are of \d sources?: (only differences|too few)", " ".join(found["notes"]))
    assert any(one["front"] for one in found["tested"])
    page = (after.folder / "decoding" / "decoding.html").read_text()
    assert "beam beams=2" in page
    assert not re.findall(r"(?:src|href)=|https?://", page)

    greedy = [one for one in json.loads((after.folder / "scores.json").read_text())["examples"]]
    assert by_name["greedy"]["scores"]["rouge_l"]["value"] == pytest.approx(
        sum(row["systems"]["tuned"]["values"]["rouge_l"] for row in greedy) / len(greedy)
    )

    made = len(forward)
    again = espalier("decode", after.folder, *FEW, *QUICK, "--json", cwd=after.home)
    assert again.code == 0, again.err
    assert len(forward) == made  # the gates ask the engine by another name
    second = json.loads(again.out)
    assert second["made"] == 0
    assert {**second, "made": found["made"]} == found
    assert espalier("decode", after.folder, *FEW, *QUICK, "--again", cwd=after.home).code == 0
    assert len(forward) == made + 6  # a round that warms up, and one that counts


def test_settings_are_chosen_on_rows_that_are_not_tested_on(espalier: Callable[..., Any], after: Any):
    named = ("--try", "greedy", "--try", "greedy no_repeat=2", "--try", "beam beams=2")
    done = espalier("decode", after.folder, *named, *QUICK, "--json", cwd=after.home)
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert [one["setting"] for one in found["tried"]] == ["greedy", "greedy no_repeat=2", "beam beams=2"]
    assert sum(one["chosen"] for one in found["tried"]) == len(found["tested"]) == 2
    scored = len(json.loads((after.folder / "scores.json").read_text())["examples"])
    assert found["dev_rows"] + found["rows"] == scored
    assert min(found["dev_rows"], found["rows"]) > 0
    assert "not tuned alike: greedy 2 settings and beam 1 setting" in " ".join(found["notes"])


def test_planted_ways_are_seen_through(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "planted_ways.py").write_text(PLANTED)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(home)
    found = compare_decodings(
        "recipe.toml",
        ["evaluate=['planted_ways:likely']"],
        cache=tmp_path,
        tries=[{"kind": f"planted_ways:{name}"} for name in ("slow", "bad", "quick")],
        rounds=3,
    )
    slow, bad, quick = (found[f"planted_ways:{name}"] for name in ("slow", "bad", "quick"))
    # All three claim the same settings; their answers are kept apart only where code is told apart.
    assert slow.scores == quick.scores
    assert bad.scores[found.measure].value < quick.scores[found.measure].value
    assert not bad.tied
    assert (bad.front, bad.probability) == (False, 0.0)
    assert (quick.front, slow.front, slow.probability) == (True, False, 0.0)
    assert slow.tied
    assert found.advised == "planted_ways:quick"
    assert str(found).startswith(f"Take planted_ways:quick: {found.metric.within}")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--try", "beem", "--try", "greedy"), "No decoding strategy is named 'beem'. Did you mean 'beam'?"),
        (("--try", "beam beems=2", "--try", "greedy"), "'beam' takes no 'beems'. Did you mean 'beams'?"),
        (("--try", "beam beams=zero", "--try", "greedy"), "'zero' does not fit"),
        (("--try", "sample samples=many", "--try", "greedy"), "'many' does not fit"),
        (("--try", "beam 4", "--try", "greedy"), "'4' is no setting."),
        (("--try", "greedy"), "There is one way of decoding only"),
        (("--try", "greedy", "--try", "greedy limit=6"), "There is one way of decoding only"),
        (
            ("--budget", "1", "--try", "greedy", "--try", "greedy no_repeat=2"),
            "'greedy' has 2 settings, and 1",
        ),
        ((*FEW, "--metric", "rouge"), "No measure is named 'rouge'. Did you mean 'rouge_l'?"),
        (("-o", "decode.limit=3"), "A run's recipe is not changed."),
    ],
)
def test_what_does_not_fit_is_told(
    espalier: Callable[..., Any], after: Any, options: tuple[str, ...], said: str
):
    done = espalier("decode", after.folder, *options, *QUICK, cwd=after.home)
    assert (done.code, done.out) == (2, "")
    assert said in done.err


def test_what_is_no_run_is_told(espalier: Callable[..., Any], tmp_path: Path, after: Any):
    assert "no recipe.toml" in espalier("decode", tmp_path, *FEW, cwd=tmp_path).err
    (after.folder / "model").rename(after.folder / "gone")
    assert "no tuned model yet" in espalier("decode", after.folder, *FEW, cwd=after.home).err


def test_a_gate_that_fails_in_fp32_ends_it(
    espalier: Callable[..., Any], after: Any, monkeypatch: pytest.MonkeyPatch
):
    planted = {"beam 1 = greedy": lambda asked: [Difference("row", 2, (1,), (2,))]}
    monkeypatch.setattr("espalier.trials.decoding_gates.GATES", {**gates.GATES, **planted})
    done = espalier("decode", after.folder, *FEW, *QUICK, cwd=after.home)
    assert done.code == 2
    assert "beam 1 = greedy: 1 of " in done.err
    assert "from token 3 on" in done.err
    assert not (after.folder / "decoding" / "decoding.json").exists()


def test_a_recipe_without_a_run_asks_its_own_model(espalier: Callable[..., Any], home: Path):
    named = ("--try", "greedy", "--try", "beam beams=2", "--rows", "4", "--json", *QUICK)
    done = espalier("decode", "recipe.toml", "-o", "decode.limit=3", *named, cwd=home)
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert "not tuned yet" in found["model"]
    assert found["rows"] <= 4
    assert (home / "runs" / "plural" / "decoding" / "decoding.html").is_file()
    assert espalier("run", "recipe.toml", "-o", "train.epochs=0.5", cwd=home).code == 0
    other = espalier("decode", "recipe.toml", *named, cwd=home)
    assert other.code == 2
    assert "A run of another recipe has this name." in other.err


def test_an_interrupted_timing_goes_on(after: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    once, count = decoding_times._once, [0]

    def broken(*given: Any) -> tuple[float, float]:
        count[0] += 1
        if count[0] == 8:
            raise KeyboardInterrupt
        return once(*given)

    monkeypatch.setattr(decoding_times, "_once", broken)
    named = {"tries": ["greedy", "beam beams=2"], "rounds": 3}
    with pytest.raises(KeyboardInterrupt):
        compare_decodings(after.folder, cache=tmp_path, **named)
    found = compare_decodings(after.folder, cache=tmp_path, **named)
    assert (found.made, found.rounds) == (0, 3)
    assert count[0] == 8 + 4  # 2 that warmed up, 4 of two rounds, one more, the kill; then 2 and 2


def test_rows_held_out_of_training_choose_the_settings(espalier: Callable[..., Any], home: Path):
    assert espalier("run", "recipe.toml", "-o", "data.dev=0.2", "-o", "train.epochs=0.5", cwd=home).code == 0
    named = ("--try", "greedy", "--try", "greedy no_repeat=2", "--try", "beam beams=2", "--json")
    done = espalier(
        "decode", "recipe.toml", "-o", "data.dev=0.2", "-o", "train.epochs=0.5", *named, *QUICK, cwd=home
    )
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert found["model"] == "the tuned model"
    assert found["rows"] == len(json.loads((home / "runs/plural/scores.json").read_text())["examples"])
    assert found["dev_rows"] > 0
    assert "held out of training" in done.err


def test_a_reward_model_writes_nothing(espalier: Callable[..., Any], home: Path):
    rows = [
        {"prompt": f"Plural of {word}?", "chosen": f"{word}s", "rejected": word}
        for word in ["cup", "pen", "hat"]
    ]
    (home / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    asked = ("-o", "task.path=pairs.jsonl", "-o", "name=rates", "-o", 'train.objective=[{kind="reward"}]')
    done = espalier("decode", "recipe.toml", *asked, *FEW, cwd=home)
    assert done.code == 2
    assert "makes a reward model, which writes no answers" in done.err


BROKEN = """
from espalier.decode.strategies.sampling import greedy
from espalier.decode.strategy import Step, Strategy


def _as(step):
    return Strategy({"kind": "broken"}, 6, 1, step)


def raises(*, limit: int = 6) -> Strategy:
    def step(rows, logits):
        return {}["nowhere"]
    return _as(step)


def builds(*, limit: int = 6) -> Strategy:
    raise OSError("no such table")


def table(*, limit: int = 6) -> Strategy:
    return {"limit": limit}


def short(*, limit: int = 6) -> Strategy:
    return _as(lambda rows, logits: Step(logits.argmax(-1)[:0]))


def beyond(*, limit: int = 6) -> Strategy:
    return _as(lambda rows, logits: Step(logits.argmax(-1) * 0 + 10**6))


def loose(*, limit: int = 6) -> Strategy:
    return _as(lambda rows, logits: logits.argmax(-1))
"""


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("raises", "'broken:raises' has failed: KeyError: 'nowhere' (broken.py, line 12, in step)."),
        ("builds", "'broken:builds' has failed: OSError: no such table (broken.py, line 17, in builds)."),
        ("table", "'broken:table' gives no decoding strategy, but dict."),
        (
            "short",
            "A step of 'broken:short' cannot be taken: 1 tokens are wanted, and its ids are int64 [0].",
        ),
        ("beyond", "and its ids 1000000 to 1000000"),
        ("loose", "it gives no Step, but Tensor"),
    ],
)
def test_a_strategy_of_ones_own_that_fails_is_told_in_a_sentence(
    after: Any, espalier: Callable[..., Any], name: str, said: str
) -> None:
    (after.home / "broken.py").write_text(BROKEN)
    kind = f"broken:{name}"
    row = after.home / "row.jsonl"
    row.write_text('{"prompt": "a drum", "completion": "drums"}\n')
    for command in (
        ("decode", "runs/plural", "--try=greedy", "--try", kind, "--rows=1", "--rounds=1"),
        ("evaluate", "runs/plural", "row.jsonl", "-o", f"decode={kind}"),
    ):
        done = espalier(*command, cwd=after.home)
        assert done.code == 2
        assert said in " ".join(done.err.split())


@pytest.mark.parametrize(
    ("text", "said"),
    [("limit = (", "'(' was never closed"), ("limit = nowhere", "NameError: name 'nowhere' is not defined")],
)
def test_a_module_of_ones_own_that_cannot_be_read_is_told(
    home: Path, espalier: Callable[..., Any], text: str, said: str
) -> None:
    name = "unread_" + str(len(text))
    (home / f"{name}.py").write_text(text)
    done = espalier("run", "recipe.toml", "-o", f"decode={name}:f", cwd=home)
    assert done.code == 2
    assert said in " ".join(done.err.split())
