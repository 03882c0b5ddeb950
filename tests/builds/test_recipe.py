"""Relative paths of a build's recipe are meant from its file, whether they lead somewhere or not."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import tomli_w

from espalier.builds.build import build
from espalier.builds.model import Terms
from espalier.builds.recipe import load_build
from espalier.core.errors import EspalierError

if TYPE_CHECKING:
    from pathlib import Path

ROW = json.dumps({"instruction": "Name a bird.", "output": "A wren."}) + "\n"
TASK = {"Definition": "Say it.", "Positive Examples": [], "Negative Examples": [], "Instances": []}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A recipe's folder, which is not the one that the command is given in."""
    for folder in ("home/held", "home/model", "home/rows:x", "elsewhere/held"):
        (tmp_path / folder).mkdir(parents=True)
    for file in ("home/rows.jsonl", "home/held/test.jsonl", "home/held/train.jsonl", "home/org/rows.jsonl",
                 "elsewhere/gone.jsonl", "elsewhere/held/a.jsonl", "elsewhere/over.jsonl"):  # fmt: skip
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_text(ROW)
    (tmp_path / "home" / "own.toml").write_text(
        '[task]\nname = "t"\n[[wording]]\nprompt = "A"\nanswer = "B"\n'
    )
    (tmp_path / "home" / "task.json").write_text(json.dumps(TASK))
    monkeypatch.chdir(tmp_path / "elsewhere")
    return tmp_path / "home"


def loaded(home: Path, table: dict[str, Any], *overrides: str) -> Any:
    (home / "build.toml").write_text(tomli_w.dumps({"name": "b", "source": {"path": "rows.jsonl"}, **table}))
    return load_build(home / "build.toml", overrides).model_dump(mode="json")


@pytest.mark.parametrize(
    ("section", "key", "text", "led"),
    [
        ("source", "path", "rows.jsonl", "rows.jsonl"),
        ("source", "path", "held", "held"),
        ("source", "path", "held:test", "held:test"),
        ("source", "path", "gone.jsonl", "gone.jsonl"),  # there is one where the command is given
        ("source", "path", "../nowhere/rows.jsonl", "../nowhere/rows.jsonl"),
        ("source", "path", "event-duration", None),
        ("source", "path", "who/what", None),
        ("source", "path", "org/rows.jsonl", "org/rows.jsonl"),
        ("source", "template", "own.toml", "own.toml"),
        ("source", "template", "gone.toml", "gone.toml"),
        ("source", "template", "nli", None),
        ("model", "name", "model", "model"),
        ("model", "name", "./gone", "gone"),
        ("model", "name", "who/model", None),
        ("mix", "tokenizer", "model", "model"),
        ("mix", "tokenizer", "smollm2-135m", None),
        ("filter", "tests", ["held", "rows.jsonl"], ["held", "rows.jsonl"]),
        ("filter", "tests", ["held:test"], ["held:test"]),
        ("filter", "tests", ["gone.jsonl"], ["gone.jsonl"]),
        ("generate", "task", "task.json", "task.json"),
        ("generate", "task", "gone.json", "gone.json"),
        ("generate", "task", "event-duration", None),
    ],
)
def test_a_path_is_meant_from_the_recipe(home: Path, section: str, key: str, text: Any, led: Any) -> None:
    kind = {"filter": {"kind": "contamination"}, "generate": {"kind": "respond"}}.get(section, {})
    kind |= {"path": "rows.jsonl"} if section == "source" else {}
    table = {**kind, key: text}
    found = loaded(home, {section: [table] if section in ("filter", "generate") else table})[section]
    value = (found[0] if isinstance(found, list) else found)[key]
    if led is None:
        assert value == text
    elif isinstance(led, list):
        assert value == [str((home / one).resolve()) for one in led]
    else:
        assert value == str((home / led).resolve())


def test_the_task_of_prompts_is_a_file_or_a_name(home: Path) -> None:
    source = {"path": "rows.jsonl", "use": "prompts"}
    for text, led in (
        ("task.json", home / "task.json"),
        ("gone.json", home / "gone.json"),
        ("birds", "birds"),
    ):
        assert loaded(home, {"source": {**source, "task": text}})["source"][0]["task"] == str(led)
    # Where it is only what rows call their task it is no path.
    assert (
        loaded(home, {"source": {"path": "rows.jsonl", "task": "task.json"}})["source"][0]["task"]
        == "task.json"
    )


def test_a_path_in_an_override_is_meant_from_where_the_command_is_given(home: Path) -> None:
    found = loaded(home, {}, "source.path=over.jsonl", "model.name=./m")
    assert found["source"][0]["path"] == str(home.parent / "elsewhere" / "over.jsonl")
    assert found["model"]["name"] == str(home.parent / "elsewhere" / "m")
    # What the recipe calls by name is no folder that happens to lie there.
    (home.parent / "elsewhere" / "who" / "what").mkdir(parents=True)
    assert loaded(home, {"model": {"name": "who/what"}})["model"]["name"] == "who/what"
    assert loaded(home, {"model": {"name": "model", "server": "http://x/v1"}})["model"]["name"] == "model"


@pytest.mark.parametrize(
    ("table", "key", "place"),
    [
        ({"source": [{"path": "rows.jsonl"}, {"path": "gone.jsonl"}]}, "source.1.path", "gone.jsonl"),
        ({"source": {"path": "gone:test"}}, "source.0.path", "gone:test"),
        ({"source": {"path": "rows.jsonl", "template": "gone.toml"}}, "source.0.template", "gone.toml"),
        (
            {"source": {"path": "rows.jsonl", "use": "prompts", "task": "gone.json"}},
            "source.0.task",
            "gone.json",
        ),
        ({"filter": [{"kind": "contamination", "tests": ["gone"]}]}, "filter.0", "gone"),
        ({"generate": [{"kind": "respond", "task": "gone.json"}]}, "generate.0", "gone.json"),
    ],
)
def test_what_is_not_there_is_named_with_its_place_and_key(
    home: Path, table: dict[str, Any], key: str, place: str
) -> None:
    (home / "build.toml").write_text(tomli_w.dumps({"name": "b", "source": {"path": "rows.jsonl"}, **table}))
    with pytest.raises(EspalierError) as caught:
        build(load_build(home / "build.toml"), home / "out", Terms(home))
    assert f"{home / place} ({key}" in str(caught.value)
