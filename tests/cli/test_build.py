"""A data set from the command line: built, looked at, killed and gone on with, written out and read again."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from espalier.builds.build import build
from espalier.builds.built import Build
from espalier.builds.model import Terms
from espalier.builds.recipe import load_build
from espalier.core.errors import DataError, RunError
from espalier.core.recipe import load_recipe
from espalier.data.judgement import filters, weighing
from espalier.data.pairs import Pairs
from espalier.runs.events import listening
from espalier.runs.start import start

TERMS = Terms(Path("nowhere"))
RECIPE = """
name = "small"
filter = ["length", "form", "novelty", "personal", "contradictions"]

[source]
path = "rows.jsonl"
licence = "apache-2.0"

[export]
path = "out.jsonl"
mask = ["personal"]
"""
ASKED = (
    "Explain how a kettle knows that its water boils.",
    "Which tools does somebody need who mends ladders?",
    "Give two reasons for learning the violin late in life.",
    "Where do saddles wear out first?",
    "Describe a compass to a child of five.",
    "Write a short advertisement for mittens.",
    "How fast can ice in a valley move?",
    "Turn this into a question: The ribbon was red.",
    "List three words that rhyme with jacket.",
    "Is it safe to clean copper with lemons?",
)


def row(instruction: str, output: str) -> dict[str, str]:
    return {"instruction": instruction, "input": "", "output": output}


ROWS = [
    *(row(asked, f"That is answer number {n}.") for n, asked in enumerate(ASKED)),
    row("Write the address down.", "It is ada@lovelace.net, I am sure."),
    row("Name a bird of the sea.", "A gull."),
    row("Name a bird of the sea.", "A tern."),
    row("Name nothing at all, please.", "N/A"),
]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    lines = [*map(json.dumps, ROWS), '{"instruction": "No answer"}']
    (tmp_path / "rows.jsonl").write_text("\n".join(lines) + "\n")
    (tmp_path / "build.toml").write_text(RECIPE)
    return tmp_path


def test_a_build_ends_with_its_funnel_and_keeps_every_row(place: Path, espalier) -> None:
    result = espalier("build", "build.toml", cwd=place)
    assert result.code == 0, result
    assert f"{len(ROWS)} rows in, 11 out" in result.out.replace("  ", " ")
    made = Build(place / "runs" / "small")
    assert len(made.pairs) == len(ROWS)
    assert [(step.name, step.found, step.left) for step in made.funnel.steps] == [
        ("length", 0, 14),
        ("form", 1, 13),
        ("novelty", 1, 12),
        ("personal", 1, 12),
        ("contradictions", 2, 11),
    ]
    (form,) = made.funnel.steps[1].examples
    assert form.why == "The answer is “N/A”."
    (novelty,) = made.funnel.steps[2].examples
    assert novelty.near_prompt == "Name a bird of the sea."
    assert made.funnel.sources[0].rejected == 1
    (reject,) = [json.loads(line) for line in (made.path / "rejects.jsonl").read_text().splitlines()]
    assert reject["where"].endswith("rows.jsonl:15")
    out = (made.path / "out.jsonl").read_text()
    assert len(out.splitlines()) == 11
    assert "It is [EMAIL], I am sure." in out
    assert "ada@" not in out


def test_the_card_is_in_the_form_of_the_hub(place: Path, espalier) -> None:
    from huggingface_hub import DatasetCard

    espalier("build", "build.toml", cwd=place)
    text = (place / "runs" / "small" / "README.md").read_text()
    head = DatasetCard(text).data.to_dict()
    assert head["license"] == "apache-2.0"
    assert head["size_categories"] == "n<1K"
    assert head["configs"][0]["data_files"] == [{"split": "train", "path": "out.jsonl"}]
    assert "| rows | rows.jsonl | apache-2.0 | 14 | 1 | 11 |" in text
    assert str(place) not in text


def test_what_is_done_is_not_done_again(place: Path, espalier) -> None:
    espalier("build", "build.toml", cwd=place)
    folder = place / "runs" / "small"
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.parquet")}
    assert espalier("build", "build.toml", cwd=place).code == 0
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*.parquet")} == before
    # A filter that changes is done again, and the others stay.
    changed = espalier("build", "build.toml", "-o", "filter.0.least=3", cwd=place)
    assert changed.code == 0, changed
    after = {path: path.stat().st_mtime_ns for path in folder.rglob("*.parquet")}
    assert [path.name for path in sorted(before) if after[path] != before[path]] == [
        "pairs.parquet",
        "length.parquet",
    ]
    # So are all where a source holds something else.
    with (place / "rows.jsonl").open("a") as file:
        file.write(json.dumps(row("Name a river.", "The one behind the house.")) + "\n")
    espalier("build", "build.toml", cwd=place)
    assert len(Build(folder).pairs) == len(ROWS) + 1


class Kill(BaseException):
    """What ends a build at any moment."""


@pytest.mark.parametrize("moment", [0, 1, 2, 5, 9, 14, 20])
def test_a_build_that_is_stopped_at_any_moment_goes_on(place: Path, moment: int) -> None:
    recipe = load_build(place / "build.toml")
    whole = build(recipe, place / "whole", TERMS)
    left = moment

    def stop(_: object) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise Kill

    with pytest.raises(Kill), listening(stop):
        build(recipe, place / "stopped", TERMS)
    made = build(recipe, place / "stopped", TERMS)
    for name in ("pairs.parquet", "out.jsonl", "funnel.json", "README.md", "rejects.jsonl"):
        assert (made.path / name).read_bytes() == (whole.path / name).read_bytes(), name


def test_a_build_that_is_killed_goes_on(place: Path) -> None:
    command = [sys.executable, "-m", "espalier", "build", "build.toml"]
    whole = build(load_build(place / "build.toml"), place / "whole", TERMS)
    lottery = random.Random(7)
    for _ in range(4):
        process = subprocess.Popen(
            command, cwd=place, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ}
        )
        time.sleep(lottery.uniform(0.5, 2.0))
        process.send_signal(signal.SIGKILL)
        process.wait()
    subprocess.run(command, cwd=place, check=True, capture_output=True)
    folder = place / "runs" / "small"
    assert (folder / "pairs.parquet").read_bytes() == (whole.path / "pairs.parquet").read_bytes()
    assert (folder / "out.jsonl").read_bytes() == (whole.path / "out.jsonl").read_bytes()
    assert not list(folder.glob(".pairs*"))


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("filter.0.kind=noveltee", ["filter.0.kind: ", "Did you mean 'novelty'?"]),
        ("filter.0.leest=3", ["filter.0.leest: ", "Did you mean 'least'?"]),
        ("filter.0.least=many", ["filter.0.least: 'many' does not fit"]),
        ("filter=['form', 'form']", ["filter.0.name: ", "taken twice"]),
        ("filter.0.name=origin", ["filter.0.name: ", "that of a column"]),
        ("source.path=row.jsonl", ["row.jsonl (source.0.path): ", "Did you mean 'rows.jsonl'?"]),
        ("source.path=:held", ["No file is of the split 'held'"]),
        ("source.pth=rows.jsonl", ["source.0.pth: ", "Did you mean 'path'?"]),
        ("source.format=alpca", ["source.format: ", "Did you mean 'alpaca'?"]),
        ("source.on_bad=raise", ["rows.jsonl:15: ", "source.on_bad"]),
        ("export.path=out.xml", ["export.path: ", ".jsonl or .csv or .parquet"]),
        ("export.format=shargpt", ["export.format: ", "Did you mean 'sharegpt'?"]),
        ("export.drop=['novlty']", ["export.drop: ", "Did you mean 'novelty'?"]),
        ("export.format=preference", ["rows.jsonl:1: ", "'messages' can"]),
        ("seed=-1", ["seed: -1 does not fit"]),
        ("name=a/b", ["name: "]),
    ],
)
def test_a_wrong_value_is_named(place: Path, espalier, override: str, said: list[str]) -> None:
    result = espalier("build", "build.toml", "-o", override, cwd=place)
    assert result.code == 2, result
    assert "Traceback" not in result.err
    assert all(text in result.err.splitlines()[-1] for text in said), result.err


def test_the_funnel_tells_the_mixture_also_where_nothing_is_to_be_done(place: Path, espalier) -> None:
    for _ in range(2):
        result = espalier("build", "build.toml", "-o", "mix.rows=4", cwd=place)
        assert f"{len(ROWS)} rows in, 11 pass, 4 go out in the mixture" in result.out.replace("  ", " "), (
            result
        )


def test_the_folder_of_a_run_is_not_taken(place: Path, espalier) -> None:
    folder = place / "runs" / "small"
    folder.mkdir(parents=True)
    (folder / "recipe.toml").write_text('name = "small"\n')
    result = espalier("build", "build.toml", cwd=place)
    assert result.code == 2
    assert "A run that tunes a model has this name." in result.err
    assert [path.name for path in folder.iterdir()] == ["recipe.toml"]


def test_a_file_or_a_readme_of_somebody_else_stays(place: Path, espalier) -> None:
    (place / "README.md").write_text("mine")
    (place / "mine.jsonl").write_text("mine")
    taken = espalier("build", "build.toml", "-o", f"export.path={place}/mine.jsonl", cwd=place)
    assert taken.code == 2
    assert "which this build did not write" in taken.err
    other = f"export.path={place}/other.jsonl"
    assert espalier("build", "build.toml", "-o", other, cwd=place).code == 0
    again = espalier("build", "build.toml", "-o", other, "-o", "export.format=alpaca", cwd=place)
    assert again.code == 0, again
    assert (place / "README.md").read_text() == "mine"
    assert (place / "mine.jsonl").read_text() == "mine"
    assert "Sources" in (place / "other.README.md").read_text()


def test_a_test_set_that_is_a_folder_is_looked_at_again_where_it_has_changed(place: Path) -> None:
    (place / "held").mkdir()
    (place / "held" / "a.jsonl").write_text(json.dumps(row("Name a bird of the sea.", "A gull.")) + "\n")
    asked = [f"filter=[{{kind = 'contamination', tests = ['{place / 'held'}']}}]", "export.mask=[]"]
    recipe = load_build(place / "build.toml", asked)
    assert build(recipe, place / "one", TERMS).funnel.steps[0].found == 2
    (place / "held" / "b.jsonl").write_text(json.dumps(row(ASKED[0], "It hears it.")) + "\n")
    assert build(recipe, place / "one", TERMS).funnel.steps[0].found == 3
    for split, number in (("train", 1), ("test", 2)):
        (place / "held" / f"{split}.jsonl").write_text(json.dumps(row(ASKED[number], "It is.")) + "\n")
    asked[0] = f"filter=[{{kind = 'contamination', tests = ['{place / 'held'}:test']}}]"
    made = build(load_build(place / "build.toml", asked), place / "one", TERMS)
    (found,) = made.funnel.steps[0].examples
    assert (found.prompt, found.near) == (ASKED[2], f"{place / 'held' / 'test.jsonl'}:1")


def test_what_a_kill_left_is_gone_on_with_or_removed(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = load_build(place / "build.toml", [f"export.path={place / 'far.jsonl'}"])
    names = (".respond.parquet.abc", ".respond.rejects.jsonl.0123abcd", "respond.given.parquet")
    left = [place / "one" / "generated" / name for name in names]
    left[0].parent.mkdir(parents=True)
    for one in left:
        one.touch()

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("espalier.builds.going_out.write_card", killed)
        with pytest.raises(KeyboardInterrupt):
            build(recipe, place / "one", TERMS)
    assert (place / "far.jsonl").exists()
    assert not any(one.exists() for one in left)
    assert build(recipe, place / "one", TERMS).exported == place / "far.jsonl"


def test_the_hash_of_a_recipe_tells_nothing_of_where_files_lie(place: Path) -> None:
    asked = RECIPE.replace('"personal", "contr', '{kind = "contamination", tests = ["held.jsonl"]}, "contr')
    asked = asked.replace('mask = ["personal"]', "")
    hashes: set[str] = set()
    for folder in (place, place / "moved"):
        folder.mkdir(exist_ok=True)
        (folder / "held.jsonl").write_text((place / "rows.jsonl").read_text())
        (folder / "rows.jsonl").write_text((place / "rows.jsonl").read_text())
        (folder / "build.toml").write_text(asked)
        hashes.add(load_build(folder / "build.toml").hash)
    assert len(hashes) == 1


def test_rows_are_shown_with_their_verdicts(place: Path, espalier) -> None:
    espalier("build", "build.toml", cwd=place)
    shown = espalier("data", "show", "runs/small", "--filter", "form", cwd=place)
    (line,) = [json.loads(line) for line in shown.out.splitlines()]
    assert line["messages"][-1]["content"] == "N/A"
    assert line["verdicts"]["form"]["why"] == "The answer is “N/A”."
    assert line["verdicts"]["novelty"]["ok"] is True
    assert len(espalier("data", "show", "rows.jsonl", "-n", "3", cwd=place).out.splitlines()) == 3
    wrong = espalier("data", "show", "runs/small", "--filter", "frm", cwd=place)
    assert wrong.code == 2
    assert "Did you mean 'form'?" in wrong.err


def test_two_builds_are_compared(place: Path, espalier) -> None:
    espalier("build", "build.toml", cwd=place)
    other = ("-o", "name=other", "-o", "filter.0.least=3")
    espalier("build", "build.toml", *other, cwd=place)
    with (place / "rows.jsonl").open("a") as file:
        file.write(json.dumps(row("Name a river.", "The one behind the house.")) + "\n")
    espalier("build", "build.toml", *other, cwd=place)
    found = json.loads(espalier("data", "diff", "runs/small", "runs/other", "--json", cwd=place).out)
    assert found["same"] == len(ROWS)
    assert found["only_first"] == []
    assert len(found["only_second"]) == 1
    short = sum(len(one["output"].split()) < 3 for one in ROWS)
    assert len(found["changed"]["length"]) == short
    assert "1 row only in the second" in espalier("data", "diff", "runs/small", "runs/other", cwd=place).out


def test_rows_are_written_out_in_another_format(place: Path, espalier) -> None:
    espalier("build", "build.toml", cwd=place)
    command = ("data", "export", "runs/small", "--to", "all.csv", "--format", "alpaca", "--drop", "none")
    assert espalier(*command, cwd=place).code == 0
    same = espalier("data", "diff", "runs/small", "all.csv", "--json", cwd=place)
    assert json.loads(same.out) == {"same": 14, "only_first": [], "only_second": [], "changed": {}}
    card = (place / "README.md").read_text()
    assert "No row was taken out" in card
    assert "| yes |" not in card
    again = espalier(*command, cwd=place)
    assert again.code == 2
    assert "--overwrite" in again.err
    assert espalier(*command, "--overwrite", cwd=place).code == 0


def test_nested_subsets_are_written_each_with_its_card(place: Path, espalier) -> None:
    espalier("build", "build.toml", cwd=place)
    command = (
        "data",
        "export",
        "runs/small",
        "--to",
        "set.jsonl",
        "--format",
        "alpaca",
        "--nested",
        "3, 5,9",
    )
    result = espalier(*command, cwd=place)
    assert result.code == 0, result
    found = [(place / f"set-{size}.jsonl").read_text().splitlines() for size in (3, 5, 9)]
    assert [len(lines) for lines in found] == [3, 5, 9]
    assert {*found[0]} < {*found[1]} < {*found[2]}
    for size in (3, 5, 9):
        card = (place / f"set-{size}.README.md").read_text()
        assert f"A subset of {size} of the 10 rows that pass" in card
        assert f"path: set-{size}.jsonl" in card
    assert not (place / "README.md").exists()
    wrong = {
        "99": "10 go out", "0": "Write 100,300,1000", "a": "no list of sizes", "3": "--overwrite",
        "3 --mix": "Leave one of them out", "4 --format natural-instructions --to x.json": "no part is taken",
    }  # fmt: skip
    for sizes, told in wrong.items():
        refused = espalier(*command[:-1], *sizes.split(), cwd=place)
        assert refused.code == 2, refused
        assert told in refused.err, refused
    nothing = espalier(*command[:-2], "--mix", cwd=place)
    assert "does not say how to mix" in nothing.err


def test_two_files_in_one_folder_have_a_card_each(place: Path, espalier) -> None:
    espalier("build", "build.toml", cwd=place)
    folder = place / "runs" / "small"
    before = (folder / "README.md").read_text()
    espalier("data", "export", "runs/small", "--to", "runs/small/more.csv", cwd=place)
    assert (folder / "README.md").read_text() == before
    assert "path: more.csv" in (folder / "more.README.md").read_text()


def test_a_set_is_built_in_python(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import espalier

    monkeypatch.chdir(place)
    table = {"name": "here", "source": {"path": "rows.jsonl"}, "filter": ["form"]}
    made = espalier.build(table, "seed=3")
    assert made.recipe.seed == 3
    assert made.funnel.out == 13
    assert made.exported is None
    found = [row.answer for row, verdicts in made.pairs.judged() if verdicts["form"].ok is False]
    assert found == ["N/A"]


def test_the_table_of_a_build_is_a_source(place: Path, espalier) -> None:
    espalier("build", "build.toml", cwd=place)
    more = ("-o", "name=more", "-o", "source.path=runs/small/pairs.parquet", "-o", "filter=['form']")
    assert espalier("build", "build.toml", *more, "-o", "export.mask=[]", cwd=place).code == 0
    one, two = (Pairs(place / "runs" / name / "pairs.parquet") for name in ("small", "more"))
    assert [example.id for example in one] == [example.id for example in two]


def test_the_report_shows_what_was_found_and_loads_nothing(place: Path, espalier) -> None:
    espalier("build", "build.toml", cwd=place)
    report = place / "runs" / "small" / "report.html"
    text = report.read_text()
    assert "11 of 14 rows go out" in text
    assert "<mark>ada@lovelace.net</mark>" in text
    assert "http" not in text.replace("http-equiv", "")
    report.unlink()
    espalier("report", "runs/small", cwd=place)
    assert report.read_text() == text


def test_the_page_shows_what_works(place: Path, monkeypatch: pytest.MonkeyPatch, espalier) -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "building.md").read_text()
    recipe, code = (re.search(rf"```{kind}\n(.*?)```", page, re.DOTALL) for kind in ("toml", "python"))
    assert recipe
    assert code
    monkeypatch.chdir(place)
    (place / "build.toml").write_text(recipe.group(1))
    exec(compile(code.group(1), "building.md", "exec"), {})
    test = {"instruction": "Say it.", "output": ROWS[0]["instruction"]}
    (place / "test.jsonl").write_text(json.dumps(test) + "\n")
    commands = [line.strip() for line in page.split("\n") if line.startswith("    espalier ")]
    other = espalier("build", "build.toml", "-o", "name=other", cwd=place)
    assert other.code == 0, other
    for command in commands:
        command = command.replace("novelty", "same_prompt")
        result = espalier(*command.split()[1:], cwd=place)
        assert result.code == 0, result
    assert json.loads(result.out)["tests_matched"] == 1
    listed = re.findall(r"^\| `(\w+)`(?:, `(\w+)`)? \|", page.partition("## Filters")[2], re.MULTILINE)
    known = sorted([*filters.names(), *weighing.names()])
    assert sorted(name for names in listed for name in names if name) == known


def test_a_build_and_a_run_keep_to_their_own_folders_and_recipes(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "event-duration"
    folder.mkdir(parents=True)
    (folder / "recipe.toml").write_text('[[source]]\npath = "a"\n')
    recipe = load_recipe("event-duration", [f"folder={tmp_path / 'runs'}"])
    with pytest.raises(RunError, match="A build of a data set has this name"):
        start(recipe, tmp_path)
    with pytest.raises(DataError) as caught:
        load_build(tmp_path / "nope.toml")
    assert "grpo" not in str(caught.value)
