"""Runs and studies on several sources: tasks beside plain files of rows, and tasks that are held out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from espalier.core.errors import DataError, RecipeError
from espalier.core.recipe import Recipe, load_recipe
from espalier.design.factors import varied
from espalier.design.files import Files
from espalier.design.recipe import FactorChoice, as_study
from espalier.runs.prepare import prepare
from espalier.study.cells import planned

if TYPE_CHECKING:
    from espalier.core.records import Example
    from espalier.design.factors import Varied
    from espalier.study.cells import Planned

WORDS = [
    *("kettle", "boat", "ladder", "window", "violin", "teapot", "orchard"),
    *("lantern", "saddle", "bridge"),
]
WORDS += ["pillow", "compass"]


def several(home: Path, *more: str) -> Recipe:
    """Return a recipe of a task, and of rows in JSONL, CSV and Parquet, each row with a category."""
    kinds = ["even" if number % 2 else "odd" for number in range(len(WORDS))]
    chats = [
        [{"role": "user", "content": f"Say {word}!"}, {"role": "assistant", "content": word}]
        for word in WORDS
    ]
    lines = [{"messages": c, "category": k} for c, k in zip(chats, kinds, strict=True)]
    (home / "chat.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    table = [f"Spell {w},{' '.join(w)},{k}\n" for w, k in zip(WORDS, kinds, strict=True)]
    (home / "table.csv").write_text("instruction,output,category\n" + "".join(table))
    shouted = {"prompt": [f"Shout {w}" for w in WORDS], "completion": [w.upper() for w in WORDS]}
    pq.write_table(pa.table({**shouted, "category": kinds}), home / "shout.parquet")
    paths = ["plural.toml", "chat.jsonl", "table.csv", "shout.parquet"]
    own = f"task.path={[str(home / path) for path in paths]}"
    return load_recipe(home / "recipe.toml", [own, *more])


def told(rows: list[Example]) -> list[object]:
    return [(e.id, e.task, e.source, e.messages, e.references, e.origin.get("tags")) for e in rows]


def sources(levels: list[object], **more: object) -> Varied:
    return varied(FactorChoice.model_validate({"kind": "sources", "levels": levels, **more}), 0)


def test_plain_rows_are_sources_beside_tasks(home: Path) -> None:
    recipe, files = several(home), Files(home / "files")
    before = prepare(recipe)
    factor = sources(["chat", ["plural", "shout"], {"table": 0.5, "plural": 0.5}])
    for level, kept in enumerate(({"chat"}, {"plural", "shout"}, {"table", "plural"})):
        made = prepare(factor.on(recipe, level, files))
        assert {row.task for row in made.train} == kept
        assert told(made.test) == told(before.test)
        if level < 2:
            assert told(made.train) == told([row for row in before.train if row.task in kept])


def test_rows_keep_the_category_that_they_say(home: Path) -> None:
    recipe, files = several(home), Files(home / "files")
    made = prepare(sources(["odd", "even"], by="category").on(recipe, 0, files))
    tags = [row.origin["tags"]["category"] for row in made.train]
    assert set(tags) == {"odd"}
    assert {row.task for row in made.train} == {"chat", "table", "shout"}


def test_a_design_takes_them_and_words_of_a_prompt_do_not(home: Path) -> None:
    several(home)
    (home / "several.toml").write_text(several(home).to_toml())

    def plan(**asked: object) -> Planned:
        table = {"folder": str(home / "studies"), "recipe": str(home / "several.toml"), "seeds": 1, **asked}
        return planned(as_study(table))

    levels = ["plural", "chat", "table", "shout"]
    factor = {"kind": "sources", "levels": levels}
    assert len(plan(name="loo", design="leave_one_out", factor=factor).cells) == 5
    assert len(plan(name="matrix", design="transfer", factor=factor).cells) == 4
    with pytest.raises(RecipeError, match=r"chat.jsonl: These are no task's words and rows"):
        plan(name="words", factor={"kind": "definition", "levels": ["original", "empty"]})
    with pytest.raises(RecipeError, match=r"No training row is of the source 'chats'. Did you mean 'chat'"):
        plan(name="none", factor={"kind": "sources", "levels": ["chats", "table"]})
    few = {"kind": "mixtures", "count": 12}
    with pytest.raises(RecipeError, match="Give the factor more rows, or the design fewer cells"):
        plan(name="few", design=few, factor={**factor, "rows": 2})


def test_tasks_of_one_name_are_told_apart_in_a_study_too(home: Path) -> None:
    (home / "other").mkdir()
    for name in ("plural.toml", "plural.jsonl"):
        text = (home / name).read_text()
        (home / "other" / name).write_text(text.replace("a ", "one "))
    own = f"task.path={[str(home / 'plural.toml'), str(home / 'other/plural.toml')]}"
    recipe = load_recipe(home / "recipe.toml", [own])
    before = prepare(recipe)
    one, other = (part.name for part in before.parts)
    made = prepare(sources([one, other]).on(recipe, 1, Files(home / "files")))
    assert {row.task for row in made.train} == {other}
    assert told(made.test) == told(before.test)


def test_whole_tasks_are_held_out(home: Path) -> None:
    recipe = several(home, "data.split='tasks'", "data.train=0.5")
    sides: set[frozenset[str]] = set()
    for seed in range(8):
        made = prepare(recipe.model_copy(update={"seed": seed}))
        train, test = ({row.task for row in rows} for rows in (made.train, made.test))
        assert train
        assert test
        assert not train & test
        assert len(train | test) == 4
        assert len(made.train) + len(made.test) == 3 * len(WORDS) + 30
        sides.add(frozenset(test))
    assert len(sides) > 1
    few = prepare(several(home, "data.split='tasks'", "data.limit=5", "data.test_limit=3"))
    assert {sum(row.task == task for row in few.test) for task in {row.task for row in few.test}} == {3}


def test_tasks_that_share_a_source_are_held_out_together_or_not_at_all(home: Path) -> None:
    for name in ("a", "b"):
        rows = [{"prompt": f"Count {word}", "completion": f"{name} {word}"} for word in WORDS]
        (home / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    paths = [str(home / f"{name}.jsonl") for name in "ab"]
    split = ["data.split='tasks'", "data.train=0.5"]
    with pytest.raises(DataError, match=r"2 tasks cannot be split .* all share sources with each other"):
        prepare(load_recipe(home / "recipe.toml", [f"task.path={paths}", *split]))
    with pytest.raises(DataError, match="1 task cannot be split into tasks to train on and tasks to score"):
        prepare(load_recipe(home / "recipe.toml", split))
    third = [*paths, str(home / "plural.toml")]
    made = prepare(load_recipe(home / "recipe.toml", [f"task.path={third}", *split]))
    assert {row.task for row in made.test} in ({"a", "b"}, {"plural"})
