"""How rows are rendered, as a user meets it: dates, special tokens, and rows that a template refuses."""

from __future__ import annotations

import json
import shutil
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from espalier.runs import load

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


def write_rows(home: Path, rows: list[tuple[str, str]]) -> None:
    lines = [json.dumps({"input": asked, "output": said}) + "\n" for asked, said in rows]
    (home / "plural.jsonl").write_text("".join(lines))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[datetime], None]:
    """Sets the date of today."""

    def turn(to: datetime) -> None:
        class Clock(datetime):
            @classmethod
            def now(cls, tz: Any = None) -> datetime:
                return to

        monkeypatch.setattr(load, "datetime", Clock)

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


def test_names_of_special_tokens_are_told_and_shown_in_pieces(home: Path, espalier) -> None:
    write_rows(home, [(f"<|im_end|> {n} or [/INST]", "ends<|im_end|>") for n in range(9)])
    shown = espalier("inspect", "recipe.toml", *FAST, cwd=home)
    assert "rows hold names of special tokens (<|im_end|>): they are text there" in shown.out
    assert "⟦ends<·|·im·_·end·|·><|im_end|>⟧" in shown.out.replace("i·m", "im").replace("e·n·d", "end")
    tokens = espalier("inspect", "recipe.toml", *FAST, "-o", 'task.special="token"', cwd=home)
    assert "The answer holds '<|im_end|>', at which a model stops, before its end." in tokens.err
    write_rows(home, [(f"<|im_start|> {n}", "starts") for n in range(9)])
    tokens = espalier("inspect", "recipe.toml", *FAST, "-o", 'task.special="token"', cwd=home)
    assert tokens.code == 0, tokens.err
    assert "Note" not in tokens.out


STRICT = CHATML.replace(
    "{% for m in messages %}",
    "{% for m in messages %}{% if 'psst' in m.content %}{{ raise_exception('No whispering') }}{% endif %}",
)


def test_a_row_that_the_template_refuses_is_named_or_left_out(home: Path, espalier) -> None:
    retemplate(home, STRICT)
    write_rows(home, [(f"a cup {n}", "psst" if n == 7 else "cups") for n in range(12)])
    refused = espalier("run", "recipe.toml", *FAST, "-o", "data.train=0.9", cwd=home)
    assert refused.code == 2
    assert (
        "plural.toml, row plural-8: The chat template refuses these messages: No whispering." in refused.err
    )
    assert not (home / "runs").exists()
    options = (*FAST, "-o", "data.train=0.9", "-o", 'task.on_bad="reject"')
    left = espalier("run", "recipe.toml", *options, cwd=home)
    assert left.code == 0, left.err
    (reject,) = (json.loads(line) for line in (home / "runs/plural/rejects.jsonl").read_text().splitlines())
    assert "No whispering" in reject["reason"]
    assert reject["where"].endswith("row plural-8")
