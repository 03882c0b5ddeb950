"""A sealed test set as a person has it: looks are counted and shown, and nothing is chosen by them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from espalier.data.looks import COMPARISON, LOSS, Look, keys_of, ledger_of, looks_in, now, record
from espalier.formats.load import load_rows

RUN = ("run", "recipe.toml", "-o", "data.seed=0")
SEALED = (*RUN, "-o", "data.sealed=true", "-o", "data.dev=0.2")


def looks_at_test(home: Path) -> list[Any]:
    return [one for one in looks_in(home / "runs") if one.split == "test" and one.times]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, new_home: Callable[[Path], Path], espalier) -> Path:
    """Two seeds of a recipe that seals its test set and holds rows out."""
    home = new_home(tmp_path_factory.mktemp("sealing") / "home")
    for seed, name in enumerate("ab"):
        result = espalier(*SEALED, "-o", f"name={name}", "-o", f"seed={seed}", cwd=home)
        assert result.code == 0, result.err
        looks = f"{seed + 1} look{'s' * seed}"
        assert f"The test rows are sealed, {looks} at them so far" in " ".join(result.out.split())
    return home


@pytest.fixture
def sealed(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "home", symlinks=True))


def test_the_same_again_and_the_same_weights_in_another_verb_are_no_new_look(sealed: Path, espalier) -> None:
    before = ledger_of(sealed / "runs").read_text()
    assert espalier(*SEALED, "-o", "name=a", cwd=sealed).code == 0
    result = espalier("evaluate", "runs/a", cwd=sealed)
    assert "2 looks at them so far" in " ".join(result.out.split())
    assert ledger_of(sealed / "runs").read_text() == before
    assert "2 looks at them so far" in " ".join(
        (sealed / "runs" / "a-by-a" / "report.html").read_text().split()
    )
    listed = espalier("store", "looks", cwd=sealed).out
    assert listed.count("(test, sealed)") + listed.count("test, sealed)") >= 2


def test_candidates_are_compared_on_what_was_held_out(sealed: Path, espalier) -> None:
    refused = espalier("compare", "runs/a", "runs/b", cwd=sealed)
    assert refused.code == 2
    assert "The test rows are sealed by a: to compare a and b on them" in refused.err
    assert espalier("compare", "runs/a:base", "runs/a", cwd=sealed).code == 0
    early = espalier("compare", "runs/a", "runs/b", "--split", "dev", cwd=sealed)
    assert (early.code, "espalier evaluate runs/a --split dev" in early.err) == (2, True)
    for name in "ab":
        shown = espalier("evaluate", f"runs/{name}", "--split", "dev", cwd=sealed)
        assert "These are development rows" in shown.out, shown.err
    checkpoints = sum(one.times for one in looks_in(sealed / "runs") if one.purpose == LOSS)
    table = json.loads(espalier("compare", "runs/a", "runs/b", "--split", "dev", "--json", cwd=sealed).out)
    assert table["looks"] == table["seen"] == checkpoints + 2 > 4
    assert table["trainings"] == {"a": 1, "b": 1}
    assert len(looks_at_test(sealed)) == 2


def test_the_comparison_that_confirms_is_counted_once(sealed: Path, espalier) -> None:
    command = ("compare", "runs/a", "runs/b", "--confirm", "--json")
    for arguments in (command, command, ("compare", "runs/b", "runs/a", "--confirm", "--json")):
        table = json.loads(espalier(*arguments, cwd=sealed).out)
        assert (table["looks"], table["seen"]) == (1, 3)
    assert any("decided 1 comparison of candidates" in note for note in table["notes"])
    assert [one.purpose for one in looks_at_test(sealed)][-1] == COMPARISON


def test_files_of_the_same_rows_are_under_the_same_seal(sealed: Path, espalier) -> None:
    for name in ("x", "y"):
        rows = (sealed / "plural.jsonl").read_text().splitlines()
        said = [json.dumps({"index": place, "prediction": name}) for place, _ in enumerate(rows)]
        (sealed / f"{name}.jsonl").write_text("\n".join(said) + "\n")
    for looks in (3, 3):  # of a file that is the same, once
        scored = espalier("score", "rouge_l", "--predictions", "x.jsonl", "--task", "plural.toml", cwd=sealed)
        assert f"sealed, {looks} looks at them so far" in " ".join(scored.out.split()), scored.err
    logs = '{"id": 1, "logprob": -1.5, "tokens": 3}'
    (sealed / "logs.jsonl").write_text(logs + "\n")
    weighed = espalier(
        "score", "perplexity", "--predictions", "logs.jsonl", "--task", "plural.toml", cwd=sealed
    )
    assert "sealed, 4 looks at them so far" in " ".join(weighed.out.split()), weighed.err
    own = ("score", "rouge_l", "--predictions", "runs/a/outputs.jsonl", "--task", "runs/a/data/test.parquet")
    assert "4 looks at them" in " ".join(espalier(*own, cwd=sealed).out.split())
    refused = espalier("compare", "x.jsonl", "y.jsonl", "--references", "plural.toml", cwd=sealed)
    assert (refused.code, "are sealed by a" in refused.err) == (2, True), refused.err


def test_ways_of_decoding_are_compared_on_what_was_held_out(sealed: Path, espalier) -> None:
    settings = ("--try", "greedy", "--try", "beam beams=2", "--rounds", "1")
    done = espalier("decode", "runs/a", *settings, cwd=sealed)
    assert done.code == 0, done.err
    assert "only the rows that were held out" in done.err
    assert "These are development rows" in " ".join(done.out.split())
    assert len(looks_at_test(sealed)) == 2
    refused = espalier("decode", "recipe.toml", "-o", "data.sealed=true", *settings, cwd=sealed)
    assert (refused.code, "is to choose by them" in refused.err) == (2, True)


def test_no_weights_are_chosen_on_sealed_rows(sealed: Path, espalier) -> None:
    other = ("run", "recipe.toml", "-o", "name=c", "-o", "data.seed=7", "-o", "data.dev=0.9")
    refused = espalier(*other, cwd=sealed)
    assert refused.code == 2
    assert "are in the sealed test set of a: weights would be chosen on it" in refused.err
    assert not (sealed / "runs" / "c").exists()


def test_a_seal_that_is_taken_off_is_told_and_stays(sealed: Path, espalier) -> None:
    result = espalier(*RUN, "-o", "data.dev=0.2", "-o", "name=a", cwd=sealed)
    assert result.code == 0, result.err
    told = "The test rows were sealed by a, and this recipe does not say so: they stay sealed, 2 looks"
    assert told in " ".join(result.out.split())
    assert told in " ".join((sealed / "runs" / "a" / "report.html").read_text().split())
    assert espalier("compare", "runs/a", "runs/b", cwd=sealed).code == 2


def test_a_look_is_counted_before_it_is_had(sealed: Path, espalier, monkeypatch: pytest.MonkeyPatch) -> None:
    command, folder = (*SEALED, "-o", "seed=2", "-o", "name=c"), sealed / "runs" / "c"
    with monkeypatch.context() as patch:
        patch.setattr(
            "espalier.runs.execute.write_results", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt)
        )
        assert espalier(*command, cwd=sealed).code == 130
    assert (len(looks_at_test(sealed)), (folder / "scores.json").exists()) == (3, False)
    ledger = ledger_of(sealed / "runs")
    kept = ledger.read_bytes()
    ledger.unlink()
    ledger.mkdir()  # so that nothing can be counted
    refused = espalier(*command, cwd=sealed)
    assert (refused.code, "no score is shown" in refused.err) == (2, True)
    assert not (folder / "scores.json").exists()
    ledger.rmdir()
    ledger.write_bytes(kept)
    assert espalier(*command, cwd=sealed).code == 0
    assert len(looks_at_test(sealed)) == 3


def test_instruction_checks_of_sealed_rows_are_looks_too(tmp_path: Path, espalier) -> None:
    asked = [
        {
            "key": n,
            "prompt": f"Name {n} things.",
            "instruction_id_list": [kind],
            "kwargs": [{}],
        }
        for n, kind in enumerate(["punctuation:no_comma"] * 3)
    ]
    (tmp_path / "asked.jsonl").write_text("".join(json.dumps(row) + "\n" for row in asked))
    (tmp_path / "said.jsonl").write_text("".join(f'{{"key": {n}, "response": "a"}}\n' for n in range(3)))
    rows = keys_of(load_rows(tmp_path / "asked.jsonl"))
    record(tmp_path / "runs", Look(rows, (), 0, "run", "a", "test", True, now()))
    command = ("score", "ifeval", "--predictions", "said.jsonl", "--prompts", "asked.jsonl")
    for _ in range(2):
        done = espalier(*command, cwd=tmp_path)
        assert "sealed, 1 look at them so far" in " ".join(done.out.split()), done.out + done.err
    assert "1 look" in json.loads(espalier(*command, "--json", cwd=tmp_path).out)["looks"]
