"""What is held while much is planned is bounded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from espalier.tasks import once as held
from espalier.tasks.once import once, reading_once

if TYPE_CHECKING:
    import pytest


def test_what_was_read_first_goes_first_where_rows_would_be_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held, "MOST", 10)
    made: list[str] = []
    with reading_once():
        for key in ("a", "b", "a", "c", "a", "huge", "huge"):
            once(key, lambda key=key: made.append(key) or key, lambda one: 99 if one == "huge" else 5)
    assert made == ["a", "b", "c", "a", "huge"]
