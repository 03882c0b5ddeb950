"""The report: complete, self-contained, safe with any text, and readable on a phone."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tomllib
from html.parser import HTMLParser
from pathlib import Path

import pytest

from espalier.core.errors import RunError
from espalier.core.files import jsonl
from espalier.core.recipe import parse_recipe
from espalier.study.report.page import write_report

VOID = {"meta", "line", "circle", "polyline", "br"}


class Balanced(HTMLParser):
    """Collects the tags, and fails where one is closed that is not the innermost open one."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def parsed(html: str) -> Balanced:
    parser = Balanced()
    parser.feed(html)
    assert parser.open == []
    return parser


def text_of(html: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", re.sub(r"<style>.*?</style>", "", html, flags=re.S)).split())


def test_holds_the_numbers_of_the_run(run_folder: Path) -> None:
    path = write_report(run_folder)
    assert path == run_folder / "report.html"
    text = text_of(path.read_text())
    scores = json.loads((run_folder / "scores.json").read_text())
    tuned, base = (scores["systems"][name]["all_checks"]["value"] for name in ("tuned", "base"))
    told = "Tuning raised the share of answers that pass every check from"
    assert f"{told} {100 * base:.1f} % to {100 * tuned:.1f} %, " in text
    assert re.search(
        r"points \([^)]*\) above the highest floor, (one constant answer|a copy of the input)", text
    )
    gap = scores["differences"][0]["values"]["all_checks"]
    ends = f"+{100 * gap['low']:.1f} to +{100 * gap['high']:.1f}"
    assert f"+{100 * gap['value']:.1f} points ({ends})" in text
    assert "The 95 % interval of the difference excludes zero" in text
    for number in (
        "24 120",
        "6.3 %",
        "7.1×",
        "1 min 32 s",
        "2.31 GB",
        "85 %",
        "2.13.0",
        "0123456789abcdef",
        parse_recipe(tomllib.loads((run_folder / "recipe.toml").read_text())).hash,
    ):
        assert number in text


def test_needs_nothing_from_outside(run_folder: Path) -> None:
    html = write_report(run_folder).read_text()
    tags = parsed(html).seen
    assert not {tag for tag, _ in tags} & {"script", "link", "img", "iframe", "object"}
    assert not [attrs for _, attrs in tags if {"src", "href"} & attrs.keys()]
    assert not re.search(r"https?://|url\(|@import", html)


def test_escapes_every_text(run_folder: Path) -> None:
    poison = "<img src=x onerror=alert(1)>\"'&"
    for name in (
        "recipe.toml",
        "provenance.json",
        "scores.json",
        "outputs.jsonl",
        "rejects.jsonl",
        "events.jsonl",
    ):
        file = run_folder / name
        text = (
            file.read_text()
            .replace("event-duration", poison.replace('"', ""))
            .replace("How long", json.dumps(poison)[1:-1])
        )
        file.write_text(
            text.replace("2.13.0", poison[:9]).replace("The output is empty.", json.dumps(poison)[1:-1])
        )
    html = write_report(run_folder).read_text()
    assert "img" not in {tag for tag, _ in parsed(html).seen}
    assert "&lt;img src=x" in html


@pytest.mark.parametrize(
    "name",
    ["recipe.toml", "provenance.json", "scores.json", "outputs.jsonl", "rejects.jsonl", "events.jsonl",
     "data/train.parquet", "data/test.parquet"],
)  # fmt: skip
def test_a_missing_file_is_said_and_a_damaged_one_too(run_folder: Path, name: str) -> None:
    whole = text_of(write_report(run_folder).read_text())
    (run_folder / name).unlink()
    html = write_report(run_folder).read_text()
    parsed(html)
    assert f"{name} is not in the run folder." in html
    assert "is not in the run folder" not in whole
    if name != "events.jsonl":
        (run_folder / name).write_text("{[")
        assert f"{name} cannot be read" in write_report(run_folder).read_text()


def test_a_run_that_was_stopped_tells_its_cost_from_its_steps(run_folder: Path) -> None:
    steps = [
        {
            "event": "step",
            "step": i,
            "loss": 1.0,
            "tokens": 9,
            "distinct_tokens": 3,
            "seconds": 2.5,
            "peak_mb": 640.0,
        }
        for i in (1, 2, 2)
    ]
    (run_folder / "events.jsonl").write_text(jsonl(steps))
    text = text_of(write_report(run_folder).read_text())
    assert "train 5.0 s 640 MB" in text
    assert "1.000 at the first step, 1.000 at the last of 2" in text


def test_a_long_first_row_shows_its_ends(run_folder: Path) -> None:
    first = {"pieces": [f"t{i} " for i in range(3_000)], "trained": [i > 2_990 for i in range(3_000)]}
    encoded = {"event": "encoded", "rows": 1, "tokens": 3_000, "trained_tokens": 9, "distinct_tokens": 3_000}
    (run_folder / "events.jsonl").write_text(jsonl([{**encoded, "first": first}]))
    html = write_report(run_folder).read_text()
    assert "3\u202f000 tokens. The loss" in html
    assert "t499" in html
    assert "t500 " not in html
    assert "… 2\u202f000 tokens are not shown …" in html
    assert "<mark>t2999 </mark>" in html


def test_an_empty_folder_has_a_report_and_none_has_none(tmp_path: Path) -> None:
    html = write_report(tmp_path).read_text()
    parsed(html)
    assert "This run has no scores yet." in html
    with pytest.raises(RunError, match="no such run folder"):
        write_report(tmp_path / "absent")


def test_a_difference_that_includes_zero_is_not_sold(run_folder: Path) -> None:
    scores = json.loads((run_folder / "scores.json").read_text())
    scores["differences"][0]["values"]["all_checks"].update(value=0.03, low=-0.04, high=0.1, detectable=0.1)
    (run_folder / "scores.json").write_text(json.dumps(scores))
    text = text_of(write_report(run_folder).read_text())
    assert "Whether tuning changed the share of answers that pass every check cannot be told" in text
    assert "+3.0 points (−4.0 to +10.0)" in text
    assert "includes zero: tuning may have changed nothing here" in text
    assert "reliably show 10 points or more" in text


@pytest.mark.skipif(not shutil.which("chromium"), reason="chromium is not installed")
def test_nothing_overflows_on_a_phone(run_folder: Path, tmp_path: Path) -> None:
    write_report(run_folder)
    # A window is at least 500 px wide; a frame is as narrow as it is made.
    frame = run_folder / "frame.html"
    frame.write_text(
        '<iframe src="report.html" width="400" height="9000" onload="const page = '
        "this.contentDocument.documentElement; document.title = page.scrollWidth + ' of ' + page.clientWidth"
        '"></iframe>'
    )
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files"]
    command += [f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=2000", "--dump-dom"]
    done = subprocess.run([*command, frame.as_uri()], capture_output=True, text=True, timeout=60, check=True)
    found = re.search(r"<title>(\d+) of (\d+)</title>", done.stdout)
    assert found
    assert int(found[1]) <= int(found[2]) <= 400
