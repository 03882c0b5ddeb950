"""`espalier study`: many runs as one question, what they share, and what is said of bad ones."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from espalier.api import study
from espalier.core.files import read_jsonl
from espalier.core.recipe import load_recipe
from espalier.core.run import open_run
from espalier.design.factors import factors, varied
from espalier.design.files import Files
from espalier.design.recipe import FactorChoice, load_study
from espalier.runs.prepare import prepare
from espalier.trials.evaluation import evaluated
from espalier.trials.evaluation_subject import Evaluation

if TYPE_CHECKING:
    from collections.abc import Callable

    from espalier.core.recipe import Recipe
    from tests.cli.conftest import Finished, Result

ASKED = """
recipe = "recipe.toml"
seeds = 1
set = ["train.epochs=0.1"]
[[factor]]
kind = "decode"
levels = [{ kind = "greedy", limit = 6 }, { kind = "greedy", limit = 3 }]
[[factor]]
kind = "definition"
levels = ["original", "shuffled"]
at = "test"
[[factor]]
kind = "examples"
levels = ["good", "none"]
at = "test"
"""
HOME = "decode-greedy-limit-6_definition-original_examples-good_s0"


@pytest.fixture(scope="module")
def asked(
    tmp_path_factory: pytest.TempPathFactory,
    new_home: Callable[[Path], Path],
    espalier: Callable[..., Result],
) -> tuple[Path, Result]:
    """A study of eight cells that differ in how they are asked, for all tests that only look."""
    home = new_home(tmp_path_factory.mktemp("study") / "home")
    (home / "asked.toml").write_text(ASKED)
    done = espalier("study", "asked.toml", cwd=home)
    assert done.code == 0, done.err
    return home, done


def cells_of(home: Path, name: str = "asked") -> list[dict[str, Any]]:
    return json.loads((home / "studies" / name / "study.json").read_text())["cells"]


def test_cells_that_differ_in_how_they_are_asked_take_one_training(asked: tuple[Path, Result]):
    home, done = asked
    cells = cells_of(home)
    assert len(cells) == 8
    assert {cell["state"] for cell in cells} == {"done"}
    assert [cell["name"] for cell in cells if cell["kind"] == "run"] == [HOME]
    folders = home / "studies" / "asked" / "runs"
    assert len([*folders.glob("*/model")]) == 1
    assert "8 cells of 1 training, 1 of which were trained" in " ".join(done.out.split())
    assert "say nothing about retraining" in " ".join(done.out.split())
    assert not [*folders.rglob("together.jsonl")]  # what was kept for a kill


def test_the_folder_says_all_as_page_and_numbers(asked: tuple[Path, Result]):
    folder = asked[0] / "studies" / "asked"
    effects = json.loads((folder / "effects.json").read_text())
    assert [one["factor"] for one in effects["effects"]][:3] == ["decode", "definition", "examples"]
    assert len(effects["effects"]) == 6  # three interactions
    assert all(len(one["cells"]["plus"]) == len(one["cells"]["minus"]) == 4 for one in effects["effects"])
    assert all(one["same"] for one in effects["effects"])  # the same model on both sides
    table = (folder / "effects.csv").read_text().splitlines()
    assert len(table) == 7
    assert table[0].startswith("factor,level,against,sort,difference,low,high,p,corrected,could_see")
    page = (folder / "study.html").read_text()
    assert "http://" not in page
    assert "https://" not in page
    links = {part.split('"')[0] for part in page.split('href="')[1:]}
    assert links >= {f"runs/{cell['name']}/report.html" for cell in cells_of(asked[0])}
    assert all((folder / link).exists() for link in links)
    assert load_study(folder / "study.toml").seeded == (0,)


def test_a_second_time_nothing_is_done(
    asked: tuple[Path, Result], espalier: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
):
    home, done = asked
    files = {path: path.read_bytes() for path in (home / "studies").rglob("*") if path.is_file()}

    def never(*_: object, **__: object) -> None:
        raise AssertionError("done again")

    monkeypatch.setattr("espalier.study.carrying_out.start", never)
    monkeypatch.setattr("espalier.study.carrying_out.evaluate_together", never)
    again = espalier("study", "asked.toml", cwd=home)
    assert again.out == done.out
    assert files == {path: path.read_bytes() for path in (home / "studies").rglob("*") if path.is_file()}


def test_answers_are_those_of_separate_evaluations(asked: tuple[Path, Result], tmp_path: Path):
    home, _ = asked
    runs = home / "studies" / "asked" / "runs"
    cell = next(
        one for one in cells_of(home) if one["levels"]["examples"] == "none" and one["kind"] == "evaluation"
    )
    recipe = load_recipe(runs / cell["name"] / "recipe.toml")
    alone = recipe.model_copy(update={"folder": str(tmp_path)})  # where no store has an answer
    folder = evaluated(Evaluation(alone, whole=False), tmp_path)
    texts = [
        [(line["example"], line["text"]) for _, line in read_jsonl(one)]
        for one in (folder.outputs, runs / cell["name"] / "outputs.jsonl")
    ]
    assert texts[0] == texts[1]


def test_any_two_cells_compare(asked: tuple[Path, Result], espalier: Callable[..., Result]):
    home, _ = asked
    names = [f"studies/asked/runs/{cell['name']}" for cell in cells_of(home)]
    done = espalier("compare", names[0], names[-1], "--allow=template", "--allow=decoding", cwd=home)
    assert done.code == 0, done.err


def test_a_killed_study_goes_on_and_a_deleted_cell_is_made_again(
    asked: tuple[Path, Result], espalier: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
):
    home, _ = asked
    known = (home / "studies" / "asked" / "effects.json").read_bytes()
    shutil.copytree(home / "studies", home / "kept")

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    try:
        runs = home / "studies" / "asked" / "runs"
        for cell in cells_of(home)[3:5]:
            shutil.rmtree(runs / cell["name"])
        with monkeypatch.context() as patched:
            patched.setattr("espalier.study.carrying_out.evaluate_together", killed)
            stopped = espalier("study", "asked.toml", cwd=home)
        assert stopped.code == 130
        done = espalier("study", "asked.toml", cwd=home)
        assert done.code == 0, done.err
        assert "Deleted, and made again" in done.err
        assert (home / "studies" / "asked" / "effects.json").read_bytes() == known
    finally:
        shutil.rmtree(home / "studies")
        (home / "kept").rename(home / "studies")


def test_an_edited_study_keeps_what_is_still_valid(
    asked: tuple[Path, Result], espalier: Callable[..., Result]
):
    home, _ = asked
    shutil.copytree(home / "studies", home / "kept")
    try:
        (home / "edited.toml").write_text(ASKED.replace('["good", "none"]', '["good", "delusive"]'))
        done = espalier("study", "edited.toml", "-o", "name=asked", cwd=home)
        assert done.code == 0, done.err
        assert "No cells of this study any more" in done.err
        assert "Training" not in done.err.replace("Training 1 of 1", "")
        back = espalier("study", "asked.toml", cwd=home)
        assert "Evaluation" not in back.err  # what it had is valid again
        other = ("-o", "set=['train.epochs=0.2']", "-o", "budget=0.0001")  # it need not be trained here
        changed = espalier("study", "asked.toml", *other, cwd=home)
        assert changed.code == 2
        assert "The study was edited (train.epochs (0.1 before, 0.2 now))" in changed.err
    finally:
        shutil.rmtree(home / "studies")
        (home / "kept").rename(home / "studies")


def test_a_cell_that_somebody_else_has_trained_is_refused(after: Finished, espalier: Callable[..., Result]):
    (after.home / "two.toml").write_text(
        'recipe = "recipe.toml"\nseeds = 1\n[[factor]]\nkind = "epochs"\nlevels = [0.1, 0.2]\n'
    )
    shutil.copytree(after.folder, after.home / "studies/two/runs/epochs-0.1_s0")
    done = espalier("study", "two.toml", cwd=after.home)
    assert done.code == 2
    assert "The cell differs from the others in more than its factors." in done.err
    assert "train.epochs (2.0 before, 0.1 now)" in done.err


FACTOR = 'kind = "rate"\nlevels = [1e-3, 1e-4]'


@pytest.mark.parametrize(
    ("factor", "more", "said"),
    [
        (
            'kind = "ratee"\nlevels = [1, 2]',
            "",
            "No factor is named 'ratee', nor a key of a recipe. Did you mean 'rate'",
        ),
        ('kind = "train.rat"\nlevels = [1, 2]', "", "Did you mean 'train.rate'"),
        ('kind = "definition"\nlevels = ["original", "shufled"]', "", "Did you mean 'shuffled'"),
        (
            'kind = "definition"\nlevels = ["original", "labels"]',
            "",
            "answered in free text, so it has no label space",
        ),
        ('kind = "rate"\nlevels = [1e-3]', "", "The factor 'rate' has 1 level"),
        ('kind = "rate"\nlevels = [1e-3, 1e-3]', "", "The level 0.001 of 'rate' is there twice"),
        ('kind = "rate"\nlevels = [1e-3, "fast"]', "", "'fast' does not fit"),
        ('kind = "method"\nlevels = ["full", "loara"]', "", "At method loara: No method is named 'loara'."),
        ('kind = "data.size"\nlevels = [8, 4000]', "", "A size of 4000 is more than the 24 rows"),
        (FACTOR + '\nat = "test"', "", "'rate' makes no difference"),
        (
            FACTOR + "\n[[factor]]\nkind = 'train.rate'\nname = 'other'\nlevels = [1.0, 2.0]",
            "",
            "may set the same",
        ),
        (
            'kind = "data.train"\nlevels = [0.7, 0.8]\nat = "both"',
            "",
            "The rows that are scored differ: 6 at",
        ),
        ('kind = "data.train"\nlevels = [0.7, 0.8]', "", "2 sources of the test set would be trained on"),
        (FACTOR, "metric = 'rouge'", "The runs have no measure 'rouge'. Did you mean 'rouge_l'"),
        (FACTOR, "margin = 3", "One training a side cannot show"),
        (FACTOR, "budgt = 3", "Did you mean 'budget'"),
        (FACTOR, "seeds = 0", "a study needs one seed or more"),
        (FACTOR, "design = 'screning'", "Did you mean 'screening'"),
        (FACTOR, "set = ['train.rte=1']", "There is no key 'rte' here"),
    ],
)
def test_what_no_study_can_be_made_of_is_told_in_a_sentence(
    home: Path, espalier: Callable[..., Result], factor: str, more: str, said: str
):
    seeds = "" if more.startswith("seeds") else "seeds = 1\n"
    (home / "bad.toml").write_text(f'recipe = "recipe.toml"\n{seeds}{more}\n[[factor]]\n{factor}\n')
    done = espalier("study", "bad.toml", cwd=home)
    assert done.code == 2
    assert said in done.err
    assert not [*(home / "studies").rglob("recipe.toml")]


def test_two_at_once_are_refused(home: Path, espalier: Callable[..., Result]):
    (home / "one.toml").write_text(f'recipe = "recipe.toml"\n[[factor]]\n{FACTOR}\n')
    with open_run(home / "studies" / "one"):
        done = espalier("study", "one.toml", cwd=home)
    assert done.code == 2
    assert "Another run is writing to this folder." in done.err


def test_a_budget_that_is_spent_stops_before_the_next_training(home: Path, espalier: Callable[..., Result]):
    head = 'recipe = "recipe.toml"\nseeds = 1\nset = ["train.epochs=0.1"]\nbudget = 0.0001'
    (home / "dear.toml").write_text(f"{head}\n[[factor]]\n{FACTOR}\n")
    done = espalier("study", "dear.toml", cwd=home)
    assert done.code == 2
    assert "is below one training" in done.err
    assert [cell["state"] for cell in cells_of(home, "dear")] == ["done", "planned"]


def test_what_must_matter_is_seen_and_what_cannot_is_not(home: Path):
    # The one study here that trains until a tiny model has learned something: to say yes.
    rows = [{"input": f"{word} {n}", "output": "yes"} for n in range(2) for word in "abcdefghijklmnop"]
    (home / "plural.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe = home / "recipe.toml"
    recipe.write_text(recipe.read_text().replace("epochs = 2", "epochs = 8"))
    table = {
        "name": "planted",
        "folder": str(home / "studies"),
        "recipe": str(recipe),
        "seeds": 1,
        "metric": "exact_match",
        "set": ["data.limit=16"],
        "factor": [
            {"kind": "rate", "levels": [1e-9, 1e-2]},
            {"kind": "train.checkpoint", "levels": [7, 50]},  # of no account to what is learned
        ],
    }
    found = study(table)
    assert [one.name for one in found.seen] == ["rate: 0.01 against 1e-09"]
    assert found["rate"].compared.verdict == "better"
    assert found["checkpoint"].compared.difference.value == 0
    assert (found.trainings, found.trained) == (4, 2)
    assert "What made a difference" in str(found)


def rows_of(recipe: Recipe) -> tuple[dict[str, str], list[object]]:
    made = prepare(recipe)
    test: list[object] = [(e.id, e.source, e.prompt, e.references) for e in made.test]
    return {e.id: e.answer for e in made.train}, test


@pytest.mark.parametrize("level", ["shuffled", "style-only", "FILE"])
def test_answers_of_others_change_what_is_learned_and_keep_the_rows(home: Path, level: str):
    recipe = load_recipe(home / "recipe.toml")
    gold, scored = rows_of(recipe)
    if level == "FILE":
        level = str(home / "said.jsonl")
        Path(level).write_text("".join(json.dumps({"id": i, "output": f"said {i}"}) + "\n" for i in gold))
    changed = factors.build("output.source", {}).apply(recipe, level, Files(home / "files"))
    learned, asked = rows_of(changed)
    assert [*learned] == [*gold]
    assert asked == [(i, source, prompt, refs) for i, source, prompt, refs in scored]
    different = [i for i in gold if learned[i] != gold[i]]
    assert len(different) > len(gold) / 2
    if level == "shuffled":
        assert sorted(learned.values()) == sorted(gold.values())


@pytest.mark.parametrize(
    ("kind", "level", "there", "gone"),
    [
        ("definition", "original", "Write the plural of the noun.", ""),
        ("definition", "shuffled", "noun", "Write the plural of the noun."),
        ("definition", "empty", "Good example", "noun"),
        ("definition", "event-duration", "question", "plural"),
        ("definition", "another", "rising order", "plural"),
        ("examples", "none", "plural", "Good example"),
        (
            "examples",
            "permuted",
            "naïve readers\n\nGood example\nInput: a cup",
            "Input: a cup\nOutput: cups\n\nGood",
        ),
        ("examples", "delusive", "Input: a cup\nOutput: naïve readers", "a cup\nOutput: cups"),
    ],
)
def test_levels_of_the_prompt_say_what_they_should(home: Path, kind: str, level: str, there: str, gone: str):
    recipe = load_recipe(home / "recipe.toml")
    changed = factors.build(kind, {}).apply(recipe, level, Files(home / "files"))
    before, after = prepare(recipe), prepare(changed)
    assert [e.id for e in before.test] == [e.id for e in after.test]
    assert [e.references for e in before.test] == [e.references for e in after.test]
    prompts = [e.prompt[0].text for e in after.test]
    assert all(there in prompt for prompt in prompts)
    assert not gone or not any(gone in prompt for prompt in prompts)


def test_sizes_are_nested_and_a_filter_takes_training_rows_only(home: Path):
    recipe, files = load_recipe(home / "recipe.toml"), Files(home / "files")
    small, large = (rows_of(factors.build("data.size", {}).apply(recipe, n, files)) for n in (6, 18))
    assert small[0].keys() < large[0].keys()
    assert small[1] == large[1] == rows_of(recipe)[1]
    kept = factors.build("data.filter", {}).apply(recipe, {"kind": "length", "most": 1}, files)
    assert rows_of(kept)[1] == rows_of(recipe)[1]


def test_a_factor_from_outside_and_any_key(home: Path, monkeypatch: pytest.MonkeyPatch):
    (home / "my_factors.py").write_text(
        "from espalier.design.factors import Factor, of_key\n"
        "def slower(*, times: float = 2.0):\n"
        "    key = of_key('train.rate')\n"
        "    return Factor(lambda r, level, files: key.apply(r, level / times, files), 'train')\n"
    )
    monkeypatch.syspath_prepend(str(home))
    recipe, files = load_recipe(home / "recipe.toml"), Files(home / "files")
    own = varied(
        FactorChoice.model_validate({"kind": "my_factors:slower", "levels": [1.0, 2.0], "times": 4.0}), 0
    )
    assert own.name == "slower"
    assert own.on(recipe, 1, files).train[0].rate == 0.5
    key = varied(FactorChoice.model_validate({"kind": "decode.limit", "levels": [3, 5]}), 0)
    assert (key.name, key.at) == ("limit", "test")
    assert key.on(recipe, 1, files).decode.params["limit"] == 5
