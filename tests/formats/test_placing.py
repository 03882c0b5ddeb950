"""Pictures and sounds of rows: every layout says the same, and what does not add up is named by its row."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from espalier.core.errors import DataError
from espalier.core.recipe import load_recipe
from espalier.core.records import Media, Text
from espalier.data.mixture import places, read
from espalier.data.split import split
from espalier.data.table import as_parquet, read_examples
from espalier.formats.load import load_rows
from espalier.formats.placing import Access

if TYPE_CHECKING:
    from pathlib import Path

    from espalier.core.records import Example

Image = pytest.importorskip("PIL.Image")
parquet: Any = pytest.importorskip("pyarrow.parquet")
pa: Any = pytest.importorskip("pyarrow")
NAMES = ("red.png", "green.png", "blue.png")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three pictures of one colour each, and a second of noise."""
    folder = tmp_path_factory.mktemp("shown")
    for place, name in enumerate(NAMES):
        Image.fromarray(np.eye(3, dtype=np.uint8)[np.full((4, 6), place)] * 255).save(folder / name)
    rate = 8000
    soundfile = pytest.importorskip("soundfile")
    soundfile.write(folder / "noise.wav", np.random.default_rng(0).uniform(-0.5, 0.5, rate), rate)
    return folder


def loaded(folder: Path, *rows: dict[str, Any], name: str = "rows.jsonl", **more: Any) -> list[Example]:
    path = folder / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return load_rows(path, media=Access(shelf=folder / "shelf"), **more)


def shown(example: Example) -> list[list[str]]:
    """Return the parts of each turn: its texts, and of media the first digits of the hash."""
    return [
        [p.sha256[:8] if isinstance(p, Media) else p.text for p in turn.parts if isinstance(p, Text | Media)]
        for turn in example.messages
    ]


# A turn: what is said before, between and behind its pictures.
WORDS = st.text(st.characters(codec="ascii", exclude_characters="<>\n\r"), min_size=1).filter(str.strip)
TURN = st.lists(st.one_of(WORDS, st.sampled_from(NAMES)), min_size=1, max_size=4)
TALK = st.lists(st.tuples(TURN, WORDS), min_size=1, max_size=3)


def told(turn: list[str]) -> str:
    return "".join("<image>" if part in NAMES else part for part in turn)


def parts(turn: list[str], show: Any) -> list[dict[str, Any]]:
    return [show(part) if part in NAMES else {"type": "text", "text": part} for part in turn]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25, deadline=None)
@given(talk=TALK)
def test_every_layout_of_the_same_content_gives_the_same_messages(
    folder: Path, talk: list[tuple[list[str], str]]
) -> None:
    listed = [part for asked, _ in talk for part in asked if part in NAMES]
    if not listed:
        return

    def url(name: str) -> str:
        return f"data:image/png;base64,{base64.b64encode((folder / name).read_bytes()).decode()}"

    def turns(asked: Any, role: str, said: str, names: tuple[str, str]) -> list[dict[str, Any]]:
        return [
            {role: who, said: words}
            for ask, reply in talk
            for who, words in ((names[0], asked(ask)), (names[1], reply))
        ]

    openai = ("role", "content", ("user", "assistant"))
    layouts: list[dict[str, Any]] = [
        {"messages": turns(told, *openai), "images": listed},
        {"messages": turns(told, *openai), "images": [{"path": name} for name in listed]},
        {"messages": turns(told, *openai), "image": [url(name) for name in listed]},
        {"conversations": turns(told, "from", "value", ("human", "gpt")), "image": listed},
        {
            "messages": turns(
                lambda t: parts(t, lambda n: {"type": "image_url", "image_url": {"url": url(n)}}), *openai
            )
        },
        {"messages": turns(lambda t: parts(t, lambda n: {"type": "image", "image": n}), *openai)},
        {"messages": turns(lambda t: parts(t, lambda _: {"type": "image"}), *openai), "images": listed},
        {
            "prompt": turns(told, *openai)[:-1],
            "completion": turns(told, *openai)[-1:],
            "images": listed,
        },
    ]
    if len(listed) == 1:
        layouts += [{**layouts[0], "images": listed[0]}]
    found = [loaded(folder, row)[0] for row in layouts]
    assert len({one.messages for one in found}) == 1
    assert len({one.id for one in found}) == 1
    assert len({one.source for one in found}) == 1
    assert len(found[0].media) == len(listed)


def test_a_table_with_bytes_says_the_same_as_paths(folder: Path) -> None:
    row = {"image": "red.png", "question": "Which colour?", "answer": "Red."}
    data = (folder / "red.png").read_bytes()
    for name, image in {"a": data, "b": {"bytes": data, "path": "gone.png"}}.items():
        parquet.write_table(
            pa.table({key: [value] for key, value in {**row, "image": image}.items()}),
            folder / f"{name}.parquet",
        )
    tables = [
        load_rows(folder / f"{name}.parquet", name="t", media=Access(shelf=folder / "shelf")) for name in "ab"
    ]
    (plain,) = loaded(folder, row)
    assert {made.messages for (made,) in tables} == {plain.messages}
    assert shown(plain)[0][1:] == ["Which colour?"]
    assert len(plain.media) == 1
    assert load_rows(folder / "a.parquet", media=Access(shelf=folder / "other"))[0].media == plain.media


@pytest.mark.parametrize(
    ("row", "asked", "answers"),
    [
        ({"image": "red.png", "question": "Which?", "answers": ["red", "dark red"]}, ["Which?"], 2),
        (
            {
                "image": "red.png",
                "question": "Which?",
                "answers": [{"answer": a} for a in ("ed", "red", "red")],
            },
            ["Which?"],
            3,
        ),
        ({"image": "red.png", "caption": "red"}, [], 1),
        ({"audio": "noise.wav", "transcription": "red"}, [], 1),
        ({"image_path": "red.png", "prompt": "Which?", "completion": "red"}, ["Which?"], 1),
        ({"images": ["red.png"], "instruction": "<image>\nWhich?", "output": "red"}, ["Which?"], 1),
        ({"audio": "noise.wav", "problem": "Say it.", "solution": "red"}, ["Say it."], 1),
    ],
)
def test_rows_that_ask_once_have_their_picture_first(
    folder: Path, row: dict[str, Any], asked: list[str], answers: int
) -> None:
    (made,) = loaded(folder, row)
    assert shown(made)[0] == [made.media[0].sha256[:8], *asked]
    assert made.answer == "red"
    assert len(made.references) == answers
    assert made.media[0].kind == ("audio" if "audio" in row else "image")


def test_a_folder_with_metadata_is_its_rows(folder: Path) -> None:
    rows = [{"file_name": "red.png", "text": "red"}, {"file_name": "noise.wav", "text": "hiss"}]
    found = loaded(folder, *rows, name="metadata.jsonl")
    assert [one.media[0].kind for one in found] == ["image", "audio"]
    with pytest.raises(DataError, match="format of the rows cannot be told"):
        loaded(folder, *rows)  # elsewhere a file's name is a file's name


ASKED = {"role": "user", "content": "<image>What?"}
TOLD = {"role": "assistant", "content": "That."}
BARE = [{"role": "user", "content": "What?"}, TOLD]
TWICE = [{"role": "user", "content": "<image><image>What?"}, TOLD]
PART = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What?"}]}


@pytest.mark.parametrize(
    ("row", "where", "said"),
    [
        ({"messages": TWICE, "images": ["red.png"]}, ", images", "has 2 <image>, and the row 1 image for it"),
        (
            {"messages": [ASKED, TOLD], "images": ["red.png", "blue.png"]},
            ", images",
            "has 1 <image>, and the row 2",
        ),
        (
            {"messages": BARE, "images": ["red.png"]},
            ", images",
            "has no <image>, and the row 1 image for it. Write",
        ),
        ({"messages": [ASKED, TOLD], "audio": "noise.wav"}, "", "has 1 <image>, and the row no images"),
        ({"messages": [PART, TOLD]}, "", "has 1 part of the type 'image', and the row no images"),
        ({"messages": [PART, TOLD], "images": ["red.png"] * 2}, ", images", "and the row 2 images"),
        ({"messages": [ASKED, TOLD], "images": [["red.png"]]}, ", images[0]", "it is a list"),
        ({"messages": [ASKED, TOLD], "images": [None]}, ", images[0]", "it is null"),
        ({"messages": [ASKED, TOLD], "images": "gone.png"}, ", images", "There is no file 'gone.png'"),
        ({"messages": [ASKED, TOLD], "images": "../shown.png"}, ", images", "leaves the folder"),
        ({"messages": [ASKED, TOLD], "images": "noise.wav"}, ", images", "is a sound, where a picture"),
        ({"messages": [ASKED, TOLD], "images": 3}, ", images", "is no picture or sound"),
        ({"messages": [ASKED, TOLD], "images": "https://a.example/b.png"}, ", images", "task.fetch = true"),
        ({"messages": [ASKED, TOLD], "videos": ["a.mp4"]}, ", videos", "comes with videos"),
        (
            {"messages": [ASKED, {**PART, "role": "assistant"}], "images": ["red.png"]},
            "",
            "stands in an answer",
        ),
        ({"image": None, "caption": "red"}, "", "The format of the rows cannot be told"),
    ],
)
def test_what_does_not_add_up_is_named_by_its_row(
    folder: Path, row: dict[str, Any], where: str, said: str
) -> None:
    with pytest.raises(DataError) as caught:
        loaded(folder, row)
    assert said in str(caught.value)
    assert caught.value.where.removeprefix(f"{folder / 'rows.jsonl'}:1").removeprefix(str(folder)) in (
        where,
        "/rows.jsonl",
    )


def test_bad_rows_are_counted_where_they_may_be_left_out(folder: Path) -> None:
    rejects: list[dict[str, Any]] = []
    good = {"messages": [ASKED, TOLD], "images": "red.png"}
    found = loaded(folder, good, {**good, "images": ["red.png"] * 2}, on_reject=rejects.append)
    assert len(found) == 1
    assert "the row 2 images" in rejects[0]["reason"]


@pytest.mark.parametrize("images", [None, [], "", "left out"])
def test_text_only_rows_stand_among_others_and_there_a_placeholder_is_text(folder: Path, images: Any) -> None:
    row = {"messages": [ASKED, TOLD], **({} if images == "left out" else {"images": images})}
    text, picture = loaded(folder, row, {**row, "images": ["red.png"]})
    assert shown(text)[0] == ["<image>What?"]
    assert not text.media
    assert len(picture.media) == 1
    assert shown(picture)[0][1] == "What?"
    assert text.source != picture.source


def test_text_that_spells_a_placeholder_beside_parts_or_in_an_answer_is_text(folder: Path) -> None:
    asked = [{"type": "image"}, {"type": "text", "text": "What is <image> in HTML?"}]
    answer = {"role": "assistant", "content": "There <image> is nothing."}
    (made,) = loaded(folder, {"messages": [{"role": "user", "content": asked}, answer], "images": "red.png"})
    assert shown(made) == [[made.media[0].sha256[:8], "What is <image> in HTML?"], [answer["content"]]]
    (made,) = loaded(folder, {"messages": [ASKED, answer], "images": "red.png"})
    assert made.answer == answer["content"]


def test_a_picture_is_its_bytes_wherever_it_lies(folder: Path) -> None:
    (folder / "again.jpg").write_bytes((folder / "red.png").read_bytes())
    one, other, third = loaded(
        folder,
        *(
            {"image": name, "question": "What?", "answer": "That."}
            for name in ("red.png", "again.jpg", "blue.png")
        ),
    )
    assert one.messages == other.messages
    assert one.source == other.source != third.source
    alone = loaded(folder, {"image": "again.jpg", "question": "What?", "answer": "That."})[0]
    assert alone.id == one.id != third.id
    assert alone.media[0].uri != one.media[0].uri
    assert one.asked != third.asked


def test_no_picture_is_on_both_sides_of_a_split(folder: Path) -> None:
    """Also not the second of a row: those that share one, directly or by others, are one source."""
    pictures = []
    for number in range(40):
        Image.new("L", (2, 2), number).save(folder / f"n{number}.png")
        pictures.append(f"n{number}.png")
    rows = [
        {
            "images": [pictures[n], pictures[(7 * n) % 40 if n % 3 else n]],
            "prompt": f"<image><image>Question {n}?",
            "completion": "Yes.",
        }
        for n in range(40)
    ]
    found = loaded(folder, *rows)
    train, test = split(found, 0.5, 0)
    assert train
    assert test
    both = [{one.sha256 for row in rows for one in row.media} for rows in (train, test)]
    assert not both[0] & both[1]
    backwards = {row.id: row.source for row in loaded(folder, *rows[::-1])}
    assert backwards == {row.id: row.source for row in found}


def test_preferences_share_their_prompt_with_its_picture(folder: Path) -> None:
    sides = {key: [PART, {"role": "assistant", "content": key}] for key in ("chosen", "rejected")}
    (made,) = loaded(folder, {**sides, "images": ["red.png"]})
    assert shown(made)[0][1:] == ["What?"]
    assert made.rejected[0].text == "rejected"
    assert len(made.media) == 1


def test_paths_start_where_the_recipe_says(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    path.write_text(json.dumps([{"image": "red.png", "caption": "red"}]))
    with pytest.raises(DataError, match=r"task\.media names another folder"):
        load_rows(path)
    (tmp_path / "r.toml").write_text(f'name = "r"\n[task]\npath = "rows.json"\nmedia = "{folder}"\n')
    recipe = load_recipe(tmp_path / "r.toml")
    section = recipe.task
    ((_, (made,)),) = read(places([str(path)], "auto"), section, None, print)
    assert made.media[0].uri == str(folder / "red.png")
    bare = recipe.model_copy(update={"task": section.model_copy(update={"media": "", "fetch": True})})
    assert bare.hash == recipe.hash  # what rows show is in the hash of the rows


def test_a_table_of_examples_keeps_media(folder: Path, tmp_path: Path) -> None:
    rows = loaded(folder, {"messages": [ASKED, TOLD], "images": "red.png"}, {"messages": BARE})
    (tmp_path / "t.parquet").write_bytes(as_parquet(rows))
    back = read_examples(tmp_path / "t.parquet")
    assert back == rows
    assert back[0].media[0].uri == rows[0].media[0].uri


def test_the_real_rows_of_another_tool_load(shared_data: Path) -> None:
    found = load_rows(shared_data / "llamafactory" / "mllm_demo.json")
    assert [len(row.media) for row in found] == [2, 1, 1, 2, 1, 1]
    assert found[0].media[0] == found[0].media[1] == found[3].media[0]
    assert len({row.source for row in found}) == 3
    assert replace(found[0].media[0], uri="elsewhere") == found[0].media[0]
