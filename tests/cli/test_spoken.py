"""The script behind the recipes of spoken words: no test is heard in training; a seed repeats itself."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from espalier.core.files import read_jsonl
from tests.cli.speaking import script, spoken_digits, spoken_intents

if TYPE_CHECKING:
    from pathlib import Path


def rows(path: Path) -> list[Any]:
    return [row for _, row in read_jsonl(path)]


def test_nothing_that_is_spoken_in_a_test_set_is_heard_in_training(tmp_path: Path) -> None:
    spoken_digits(tmp_path)
    spoken_intents(tmp_path)
    digits, intents = tmp_path / "digits", tmp_path / "intents"
    names = ("train", "voices", "human")
    trained, *tested = (
        {row["espalier"]["source"] for row in rows(digits / f"{name}.jsonl")} for name in names
    )
    assert all(tested)
    assert not any(trained & voices for voices in tested)
    assert {row["text"] for row in rows(intents / "test.jsonl")} == set(script().INTENTS)
    voices = {row["espalier"]["source"] for row in rows(intents / "test.jsonl")}
    assert not voices & {row["espalier"]["source"] for row in rows(intents / "words.jsonl")}
    for intent in script().INTENTS:
        learned, held = (script().phrases(intent, held_out=held) for held in (False, True))
        assert held
        assert not set(learned) & set(held)


def test_the_same_seed_speaks_the_same(tmp_path: Path) -> None:
    made: list[list[bytes]] = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        spoken_digits(tmp_path / name)
        made.append([path.read_bytes() for path in sorted((tmp_path / name / "digits").rglob("*.*"))])
    assert made[0] == made[1]


@pytest.mark.skipif(not shutil.which("espeak-ng"), reason="espeak-ng is not installed")
def test_espeak_speaks_as_asked() -> None:
    slow, fast = (script().speak("one two", "en-us+m1", pace=pace) for pace in (100, 200))
    assert script().RATE / 3 < len(fast) < len(slow) < 3 * script().RATE
    other = script().speak("one two", "en-gb+f2", pace=100)
    assert len(other) != len(slow) or np.abs(other - slow).max() > 0.1


def test_digits_without_a_person_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        script().main(["digits", str(tmp_path)])
    assert "--human" in capsys.readouterr().err
