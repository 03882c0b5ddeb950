"""A run of a model that sees by itself: projector and adapter, export, and questions to what came out."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoModelForMultimodalLM

from espalier.core.files import read_jsonl
from tests.models.tiny_media import make_media_model

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.cli.conftest import Result

COLOURS = {"red": (250, 20, 20), "green": (20, 220, 20), "blue": (20, 20, 250)}
RECIPE = """
name = "seen"
folder = "runs"
evidence = false
[task]
path = "rows.jsonl"
[data]
train = 0.6
[model]
name = "sees"
precision = "fp32"
pixels = 900
[[train]]
method = "projector"
rate = 1e-2
rows = 6
[[train]]
method = {kind = "lora", rank = 2}
rate = 1e-2
rows = 6
[decode]
kind = "greedy"
limit = 4
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, espalier: Callable[..., Result]) -> Path:
    """A folder with a model, rows on pictures, and the run that was made of them."""
    folder = tmp_path_factory.mktemp("multimodal")
    make_media_model("qwen2_5_vl", folder / "sees")
    drawn = np.random.default_rng(0)
    rows: list[dict[str, object]] = []
    for number in range(9):
        name, colour = list(COLOURS.items())[number % 3]
        noise = drawn.integers(-5, 5, (30 + number, 40, 3))
        Image.fromarray((np.array(colour) + noise).clip(0, 255).astype(np.uint8)).save(
            folder / f"{number}.png"
        )
        for text, answer in (("what colour?", name), ("is it red?", "yes" if name == "red" else "no")):
            turns = [{"role": "user", "content": f"<image>{text}"}, {"role": "assistant", "content": answer}]
            rows.append({"messages": turns, "images": [f"{number}.png"]})
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "seen.toml").write_text(RECIPE)
    done = espalier("run", "seen.toml", cwd=folder)
    assert done.code == 0, done.err
    assert "train 0 trains the model's own projector" in " ".join(done.err.split())
    assert "train 1 trains" not in done.err
    return folder


def test_both_stages_are_trained_and_the_page_has_floors_without_and_with_other_pictures(home: Path) -> None:
    run = home / "runs" / "seen"
    systems = {line["system"] for _, line in read_jsonl(run / "outputs.jsonl")}
    assert {"base", "tuned", "blind", "shuffled"} <= systems
    assert "data:image" in (run / "report.html").read_text()
    assert (run / "model" / "media.safetensors").exists()


def test_the_export_is_what_transformers_loads_alone(home: Path, espalier: Callable[..., Result]) -> None:
    done = espalier("export", "runs/seen", "--to", "hf", cwd=home)
    assert done.code == 0, done.err
    folder = home / "runs" / "seen" / "export" / "hf"
    model = AutoModelForMultimodalLM.from_pretrained(folder)
    before = AutoModelForMultimodalLM.from_pretrained(home / "sees")
    own, first = dict(model.named_parameters()), dict(before.named_parameters())
    assert own.keys() == first.keys()
    moved = {name for name, weight in own.items() if not torch.equal(weight, first[name])}
    assert any("merger" in name for name in moved)
    assert any("language_model" in name for name in moved)
    assert not [name for name in moved if "visual.blocks" in name]
    Image.open(home / "0.png").resize((30, 24)).save(home / "small.png")  # which model.pixels leaves alone
    question = ("what colour?", "--image", "small.png", "--limit", "3")
    asked, again = (espalier("generate", name, *question, cwd=home) for name in (str(folder), "runs/seen"))
    assert (asked.code, asked.out) == (0, again.out), asked.err


def test_pictures_have_at_most_the_pixels_that_the_recipe_says(
    home: Path, espalier: Callable[..., Result]
) -> None:
    counts = [
        espalier("inspect", "seen.toml", *override, cwd=home).out
        for override in ((), ("-o", "model.pixels=784"), ("-o", "model.pixels=90000"))
    ]
    assert len(set(counts)) == 3
    done = espalier("inspect", "seen.toml", "-o", "model.name=smollm2-135m", cwd=home)
    assert done.code == 2
    done = espalier("run", "seen.toml", "-o", "model.name=smollm2-135m", "-o", "name=blind", cwd=home)
    assert done.code == 2
    assert "model.pixels: The model does not see by itself" in " ".join(done.err.split())


def test_least_squares_need_a_projector_of_this_house(home: Path, espalier: Callable[..., Result]) -> None:
    done = espalier("run", "seen.toml", "-o", "name=aligned", "-o", "train.0.align=true", cwd=home)
    assert done.code == 2, done.out
    assert "its own projector has learned that" in " ".join(done.err.split())


def test_verify_holds_its_rows_with_their_pictures(home: Path, espalier: Callable[..., Result]) -> None:
    done = espalier("verify", "seen.toml", "-o", "name=verified", "--json", cwd=home)
    found = {check["name"]: check for check in json.loads(done.out)["checks"]}
    for number in (0, 1):
        sight = found[f"train {number}: rows that another one's image leaves as they are"]
        assert (sight["gap"], sight["ok"]) == (0, True)
        for name in ("prefix sharing, loss, fp64", "prefix sharing, each gradient, fp64"):
            assert found[f"train {number}: {name}"]["ok"]
