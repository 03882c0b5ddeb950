"""The page of a comparison: what it shows, and that it works in a browser."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html import escape, unescape
from pathlib import Path

import pytest

import espalier
from espalier.comparison.page import forest
from tests.comparison.conftest import MakeRun, answers, rows

TEST = rows(60)


@pytest.fixture
def page(make_run: MakeRun, tmp_path: Path) -> Path:
    evil = "</script><img src=x onerror=alert(1)>"
    a = make_run("a", TEST, [evil, *answers(TEST, set(range(20)))[1:]])
    b = make_run("b", TEST, answers(TEST, {0, 1, 2, 50}), recipe={"train": {"rate": 1e-3}})
    espalier.compare(a, b, margin=4, report=tmp_path / "page.html")
    return tmp_path / "page.html"


def test_the_page_says_it_first_and_asks_no_network(page: Path) -> None:
    text = page.read_text()
    assert re.search(r"<h1>b is better than a: ", text)
    for said in ("could see", "The shaded band is the margin.", "won by a", "won by b", "Rows side by side"):
        assert said in text
    assert "<img" not in text
    assert not re.search(r"""(?:src|href)=["']?(?:https?:)?//""", text)


def test_the_forest_holds_zero_every_interval_and_the_margin(make_run: MakeRun) -> None:
    a = make_run("a", TEST, answers(TEST, set(range(20))))
    b = make_run("b", TEST, answers(TEST, set()), recipe={"train": {"rate": 1e-3}})
    found = forest(espalier.compare(a, b, margin=4))
    assert found.band is not None
    assert 0 <= found.band[0] < found.zero < found.band[1] < found.rows[0].place
    assert all(0 <= row.low < row.place < row.high <= 100 for row in found.rows)


@pytest.mark.skipif(not shutil.which("chromium"), reason="chromium is not installed")
@pytest.mark.parametrize("width", [400, 1280])
def test_rows_are_filtered_and_nothing_is_wider_than_the_window(
    page: Path, tmp_path: Path, width: int
) -> None:
    status = "page.querySelector('.status').textContent"
    steps = [status]
    for name in ("first", "second", "wrong"):
        steps += [f"page.querySelector('#browse input[value={name}]').click()", status]
    steps += ["page.querySelectorAll('#browse img').length", "page.documentElement.scrollWidth"]
    values = ", ".join(f"({step})" for step in steps)
    told = escape(f"const page = this.contentDocument; document.title = JSON.stringify([{values}])")
    frame = tmp_path / "frame.html"
    frame.write_text(
        f'<meta charset="utf-8"><iframe src="page.html" width="{width}" height="9" onload="{told}"></iframe>'
    )
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files"]
    options += [f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=2000", "--dump-dom"]
    command = ["chromium", *options, "--window-size=1400,900", frame.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    title = re.search(r"<title>(.*?)</title>", done.stdout, re.DOTALL)
    assert title
    found = json.loads(unescape(title[1]))
    assert found[0].startswith("60 rows")
    assert (found[2], found[4], found[6]) == ("2 of 60 rows", "17 of 60 rows", "3 of 60 rows")
    assert found[7] == 0
    assert found[8] <= width
