"""The page of a build: what was found stands where it was found, and beside the row that it is like."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from espalier.building.funnel import FUNNEL, TABLE, NamedFilter, Source, make_funnel
from espalier.building.review import NAME
from espalier.builds.review import Review
from espalier.core.journal import Journal
from espalier.core.records import Example, example_id, message
from espalier.data.judgement import PASSES, Judgement
from espalier.data.pairs import Pairs, join, write_pairs, write_verdicts
from espalier.report.build import write_build_report

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Measured = Callable[..., str]

LONG = "The gulls came in from the sea and sat on the roofs. " * 40
MAIL = "keeper@harbour.example"


def _row(number: int, prompt: str, answer: str, input: str = "") -> Example:
    turns = (message("user", prompt), message("assistant", answer, trained=True))
    origin: dict[str, Any] = {"file": f"a/{'very_' * 12}long/place.jsonl", "row": number, "source": 0}
    return Example(example_id(prompt, answer), "birds", prompt, turns, (answer,), input=input, origin=origin)


@pytest.fixture
def build_folder(tmp_path: Path) -> Path:
    """A build of four rows: a mail address deep in an answer, and a prompt that stands there twice."""
    folder = tmp_path / "birds"
    folder.mkdir()
    asked = f"{LONG}Which bird is it?\n\nInput: a gull"
    rows = [
        _row(1, "Whom do I ask?", f"{LONG}\nAsk {MAIL}."),
        _row(2, asked, "A gull.", "a gull"),
        _row(3, asked, "A tern.", "a gull"),
        _row(4, "Name a bird.", "A wren."),
    ]
    start = rows[0].answer.index(MAIL)
    found = {
        "personal": [
            Judgement(False, "It holds a mail address.", 1, spans=((1, start, start + len(MAIL)),)),
            PASSES,
            PASSES,
            PASSES,
        ],
        "contradictions": [
            PASSES,
            PASSES,
            Judgement(False, "The same prompt has 2 answers.", 2, rows[1].id),
            PASSES,
        ],
        "a_filter_of_ones_own_with_a_long_name": [PASSES] * 4,
    }
    write_pairs(folder / TABLE, rows)
    for name, judgements in found.items():
        write_verdicts(folder / f"{name}.parquet", judgements)
    join(folder / TABLE, {name: folder / f"{name}.parquet" for name in found})
    sources = [Source(f"a/{'very_' * 12}long/place.jsonl", "", 4, 0)]
    filters = [NamedFilter(name, name, {"words": ["x" * 90]}) for name in found]
    funnel = make_funnel("birds", Pairs(folder / TABLE), sources, filters, [*found])
    (folder / FUNNEL).write_text(funnel.to_json())
    (folder / "recipe.toml").write_text('name = "birds"\n\n[[source]]\npath = "birds.jsonl"\n')
    return folder


def test_what_was_found_is_shown_where_it_stands(build_folder: Path) -> None:
    page = write_build_report(build_folder).read_text()
    assert f"<mark>{MAIL}</mark>" in page
    assert "2 of 4 rows go out" in page
    assert "path = &#34;birds.jsonl&#34;" in page


def test_a_row_that_is_like_another_stands_beside_it_with_both_answers(build_folder: Path) -> None:
    page = write_build_report(build_folder).read_text()
    beside = page.split('<div class="pair beside">')[1].split("</article>")[0]
    assert (
        beside.count("Which bird is it?\n\nInput: a gull") == 2
    )  # the ends of the prompts, not the input alone
    assert [beside.count(text) for text in ("A gull.", "A tern.", "place.jsonl:2", "place.jsonl:3")] == [
        1,
        1,
        1,
        1,
    ]


def test_what_people_decided_is_counted(build_folder: Path) -> None:
    rows = [*Pairs(build_folder / TABLE).judged()]
    review = Review(rows, Journal(build_folder / NAME))
    review.decide(rows[2][0], "ada", "keep")
    review.decide(rows[3][0], "ada", "reject")
    review.decide(rows[1][0], "bo", "edit", texts=("Which bird is it?", "A gull."))
    page = write_build_report(build_folder).read_text()
    assert "2 of 4 rows go out" in page
    said = " ".join(page.split('<p class="people">')[1].split("</p>")[0].split())
    assert said == (
        "ada, bo decided about rows. Of those that the filters let out, 1 stay behind; of those that a "
        "filter takes out, 1 go out; 1 go out as edited."
    )


@pytest.mark.parametrize("width", [400, 1280])
def test_nothing_overflows_on_any_screen(build_folder: Path, measured: Measured, width: int) -> None:
    write_build_report(build_folder)
    wide = "page.documentElement.scrollWidth"
    over = (
        "[...page.querySelectorAll('.funnel svg')].filter("
        "e => e.getBoundingClientRect().right > page.documentElement.clientWidth).length"
    )
    tall = (
        "[...page.querySelectorAll('.funnel .value')].filter(e => e.getClientRects()[0].height > 30).length"
    )
    said = measured(build_folder, f"{wide} + ' ' + {over} + ' ' + {tall}", width)
    content, outside, broken = map(int, said.split())
    assert (content <= width, outside, broken) == (True, 0, 0)
