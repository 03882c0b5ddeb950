"""The bench of ROUGE-L compares the same measure, on texts of which none comes twice where it says so."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench import rouge

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_both_sides_give_the_same(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for reader in ("rouge", "filtering"):  # the bundled task in place of forty-five
        monkeypatch.setattr(f"bench.{reader}.TASKS", tmp_path)
    found = rouge.main(lambda _: None, pairs=20, rounds=1)
    assert [found[kind]["texts"] for kind in ("questions", "sentences", "paragraphs")] == [40, 40, 40]
    assert max(one["furthest"] for kind, one in found.items() if kind != "pairs") < 1e-9
