"""A run on rows with pictures: two stages, what it reaches unseen, and what is said of files that are bad."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import espalier as program
from espalier.core.files import file_sha256, read_jsonl
from espalier.core.recipe import load_recipe
from espalier.models.media import Projector
from espalier.runs.load import load_base

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.cli.conftest import Result

# An encoder without weights: the mean colours of four quarters, as four tokens.
ENCODER = """
import numpy as np
import torch
from espalier.media import pictures
from espalier.models.encoders.encoders import Encoder

def encode(paths):
    with open("encoded.txt", "a") as log:
        log.write("".join(f"{path.name}\\n" for path in paths))
    made = []
    for path in paths:
        pixels = torch.from_numpy(np.array(pictures.pixels(path))).float() / 255
        small = torch.nn.functional.adaptive_avg_pool2d(pixels.permute(2, 0, 1)[None], 2)[0]
        made.append(small.flatten(1).T.repeat(1, 2))
    return made

def quarters(*, version: int = 1):
    return Encoder("quarters", "image", 6, {"version": version}, "none", lambda found: 4, encode)
"""
COLOURS = {"red": (250, 20, 20), "green": (20, 220, 20), "blue": (20, 20, 250), "white": (255, 255, 255)}
RECIPE = """
name = "seen"
folder = "runs"
evidence = false
[task]
path = "seen.jsonl"
[data]
train = 0.6
[model]
name = "tiny"
precision = "fp32"
encoders = ["quarters_encoder:quarters"]
[[train]]
method = "projector"
align = true
rate = 1e-2
epochs = 1
rows = 4
[[train]]
method = {kind = "lora", rank = 2}
rate = 1e-2
projector_rate = 1e-3
epochs = 1
rows = 4
checkpoint = 1
[decode]
kind = "greedy"
limit = 6
"""


def drawn(folder: Path) -> None:
    """Write pictures of one colour, each with two questions, and the encoder's module."""
    rng = np.random.default_rng(0)
    rows: list[dict[str, str]] = []
    for number in range(16):
        name, colour = list(COLOURS.items())[number % 4]
        noise = rng.integers(-5, 5, (8, 8, 3))
        pixels = np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
        for question in ("What colour is it?", "Name the colour."):
            rows.append({"image": f"{number}.png", "question": question, "answer": name})
    (folder / "seen.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    (folder / "seen.toml").write_text(RECIPE)
    (folder / "quarters_encoder.py").write_text(ENCODER)


@pytest.fixture(scope="module")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ESPALIER_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
    sys.modules.pop("quarters_encoder", None)


@pytest.fixture(scope="module")
def seen(
    tmp_path_factory: pytest.TempPathFactory,
    new_home: Callable[[Path], Path],
    espalier: Callable[..., Result],
    _own_cache: None,
) -> tuple[Path, Result]:
    """A finished run, for all tests that only look."""
    home = new_home(tmp_path_factory.mktemp("seen") / "home")
    drawn(home)
    done = espalier("run", "seen.toml", cwd=home)
    assert done.code == 0, done.err
    return home, done


def lines(home: Path, name: str = "seen") -> list[dict[str, object]]:
    return [line for _, line in read_jsonl(home / "runs" / name / "outputs.jsonl")]


def test_a_score_on_pictures_stands_beside_what_is_reached_unseen(seen: tuple[Path, Result]):
    home, done = seen
    by_system: dict[str, list[object]] = {}
    for line in lines(home):
        by_system.setdefault(str(line["system"]), []).append(line["text"])
    assert {"tuned", "base", "stage 1", "blind", "shuffled", "question", "constant"} <= by_system.keys()
    assert len(by_system["blind"]) == len(by_system["tuned"])
    said = " ".join(done.out.split())
    assert "The model does not look: " in said


def test_each_picture_is_encoded_once_and_a_second_run_encodes_none(
    seen: tuple[Path, Result], espalier: Callable[..., Result]
):
    home, done = seen
    assert sorted((home / "encoded.txt").read_text().split()) == sorted(f"{n}.png" for n in range(16))
    assert "16 distinct, 16 of them encoded now" in " ".join((done.out + done.err).split())
    again = espalier("run", "seen.toml", "-o", "name=again", "-o", "seed=1", cwd=home)
    assert again.code == 0, again.err
    assert len((home / "encoded.txt").read_text().split()) == 16
    of_seed = espalier("evaluate", "runs/again", cwd=home)  # an adapter to the projectors of its seed
    assert of_seed.code == 0, of_seed.err


def test_fresh_projectors_follow_the_seed(seen: tuple[Path, Result], monkeypatch: pytest.MonkeyPatch):
    home, _ = seen
    monkeypatch.chdir(home)
    monkeypatch.syspath_prepend(str(home))
    section = load_recipe(Path("seen.toml")).model
    loaded = [load_base(section, Path("kept"), seed) for seed in (0, 1, 1)]
    fresh = [next(part for part in one.model.modules() if isinstance(part, Projector)) for one in loaded]
    assert torch.equal(fresh[1].map.weight, fresh[2].map.weight)
    assert not torch.equal(fresh[0].map.weight, fresh[1].map.weight)
    assert loaded[0].weights != loaded[1].weights == loaded[2].weights  # or answers of one were the other's


def test_what_is_kept_of_media_lies_where_a_person_says(
    seen: tuple[Path, Result], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    home, _ = seen
    assert [*Path(os.environ["ESPALIER_CACHE"], "features").rglob("*.npy")]
    monkeypatch.chdir(home)
    monkeypatch.syspath_prepend(str(home))
    model = program.load("runs/seen", cache=tmp_path / "mine")
    model.generate(["Name the colour."], images=[(home / "0.png").read_bytes()])
    assert {"features", "media"} <= {path.name for path in (tmp_path / "mine").iterdir()}


def test_projector_and_adapter_are_in_one_folder_and_come_back(
    seen: tuple[Path, Result], espalier: Callable[..., Result]
):
    home, _ = seen
    model = home / "runs" / "seen" / "model"
    assert {"adapter_model.safetensors", "media.safetensors"} <= {path.name for path in model.iterdir()}
    first = load_file(home / "runs" / "seen" / "stages" / "0" / "model" / "media.safetensors")
    second = load_file(model / "media.safetensors")
    assert first.keys() == second.keys()
    assert any(not first[name].equal(second[name]) for name in first)  # it went on learning
    done = espalier("evaluate", "runs/seen", cwd=home)
    assert done.code == 0, done.err
    told, again = (
        {line["example"]: line["text"] for line in lines(home, name) if line["system"] == system}
        for name, system in (("seen", "tuned"), ("seen-by-seen", "model"))
    )
    assert told == again
    unseen = {line["system"] for line in lines(home, "seen-by-seen")}
    assert {"blind", "shuffled", "question"} <= unseen
    assert "The model does not look: " in " ".join(done.out.split())


def test_a_projector_begins_with_what_least_squares_found_for_the_stages_answers(
    seen: tuple[Path, Result],
):
    home, done = seen
    lines = (line for _, line in read_jsonl(home / "runs" / "seen" / "events.jsonl"))
    (found,) = (line for line in lines if line["event"] == "aligned")
    assert (found["stage"], found["kind"]) == ("train 0", "image")
    assert 0 < found["media"] <= 16
    assert f"aligned by least squares on {found['media']} pictures" in " ".join(done.err.split())
    assert "a few steps at a rate of 0.01 undo an alignment" in " ".join(done.err.split())


def test_nothing_is_aligned_where_nothing_sees(
    new_home: Callable[[Path], Path], espalier: Callable[..., Result], tmp_path: Path
):
    home = new_home(tmp_path / "home")
    drawn(home)
    rows = [{"instruction": f"Say {n}.", "output": f"{n}"} for n in range(9)]
    (home / "text.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    text = ("-o", 'task.path="text.jsonl"')
    text = (*text, "-o", "train.0.method=lora")
    done = espalier("run", "seen.toml", "-o", "model.encoders=[]", *text, cwd=home)
    assert done.code == 2
    assert "train.0.align: The model has no projector to align." in " ".join(done.err.split())
    done = espalier("run", "seen.toml", *text, cwd=home)
    assert done.code == 2
    assert "None of the stage's rows has one picture or sound" in " ".join(done.err.split())


def test_a_first_stage_with_an_adapter_is_kept_whole(
    seen: tuple[Path, Result], espalier: Callable[..., Result]
):
    home, _ = seen
    keys = ("name=twice", 'train.0.method={kind="lora", rank=2}', "train.0.rate=3e-2")
    done = espalier("run", "seen.toml", *(part for key in keys for part in ("-o", key)), cwd=home)
    assert done.code == 0, done.err
    first = load_file(home / "runs" / "twice" / "stages" / "0" / "model" / "model.safetensors")
    base = load_file(home / "tiny" / "model.safetensors")
    moved = [name for name, one in first.items() if name in base and not one.equal(base[name])]
    assert any("proj" in name for name in moved)


def test_a_projector_is_refused_on_another_encoder(
    seen: tuple[Path, Result], espalier: Callable[..., Result]
):
    home, _ = seen
    other = 'model.encoders=[{kind="quarters_encoder:quarters", version=2}]'
    keys = ("name=other", 'model.name="runs/seen"', other)
    done = espalier("run", "seen.toml", *(part for key in keys for part in ("-o", key)), cwd=home)
    assert done.code == 2
    assert "other encoders than the recipe names" in done.err


@pytest.mark.parametrize(
    ("encoders", "told"),
    [
        ('["quarters_encoder:quarters", "quarters_encoder:quarters"]', "Two encoders take image"),
        ('["eficientnet-lite0"]', "efficientnet-lite0"),
        ("[]", "the model reads text only"),
    ],
)
def test_encoders_that_do_not_fit_are_told(
    encoders: str, told: str, seen: tuple[Path, Result], espalier: Callable[..., Result]
):
    home, _ = seen
    done = espalier("run", "seen.toml", "-o", "name=bad", "-o", f"model.encoders={encoders}", cwd=home)
    assert done.code == 2
    assert told in " ".join(done.err.split())
    assert not (home / "runs" / "bad").exists()


def test_what_a_runs_media_are_stands_in_its_folder(seen: tuple[Path, Result]):
    home, _ = seen
    found = [line for _, line in read_jsonl(home / "runs" / "seen" / "media.jsonl")]
    assert sorted(str(line["name"]) for line in found) == sorted(f"{n}.png" for n in range(16))
    first = next(line for line in found if line["name"] == "0.png")
    told = {key: first[key] for key in ("sha256", "kind", "tokens", "width", "height", "mode", "format")}
    assert told == {
        "sha256": file_sha256(home / "0.png"),
        "kind": "image",
        "tokens": 4,
        "width": 8,
        "height": 8,
        "mode": "RGB",
        "format": "PNG",
    }
    assert str(home) not in (home / "runs" / "seen" / "media.jsonl").read_text()


def test_media_tokens_are_told_before_any_training(
    seen: tuple[Path, Result], espalier: Callable[..., Result]
):
    home, _ = seen
    shown = espalier("inspect", "seen.toml", cwd=home)
    assert shown.code == 0, shown.err
    assert "tokens, 4 of media; trained ones" in shown.out
    rows = int(re.findall(r"(\d+) rows? of at most", shown.out)[0])
    told = re.search(r"(\d+) of the tokens are of media, (\d+) with sharing: \d+ a step", shown.out)
    assert told
    assert int(told[1]) == 4 * rows
    assert 2 * rows <= int(told[2]) < 4 * rows
    ahead = espalier("forecast", "seen.toml", cwd=home)
    assert ahead.code == 0, ahead.err
    assert re.search(r"A step computes \d+ tokens, \d+ of them of media\.", ahead.out), ahead.out


@pytest.mark.parametrize("to", ["hf", "adapter", "gguf"])
def test_what_a_run_on_pictures_cannot_be_exported_to_is_told(
    to: str, seen: tuple[Path, Result], espalier: Callable[..., Result]
):
    home, _ = seen
    done = espalier("export", "runs/seen", "--to", to, cwd=home)
    assert done.code == 2
    told = " ".join(done.err.split())
    assert "sees or hears through quarters_encoder:quarters and a projector, which no model of" in told
    assert f"--to {to}" in told
    assert "runs/seen/model: its media.safetensors" in told
    assert not (home / "runs" / "seen" / "export").exists()


def test_a_projector_learns_from_rows_with_media_only(
    seen: tuple[Path, Result], espalier: Callable[..., Result]
):
    home, _ = seen
    text = [{"question": f"What is {n}?", "answer": f"kettle {n}"} for n in range(12)]
    (home / "text.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in text))
    done = espalier("run", "seen.toml", "-o", "name=bad", "-o", "task.path=text.jsonl", cwd=home)
    assert done.code == 2
    assert "rows has a picture or a sound, so a projector has nothing to learn from" in " ".join(
        done.err.split()
    )
    assert "train.0.method" in done.err
    assert not (home / "runs" / "bad").exists()
    mixed = (home / "seen.jsonl").read_text() + (home / "text.jsonl").read_text()
    (home / "mixed.jsonl").write_text(mixed)
    keys = ("name=mixed", "task.path=mixed.jsonl", "train.0.rows=1", "train.0.epochs=1", "data.limit=8")
    done = espalier("run", "seen.toml", *(part for key in keys for part in ("-o", key)), cwd=home)
    assert done.code == 0, done.err
    rejects = [line for _, line in read_jsonl(home / "runs" / "mixed" / "rejects.jsonl")]
    assert {line["reason"] for line in rejects} == {
        "It has no picture or sound, and the stage trains the projector alone."
    }


def test_a_file_that_is_cut_off_is_told_by_row_or_left_out(
    seen: tuple[Path, Result],
    new_home: Callable[[Path], Path],
    espalier: Callable[..., Result],
    tmp_path: Path,
):
    home = new_home(tmp_path / "home")
    drawn(home)
    whole = (home / "3.png").read_bytes()
    (home / "3.png").write_bytes(whole[: len(whole) // 2])
    done = espalier("run", "seen.toml", cwd=home)
    assert done.code == 2
    said = " ".join(done.err.split())
    assert "3.png" in said
    assert "seen.jsonl, row" in said
    done = espalier("run", "seen.toml", "-o", 'task.on_bad="reject"', cwd=home)
    assert done.code == 0, done.err
    rejects = [line for _, line in read_jsonl(home / "runs" / "seen" / "rejects.jsonl")]
    assert len(rejects) == 2
    assert all("3.png" in str(line["reason"]) for line in rejects)
