"""The number format of a run: chosen at its start by what is measured, and kept wherever it goes on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from espalier.core.recipe import load_recipe
from espalier.core.records import Ranks
from espalier.runs import precision
from espalier.runs.load import load_base
from espalier.runs.precision import settle
from espalier.train import parallel

if TYPE_CHECKING:
    from espalier.models.precision import Rates

AUTO = ("run", "recipe.toml", "-o", "model.precision=auto", "-o", "train.epochs=1")
# What machines measure: how many times as fast as fp32 bf16 is, in training and in decoding.
NEW, OLD, MIXED = (3.4, 3.0), (0.05, 0.25), (0.8, 2.0)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Callable[[tuple[float, float]], None]:
    """Makes this machine one that measures such rates."""

    def become(gains: tuple[float, float]) -> None:
        rates = {
            use: {"fp32": 100.0, "bf16": 100.0 * gain}
            for use, gain in zip(precision.USES, gains, strict=True)
        }

        def measure(model: Any, uses: tuple[str, ...] = precision.USES) -> Rates:
            return {use: rates[use] for use in uses}

        monkeypatch.setattr(precision, "measure", measure)

    return become


def kept(run: Path) -> tuple[str, str]:
    table = json.loads((run / "precision.json").read_text())
    return table["training"], table["decoding"]


def requests(run: Path) -> set[str]:
    lines = (run / "generations.jsonl").read_text().splitlines()
    return {json.loads(line)["request"] for line in lines}


def precisions(run: Path) -> list[dict[str, Any]]:
    events = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    return [event for event in events if event["event"] == "precision"]


@pytest.mark.parametrize(("gains", "form"), [(NEW, "bf16"), (OLD, "fp32")], ids=["new", "old"])
def test_a_run_is_the_work_of_the_format_by_name(
    home: Path, espalier, machine, gains: tuple[float, float], form: str
) -> None:
    machine(gains)
    result = espalier(*AUTO, cwd=home)
    assert result.code == 0, result.err
    assert result.err.count(f"Computing in {form}: compared with fp32, products in bf16 are ") == 1
    named = espalier(*AUTO, "-o", f"model.precision={form}", "-o", "name=named", cwd=home)
    assert "Computing in" not in named.err
    runs = [home / "runs" / name for name in ("plural", "named")]
    assert [kept(run) for run in runs] == [(form, form)] * 2
    answers = [sorted((run / "generations.jsonl").read_text().splitlines()) for run in runs]
    assert answers[0] == answers[1]  # the second took over the first's, in its own order
    for name in ("stages.json", "model/model.safetensors", "scores.json"):
        assert (runs[0] / name).read_bytes() == (runs[1] / name).read_bytes()
    (event,) = precisions(runs[0])
    assert event["why"] in (runs[0] / "report.html").read_text()
    assert event["rates"]["training"]["bf16"] == 100 * gains[0]


def test_a_run_goes_on_in_the_format_that_it_began_in(home: Path, espalier, machine) -> None:
    machine(NEW)
    assert espalier(*AUTO, cwd=home).code == 0
    run = home / "runs" / "plural"
    made = [(run / name).read_bytes() for name in ("stages.json", "generations.jsonl")]
    machine(OLD)
    (run / "scores.json").unlink()  # else there is nothing to go on with
    result = espalier(*AUTO, cwd=home)
    assert result.code == 0, result.err
    assert "As at the run's first start: Computing in bf16" in result.err
    assert "Warning: compared with fp32, products in bf16 are 20 times slower in training" in result.err
    assert "one with another name can choose anew" in result.err
    assert "Training is done" in result.err
    assert [(run / name).read_bytes() for name in ("stages.json", "generations.jsonl")] == made
    assert len(precisions(run)) == 1


def test_training_and_decoding_may_differ(home: Path, espalier, machine) -> None:
    machine(MIXED)
    result = espalier(*AUTO, cwd=home)
    assert result.code == 0, result.err
    assert "Computing in fp32 while training and bf16 while decoding: " in result.err
    assert kept(home / "runs" / "plural") == ("fp32", "bf16")
    named = espalier(*AUTO, "-o", "model.precision=bf16", "-o", "name=named", cwd=home)
    assert named.code == 0
    base = [requests(home / "runs" / name) for name in ("plural", "named")]
    assert base[0] & base[1]  # the base model's answers are the same work
    stages = [(home / "runs" / name / "stages.json").read_text() for name in ("plural", "named")]
    assert stages[0] != stages[1]


def test_of_several_ranks_the_first_decides(home: Path, machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine(NEW)
    recipe = load_recipe(home / "recipe.toml", ["model.precision=auto"])
    loaded = load_base(recipe.model, home)
    first = settle(recipe.model, loaded)
    assert (first.formats.training, loaded.formats.training) == ("bf16", "fp32")
    machine(OLD)  # what this rank would measure
    given = iter([[None, None], [first.formats, None]])  # that none has failed, and what the first has found
    monkeypatch.setattr(parallel, "gathered", lambda value, ranks: next(given))
    assert settle(recipe.model, loaded, ranks=Ranks(1, 2)).formats == first.formats


def test_bf16_by_name_says_what_it_costs(home: Path, espalier, machine) -> None:
    machine(OLD)
    result = espalier(*AUTO, "-o", "model.precision=bf16", cwd=home)
    assert result.code == 0, result.err
    told = (
        "Warning: compared with fp32, products in bf16 are 20 times slower in training and 4.0 times slower "
        "in decoding on this machine, and this run takes about as much longer. model.precision = 'auto' "
        "takes the faster one."
    )
    assert told in result.err
    assert result.err.index(told) < result.err.index("Answers of the base model")
    machine(NEW)
    assert "Warning" not in espalier(*AUTO, "-o", "model.precision=bf16", "-o", "name=other", cwd=home).err


@pytest.mark.parametrize("verb", ["forecast", "verify"])
def test_verbs_that_compute_say_in_what(home: Path, espalier, machine, verb: str) -> None:
    machine(MIXED)
    result = espalier(verb, *AUTO[1:], cwd=home)
    assert result.code == 0, result.err
    assert "Computing in fp32 while training and bf16 while decoding: " in result.err
    table = json.loads(espalier(verb, *AUTO[1:], "--json", cwd=home).out)
    assert (table["precision"]["training"], table["precision"]["decoding"]) == ("fp32", "bf16")


def test_answers_take_the_runs_format_unless_that_is_far_slower_here(home: Path, espalier, machine) -> None:
    machine(NEW)
    assert espalier(*AUTO, cwd=home).code == 0
    run = home / "runs" / "plural"
    assert "Computing" not in espalier("generate", run, "a drum").err
    machine(OLD)
    result = espalier("generate", run, "a drum")
    assert result.code == 0, result.err
    assert "Computing in fp32, and not in bf16 as the run did: compared with fp32, " in result.err
    (run / "precision.json").unlink()  # a run of before it was kept
    assert espalier("generate", run, "a drum").code == 0


def test_another_wish_is_another_run_where_it_comes_to_another_format(home: Path, espalier, machine) -> None:
    machine(NEW)
    run = home / "runs" / "plural"
    assert espalier(*AUTO, cwd=home).code == 0
    wish = (*AUTO, "-o", "model.precision=fp32")
    refused = espalier(*wish, cwd=home)
    assert refused.code == 2
    assert (
        "A finished run of another recipe has this name: model.precision (auto before, fp32 now)"
        in refused.err
    )
    assert kept(run) == ("bf16", "bf16")
    assert espalier(*wish, "--overwrite", cwd=home).code == 0
    assert kept(run) == ("fp32", "fp32")
    assert len(precisions(run)) == 2


def test_a_name_for_what_was_chosen_is_no_other_recipe(home: Path, espalier, machine) -> None:
    """So a run of a version in which the name was the default goes on, too."""
    machine(NEW)
    named = espalier(*AUTO, "-o", "model.precision=bf16", cwd=home)
    assert named.code == 0
    run = home / "runs" / "plural"
    (run / "precision.json").unlink()  # as that version left it
    provenance = json.loads((run / "provenance.json").read_text())
    del provenance["inputs"]["formats"]
    (run / "provenance.json").write_text(json.dumps(provenance))
    result = espalier(*AUTO, cwd=home)
    assert result.code == 0, result.err
    assert "Training is done" in result.err
    (run / "precision.json").unlink()
    machine(OLD)
    refused = espalier(*AUTO, cwd=home)
    assert refused.code == 2
    assert "has this name: the number format" in refused.err


def test_a_run_that_is_replaced_decides_nothing(home: Path, espalier, machine) -> None:
    machine(NEW)
    assert espalier(*AUTO, cwd=home).code == 0
    machine(OLD)
    result = espalier(*AUTO, "-o", "train.rate=1e-4", "--overwrite", cwd=home)
    assert result.code == 0, result.err
    assert "Warning" not in result.err
    assert kept(home / "runs" / "plural") == ("fp32", "fp32")


@pytest.mark.parametrize("text", ["{", "[]", '{"training": "fp64", "decoding": "bf16"}'])
def test_a_damaged_file_is_noticed_and_written_again(home: Path, espalier, machine, text: str) -> None:
    machine(NEW)
    assert espalier(*AUTO, cwd=home).code == 0
    run = home / "runs" / "plural"
    for command in (("generate", run, "a drum"), AUTO):
        (run / "precision.json").write_text(text)
        result = espalier(*command, cwd=home)
        assert result.code == 0, result.err
        assert result.err.count("precision.json is damaged: the number format is chosen again.") == 1
    assert "Training is done" in result.err
    assert kept(run) == ("bf16", "bf16")
