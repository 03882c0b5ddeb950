"""Several tasks at once: which files they are in, what they are called, and what cannot be read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from espalier.core.errors import DataError
from espalier.core.recipe import TaskSection
from espalier.data.mixture import places, read
from espalier.formats.load import load_rows

CHAT = {"messages": [{"role": "user", "content": "Hi."}, {"role": "assistant", "content": "Hello."}]}


def natural(path: Path, *inputs: str, definition: str = "Say it in capitals.") -> Path:
    instances = [{"id": f"i-{text}", "input": text, "output": [text.upper()]} for text in inputs]
    shown = [{"input": "so", "output": "SO", "explanation": "-"}]
    task = {"Definition": [definition], "Positive Examples": shown, "Negative Examples": []}
    return write(path, json.dumps({**task, "Instances": instances}))


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def parts_of(*paths: object, **section: Any) -> dict[str, tuple[Any, list[Any]]]:
    found = places([str(path) for path in paths], section.get("format", "auto"))
    read_all = read(found, TaskSection(**section), None, lambda _: None)
    return {part.name: (part, examples) for part, examples in read_all}


def test_each_row_has_its_own_tasks_name_and_words(tmp_path: Path) -> None:
    loud = natural(tmp_path / "loud.json", "no", "yes")
    quiet = natural(tmp_path / "quiet.json", "no", definition="Say it loudly.")
    chat = write(tmp_path / "chat.jsonl", json.dumps(CHAT))
    found = parts_of(loud, quiet, chat)
    assert list(found) == ["loud", "quiet", "chat"]
    for name, (part, examples) in found.items():
        assert {example.task for example in examples} == {name}
        assert (part.task is None) == (name == "chat")
    first = {name: examples[0].messages[0].text for name, (_, examples) in found.items()}
    assert first["loud"].startswith("Say it in capitals.")
    assert first["quiet"].startswith("Say it loudly.")
    assert first["chat"] == "Hi."
    assert found["loud"][0].worked == ["SO"]
    assert found["chat"][0].worked == []


def test_rows_are_the_same_alone_and_among_others(tmp_path: Path) -> None:
    loud = natural(tmp_path / "loud.json", "no", "yes")
    chat = write(tmp_path / "chat.jsonl", json.dumps(CHAT))
    together = parts_of(loud, chat)
    for path in (loud, chat):
        (name, (part, examples)), *others = parts_of(path).items()
        assert not others
        assert (part.hash, examples) == (together[name][0].hash, together[name][1])
    assert together["chat"][1] == load_rows(chat)


def test_a_folder_is_its_tasks_and_the_rows_beside_them(tmp_path: Path) -> None:
    natural(tmp_path / "set" / "b.json", "no")
    natural(tmp_path / "set" / "deep" / "a.json", "no")
    write(
        tmp_path / "set" / "own.toml",
        'name = "plural"\ndefinition = "Write the plural."\nrows = "own.jsonl"\n',
    )
    write(tmp_path / "set" / "own.jsonl", '{"input": "cup", "output": "cups"}')
    write(tmp_path / "set" / "chat.jsonl", json.dumps(CHAT))
    write(tmp_path / "set" / "pyproject.toml", '[project]\nname = "x"')
    write(tmp_path / "set" / "README.md", "What this is.")
    write(tmp_path / "set" / "list.txt", "b\na")
    notes: list[str] = []
    found = places([str(tmp_path / "set")], "auto", notes.append)
    assert [(place.name, place.is_task) for place in found] == [
        ("b", True),
        ("a", True),
        ("plural", True),
        ("chat", False),
    ]
    assert [file.name for file in found[2].files] == ["own.toml", "own.jsonl"]
    assert notes == [f"{tmp_path / 'set'}: not read: list.txt, pyproject.toml."]
    assert len(parts_of(tmp_path / "set")) == 4


def test_a_folder_of_rows_is_one_as_before(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write(tmp_path / "rows" / f"{name}.jsonl", json.dumps(CHAT))
    found = parts_of(tmp_path / "rows")
    assert {name: len(examples) for name, (_, examples) in found.items()} == {"rows": 2}


def test_names_that_collide_are_told_apart(tmp_path: Path) -> None:
    paths = [natural(tmp_path / folder / "x" / "t.json", "no") for folder in "ab"]
    other = write(tmp_path / "a" / "x" / "t.jsonl", json.dumps(CHAT))
    found = parts_of(*paths, other)
    assert list(found) == ["t (a/x/t.json)", "t (b/x/t.json)", "t (t.jsonl)"]
    rows = [example for _, examples in found.values() for example in examples]
    assert len({row.id for row in rows}) == len(rows)
    assert {row.task for row in rows} == set(found)


def test_what_cannot_be_read_is_named_one_by_one(tmp_path: Path) -> None:
    good = natural(tmp_path / "good.json", "no")
    broken = write(tmp_path / "broken.json", '{"Definition": ["Do."]')
    empty = write(tmp_path / "empty.json", '{"Definition": ["Do."]}')
    with pytest.raises(DataError) as caught:
        parts_of(good, tmp_path / "gone.json", tmp_path / "away.jsonl")
    lines = str(caught.value).splitlines()
    assert lines[0] == "task.path: 2 of the 3 tasks cannot be read."
    assert [line.split(": ")[0].strip() for line in lines[1:]] == [
        str(tmp_path / name) for name in ("gone.json", "away.jsonl")
    ]
    with pytest.raises(DataError) as caught:
        parts_of(broken, good, empty)
    assert len(str(caught.value).splitlines()) == 3
    assert "no 'Instances'" in str(caught.value)


def test_the_same_task_twice_is_refused(tmp_path: Path) -> None:
    file = natural(tmp_path / "set" / "a.json", "no")
    for twice in ([file, file], [file.parent, file]):
        with pytest.raises(DataError, match="The task is there twice"):
            parts_of(*twice)


def test_a_pattern_is_the_tasks_and_rows_that_match(tmp_path: Path) -> None:
    for name in ("b", "a"):
        natural(tmp_path / f"{name}.json", "no", name)
    write(tmp_path / "own.toml", 'name = "plural"\ndefinition = "Write the plural."\nrows = "own.jsonl"\n')
    write(tmp_path / "own.jsonl", '{"input": "cup", "output": "cups"}')
    chat = write(tmp_path / "chat.jsonl", json.dumps(CHAT))
    write(tmp_path / "pyproject.toml", '[project]\nname = "x"')
    write(tmp_path / "README.md", "What this is.")
    natural(tmp_path / "deep" / "c.json", "no")

    def named(*patterns: str) -> list[str]:
        return [
            place.name for place in places([f"{tmp_path}/{one}" for one in patterns], "auto", told.append)
        ]

    told: list[str] = []
    assert named("*.json") == ["a", "b"]
    assert named("**/*.json") == ["a", "b", "c"]
    assert named("[b]*") == ["b"]  # one that matches is as if it were named
    assert parts_of(f"{tmp_path}/[b]*")["b"][1] == parts_of(tmp_path / "b.json")["b"][1]
    assert not told
    assert named("*") == ["a", "b", "plural", "chat", "c"]
    assert told == [f"{tmp_path}/*: not read: README.md and pyproject.toml."]
    assert named("a.json", "ch*") == ["a", "chat"]
    odd = tmp_path / "a[1].jsonl"
    chat.rename(odd)  # a file that is called like a pattern is that file
    assert [place.path for place in places([str(odd)], "auto")] == [odd]


def test_patterns_and_spellings_that_do_not_fit_are_told(tmp_path: Path) -> None:
    file = natural(tmp_path / "set" / "a.json", "no")
    write(tmp_path / "set" / "notes.md", "What this is.")
    for pattern, said in (
        ("set/*.jsonl", r"No file matches\..*In .*set there is a.json and notes.md"),
        ("sets/*.json", r"No file matches\..*There is no folder .*sets"),
        ("set/*.md", "Of 1 file that match, none is a task or holds rows"),
    ):
        with pytest.raises(DataError, match=said):
            places([f"{tmp_path}/{pattern}"], "auto")
    (tmp_path / "link.json").symlink_to(file)
    for other in ("link.json", "set/../set/a.json", "set/*.json"):
        with pytest.raises(DataError, match="The task is there twice") as caught:
            places([str(file), f"{tmp_path}/{other}"], "auto")
        assert (f"as {file} too" in str(caught.value)) == (other != "set/*.json")


def test_columns_are_those_of_the_files_that_have_them(tmp_path: Path) -> None:
    table = write(tmp_path / "table.csv", "ask,told\nHow long?,An hour\n")
    chat = write(tmp_path / "chat.jsonl", json.dumps(CHAT))
    columns = {"prompt": "ask", "completion": "told"}
    found = parts_of(table, chat, columns=columns)
    assert found["table"][1][0].references == ("An hour",)
    with pytest.raises(DataError, match="No file has one of the columns"):
        parts_of(chat, natural(tmp_path / "a.json", "no"), columns=columns)


def test_every_task_of_a_real_folder(shared_data: Path) -> None:
    folder = shared_data / "natural-instructions-v2" / "tasks"
    found = places([str(folder)], "auto")
    assert [place.name for place in found] == sorted(file.stem for file in folder.glob("*.json"))
