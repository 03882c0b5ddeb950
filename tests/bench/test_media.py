"""What the bench measures of media is what it says: files that all differ, rows that share a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bench import media
from espalier.encode.media import Takes
from espalier.encode.template import Template
from espalier.encode.tree import build_tree, stats

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def test_features_are_made_once_and_read_again(tmp_path: Path) -> None:
    files = media.media(tmp_path, "image", 3)
    assert len({one.sha256 for one in files}) == 3
    said: list[str] = []
    found = media.features("tests.cli.seeing:colours", files, tmp_path / "kept", said.append)
    assert found["files"] == len([*(tmp_path / "kept").rglob("*.npy")]) == 3
    assert len(said) == 1


def test_all_rows_of_a_step_share_the_picture(tmp_path: Path, chat_tokenizer: Callable[[str], Any]) -> None:
    (picture,) = media.media(tmp_path, "image", 1)
    rows = media.rows_on(picture, Template(chat_tokenizer("chatml")).seeing(Takes(lambda _: 49)))
    found = stats(build_tree(rows))
    assert len(rows) == media.QUESTIONS
    assert found.row_tokens - found.distinct_tokens >= 49 * (media.QUESTIONS - 1)
