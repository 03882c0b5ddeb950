"""Pictures and sounds on the command line and from Python: a run on them, and what is asked about them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from unittest import mock

import pytest
import soundfile
from PIL import Image

import espalier as program
from espalier.core.errors import DataError
from espalier.models.media import MediaEmbedding, media_embedding
from tests.cli.seeing import TOKENS
from tests.media.conftest import tone

if TYPE_CHECKING:
    from collections.abc import Iterator

COLOURS = ("red", "green", "blue", "gold", "black", "white", "purple", "orange")
QUESTIONS = ("Which colour is it?", "Name the colour.", "What do you see?")
RECIPE = """
name = "colours"
folder = "runs"
evidence = false
[task]
path = "rows.jsonl"
[data]
train = 0.6
[model]
name = "tiny"
precision = "fp32"
encoders = ["tests.cli.seeing:colours", "tests.cli.seeing:loudness"]
[[train]]
method = "projector"
rate = 3e-3
epochs = 1
[[train]]
method = "lora"
rate = 3e-3
epochs = 1
[decode]
kind = "greedy"
limit = 6
"""


@dataclass(frozen=True)
class Seen:
    """A run on rows with media: the user's folder, and the run's."""

    home: Path
    folder: Path


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path, espalier) -> Iterator[Seen]:
    """A finished run in two stages; what its encoders make is kept beside it."""
    home = tmp_path_factory.mktemp("seen")
    (home / "tiny").symlink_to(tiny_model)
    (home / "recipe.toml").write_text(RECIPE)
    rows = [
        {"image": draw(home, colour), "question": question, "answer": colour}
        for colour in COLOURS
        for question in QUESTIONS
    ]
    (home / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    soundfile.write(home / "hum.wav", tone(16_000, 0.5), 16_000)
    cache = "espalier.models.encoders.attached.default_cache"
    with mock.patch(cache, return_value=home / "kept" / "models"):
        result = espalier("run", "recipe.toml", cwd=home)
        assert result.code == 0, result.err
        yield Seen(home, home / "runs" / "colours")


def draw(folder: Path, colour: str) -> str:
    """Draw a picture with a place in its EXIF, and return its name."""
    exif = Image.Exif()
    exif[0x010E] = "my garden"
    Image.new("RGB", (40, 20), colour).save(folder / f"{colour}.png", exif=exif)
    return f"{colour}.png"


def test_a_text_about_a_picture_is_asked_as_the_runs_rows_are(seen: Seen, espalier) -> None:
    row = {"image": "red.png", "question": QUESTIONS[0]}
    (seen.home / "ask.jsonl").write_text(json.dumps(row))
    of_file = espalier("generate", seen.folder, "--file", "ask.jsonl", "--text", cwd=seen.home)
    assert of_file.code == 0, of_file.err
    of_text = espalier("generate", seen.folder, QUESTIONS[0], "--image", "red.png", cwd=seen.home)
    assert of_text.out == of_file.out
    elsewhere = seen.home / "runs"
    from_below = espalier("generate", seen.folder, QUESTIONS[0], "--image", "../red.png", cwd=elsewhere)
    assert from_below.out == of_text.out
    outputs = map(json.loads, (seen.folder / "outputs.jsonl").read_text().splitlines())
    assert {line["system"] for line in outputs} >= {"tuned", "blind"}


def test_of_a_picture_or_a_sound_nothing_need_be_asked_in_words(seen: Seen, espalier) -> None:
    result = espalier("generate", seen.folder, "--image", "red.png", "--audio", "hum.wav", cwd=seen.home)
    assert result.code == 0, result.err


def test_a_chat_shows_a_picture_and_is_saved_with_it(seen: Seen, espalier) -> None:
    alone = espalier("generate", seen.folder, QUESTIONS[0], "--image", "red.png", cwd=seen.home)
    lines = ["/image red.png", QUESTIONS[0], QUESTIONS[1], "/save talk.jsonl"]
    result = espalier("chat", seen.folder, stdin="\n".join(lines), cwd=seen.home)
    assert result.code == 0, result.err
    assert result.out.startswith(alone.out)
    given = espalier("chat", seen.folder, "--image", "red.png", stdin=QUESTIONS[0], cwd=seen.home)
    assert given.out == alone.out
    turns = json.loads((seen.home / "talk.jsonl").read_text())["messages"]
    first, second = (turn["content"] for turn in turns if turn["role"] == "user")
    red = str((seen.home / "red.png").resolve())
    assert first == [{"type": "image", "image": red}, {"type": "text", "text": QUESTIONS[0]}]
    assert second == QUESTIONS[1]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (("tiny", "x", "--image", "red.png"), "the text: Here is a picture, and the model reads text only."),
        (("runs/colours", "x", "--image", "no.png"), "There is no file 'no.png'."),
        (("runs/colours", "x", "--audio", "red.png"), "is a picture, where a sound was expected."),
        (("runs/colours", "<image> or <image>?", "--image", "red.png"), "has 2 <image>"),
        (
            ("runs/colours", "--file", "rows.jsonl", "--image", "red.png"),
            "A picture or a sound is given with",
        ),
    ],
)
def test_what_does_not_go_together_is_one_sentence(
    seen: Seen, espalier, asked: tuple[str, ...], said: str
) -> None:
    result = espalier("generate", *asked, cwd=seen.home)
    assert result.code == 2
    assert said in result.err


def test_questions_on_one_picture_project_it_once(
    seen: Seen, espalier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(seen.home)
    model = program.load("runs/colours")
    embedding = media_embedding(model.local.writer)
    assert isinstance(embedding, MediaEmbedding)
    together = [answer.text for answer in model.generate(QUESTIONS, images="red.png", limit=6)]
    assert embedding.projected == TOKENS
    alone = [model.generate(text, images=["red.png"], limit=6)[0].text for text in QUESTIONS]
    assert embedding.projected == TOKENS * (1 + len(QUESTIONS))
    assert together == alone
    parts = [{"type": "image", "image": Image.open("red.png")}, {"type": "text", "text": QUESTIONS[0]}]
    assert model.generate([{"role": "user", "content": parts}], limit=6)[0].text == alone[0]
    asked = espalier("generate", "runs/colours", QUESTIONS[0], "--image", "red.png")
    assert asked.out == f"{alone[0]}\n"
    with pytest.raises(DataError, match="There is no file"):
        model.generate("x", audios="no.wav")
