"""`espalier review`: keys in the terminal, an editor, and files out and in."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from espalier.building.review import decisions_of
from espalier.cli.main import app
from espalier.core.journal import Journal

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    rows = [{"prompt": f"Name bird {n}, please.", "completion": "A wren\u001b[31m."} for n in range(3)]
    path.write_text("".join(json.dumps(one) + "\n" for one in rows))
    return path


def review(*arguments: object, typed: str = "") -> str:
    done = CliRunner().invoke(app, ["review", *map(str, arguments)], input=typed)
    assert done.exit_code == 0, done.output
    return done.output


def actions(file: Path) -> list[str]:
    return [one.action for one in decisions_of(Journal(file.with_name("rows.jsonl.review.sqlite")))]


def test_keys_decide_and_a_later_call_goes_on(file: Path) -> None:
    said = review(file, "--reviewer", "ada", typed="k\nx\nr\nu\nl\nodd\nq\n")
    assert actions(file) == ["keep", "reject", "undo", "label"]
    assert "1 kept, 0 rejected, 2 undecided; 2 wait for ada" in said
    assert "\u001b[31m" not in said
    assert "1 of 2" in review(file, "--reviewer", "ada", typed="k\n")
    said = review(file, "--reviewer", "bo", typed="k\nk\nr\n")
    assert "ada and bo agree on 100 %" in said


def test_a_row_is_edited_with_the_editor(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "edit.sh"
    script.write_text("#!/bin/sh\nsed -i 's/A wren.*/An owl./' \"$1\"\n")
    script.chmod(0o755)
    monkeypatch.setenv("EDITOR", str(script))
    review(file, "--reviewer", "ada", typed="e\nq\n")
    (found,) = decisions_of(Journal(file.with_name("rows.jsonl.review.sqlite")))
    assert found.texts == ("Name bird 0, please.", "An owl.")
    monkeypatch.setenv("EDITOR", "true")
    assert "Nothing was changed" in review(file, "--reviewer", "ada", typed="e\nq\n")


def test_rows_go_out_to_a_spreadsheet_and_come_back(file: Path, tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.csv"
    assert "3 rows for ada" in review(file, "--reviewer", "ada", "--out", sheet)
    text = sheet.read_text("utf-8-sig").splitlines()
    head = text[0].split(",")
    changed = [
        ",".join([*line.split(",")[: head.index("decision")], "reject", "", "", ""]) for line in text[1:]
    ]
    sheet.write_text("\n".join([text[0], *changed]) + "\n")
    said = review(file, "--reviewer", "ada", "--in", sheet)
    assert "new decision" in said
    assert "0 kept" in said


def test_an_editor_that_is_not_there_loses_nothing(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDITOR", "no-such-editor-here")
    assert "1 kept" in review(file, "--reviewer", "ada", typed="e\nk\nq\n")
    assert actions(file) == ["keep"]


def test_labels_are_shown_and_three_reviewers_have_an_alpha(file: Path) -> None:
    assert "labelled: odd" in review(file, "--reviewer", "ada", typed="l\nodd\nk\nk\nr\n")
    review(file, "--reviewer", "bo", typed="k\nk\nr\n")
    assert "alpha of all reviewers: 0.60" in review(file, "--reviewer", "cem", typed="k\nr\nr\n")


def test_a_filter_that_did_not_judge_is_refused(file: Path) -> None:
    done = CliRunner().invoke(app, ["review", str(file), "--filter", "novelty"])
    assert "No filter 'novelty' has judged these rows" in str(done.exception)


@pytest.mark.skipif(sys.platform == "win32", reason="a pseudo-terminal")
def test_in_a_terminal_a_key_is_one_row_and_nothing_speaks_while_a_person_thinks(file: Path) -> None:
    script = (
        "import espalier.cli.progress as progress, espalier.cli.main as cli;progress.PERIOD = 0.2; cli.main()"
    )
    master, slave = pty.openpty()
    command = [sys.executable, "-c", script, "review", str(file), "--reviewer", "ada"]
    with subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave) as process:
        os.close(slave)
        seen(master, b"q quit")
        time.sleep(0.4)  # what was about to be said while rows were read
        while select.select([master], [], [], 0)[0]:
            os.read(master, 65536)
        assert not select.select([master], [], [], 1)[0]
        os.write(master, b"ke")
        seen(master, b"2 of 3")
        time.sleep(0.4)
        os.write(master, b"\x1b[A")
        seen(master, b"2 of 3")
        time.sleep(0.4)
        os.write(master, b"\x04")
        seen(master, b"wait for ada")
        assert process.wait(60) == 0
    os.close(master)
    assert actions(file) == ["keep"]


def seen(terminal: int, text: bytes) -> bytes:
    """Read what a terminal shows until a text stands there."""
    said, end = b"", time.monotonic() + 60
    while text not in said:
        assert time.monotonic() < end, said
        if select.select([terminal], [], [], 1)[0]:
            said += os.read(terminal, 65536)
    return said
