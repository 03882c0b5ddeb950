"""The report: complete, self-contained, safe with any text, and readable on a phone."""

from __future__ import annotations

import json
import re
import shutil
import tomllib
from dataclasses import asdict
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from espalier.core.errors import RunError
from espalier.core.files import jsonl
from espalier.core.recipe import parse_recipe
from espalier.report.page import write_report
from espalier.scorers.rouge import RougeL

if TYPE_CHECKING:
    from collections.abc import Callable

    Measured = Callable[..., str]

VOID = {"meta", "line", "circle", "polyline", "rect", "br", "input"}


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
    return " ".join(re.sub(r"<[^>]+>", " ", without_code(html)).split())


def without_code(html: str) -> str:
    return re.sub(r"<(style|script)\b.*?</\1>", "", html, flags=re.S)


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
    assert "The 95 % interval of the difference from the base excludes zero" in text
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
    assert not {tag for tag, _ in tags} & {"link", "img", "iframe", "object"}
    assert not [attrs for _, attrs in tags if {"src", "href"} & attrs.keys()]
    (policy,) = [attrs["content"] for _, attrs in tags if "http-equiv" in attrs]
    assert policy
    assert policy.startswith("default-src 'none';")
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
    assert "includes zero: tuning may have changed nothing" in text
    assert "reliably show 10 points or more" in text


def test_is_titled_by_the_task_and_tells_no_path(run_folder: Path) -> None:
    recipe = run_folder / "recipe.toml"
    recipe.write_text(recipe.read_text().replace('"event-duration"', '"/home/ada/tasks/durations.toml"'))
    html = write_report(run_folder).read_text()
    assert "<title>durations – Espalier report</title>" in html
    assert "Espalier report · durations · 2026-11-24" in html
    assert "/home/ada" not in html[: html.index("How to reproduce it")]
    (run_folder / "recipe.toml").write_text(recipe.read_text().replace('name = "durations"', 'name = "mine"'))
    assert "Espalier report · durations · run mine · 2026-11-24" in write_report(run_folder).read_text()


def test_the_worst_news_is_the_headline_and_the_rest_follows(run_folder: Path) -> None:
    scores = json.loads((run_folder / "scores.json").read_text())
    scores["systems"]["base"]["at_limit"].update(value=0.85)
    scores["differences"][2]["values"]["all_checks"].update(value=-0.04, low=-0.07, high=-0.01)
    (run_folder / "scores.json").write_text(json.dumps(scores))
    html = write_report(run_folder).read_text()
    assert re.search(r'<h1 class="bad">The tuned model does worse than a copy of the input: ', html)
    assert '<li class="caution">85\u00a0% of the base model&#39;s answers were cut at the limit' in html
    assert "Tuning raised" not in html


def test_names_of_measures_and_options_are_not_broken(run_folder: Path) -> None:
    scores = json.loads((run_folder / "scores.json").read_text())
    scores["limit"] = {"tokens": 4, "too_long": 1, "needed": 23}
    (run_folder / "scores.json").write_text(json.dumps(scores))
    html = without_code(write_report(run_folder).read_text())
    plain = re.sub(r"<span class='whole'>[^<]*</span>", "", html[: html.index("How to reproduce it")])
    assert "<span class='whole'>-o decode.limit=23</span> would hold all." in html
    assert "<h3><span class='whole'>ROUGE-L</span></h3>" in html
    assert "ROUGE-L" not in plain


def test_what_words_were_counted_is_told(run_folder: Path) -> None:
    scores = json.loads((run_folder / "scores.json").read_text())
    scores["metrics"] = {"rouge_l": asdict(RougeL(official=False).metric)}
    (run_folder / "scores.json").write_text(json.dumps(scores))
    text = text_of(write_report(run_folder).read_text())
    assert "ROUGE-L (Unicode words) Words in common with the nearest reference" in text
    assert "in a script without spaces each letter is one" in text


def test_lengths_of_answers_are_drawn(run_folder: Path) -> None:
    html = write_report(run_folder).read_text()
    for name in ("trained answers", "references", "base model", "tuned model"):
        assert re.search(rf'aria-label="Share of {name} by words: [\d.]+ in the median, \d+ at most"', html)
    (run_folder / "data" / "train.parquet").unlink()
    assert "Share of trained answers" not in write_report(run_folder).read_text()


def test_one_is_singular(run_folder: Path) -> None:
    scores = json.loads((run_folder / "scores.json").read_text())
    (run_folder / "scores.json").write_text(json.dumps({**scores, "rows": 1, "sources": 1}))
    text = text_of(write_report(run_folder).read_text())
    assert "Scored on 1 test row of 1 source, none of which" in text
    assert not re.search(r"\b1 (test rows|sources|rows|steps|tokens|answers)\b", text)


@pytest.mark.skipif(not shutil.which("chromium"), reason="chromium is not installed")
@pytest.mark.parametrize("width", [400, 1280])
def test_nothing_overflows_on_any_screen(run_folder: Path, measured: Measured, width: int) -> None:
    scores = json.loads((run_folder / "scores.json").read_text())
    scores["metrics"] = {"rouge_l": asdict(RougeL(official=False).metric)}
    for value in scores["differences"][0]["values"].values():
        value.update(value=1.0, low=0.936, high=1.0)
    group = {key: scores[key] for key in ("rows", "sources", "systems", "differences")}
    scores["groups"] = {
        f"subtask003_question_generation_of_{name}": group for name in ("durations", "orders")
    }
    (run_folder / "scores.json").write_text(json.dumps(scores))
    write_report(run_folder)
    over = "[...page.querySelectorAll('.range, .value, h1, h2, h3, li, td, th')].filter(e => e.scrollWidth > "
    over += "e.clientWidth + 1 && getComputedStyle(e).display !== 'inline').map(e => e.textContent).join()"
    broken = "[...page.querySelectorAll('.whole')].filter(e => e.getClientRects().length > 1).length"
    wide = "page.documentElement.scrollWidth + ' of ' + page.documentElement.clientWidth"
    opened = "page.querySelectorAll('details').forEach(e => e.open = true)"
    said = measured(run_folder, f"({opened}, {wide} + ' | ' + {broken} + ' | ' + {over})", width)
    size, torn, overflowing = said.split(" | ")
    content, window = map(int, size.split(" of "))
    assert content <= window <= width
    assert torn == "0"
    assert overflowing == ""
