"""The page on formats: each row that it shows loads as the format that it stands under."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from espalier.formats.load import FORMATS, detect_format, formats, load_rows
from espalier.formats.readers import rows_of

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "data-formats.md").read_text(encoding="utf-8")
PNG = b"\x89PNG\r\n\x1a\n"  # how a picture begins; it is not opened here
SHOWN = dict(re.findall(r"^## ([a-z-]+)\n.*?```json\n(.*?)```", PAGE, re.DOTALL | re.MULTILINE))


def test_every_format_is_shown() -> None:
    assert set(SHOWN) == set(FORMATS) == set(formats.names())


@pytest.mark.parametrize("name", FORMATS)
def test_a_row_that_is_shown_loads(tmp_path: Path, name: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(SHOWN[name], encoding="utf-8")
    (tmp_path / "lighthouse.png").write_bytes(PNG)
    assert detect_format(path, list(rows_of(path))) == name
    (loaded,) = load_rows(path)
    assert loaded.rejected or loaded.answer


def test_the_format_of_ones_own_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "shouting.py").write_text("\n".join(re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)))
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "rows.jsonl").write_text('{"quiet": "no", "loud": "NO"}\n')
    assert load_rows(tmp_path / "rows.jsonl", "shouting:shouted")[0].answer == "NO"
