"""What `import espalier` offers: a sorted, short list of names that exist, and no torch before its time."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import espalier

ROOMS = {path.name for path in Path(espalier.__file__).parent.iterdir() if path.is_dir()}


def stubs() -> set[str]:
    """The names that a type checker sees."""
    tree = ast.parse(Path(espalier.__file__).read_text())
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    return {a.name for node in imports if (node.module or "").startswith("espalier.") for a in node.names}


def test_names_are_sorted_few_and_the_same_for_people_and_type_checkers() -> None:
    assert espalier.__all__ == sorted(espalier.__all__)
    assert len(espalier.__all__) <= 25
    assert stubs() == set(espalier.__all__) == set(dir(espalier))


@pytest.mark.parametrize("name", espalier.__all__)
def test_each_name_is_there_and_documented(name: str) -> None:
    value = getattr(espalier, name)
    assert value.__module__.startswith("espalier.")
    assert value.__doc__


def test_no_name_hides_a_room() -> None:
    assert not ROOMS & set(espalier.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'espalier' has no attribute 'tree'"):
        espalier.tree  # noqa: B018


def test_torch_is_loaded_by_what_needs_it_only(tmp_path: Path) -> None:
    """Whoever loads it meets this one, which is found first and ends the process."""
    (tmp_path / "torch.py").write_text("raise SystemExit('torch is loaded')")
    light = "espalier.load_recipe, espalier.load_task, espalier.Tree, espalier.Template, espalier.run"
    script = f"import espalier; {light}; print('light', flush=True); espalier.LossSum"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("light\n", "torch is loaded\n")
