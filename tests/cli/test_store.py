"""A run does not make again what another has made: the base model's answers to the same test set."""

from __future__ import annotations

import json
from pathlib import Path

RUN = ("run", "recipe.toml", "-o")


def lines(run: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (run / "generations.jsonl").read_text().splitlines()]


def test_a_second_run_takes_over_the_answers_of_the_base(after, espalier) -> None:
    result = espalier(*RUN, "name=second", "-o", "train.rate=1e-3", cwd=after.home)
    assert result.code == 0, result.err
    first, second = lines(after.folder), lines(after.home / "runs" / "second")
    base = {one["request"]: one["ids"] for one in first[:6]}
    assert {one["request"]: one["ids"] for one in second[:6]} == base
    events = [json.loads(line) for line in (after.home / "runs/second/events.jsonl").read_text().splitlines()]
    decoded = [event["stage"] for event in events if event["event"] == "stage"]
    assert "decode base" not in decoded
    assert "decode tuned" in decoded
    shown = espalier("store", cwd=after.home)
    assert "runs/.store/journal.sqlite: 18 answers, " in shown.out
    assert " MB freed" in espalier("store", "clear", cwd=after.home).out
    assert "0 answers" in espalier("store", cwd=after.home).out
    again = espalier(*RUN, "name=second", "-o", "train.rate=1e-3", cwd=after.home)
    assert again.code == 0
    assert len(lines(after.home / "runs" / "second")) == len(second)


def test_a_damaged_store_is_told_with_what_to_do(after, espalier) -> None:
    store = after.home / "runs" / ".store" / "journal.sqlite"
    store.write_text("no database" * 1000)
    result = espalier(*RUN, "name=third", cwd=after.home)
    assert result.code == 2
    assert "The journal cannot be read or written: file is not a database." in result.err
    assert "espalier store clear" in result.err
    assert espalier("store", "clear", cwd=after.home).code == 0
    assert espalier(*RUN, "name=third", cwd=after.home).code == 0
