"""Pictures and sounds on the command line and from Python: a run on them, and what is asked about them."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest
import soundfile
from PIL import Image, ImageColor

import espalier as program
from espalier.core.errors import DataError
from espalier.core.files import file_sha256
from espalier.core.records import Media
from espalier.data.table import read_examples
from espalier.media.pictures import PADDED
from espalier.models.media import MediaEmbedding, media_embedding
from espalier.report import browse
from espalier.report.browse import embedded
from espalier.report.gather import gather
from espalier.report.page import render
from espalier.report.seen import Shelf, encoded, shelved
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
    with mock.patch.dict(os.environ, {"ESPALIER_CACHE": str(home / "kept")}):
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


def given(page: str) -> dict[str, Any]:
    """What the page's script is given of media."""
    found = re.search(r'<script type="application/json" id="browse-media">(.*?)</script>', page, re.DOTALL)
    assert found
    return json.loads(found[1])


def test_the_report_shows_each_picture_once_and_nothing_of_the_machine(seen: Seen) -> None:
    page = (seen.folder / "report.html").read_text()
    shown = given(page)
    tested = read_examples(seen.folder / "data" / "test.parquet")
    assert shown["rows"] == [[one.sha256 for one in row.media] for row in tested]
    outputs = map(json.loads, (seen.folder / "outputs.jsonl").read_text().splitlines())
    blind = {line["example"]: line["text"] for line in outputs if line["system"] == "blind"}
    assert shown["blind"] == [blind[row.id] for row in tested]
    urls = [one["url"] for one in shown["media"].values()]
    assert len(urls) == len(set(urls)) > 2
    for row, (name,) in zip(tested, shown["rows"], strict=True):
        image = Image.open(io.BytesIO(base64.b64decode(shown["media"][name]["url"].split(",")[1])))
        assert image.size == (40, 20)
        assert image.convert("RGB").getpixel((9, 9)) == ImageColor.getrgb(row.answer)
        assert not image.getexif()
    assert all(page.count(url) == 1 for url in urls)
    assert str(seen.home) not in page
    assert "img-src data:" in page


def test_rows_that_are_right_when_blind_can_be_told_apart(seen: Seen, tmp_path: Path) -> None:
    folder = tmp_path / "colours"
    shutil.copytree(seen.folder, folder)
    scores = json.loads((folder / "scores.json").read_text())
    for number, row in enumerate(scores["examples"]):
        row["systems"]["tuned"]["values"]["exact_match"] = float(number % 2)
        row["systems"]["blind"]["values"]["exact_match"] = float(number % 3 == 0)
    (folder / "scores.json").write_text(json.dumps(scores))
    page = render(gather(folder))
    found = re.search(r'<script type="application/json" id="browse-rows">(.*?)</script>', page, re.DOTALL)
    assert found
    data = json.loads(found[1])
    assert [label for _, label in data["filters"]][-2:] == ["right when blind", "right only with the media"]
    rows = enumerate(data["rows"])
    assert all(row["won"] == [n % 3 == 0, n % 2 == 1 and n % 3 != 0] for n, row in rows)


def test_the_report_says_what_is_gone_and_what_has_no_room(seen: Seen, tmp_path: Path) -> None:
    folder = tmp_path / "colours"
    shutil.copytree(seen.folder, folder)
    material = gather(folder)
    paths = sorted({one.uri for row in material.test for one in row.media})
    kept = [Path(path).read_bytes() for path in paths[:2]]
    try:
        Path(paths[0]).unlink()
        Path(paths[1]).write_bytes(kept[0])
        told = [one["told"] for one in given(render(material))["media"].values() if "told" in one]
        assert told == [
            "not shown: the file is no longer where it was",
            "not shown: the file has changed since",
        ]
    finally:
        for path, data in zip(paths, kept, strict=False):
            Path(path).write_bytes(data)
    listed = browse.listed(material)
    assert listed
    full = shelved(material, [], listed, 600)
    assert full["told"].startswith("Of ")
    assert len(embedded(full)) < 2_000
    assert [one.get("told") for one in full["media"].values()][-1] == "left out: the page is full"


def test_pictures_are_shown_in_the_square_that_the_encoder_sees(seen: Seen, tmp_path: Path) -> None:
    folder = tmp_path / "colours"
    shutil.copytree(seen.folder, folder)
    lines = (folder / "events.jsonl").read_text().splitlines()
    events = [event for event in map(json.loads, lines) if event.get("event") == "media"]
    (told,) = events
    assert (told["kind"], told["media"], told["tokens"], told["encoded"]) == ("image", 8, 8 * TOKENS, 8)
    told["settings"] = {"pixels": 64, "fit": PADDED}
    went_on = {**told, "encoded": 0, "seconds": 0.25}
    with (folder / "events.jsonl").open("a") as file:
        file.writelines(json.dumps(event) + "\n" for event in (told, went_on))
    material = gather(folder)
    (cost,) = encoded(material)
    assert (cost["encoded"], cost["seconds"]) == (
        16,
        2 * told["seconds"] + 0.25,
    )  # whatever was done, together
    page = render(material)
    assert "8 pictures" in page
    assert f"has {TOKENS * len(material.train)} tokens of media, of" in page
    for one in given(page)["media"].values():
        image = Image.open(io.BytesIO(base64.b64decode(one["url"].split(",")[1]))).convert("RGB")
        assert image.size == (64, 64)
        assert (
            image.getpixel((2, 2)) == image.getpixel((61, 61)) == (255, 255, 255)
        )  # above 40 by 20, and below


def test_a_sound_is_a_player_and_a_waveform(seen: Seen) -> None:
    shelf = Shelf(100_000)
    path = seen.home / "hum.wav"
    shelf.put(Media("audio", str(path), file_sha256(path)))
    (entry,) = shelf.entries.values()
    assert entry["url"].startswith("data:audio/")
    assert max(entry["wave"]) == 1


def test_rows_with_media_are_looked_at_before_any_training(seen: Seen, espalier) -> None:
    result = espalier("inspect", "recipe.toml", "--rows", "1", cwd=seen.home)
    assert result.code == 0, result.err
    assert "⟨a picture⟩" in result.out
    shown = espalier("data", "show", "rows.jsonl", "-n", "1", cwd=seen.home)
    (row,) = map(json.loads, shown.out.splitlines())
    (medium,) = row["messages"][0]["media"]
    assert (medium["kind"], Path(medium["file"]).name) == ("image", "red.png")


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
        (("runs/colours", "x", "--image", "cut.png"), "the text: cut.png: The picture cannot be decoded"),
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
    whole = (seen.home / "red.png").read_bytes()
    (seen.home / "cut.png").write_bytes(whole[: len(whole) // 2])
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
