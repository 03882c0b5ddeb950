"""All test rows: what is wrong, in which order, beside which trained row; and that the page lists them."""

from __future__ import annotations

import json
import random
import re
import shutil
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from espalier.core.files import jsonl
from espalier.core.records import Example, message
from espalier.data.table import as_parquet
from espalier.evaluate.pairs import evaluate_pairs
from espalier.report.browse import embedded, judges, listed, right
from espalier.report.gather import gather
from espalier.report.page import write_report

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Measured = Callable[..., str]


def of(folder: Path) -> dict[str, Any]:
    """What the report's script is given."""
    html = write_report(folder).read_text()
    found = re.search(r'<script type="application/json" id="browse-rows">(.*?)</script>', html, re.DOTALL)
    assert found
    return json.loads(found[1])


def changed(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    scores = json.loads((folder / "scores.json").read_text())
    change(scores)
    (folder / "scores.json").write_text(json.dumps(scores))


def answer(folder: Path, texts: dict[int, str], system: str = "tuned") -> None:
    """Let a system answer some test rows with these texts."""
    lines = [json.loads(line) for line in (folder / "outputs.jsonl").read_text().splitlines()]
    own = [line for line in lines if line["system"] == system]
    for number, text in texts.items():
        own[number]["text"] = text
    (folder / "outputs.jsonl").write_text(jsonl(lines))


def test_holds_every_row_with_its_answers_and_scores(run_folder: Path) -> None:
    data, run = of(run_folder), gather(run_folder)
    assert data["systems"] == ["base", "tuned"]
    assert data["measures"] == ["Passes all checks", "ROUGE-L", "Exact match"]
    assert [row["input"] for row in data["rows"]] == [example.input for example in run.test]
    scored = {row.id: row.systems for row in run.scores.examples}
    for row, example in zip(data["rows"], run.test, strict=True):
        assert row["references"] == list(example.references)
        for system, given in zip(data["systems"], row["answers"], strict=True):
            scores = scored[example.id][system]
            values = {name: score.value for name, score in scores.items()}
            assert given["text"] == run.outputs[system, example.id]["text"]
            assert given["values"] == [round(values[m], 3) for m in ("all_checks", "rouge_l", "exact_match")]
            assert len(given["why"]) == sum(bool(score.why) for score in scores.values())


def test_wrong_is_what_fails_a_check_and_comes_first(run_folder: Path) -> None:
    data = of(run_folder)
    assert data["wrong"] == "fails a check"
    marks = [(row["answers"][1]["values"][0], row["wrong"]) for row in data["rows"]]
    assert {wrong for passes, wrong in marks if passes == 0} == {True}
    assert {wrong for passes, wrong in marks if passes == 1} == {False}
    ranked = sorted(data["rows"], key=lambda row: row["rank"])
    assert [row["wrong"] for row in ranked] == sorted((wrong for _, wrong in marks), reverse=True)
    gained = [row["answers"][1]["values"][0] - row["answers"][0]["values"][0]
              for row in sorted(data["rows"], key=lambda row: row["gain"])]  # fmt: skip
    assert gained == sorted(gained)


@pytest.mark.parametrize(
    ("closed", "checked", "matched", "wrong"),
    [
        (True, True, 1.0, "fails a check or fails exact match"),
        (False, True, 1.0, "fails a check"),
        (True, False, 0.0, "fails exact match"),
        (False, False, 1.0, "fails exact match"),
        (False, False, 0.0, "worst quarter by ROUGE-L"),
    ],
)
def test_what_is_wrong_depends_on_the_task(
    run_folder: Path, closed: bool, checked: bool, matched: float, wrong: str
) -> None:
    def change(scores: dict[str, Any]) -> None:
        scores["references"]["closed"] = closed
        for block in scores["systems"].values():
            block.update({} if checked else {"all_checks": None, "checks": {}})
        for number, row in enumerate(scores["examples"]):
            row["systems"]["tuned"]["values"]["exact_match"] = matched if number % 3 == 0 else 0.0

    changed(run_folder, change)
    data = of(run_folder)
    assert set(data["wrong"].split(" or ")) == set(wrong.split(" or "))
    count = sum(row["wrong"] for row in data["rows"])
    if not checked:
        assert count == {"worst": 8, "fails": 30 - round(10 * matched)}[wrong.split()[0]]


def test_pairs_that_a_reward_model_gets_wrong_are_told(run_folder: Path, measured: Measured) -> None:
    (run_folder / "outputs.jsonl").unlink()
    run = gather(run_folder)
    rated = [replace(e, rejected=(message("assistant", "Why?"),)) for e in run.test[:3]]
    (run_folder / "data" / "test.parquet").write_bytes(as_parquet(rated))
    numbers = {"tuned": [(2, 1), (1, 2), (1, 1)], "base": [(2, 1)] * 3, "longer": [(1, 2)] * 3}
    (run_folder / "scores.json").write_text(evaluate_pairs(rated, numbers).to_json())
    data = of(run_folder)
    assert data["wrong"] == "rates a worse answer as high"
    assert [row["wrong"] for row in data["rows"]] == [False, True, True]
    assert data["rows"][0]["rejected"] == ["Why?"]
    if shutil.which("chromium"):
        shown = "page.querySelector('#browse .choices').textContent"
        assert " ".join(measured(run_folder, shown).split()) == "all 3 wrong: rates a worse answer as high 2"


def test_what_nothing_could_judge_is_not_wrong(run_folder: Path) -> None:
    def change(scores: dict[str, Any]) -> None:
        values = scores["examples"][0]["systems"]["tuned"]["values"]
        values.update(all_checks=None, rouge_l=float("nan"), exact_match=None)

    changed(run_folder, change)
    first = of(run_folder)["rows"][0]
    assert first["answers"][1]["values"] == [None, None, None]
    assert not first["wrong"]
    assert first["rank"] == 29


@pytest.mark.parametrize(
    ("said", "copies"),
    [
        (lambda e: e.input, True),
        (lambda e: e.input.upper().rstrip(".") + " !", True),
        (lambda e: e.input.replace("dog", "cat"), True),
        (lambda e: " ".join(reversed(e.input.split()[:4])), False),
        (lambda e: e.input + " And nobody knows how long that took, nor why it was done.", False),
        (lambda e: "", False),
        (lambda e: e.references[0], False),
    ],
)
def test_copies_are_told(run_folder: Path, said: Callable[[Any], str], copies: bool) -> None:
    test = gather(run_folder).test
    answer(run_folder, {i: said(example) for i, example in enumerate(test)})
    assert {row["copy"] for row in of(run_folder)["rows"]} == {copies}


def test_cut_answers_are_told(run_folder: Path) -> None:
    for row in of(run_folder)["rows"]:
        assert row["limit"] == (row["answers"][1]["finish"] == "length")


def test_the_nearest_trained_row_stands_beside_each(run_folder: Path) -> None:
    train = gather(run_folder).train
    answer(run_folder, {0: train[7].answer, 1: "Nothing of theirs."})
    data = of(run_folder)
    number, share, same, rows = data["rows"][0]["near"]
    assert data["trained"][number][1] == train[7].answer
    assert (share, same) == (1.0, True)
    assert rows == sum(example.answer == train[7].answer for example in train)
    assert data["rows"][1]["near"] is None


@pytest.mark.parametrize(
    ("missing", "systems", "wrong"),
    [
        (("scores.json",), ["base", "tuned"], ""),
        (("outputs.jsonl",), ["base", "tuned"], "fails a check"),
        (("scores.json", "outputs.jsonl"), [], ""),
        (("data/train.parquet",), ["base", "tuned"], "fails a check"),
        (("data/test.parquet",), ["base", "tuned"], "fails a check"),
    ],
)
def test_lists_what_an_unfinished_run_has(
    run_folder: Path, missing: tuple[str, ...], systems: list[str], wrong: str
) -> None:
    for name in missing:
        (run_folder / name).unlink()
    data = of(run_folder)
    assert (len(data["rows"]), data["systems"], data["wrong"]) == (30, systems, wrong)
    if "data/train.parquet" in missing:
        assert not data["trained"]
    for name in ("data/test.parquet", "scores.json"):
        (run_folder / name).unlink(missing_ok=True)
    assert listed(gather(run_folder)) is None
    assert "browse-rows" not in write_report(run_folder).read_text()


def test_stages_stand_between_base_and_tuned(run_folder: Path) -> None:
    lines = [json.loads(line) for line in (run_folder / "outputs.jsonl").read_text().splitlines()]
    staged = [{**line, "system": "stage 1"} for line in lines if line["system"] == "base"]
    (run_folder / "outputs.jsonl").write_text(jsonl([*lines, *staged]))
    changed(run_folder, lambda scores: scores["systems"].update({"stage 1": scores["systems"]["base"]}))
    data = of(run_folder)
    assert data["systems"] == ["base", "stage 1", "tuned"]
    assert data["rows"][3]["answers"][1]["text"] == data["rows"][3]["answers"][0]["text"]
    assert data["rows"][3]["answers"][1]["values"] == []


POISON = [
    "</script><script>document.title='bad'</script>",
    "<!-- <script> ]]> --!>",
    "a\0b\ud800c\u2028d\r\ne\x1b[31m",
    "&lt;b&gt; \\u003c \"'",
    "‮right to left‬",
]


@pytest.mark.parametrize("text", POISON)
def test_no_text_leaves_its_place(run_folder: Path, text: str) -> None:
    lines = [json.loads(line) for line in (run_folder / "outputs.jsonl").read_text().splitlines()]
    lines[0]["text"] = text
    (run_folder / "outputs.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (row,) = [row for row in of(run_folder)["rows"] if row["answers"][1]["text"][:1] == text[:1]][:1]
    assert row["answers"][1]["text"] == text.replace("\ud800", "\ufffd")
    page = write_report(run_folder).read_text()
    assert page.count("<script") == page.count("</script>") == 2
    assert "\0" not in page


def test_what_is_embedded_is_json_without_markup() -> None:
    value = {"</script>": [None, True, 0.5, "<!--é\0"]}
    assert json.loads(embedded(value)) == value
    assert "<" not in embedded(value)


def test_long_texts_are_shortened_only_where_all_would_be_slow(
    run_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = "The begin. " + "word " * 6_000 + "The end."
    answer(run_folder, {0: long})
    data = of(run_folder)
    assert data["cut"] == 20_000
    text = data["rows"][0]["answers"][1]["text"]
    assert len(text) == 20_005
    assert (text[:10], text[-8:]) == (long[:10], long[-8:])
    answer(run_folder, {0: long[:19_000]})
    assert of(run_folder)["cut"] == 0
    monkeypatch.setattr("espalier.report.browse.MOST", 25_000)
    assert of(run_folder)["cut"] == 8_000


def test_many_rows_take_little_time(run_folder: Path) -> None:
    rng = random.Random(2)
    words = [f"{a}{b}" for a in "bdfgklmnprst" for b in ("a", "el", "im", "or", "und")]

    def example(number: int) -> Example:
        asked, said = (" ".join(rng.choices(words, k=k)) for k in (40, 15))
        turns = (message("user", asked), message("assistant", f"How long did {said}", trained=True))
        return Example(f"{number}", "many", asked, turns, (said,), input=asked)

    rows = [example(number) for number in range(3_000)]
    train, test = rows[:2_500], rows[2_500:]
    (run_folder / "data" / "train.parquet").write_bytes(as_parquet(train))
    (run_folder / "data" / "test.parquet").write_bytes(as_parquet(test))
    lines = [
        {"system": system, "example": example.id, "text": train[i % 97].answer + " then"}
        for system in ("base", "tuned")
        for i, example in enumerate(test)
    ]
    (run_folder / "outputs.jsonl").write_text(jsonl(lines))
    (run_folder / "scores.json").unlink()
    started = time.process_time()
    data = of(run_folder)
    assert time.process_time() - started < 5
    assert len(data["rows"]) == 500
    assert {pair[1] for pair in data["trained"]} == {example.answer for example in train[:97]}
    assert all(row["near"][1] > 0.8 for row in data["rows"])


def test_why_an_answer_was_not_judged_is_told(run_folder: Path) -> None:
    def change(scores: dict[str, Any]) -> None:
        verdict = scores["examples"][0]["systems"]["tuned"]
        verdict["values"]["rouge_l"] = None
        verdict["why"]["rouge_l"] = "it raised ValueError"

    changed(run_folder, change)
    assert ["ROUGE-L", "it raised ValueError"] in of(run_folder)["rows"][0]["answers"][1]["why"]


needs_browser = pytest.mark.skipif(not shutil.which("chromium"), reason="chromium is not installed")
SHOWN = "[...page.querySelectorAll('#browse article')]"
STATUS = "page.querySelector('.status').textContent.replaceAll('\u202f', '')"
SEARCH = "page.querySelector('#browse-text').value = {!r}, page.querySelector('form').requestSubmit()"


@needs_browser
def test_the_page_searches_filters_and_sorts(run_folder: Path, measured: Measured) -> None:
    answer(run_folder, {4: "A zebra crossed </script><img src=x onerror=alert(1)> the Straße."})
    data = of(run_folder)
    wrong = sum(row["wrong"] for row in data["rows"])
    worst = min(data["rows"], key=lambda row: row["rank"])
    steps = [
        STATUS,
        f"{SHOWN}[0].getAttribute('aria-label')",
        "page.querySelector('#browse input[value=wrong]').click()",
        STATUS,
        "page.querySelector('#browse input[value=all]').click()",
        SEARCH.format("ZEBRA straße"),
        STATUS,
        f"{SHOWN}[0].querySelector('mark').textContent",
        "page.querySelectorAll('#browse img').length",
        SEARCH.format("no such words at all"),
        STATUS,
    ]
    found = json.loads(measured(run_folder, f"JSON.stringify([{', '.join(f'({s})' for s in steps)}])"))
    assert found[0] == "30 rows"
    assert found[1] == f"Test row {data['rows'].index(worst) + 1}"
    assert found[3] == f"{wrong} of 30 rows"
    assert found[6] == "1 of 30 rows"
    assert found[7] == "zebra"
    assert found[8] == 0
    assert found[10] == "No row matches."


@needs_browser
@pytest.mark.parametrize(
    ("trained", "said", "marked"),
    [
        ("How long did the ferry take?", "So how long did the dog bark?", ["How long did the"]),
        ("渡轮到达用了多长时间", "他用了多长时间", ["用了多长时间"]),
        ("one two three four, then five six seven", "five six seven one two three",
         ["one two three", "five six seven"]),
        ("one two three four five six", "one two three. Four five six", ["one two three four five six"]),
        ("Yes", "yes", []),
    ],
)  # fmt: skip
def test_the_page_marks_what_a_trained_answer_shares(
    run_folder: Path, measured: Measured, trained: str, said: str, marked: list[str]
) -> None:
    train = [replace(e, messages=(*e.prompt, message("assistant", trained, trained=True)))
             for e in gather(run_folder).train[:1]]  # fmt: skip
    (run_folder / "data" / "train.parquet").write_bytes(as_parquet(train))
    answer(run_folder, {0: said})
    write_report(run_folder)
    article = "[...page.querySelectorAll('article')].find(e => e.ariaLabel === 'Test row 1')"
    script = (
        f"JSON.stringify([...{article}.querySelectorAll('.near:not(.asked) mark')].map(e => e.textContent))"
    )
    assert json.loads(measured(run_folder, script)) == marked


@needs_browser
@pytest.mark.parametrize(
    ("missing", "orders", "near"),
    [
        ((), "rank best gain near row", 30),
        (("scores.json",), "near row", 30),
        (("scores.json", "outputs.jsonl"), "row", 0),
        (("data/train.parquet",), "rank best gain row", 0),
    ],
)
def test_the_page_offers_what_the_folder_has(
    run_folder: Path, measured: Measured, missing: tuple[str, ...], orders: str, near: int
) -> None:
    for name in missing:
        (run_folder / name).unlink()
    write_report(run_folder)
    options = "[...page.querySelectorAll('#browse option')].map(e => e.value).join(' ')"
    found = measured(run_folder, f"{options} + '|' + page.querySelectorAll('.near:not(.asked)').length")
    assert found == f"{orders}|{near}"


@needs_browser
def test_the_page_folds_long_texts_and_opens_them_where_what_is_searched_is_inside(
    run_folder: Path, measured: Measured
) -> None:
    answer(run_folder, {0: "It began. " + "It went on. " * 90 + "A zebra came."})
    write_report(run_folder)
    folds = "JSON.stringify([...page.querySelectorAll('#browse details')].map(e => e.open))"
    steps = [folds, SEARCH.format("began"), folds, SEARCH.format("zebra"), folds]
    found = json.loads(measured(run_folder, f"JSON.stringify([{', '.join(f'({s})' for s in steps)}])"))
    assert found[::2] == ["[false]", "[false]", "[true]"]


@needs_browser
def test_the_page_shows_fifty_at_a_time_and_its_controls_have_names(
    run_folder: Path, measured: Measured
) -> None:
    (row, *_) = json.loads((run_folder / "scores.json").read_text())["examples"]
    changed(run_folder, lambda scores: scores["examples"].extend({**row, "id": f"x{i}"} for i in range(31)))
    write_report(run_folder)
    steps = [
        f"{SHOWN}.length",
        STATUS,
        "page.querySelector('#browse nav .after').click()",
        f"{SHOWN}.length",
        STATUS,
        "page.activeElement.className",
        "page.querySelector('#browse nav .after').disabled",
        "[...page.querySelectorAll('#browse input, #browse select')].filter(e => !e.labels.length).length",
    ]
    found = json.loads(measured(run_folder, f"JSON.stringify([{', '.join(f'({s})' for s in steps)}])"))
    assert found == [50, "61 rows, 1 to 50 shown", None, 11, "61 rows, 51 to 61 shown", "status", True, 0]


def test_what_tells_right_from_wrong() -> None:
    """What wants all of an answer right does so, where some answers are: 1 of most measures, 0 of errors."""
    some, none = [{"vqa": 1.0, "wer": 0.5}, {"vqa": 0.0, "wer": 0.0}], [{"vqa": 0.0, "wer": 0.5}] * 20
    assert judges(["rouge_l", "vqa", "exact_match"], some, closed=False) == ["vqa"]
    assert judges(["wer"], some, closed=False) == ["wer"]
    assert judges(["vqa"], none, closed=False) == judges(["wer"], none, closed=False) == []
    assert judges(["vqa"], none, closed=True) == ["vqa"]
    assert judges(["all_checks", "vqa"], some, closed=False) == ["all_checks"]
    assert [right("wer", 0.0), right("wer", 0.1), right("vqa", 0.9), right("vqa", 1.0)] == [
        True,
        False,
        False,
        True,
    ]
    assert right("vqa", None) is None
