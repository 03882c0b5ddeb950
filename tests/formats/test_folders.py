"""Folders of rows: what is read and what is left out is told, and no test set is trained in silence."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import huggingface_hub
import pytest

from espalier.core.errors import DataError
from espalier.formats.folders import files_of, name_of
from espalier.formats.hub import fetch_rows, is_hub_name
from espalier.formats.load import load_rows

if TYPE_CHECKING:
    from pathlib import Path


def filled(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        row = {"prompt": f"in {name}", "completion": "b"}
        (folder / name).write_text(json.dumps(row) if "json" in name else "prompt,completion\na,b\n")
    return folder


def read(path: Path) -> list[str]:
    root = path.parent
    return [str(file.relative_to(root)) for file in files_of(path).paths]


@pytest.mark.parametrize(
    ("names", "kept", "note"),
    [
        (["b.csv", "a.jsonl"], ["a.jsonl", "b.csv"], ""),
        (["a.jsonl", "README.md", ".git/x.json", "LICENSE", "_SUCCESS"], ["a.jsonl"], ""),
        (["a.jsonl", "notes.txt", "run.py"], ["a.jsonl"], "not read: notes.txt, run.py."),
        (["train.jsonl", "test.jsonl"], ["train.jsonl"], "not read: test.jsonl."),
        (
            ["my-train-0.json", "my-dev.json", "all.json"],
            ["my-train-0.json"],
            "not read: all.json, my-dev.json.",
        ),
        (["train/1.json", "train/2.json", "test/1.json"], ["train/1.json", "train/2.json"], "test/1.json"),
        (["trainset.json", "testset.json"], ["trainset.json"], "not read: testset.json."),
        (["TrainData.csv", "evaluation_data.csv"], ["TrainData.csv"], "not read: evaluation_data.csv."),
        (["test.jsonl", "latest.jsonl", "contest.csv"], ["contest.csv", "latest.jsonl", "test.jsonl"], ""),
    ],
)
def test_what_a_folder_means(tmp_path: Path, names: list[str], kept: list[str], note: str) -> None:
    folder = filled(tmp_path / "rows", *names)
    assert read(folder) == [f"rows/{name}" for name in kept]
    assert note in files_of(folder).note
    assert bool(note) == bool(files_of(folder).note)


def test_a_split_is_named_behind_a_colon(tmp_path: Path) -> None:
    folder = filled(tmp_path / "rows", "validation.jsonl", "test.jsonl")
    with pytest.raises(DataError, match=r"splits test, validation, and none.*Name one: .*rows:test"):
        files_of(folder)
    (loaded,) = load_rows(f"{folder}:dev")
    assert loaded.input == "in validation.jsonl"
    with pytest.raises(DataError, match="No file is of the split 'train'"):
        load_rows(f"{folder}:train")


def test_every_file_is_in_a_format_of_its_own(tmp_path: Path) -> None:
    folder = filled(tmp_path / "rows", "a.jsonl", "b.jsonl")
    (folder / "b.jsonl").write_text('{"instruction": "c", "output": "d"}\n')
    notes: list[str] = []
    loaded = load_rows(folder, on_note=notes.append)
    assert [item.answer for item in loaded] == ["b", "d"]
    assert {item.task for item in loaded} == {"rows"}
    assert [item.origin["file"] for item in loaded] == [str(folder / "a.jsonl"), str(folder / "b.jsonl")]


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.jsonl.gz", "rows.csv.zst", "rows"])
def test_rows_have_one_name_however_they_are_packed(tmp_path: Path, name: str) -> None:
    assert name_of(tmp_path / name) == "rows"


def hub(monkeypatch: pytest.MonkeyPatch, folder: Path) -> list[dict[str, Any]]:
    asked: list[dict[str, Any]] = []

    def snapshot(name: str, **how: Any) -> str:
        asked.append({"name": name, **how})
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    return asked


def test_a_data_set_of_the_hub_is_one_split_of_one_kind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = filled(tmp_path / "kept", "data/train-0.jsonl", "data/test-0.jsonl")
    asked = hub(monkeypatch, folder)
    assert [item.input for item in load_rows(fetch_rows("who/what"))] == ["in data/train-0.jsonl"]
    assert [item.input for item in load_rows(fetch_rows("who/what:test"))] == ["in data/test-0.jsonl"]
    assert asked[0]["name"] == "who/what"
    assert asked[0]["repo_type"] == "dataset"
    filled(folder, "plain/train-0.jsonl")
    with pytest.raises(DataError, match=r"several kinds of rows: data, plain.*Name one: who/what:data/train"):
        fetch_rows("who/what")
    assert [item.input for item in load_rows(fetch_rows("who/what:plain/train"))] == [
        "in plain/train-0.jsonl"
    ]


def test_without_a_network_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> str:
        raise OSError("Name or service not known")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fails)
    with pytest.raises(DataError, match=r"the hub cannot be asked for it: Name or service.*name a file"):
        fetch_rows("who/what")
    assert is_hub_name("who/what:main/train")
    assert not is_hub_name("who/what.jsonl")


@pytest.mark.parametrize("file", ["state.json", "dataset_dict.json"])
@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"splits": [1], "_data_files": [1]}'])
def test_a_saved_data_set_that_is_damaged_says_so(tmp_path: Path, file: str, text: str) -> None:
    (tmp_path / file).write_text(text)
    with pytest.raises(DataError, match=file):
        load_rows(tmp_path)
