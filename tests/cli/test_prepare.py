"""From a recipe to examples: task files and files of rows, a stage's own rows, and what is kept apart."""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING

import pytest

from espalier.core.errors import DataError
from espalier.core.recipe import Recipe, parse_recipe
from espalier.core.records import Example, message
from espalier.runs.in_tokens import encode_units
from espalier.runs.prepare import prepare, stage_examples
from espalier.tasks.task_files import is_task

if TYPE_CHECKING:
    from pathlib import Path

    from espalier.encode.template import Template

PAIRS = [{"prompt": f"{n} + 1?", "chosen": str(n + 1), "rejected": "no"} for n in range(20)]
CHATS = [
    {
        "messages": [
            {"role": "user", "content": f"{n} + 1?"},
            {"role": "assistant", "content": str(n + 1)},
        ]
    }
    for n in range(20)
]


def rows(path: Path, content: list[object]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in content), encoding="utf-8")
    return str(path)


def recipe(path: str, on_bad: str = "raise", **train: object) -> Recipe:
    return parse_recipe({"name": "x", "task": {"path": path, "on_bad": on_bad}, "train": train})


def test_no_task_is_made_up_for_a_file_of_rows(tmp_path: Path) -> None:
    prepared = prepare(recipe(rows(tmp_path / "pairs.jsonl", PAIRS)))
    assert [(part.name, part.task, part.checks) for part in prepared.parts] == [("pairs", None, ())]
    assert prepared.name == "pairs"
    examples = [*prepared.train, *prepared.test]
    assert len(examples) == 20
    assert {example.task for example in examples} == {"pairs"}
    assert all(
        example.references and [turn.text for turn in example.rejected] == ["no"] for example in examples
    )


def test_the_bundled_conversations() -> None:
    prepared = prepare(recipe("conversations"))
    examples = [*prepared.train, *prepared.test]
    assert len(examples) >= 60
    answers = [sum(turn.role == "assistant" for turn in example.messages) for example in examples]
    assert {2, 3, 4} == set(answers)
    assert sum(any(turn.role == "tool" for turn in example.messages) for example in examples) == 8
    assert not {example.source for example in prepared.train} & {example.source for example in prepared.test}


def test_a_stage_without_rows_of_its_own_has_the_recipes(tmp_path: Path) -> None:
    plan = recipe(rows(tmp_path / "chats.jsonl", CHATS))
    prepared = prepare(plan)
    assert stage_examples(plan.task, plan.train[0], prepared) is prepared.train


def test_a_stage_does_not_train_on_what_is_scored(tmp_path: Path) -> None:
    data = rows(tmp_path / "pairs.jsonl", [*PAIRS, {"prompt": "New?", "chosen": "Yes", "rejected": "No"}, {}])
    plan = recipe(rows(tmp_path / "chats.jsonl", CHATS), on_bad="reject", data=data)
    prepared = prepare(plan)
    examples = stage_examples(plan.task, plan.train[0], prepared)
    assert len(examples) == len(prepared.train) + 1
    assert not {example.source for example in examples} & {example.source for example in prepared.test}
    reasons = [reject["reason"] for reject in prepared.rejects]
    assert sum("in the test set" in reason for reason in reasons) == len(prepared.test)
    assert sum("is missing" in reason for reason in reasons) == 1


def test_a_stage_of_scored_rows_only_is_refused(tmp_path: Path) -> None:
    path = rows(tmp_path / "chats.jsonl", CHATS)
    scored = {example.input for example in prepare(recipe(path)).test}
    data = rows(tmp_path / "pairs.jsonl", [row for row in PAIRS if row["prompt"] in scored])
    plan = recipe(path, data=data)
    with pytest.raises(DataError, match="belong to sources that are scored"):
        stage_examples(plan.task, plan.train[0], prepare(plan))


@pytest.mark.parametrize(
    ("name", "content", "task"),
    [
        ("a.toml", "", True),
        ("a", "Definition: none", True),
        ("a", '{"Definition": hello}', True),
        ("a.json", '{"Definition": ["Do."]}', True),
        ("a.json", '{"definition": "Do."}', True),
        ("a", "[[positive]]\ninput = 'x'", True),
        ("a.json", "[]", False),
        ("a", '[\n {"a": 1}]', False),
        ("a", '\ufeff{"prompt": "x"}', False),
        ("a.json", '{"prompt": "x"}\n{"prompt": "y"}', False),
        ("a.jsonl", "", False),
        ("a.csv", "a,b", False),
    ],
)
def test_a_task_is_told_from_rows(tmp_path: Path, name: str, content: str, task: bool) -> None:
    path = tmp_path / name
    path.write_text(content, encoding="utf-8")
    assert is_task(path) is task


def test_a_prompt_leaves_room_for_the_answer_that_is_sampled(template: Template) -> None:
    examples = [
        Example(name, "task", name, (message("user", name),), references=("x",)) for name in ("a", "a" * 9)
    ]
    sizes = [len(template.prompt_ids(example.prompt)) for example in examples]
    assert len(encode_units(examples, template, sizes[1] + 4, 4).units) == 2
    found = encode_units(examples, template, sizes[1] + 4, 5)
    assert [unit.example for unit in found.units] == ["a"]
    assert f"has {sizes[1] + 5} tokens; the budget" in found.rejects[0]["reason"]


def test_a_row_longer_than_the_context_is_left_out(template: Template) -> None:
    examples = [
        Example(name, "task", name, (message("user", name),), references=("x",)) for name in ("a", "a" * 9)
    ]
    sizes = [len(template.prompt_ids(example.prompt)) + 1 for example in examples]
    short = copy.copy(template)
    short.context = sizes[1] - 1
    found = encode_units(examples, short, 1000)
    said = f"The row has {sizes[1]} tokens; the model's context is {sizes[1] - 1}."
    assert [unit.example for unit in found.units] == ["a"]
    assert found.rejects[0]["reason"] == said
    short.context = 1
    with pytest.raises(DataError, match=r"model\.name: None of the 2 .* the model's context of 1 tokens"):
        encode_units(examples, short, 1000)


def test_named_columns_are_those_of_the_files_that_have_them(tmp_path: Path) -> None:
    asked = rows(tmp_path / "asked.jsonl", [{"q": f"{n} + 1?", "r": str(n + 1)} for n in range(20)])
    pairs = rows(tmp_path / "pairs.jsonl", [{**row, "prompt": f"{n} − 1?"} for n, row in enumerate(PAIRS)])
    task = {"path": asked, "columns": {"prompt": "q", "completion": "r"}}
    stages = [{"data": pairs}, {"data": asked}]
    plan = parse_recipe({"name": "x", "task": task, "train": stages})
    prepared = prepare(plan)
    assert len(stage_examples(plan.task, plan.train[0], prepared)) == 20
    assert {e.id for e in stage_examples(plan.task, plan.train[1], prepared)} == {
        e.id for e in prepared.train
    }


def test_a_split_of_a_folder_is_a_task_and_what_is_left_out_is_noted(tmp_path: Path) -> None:
    (tmp_path / "many").mkdir()
    rows(tmp_path / "many" / "train.jsonl", CHATS)
    rows(tmp_path / "many" / "test.jsonl", CHATS[:3])
    prepared = prepare(recipe(f"{tmp_path}/many"))
    assert (len(prepared.train) + len(prepared.test), prepared.name) == (20, "many")
    assert prepared.notes == [f"{tmp_path}/many: not read: test.jsonl."]
    part = prepare(recipe(f"{tmp_path}/many:test"))
    assert len(part.train) + len(part.test) == 3


def natural(path: Path, inputs: list[str]) -> str:
    instances = [{"input": text, "output": [text.upper()]} for text in inputs]
    path.write_text(json.dumps({"Definition": ["Say it in capitals."], "Instances": instances}))
    return str(path)


def test_each_task_is_split_and_limited_by_itself(tmp_path: Path) -> None:
    paths = [
        natural(tmp_path / "large.json", [f"large {n}" for n in range(100)]),
        natural(tmp_path / "small.json", [f"small {n}" for n in range(10)]),
        natural(tmp_path / "one.json", ["one"]),
        rows(tmp_path / "chat.jsonl", CHATS),
    ]
    data = {"limit": 12, "test_limit": 5}
    together = prepare(parse_recipe({"name": "x", "task": {"path": paths}, "data": data}))
    assert together.name == "4 tasks"
    assert [part.name for part in together.parts if part.task] == ["large", "small", "one"]
    for path, name in zip(paths, ("large", "small", "one", "chat"), strict=True):
        train = [row for row in together.train if row.task == name]
        test = [row for row in together.test if row.task == name]
        if name == "one":
            assert (len(train), len(test)) == (1, 0)
            continue
        alone = prepare(parse_recipe({"name": "x", "task": {"path": path}, "data": data}))
        assert (train, test) == (alone.train, alone.test)
        assert len(train) <= 12
        assert 0 < len(test) <= 5
    assert together.notes == ["Task one: 1 row of one source, so it is trained on and not scored."]
    told = together.described()
    rest = f"{len(together.train)} rows to train on, {len(together.test)} to score."
    assert told[0] == f"4 tasks: {rest}"
    assert "  one: 1 to train on, 0 to score" in told


def test_what_one_task_scores_another_does_not_train_on(tmp_path: Path) -> None:
    shared = [f"text {n}" for n in range(30)]
    # Of two sources one is scored, wherever the hash puts them.
    pairs = [natural(tmp_path / f"{n}.json", shared[n : n + 2]) for n in range(20)]
    paths = [natural(tmp_path / "all.json", shared), *pairs]
    prepared = prepare(parse_recipe({"name": "x", "task": {"path": paths}}))
    scored = {row.source for row in prepared.test}
    assert not scored & {row.source for row in prepared.train}
    assert any("in the test set" in reject["reason"] for reject in prepared.rejects)


def test_a_long_list_of_tasks_is_told_in_short(tmp_path: Path) -> None:
    for n in range(20):
        natural(tmp_path / f"t{n}.json", [f"{n} and {m}" for m in range(5)])
    told = prepare(recipe(str(tmp_path))).described()
    assert len(told) == 10
    assert told[-1] == "  and 12 more"


def test_rows_that_say_so_are_scored_and_not_trained_on(tmp_path: Path) -> None:
    marked = [{**row, "train": n % 2 == 0} for n, row in enumerate(CHATS)]
    prepared = prepare(recipe(rows(tmp_path / "chats.jsonl", marked)))
    plain = prepare(recipe(rows(tmp_path / "chats.jsonl", CHATS)))
    assert {row.id for row in prepared.test} == {row.id for row in plain.test}
    assert all(int(row.origin["row"]) % 2 for row in prepared.train)
    assert len(prepared.train) + len(prepared.rejects) == len(plain.train)
    assert {reject["reason"] for reject in prepared.rejects} == {"The row says that it is not trained on."}
    none = [{**row, "train": False} for row in CHATS]
    with pytest.raises(DataError, match="No row is left to train on"):
        prepare(recipe(rows(tmp_path / "chats.jsonl", none)))
