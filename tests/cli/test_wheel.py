"""The wheel by itself: unpacked beside nothing of the checkout, it runs what is bundled by name."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from hatchling.builders.wheel import WheelBuilder

ROOT = Path(__file__).resolve().parents[2]
SMALL = (
    "data.limit=8",
    "data.test_limit=4",
    "train.rows=4",
    "train.epochs=0.5",
    "decode.limit=4",
    "evidence=false",
)
WHERE = (
    "import espalier; from espalier.tasks.abilities import abilities; "
    "print(espalier.__file__, len(abilities()) > 100)"
)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the wheel unpacks to."""
    folder = tmp_path_factory.mktemp("wheel")
    (built,) = WheelBuilder(str(ROOT)).build(directory=str(folder), versions=["standard"])
    with zipfile.ZipFile(built) as archive:
        archive.extractall(folder / "unpacked")
    return folder / "unpacked"


def in_wheel(wheel: Path, *arguments: object, cwd: Path) -> str:
    """Run `espalier` of the wheel in a folder, and return what it printed."""
    command = [sys.executable, "-W", "error", *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(wheel), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_holds_all_that_the_package_does(wheel: Path) -> None:
    def held(place: Path) -> set[str]:
        files = (path for path in place.rglob("*") if path.is_file() and path.suffix != ".pyc")
        return {str(path.relative_to(place)) for path in files}

    assert held(wheel / "espalier") == held(ROOT / "espalier")


def test_a_bundled_recipe_runs_from_the_wheel_alone(wheel: Path, tiny_model: Path, tmp_path: Path) -> None:
    assert in_wheel(wheel, "-c", WHERE, cwd=tmp_path) == f"{wheel}/espalier/__init__.py True\n"
    assert "event-duration\n" in in_wheel(wheel, "-m", "espalier", "recipes", cwd=tmp_path)
    assert in_wheel(wheel, "-m", "espalier", "recipes", "copy", "dpo", cwd=tmp_path) == "dpo.toml\n"
    changes = [word for change in (f"model.name={tiny_model}", *SMALL) for word in ("-o", change)]
    in_wheel(wheel, "-m", "espalier", "run", "event-duration", *changes, cwd=tmp_path)
    assert (tmp_path / "runs" / "event-duration" / "report.html").stat().st_size > 10_000
