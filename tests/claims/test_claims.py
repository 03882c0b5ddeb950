"""The bundled claims: data that parse, plan and render, and honest before anything is run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from espalier.claims.claim import Claim, bundled_claims, load_claims
from espalier.claims.ledger import Ledger, Line
from espalier.claims.measures import Work, measures
from espalier.claims.page import render
from espalier.claims.settle import settle
from espalier.claims.verdict import judged
from espalier.core.errors import DataError, RecipeError
from espalier.core.records import Estimate
from espalier.explain.record import Moving, StyleAndFacts
from espalier.tasks.task_files import load_task


def test_ten_claims_ship_each_with_all_that_a_sceptic_asks() -> None:
    claims = load_claims()
    assert len(claims) == 10
    assert len({claim.source.arxiv for claim in claims}) == 8  # three are of one paper
    assert {claim.measured.kind for claim in claims} <= {*measures.names()}
    assert all(claim.small.endswith(".") and claim.rule.why and claim.source.found for claim in claims)
    assert len({claim.hash for claim in claims}) == 10


@pytest.mark.parametrize("name", bundled_claims())
def test_each_plans_and_renders(name: str, tmp_path: Path) -> None:
    ledger = settle(load_claims([name]), tmp_path, tmp_path, plan=True)
    line = ledger[name]
    assert not (tmp_path / "ledger.json").exists()
    page = render(ledger)
    assert f'<section id="{name}">' in page
    assert "http://" not in page
    assert "https://" not in page
    if name == "more-tasks":
        assert line.verdict == "open"
        assert "needs a folder" in line.reason
    else:
        assert line.verdict in ("planned", "under-powered")
        assert 0 < line.promised < 9
    if name == "gradient-selection":
        assert "awaits" in line.reason


def test_style_is_set_against_facts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    none = Estimate(0.0, 0.0, 0.0, 200)
    style = Moving("style", none, none, Estimate(0.20, 0.16, 0.24, 200))
    facts = Moving("facts", none, none, Estimate(-0.01, -0.04, 0.02, 100))
    card = StyleAndFacts(200, style, (), style, facts)
    monkeypatch.setattr("espalier.claims.measures._explained", lambda *_: SimpleNamespace(style=card))
    work = Work(None, None, [tmp_path / "run"], "", None, tmp_path)
    found = measures.build("style_less_facts", {}).read(work)
    assert (found.value, found.low, found.high) == pytest.approx((21.0, 16.0, 26.0))
    assert 6 < found.visible < 8
    (claim,) = load_claims(["imitation"])
    assert judged(claim.rule, found)[0] == "reproduced"


def test_a_verdict_that_does_not_hold_is_struck_out_on_the_page() -> None:
    line = Line("a", "A.", "P", "F", "S", "h", began=True, done=True, verdict="reproduced", struck=True)
    assert "<s>reproduced</s>" in render(Ledger((line,)))
    assert "<s>" not in render(Ledger((replace(line, struck=False),)))


@pytest.mark.parametrize(
    ("name", "overrides", "said"),
    [
        ("limma", (), "Did you mean 'lima'"),
        ("more-tasks", ("needs.task.path=x",), "No claim needs 'task'. Did you mean 'tasks'"),
        ("lima", ("rule.effct=2",), "Did you mean 'effect'"),
        ("lima", ("rule.direction=up",), "'above', 'below' or 'within'"),
        ("lima", ("rule.effect=-1",), "greater than 0"),
    ],
)
def test_what_is_no_claim_is_told(name: str, overrides: tuple[str, ...], said: str) -> None:
    with pytest.raises((DataError, RecipeError)) as error:
        load_claims([name], overrides)
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"measured": {"kind": "efect", "factor": "rows"}}, "Did you mean 'effect'"),
        ({"measured": {"kind": "effect", "factor": "row", "level": "x"}}, "Did you mean 'rows'"),
        ({"measured": {"kind": "effect", "factor": "rows"}}, "has no level ''"),
        ({"measured": {"kind": "slope", "factor": "rows", "at": [1, 2]}}, "needs as many numbers"),
        ({"measured": {"kind": "share"}}, "wants one run, and no factor"),
        ({"measured": {"kind": "floor", "floor": "randm"}}, "Did you mean 'random'"),
    ],
)
def test_what_a_study_does_not_measure_is_in_the_line(
    tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    (claim,) = load_claims(["lima"])
    other = Claim.model_validate({**claim.model_dump(), **change})
    line = settle([other], tmp_path, tmp_path, plan=True)["lima"]
    assert line.verdict == "open"
    assert said in line.reason


def test_the_hash_is_of_the_rule_and_the_study_and_not_of_words_about_them() -> None:
    (claim,), (again,) = load_claims(["lima"]), load_claims(["lima"], ["small=Otherwise."])
    assert claim.hash == again.hash
    for override in ("rule.effect=3", "study.seeds=2", "measured.at=[1,2,3,4]", "assumed.rows=5"):
        (other,) = load_claims(["lima"], [override])
        assert other.hash != claim.hash, override


def test_questions_that_are_judged_have_two_labels_and_sources_of_their_own() -> None:
    rows = load_task("duration-judged").rows
    labels = [row.outputs[0] for row in rows]
    assert len(rows) > 440
    assert {*labels} == {"yes", "no"}
    assert 0.45 < labels.count("yes") / len(rows) < 0.55
    assert all(row.input.startswith(f"Sentence: {row.source}\nQuestion: ") for row in rows)


def test_a_path_that_one_claim_needs_leaves_the_others_alone(tmp_path: Path) -> None:
    ours = {claim.name: claim for claim in load_claims()}
    told = {claim.name: claim for claim in load_claims((), [f"needs.tasks.path={tmp_path}"])}
    assert (ours.pop("more-tasks").lacking != "", told.pop("more-tasks").lacking) == (True, "")
    assert ours == told
