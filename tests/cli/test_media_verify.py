"""`espalier verify` on rows with pictures and sounds: a model that does not look fails, one that does not."""

from __future__ import annotations

import itertools
import json
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from PIL import Image

from espalier.encode import media as blocks
from espalier.media import sounds
from espalier.models.encoders.features import KeptFeatures
from espalier.train import verify
from tests.cli.test_media_runs import ENCODER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.cli.conftest import Result

HEARD = """

def hear(paths):
    made = []
    for path in paths:
        heard = torch.from_numpy(np.array(sounds.samples(path, 16_000)))
        parts = heard[: len(heard) // 800 * 800].view(-1, 800)
        made.append(parts[:, ::100].contiguous())
    return made

def parts():
    return Encoder("parts", "audio", 8, {}, "none", lambda found: int(found.seconds * 20), hear)
"""
RECIPE = """
name = "seen"
folder = "runs"
[task]
path = "seen.jsonl"
[data]
train = 0.6
[model]
name = "tiny"
precision = "fp32"
encoders = ["verify_encoder:quarters", "verify_encoder:parts"]
[train]
method = {kind = "lora", rank = 2}
"""
BLIND = "The model does not see its media: with a picture of another row in the place of its own"


@pytest.fixture
def home(tmp_path: Path, new_home: Callable[[Path], Path], monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with rows about pictures that differ in one pixel, and about sounds of other lengths."""
    monkeypatch.setenv("ESPALIER_CACHE", str(tmp_path / "cache"))
    home = new_home(tmp_path / "home")
    rows: list[dict[str, str]] = []
    for number in range(6):
        pixels = np.full((8, 8, 3), 90, np.uint8)
        pixels[4, 3, 0] = 100 + 20 * number
        Image.fromarray(pixels).save(home / f"{number}.png")
        rows.append({"image": f"{number}.png", "question": "Where is it?", "answer": f"kettle {number}"})
        sounds.soundfile().write(
            home / f"{number}.wav", np.sin(np.arange(4000 + 800 * number) / (7 + number)), 16_000
        )
        rows.append({"audio": f"{number}.wav", "question": "What is it?", "answer": f"ladder {number}"})
    (home / "seen.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    (home / "seen.toml").write_text(RECIPE)
    module = ENCODER.replace("import pictures", "import pictures, sounds") + HEARD
    (home / "verify_encoder.py").write_text(module)
    yield home
    sys.modules.pop("verify_encoder", None)


@pytest.fixture
def only_sight(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves out the checks that a blind model passes."""
    monkeypatch.setattr(verify, "_training_checks", lambda *_: iter(()))
    monkeypatch.setattr(verify, "_resume_check", lambda *_: verify.Check("resume", 0.0, 0.0))


def test_pictures_that_differ_in_a_pixel_and_sounds_are_told_apart(
    home: Path, espalier: Callable[..., Result]
) -> None:
    done = espalier("verify", "seen.toml", "--json", cwd=home)
    found = {check["name"]: check["ok"] for check in json.loads(done.out)["checks"]}
    sight = {f"rows that another one's {kind} leaves as they are" for kind in ("image", "audio")}
    exact = {name for name in found if "fp64" in name or "save and load" in name}
    assert sight | exact <= found.keys()
    assert all(found[name] for name in sight | exact)  # of so few rows, roundings differ by more than usual


def failed(done: Result) -> set[str]:
    assert done.code == 1, done.out + done.err
    wrong = [check for check in json.loads(done.out)["checks"] if not check["ok"]]
    for check in wrong:
        assert f"{check['gap']:.0f} of {check['gap']:.0f} rows have the same" in check["why"]
    return {check["name"].split()[4] for check in wrong}


@pytest.mark.usefixtures("only_sight")
def test_a_model_that_sees_nothing_fails(
    home: Path, espalier: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    own = KeptFeatures.of
    monkeypatch.setattr(KeptFeatures, "of", lambda self, media: torch.zeros_like(own(self, media)))
    assert failed(espalier("verify", "seen.toml", "--json", cwd=home)) == {"image", "audio"}
    told = espalier("verify", "seen.toml", cwd=home)
    assert BLIND in " ".join(told.out.split())


@pytest.mark.usefixtures("only_sight")
def test_one_placeholder_for_all_media_fails(
    home: Path, espalier: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    own, first = blocks.block, {}
    monkeypatch.setattr(
        blocks, "block", lambda media, size: own(first.setdefault(media.kind, media), min(size, 4))
    )
    assert failed(espalier("verify", "seen.toml", "--json", cwd=home)) == {"image", "audio"}


@pytest.mark.usefixtures("only_sight")
def test_media_that_are_dropped_fail(
    home: Path, espalier: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        blocks.Blocks,
        "put",
        lambda self, ids, media: tuple(one for one in ids if one not in self.tokens.values()),
    )
    assert failed(espalier("verify", "seen.toml", "--json", cwd=home)) == {"image", "audio"}


@pytest.mark.usefixtures("only_sight")
def test_of_one_picture_for_all_rows_nothing_can_be_told(home: Path, espalier: Callable[..., Result]) -> None:
    rows = [json.loads(line) for line in (home / "seen.jsonl").read_text().splitlines()]
    Image.open(home / "0.png").save(home / "again.bmp")  # another file, the same picture
    names = itertools.cycle(("0.png", "again.bmp"))
    same = [row | {"image": next(names)} for row in rows if "image" in row]
    (home / "seen.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in same))
    done = espalier("verify", "seen.toml", cwd=home)
    assert done.code == 0, done.out + done.err
    assert "cannot be told whether the model looks" in " ".join(done.err.split())
