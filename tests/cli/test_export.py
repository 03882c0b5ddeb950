"""`espalier export`: each format of a small run, loaded again from its folder; what is refused or spoiled."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from espalier.models import gguf_file
from espalier.runs import export


@pytest.mark.parametrize(("to", "file"), [("hf", "model.safetensors"), ("gguf", "plural-f32.gguf")])
def test_what_is_exported_is_what_was_trained(after, espalier, tmp_path: Path, to: str, file: str) -> None:
    out = tmp_path / "out"
    result = espalier(
        "export", after.folder, "--to", to, "--out", out, "--type", "f32", "--rows", 3, "--json"
    )
    assert result.code == 0, result.err
    record = json.loads(result.out)
    assert record["folder"] == str(out)
    logits, weights = record["comparisons"]
    assert logits["gap"] <= logits["bound"]
    assert [row["parted"] for row in logits["rows"]] == [None] * 3
    assert weights["gap"] == 0
    kept = json.loads((out / "export.json").read_text())
    assert kept["comparisons"] == record["comparisons"]
    assert (kept["run"], kept["to"], kept["type"]) == ("plural", to, "f32")
    assert (out / file).stat().st_mode & 0o777 == 0o644
    card = (out / "README.md").read_text()
    assert "license: unknown" in card
    assert "- Computed in fp32 to train, fp32 to decode." in card
    assert "Write the plural of the noun." in card  # asked as it was trained
    assert 'Input: …"' in card
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_an_adapter_is_exported_as_one_and_merged(home: Path, espalier) -> None:
    method = ("-o", "train.method=lora", "-o", "train.method.rank=4")
    assert espalier("run", "recipe.toml", *method, cwd=home).code == 0
    for to in ("adapter", "hf"):
        result = espalier("export", "runs/plural", "--to", to, "--rows", 2, cwd=home)
        assert result.code == 0, result.err
        assert "2 of 2 texts the same" in result.out
    folder = home / "runs" / "plural" / "export"
    assert (folder / "adapter" / "adapter_config.json").exists()
    assert not (folder / "hf" / "adapter_config.json").exists()
    again = espalier("export", "runs/plural", "--to", "hf", "--rows", 1, cwd=home)
    assert again.code == 0  # an earlier export is replaced


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--to", "adapter"), "there is no adapter to export. Use --to hf"),
        (("--to", "hf", "--type", "q8_0"), "--to hf cannot be written in q8_0"),
        (("--to", "hf", "--out", "."), "It exists and is no earlier export"),
        (
            ("--to", "gguf", "--rows", "1", "--llama-python", "/nowhere/python"),
            "/nowhere/python: It cannot be run",
        ),
    ],
)
def test_refusals(after, espalier, arguments: tuple[str, ...], said: str) -> None:
    result = espalier("export", after.folder, *arguments, cwd=after.home)
    assert result.code == 2
    assert said in result.err.replace("\n", " ")
    assert not (after.folder / "export" / arguments[1]).exists()


def test_another_runs_export_is_not_written_over(after, espalier) -> None:
    (after.home / "shared").mkdir()
    for damaged in ('{"run": "other", "recipe": "0123456789abcdef"}', "[]", "{"):
        (after.home / "shared" / "export.json").write_text(damaged)
        result = espalier("export", after.folder, "--out", "shared", cwd=after.home)
        assert result.code == 2
        assert "shared: It exists and is no earlier export of this run" in result.err
        assert (after.home / "shared" / "export.json").read_text() == damaged


def test_a_spoiled_export_is_caught_and_leaves_nothing(
    after, espalier, monkeypatch: pytest.MonkeyPatch
) -> None:
    def as_it_is(array: np.ndarray, config: object, name: str) -> np.ndarray:
        return array

    monkeypatch.setattr(gguf_file, "_interleaved", as_it_is)
    result = espalier("export", after.folder, "--to", "gguf", "--rows", 2)
    assert result.code == 1
    assert "TOO LARGE" in result.out
    assert "Nothing was left behind" in result.err
    assert list((after.folder / "export").iterdir()) == []


def test_a_lost_stop_token_is_caught(after, espalier, monkeypatch: pytest.MonkeyPatch) -> None:
    real = export.save_hf

    def unending(folder: Path, model: Any, *rest: Any) -> None:
        real(folder, model, *rest)
        path = folder / "generation_config.json"
        settings = {**json.loads(path.read_text()), "eos_token_id": None}
        path.write_text(json.dumps(settings))
        (folder / "config.json").write_text(
            (folder / "config.json").read_text().replace('"eos_token_id": 0', '"eos_token_id": null')
        )

    monkeypatch.setattr(export, "save_hf", unending)
    result = espalier("export", after.folder, "--to", "hf", "--rows", 3, "--json")
    assert result.code == 1
    assert json.loads(result.out)["comparisons"][0]["gap"] == 0


def test_a_full_disk_is_told_and_leaves_nothing(after, espalier, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(export, "save_hf", full)
    result = espalier("export", after.folder, "--to", "hf")
    assert result.code == 2
    assert "No space left on device" in result.err
    assert list((after.folder / "export").iterdir()) == []
