"""A function's hash changes with all code that decides what it does, and with no other."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

import pytest

from espalier.builds import code_hash as module
from espalier.builds.code_hash import PACKAGE, code_hash, files_used
from espalier.data.judgement import filters, weighing
from espalier.generate.author import steps

if TYPE_CHECKING:
    from pathlib import Path

JUDGE = """
from typing import TYPE_CHECKING
from espalier.rules.registry import rules
from espalier.words import cut
if TYPE_CHECKING:
    from espalier import shapes

@rules.register("judge")
def judge():
    from espalier.late import seldom
    return cut, seldom, "espalier.process", "signs.toml"
"""
FILES = {
    "judge.py": JUDGE,
    "signs.toml": "a = 1",
    "other.toml": "a = 1",
    "words.py": "from espalier.letters import one",
    "letters.py": "one = 1",
    "late.py": "seldom = 1",
    "process.py": "",
    "shapes.py": "",
    "unused.py": "",
    "rules/__init__.py": "",
    "rules/registry.py": 'rules: Registry[int] = Registry("rule", "espalier.judge", "espalier.unused")',
    "all_rules.py": 'from espalier.rules.registry import rules\nrules.build("judge")',
}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "espalier"
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    monkeypatch.setattr(module, "PACKAGE", folder)
    return folder


@pytest.mark.parametrize(
    ("asked", "used"),
    [
        ("judge", "judge late letters process registry signs words"),
        ("words", "letters words"),
        ("all_rules", "all_rules judge late letters process registry signs unused words"),
    ],
)
def test_what_is_imported_in_turn_is_used_and_nothing_else(package: Path, asked: str, used: str) -> None:
    assert " ".join(sorted(file.stem for file in files_used(package / f"{asked}.py"))) == used


@pytest.mark.parametrize("name", [name for name in FILES if name != "rules/__init__.py"])
def test_the_hash_changes_with_what_is_used_alone(package: Path, name: str) -> None:
    used = package / name in files_used(package / "judge.py")
    before = code_hash("espalier.judge")
    file = package / name
    file.write_text(f"{file.read_text()}\nmore = 1\n")
    assert (code_hash("espalier.judge") != before) == used


def test_a_module_of_ones_own_is_followed_beside_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_parts").mkdir()
    (tmp_path / "own_parts" / "__init__.py").touch()
    (tmp_path / "own_parts" / "inner.py").write_text("from .deep import x\nfrom own_words import y\n")
    (tmp_path / "own_parts" / "deep.py").write_text("import json\nx = 1\n")
    (tmp_path / "own_words.py").write_text("y = 1\n")
    (tmp_path / "own_judge.py").write_text("from own_parts import inner\ndef judge():\n    return inner\n")
    monkeypatch.syspath_prepend(tmp_path)
    judge = importlib.import_module("own_judge").judge
    assert {file.name for file in files_used(tmp_path / "own_judge.py")} >= {
        *("own_judge.py", "inner.py", "deep.py", "own_words.py")
    }
    before = code_hash(judge)
    (tmp_path / "own_words.py").write_text("y = 22\n")
    assert code_hash(judge) != before


@pytest.mark.parametrize(
    ("kind", "needs", "not_needed"),
    [
        ("code", {"scorers/code.py", "sandbox/referee.py", "core/text.py"}, {"filters/sets.py"}),
        ("sql", {"scorers/sql.py", "sandbox/query_process.py"}, {"filters/form.py"}),
        ("checks", {"tasks/checks.py", "tasks/event_duration/cautions.py"}, {"scorers/code.py"}),
        ("contamination", {"formats/load.py", "filters/contamination.py"}, {"sandbox/worker.py"}),
        ("form", {"core/text.py", "filters/patterns.toml"}, {"filters/sets.py", "tasks/checks.py"}),
    ],
)
def test_filters_depend_on_other_rooms(kind: str, needs: set[str], not_needed: set[str]) -> None:
    file = PACKAGE.parent / f"{filters.find(kind).__module__.replace('.', '/')}.py"
    used = {str(one.relative_to(PACKAGE)) for one in files_used(file)}
    assert needs <= used
    assert not not_needed & used


def test_every_step_depends_on_what_asks_and_on_its_prompts() -> None:
    for name in steps.names():
        file = PACKAGE.parent / f"{steps.find(name).__module__.replace('.', '/')}.py"
        used = {str(one.relative_to(PACKAGE)) for one in files_used(file)}
        assert {"generate/author.py", "generate/prompts.toml"} <= used
    assert code_hash(weighing.find("difficulty")).startswith(code_hash("espalier.core.text").split()[0])
