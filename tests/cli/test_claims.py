"""`espalier claims`: rules written down before the run, verdicts that say where they come from."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from espalier.api import claims
from espalier.claims.claim import load_claims

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.cli.conftest import Result

HEAD = """
claim = "It does not matter."
small = "It is tiny."
[source]
paper = "Nobody 2026"
found = "Nothing."
[study]
recipe = "recipe.toml"
seeds = 1
"""
RULE = """
[rule]
direction = "within"
effect = 60
why = "It is wide."
"""
TWICE = """
set = ["train.epochs=0.1"]
[[study.factor]]
kind = "decode"
levels = [{ kind = "greedy", limit = 6 }, { kind = "greedy", limit = 3 }]
[measured]
factor = "decode"
"""
ALONE = """
set = ["train.epochs=0.1", "evaluate=['exact_match']", "task.path='PATH.toml'"]
[measured]
"""
FILES = {
    "limit": f'{HEAD}{TWICE}kind = "effect"\n{RULE}',
    "slope": f'{HEAD}{TWICE}kind = "slope"\nat = [6, 3]\n{RULE}',
    "shift": f'{HEAD}{ALONE}kind = "share"\n{RULE}'.replace("PATH", "plural").replace(
        '"within"', '"below"\norigin = 100'
    ),
    "floor": f'{HEAD}{ALONE}kind = "floor"\n{RULE}'.replace("PATH", "labels").replace("60", "90"),
}
LABELS = 'name = "labels"\ndefinition = "Say yes or no."\nrows = "labels.jsonl"\n'


@pytest.fixture(scope="module")
def settled(
    tmp_path_factory: pytest.TempPathFactory,
    new_home: Callable[[Path], Path],
    espalier: Callable[..., Result],
) -> tuple[Path, Result]:
    """Four claims on the tiny model, one of each kind, for all tests that only look."""
    home = new_home(tmp_path_factory.mktemp("claims") / "home")
    for name, text in FILES.items():
        (home / f"{name}.toml").write_text(text)
    (home / "labels.toml").write_text(LABELS)
    rows = [{"input": f"row {n}", "output": ["yes", "no"][n % 2]} for n in range(24)]
    (home / "labels.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = espalier("claims", *(f"{name}.toml" for name in FILES), "--anyway", cwd=home)
    assert done.code == 0, done.err
    return home, done


@pytest.fixture
def home(settled: tuple[Path, Result], tmp_path: Path) -> Path:
    """A copy of that home, to be changed."""
    return Path(shutil.copytree(settled[0], tmp_path / "copy", symlinks=True))


def lines(home: Path) -> dict[str, dict[str, Any]]:
    table = json.loads((home / "claims" / "ledger.json").read_text())
    return {line["name"]: line for line in table["claims"]}


def test_each_line_has_a_number_a_price_and_leads_to_its_runs(settled: tuple[Path, Result]) -> None:
    home, done = settled
    found = lines(home)
    assert found.keys() == FILES.keys()
    assert all(line["done"] and line["began"] and not line["struck"] for line in found.values())
    assert found["limit"]["verdict"] == found["slope"]["verdict"] == "reproduced"
    assert found["slope"]["value"] == pytest.approx(-found["limit"]["value"])  # one doubling
    assert found["floor"]["what"].endswith("tuned against a label drawn at random")
    assert all(line["minutes"] > 0 and line["promised"] > 0 for line in found.values())
    page = (home / "claims" / "claims.html").read_text()
    for line in found.values():
        assert (home / "claims" / line["page"]).exists()
        assert f'href="{line["page"]}"' in page
    assert "It does not matter." in done.out
    assert "Small may differ: It is tiny." in " ".join(done.out.split())


def test_what_is_settled_is_not_run_again(
    settled: tuple[Path, Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    home, _ = settled
    before = (home / "claims" / "ledger.json").read_bytes()
    monkeypatch.chdir(home)
    for name in ("study", "start", "promised"):
        monkeypatch.setattr(f"espalier.claims.settle.{name}", lambda *_, **__: pytest.fail("done again"))
    found = claims(*(f"{name}.toml" for name in FILES))
    assert {line.name for line in found.lines} == FILES.keys()
    assert (home / "claims" / "ledger.json").read_bytes() == before


def test_a_rule_that_is_changed_after_the_run_strikes_the_verdict_out(
    home: Path, espalier: Callable[..., Result]
) -> None:
    (home / "limit.toml").write_text(FILES["limit"].replace("effect = 60", "effect = 90"))
    done = espalier("claims", "limit.toml", cwd=home)
    assert "reproduced, struck out" in " ".join(done.out.split())
    assert "The rule was changed after the run." in " ".join(done.out.split())
    assert "<s>reproduced</s>" in (home / "claims" / "claims.html").read_text()
    assert lines(home)["limit"]["hash"] == load_claims([home / "limit.toml"], ["rule.effect=60"])[0].hash
    (home / "limit.toml").write_text(FILES["limit"])
    back = espalier("claims", "limit.toml", "--json", cwd=home)
    (line,) = json.loads(back.out)["claims"]
    assert (line["verdict"], line["struck"]) == ("reproduced", False)


def test_a_killed_claim_has_its_rule_on_record_and_goes_on(
    home: Path, espalier: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    known = lines(home)["limit"]
    ledger = home / "claims" / "ledger.json"
    ledger.unlink()

    def killed(*_: object) -> None:
        line = lines(home)["limit"]
        assert (line["hash"], line["began"], line["done"]) == (known["hash"], True, False)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("espalier.claims.settle.study", killed)
        assert espalier("claims", "limit.toml", "--anyway", cwd=home).code == 130
    (home / "limit.toml").write_text(FILES["limit"].replace("effect = 60", "effect = 90"))
    changed = espalier("claims", "limit.toml", cwd=home)
    assert "open, struck out" in " ".join(changed.out.split())  # a run had begun
    (home / "limit.toml").write_text(FILES["limit"])
    done = espalier("claims", "limit.toml", cwd=home)
    assert done.code == 0, done.err
    again = lines(home)["limit"]
    same = ("hash", "value", "low", "high", "verdict", "reason", "page")
    assert [again[key] for key in same] == [known[key] for key in same]
    assert "Training is done" in done.err


def test_what_cannot_see_its_effect_is_not_run(home: Path, espalier: Callable[..., Result]) -> None:
    (home / "weak.toml").write_text(FILES["limit"].replace("effect = 60", "effect = 2"))
    done = espalier("claims", "weak.toml", cwd=home)
    assert "under-powered" in done.out
    assert "Not run. Equality could mostly be shown within" in " ".join(done.out.split())
    assert not (home / "claims" / "weak" / "runs").exists()
    assert lines(home)["weak"]["began"] is False
    (home / "weak.toml").write_text(FILES["limit"].replace("effect = 60", "effect = 61"))  # nothing was seen
    planned = espalier("claims", "weak.toml", "--plan", cwd=home)
    assert "planned" in planned.out
    assert lines(home)["weak"]["verdict"] == "under-powered"  # a plan is not recorded


def test_files_are_copied_to_be_edited(home: Path, espalier: Callable[..., Result]) -> None:
    done = espalier("claims", "lima", "token-shift", "--copy", "mine", cwd=home)
    assert done.out.split() == ["mine/lima.toml", "mine/token-shift.toml"]
    assert load_claims([home / "mine/lima.toml"])[0].hash == load_claims(["lima"])[0].hash
    again = espalier("claims", "lima", "--copy", "mine", cwd=home)
    assert again.code == 2
    assert "There is a file already" in again.err


def test_a_claim_that_fails_is_told_in_its_line_and_the_others_go_on(
    home: Path, espalier: Callable[..., Result]
) -> None:
    broken = FILES["floor"].replace("labels.toml", "plural.toml")  # which have no closed label space
    (home / "broken.toml").write_text(broken)
    done = espalier("claims", "broken.toml", "limit.toml", "--anyway", cwd=home)
    assert done.code == 0, done.err
    assert "is the label space closed?" in " ".join(done.out.split())
    assert lines(home)["broken"]["done"] is False
    (home / "claims" / "ledger.json").write_text("[]")
    spoiled = espalier("claims", "limit.toml", cwd=home)
    assert spoiled.code == 2
    assert "It is no ledger" in spoiled.err
