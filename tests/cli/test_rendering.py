"""How rows are rendered, as a user meets it: dates, special tokens, and rows that a template refuses."""

from __future__ import annotations

import json
import shutil
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from espalier.cli import tuning

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FAST = ("-o", "train.epochs=0.2", "-o", "data.test_limit=2", "-o", "decode.limit=2")
TURN = "{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}"
CHATML = (
    "{% for m in messages %}" + TURN + "{% endfor %}{{ '<|im_start|>assistant\\n' if add_generation_prompt }}"
)
DATED = "{{ '<|im_start|>system\\nIt is ' + strftime_now('%d %b %Y, %H:%M') + '.<|im_end|>\\n' }}" + CHATML


def retemplate(home: Path, template: str) -> None:
    """Give the home's model another chat template."""
    model = (home / "tiny").resolve()
    (home / "tiny").unlink()
    shutil.copytree(model, home / "tiny")
    (home / "tiny" / "chat_template.jinja").write_text(template)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[datetime], None]:
    """Sets the date of today."""

    def turn(to: datetime) -> None:
        class Clock(datetime):
            @classmethod
            def now(cls, tz: Any = None) -> datetime:
                return to

        monkeypatch.setattr(tuning, "datetime", Clock)

    return turn


def test_a_run_keeps_the_date_of_its_first_start(home: Path, espalier, clock) -> None:
    retemplate(home, DATED)
    first = datetime(2030, 1, 31, 23, 59, 58, 123)
    clock(first)
    assert espalier("run", "recipe.toml", *FAST, cwd=home).code == 0
    assert json.loads((home / "runs/plural/provenance.json").read_text())["today"] == "2030-01-31T23:59:58"

    clock(first + timedelta(days=30))
    shown = espalier("inspect", "recipe.toml", *FAST, cwd=home)
    assert "It is 31 Jan 2030, 23:59." in shown.out
    again = espalier("run", "recipe.toml", *FAST, cwd=home)
    assert again.code == 0, again.err
    assert "Training is done" in again.err
    assert "What differs" not in again.err
    other = espalier("run", "recipe.toml", *FAST, "-o", "seed=1", "--overwrite", cwd=home)
    assert other.code == 0, other.err
    assert json.loads((home / "runs/plural/provenance.json").read_text())["today"] == "2030-03-02T23:59:58"
    assert "It is 02 Mar 2030" in espalier("inspect", "recipe.toml", *FAST, cwd=home).out
