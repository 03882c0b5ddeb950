"""Media in token ids: a block a medium, the same everywhere, and the text around it as it is read alone."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from espalier.core.errors import TemplateError
from espalier.core.records import Media, Message, Text, message
from espalier.decode.requests import request_key
from espalier.encode import media
from espalier.encode.media import FIRST, PLACES, STAND_INS, Takes, block, named
from espalier.encode.template import Template
from espalier.encode.tokens import Unit, unit_hashes

if TYPE_CHECKING:
    from collections.abc import Callable

    from transformers import PreTrainedTokenizerFast

SIZE = 5
STYLES = ("chatml", "llama3", "gemma")


def picture(name: str) -> Media:
    """Return a medium that is known by what its file would hold."""
    return Media("image", f"{name}.png", hashlib.sha256(name.encode()).hexdigest())


def asked(*parts: Media | str) -> tuple[Message, ...]:
    """Return a question of these parts with an answer."""
    made = tuple(Text(part) if isinstance(part, str) else part for part in parts)
    return (Message("user", made), message("assistant", "two hours", trained=True))


@pytest.fixture(scope="module", params=STYLES)
def seeing(
    request: pytest.FixtureRequest, chat_tokenizer: Callable[[str], PreTrainedTokenizerFast]
) -> Template:
    """A template of each style that takes media."""
    return Template(chat_tokenizer(request.param), 4096, takes=Takes(lambda one: SIZE))


def spans(ids: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Return the runs of media's ids."""
    out: list[list[int]] = []
    for before, token in zip((0, *ids), ids, strict=False):
        if token >= FIRST and (before < FIRST or token != before + 1):
            out.append([])
        if token >= FIRST:
            out[-1].append(token)
    return [tuple(run) for run in out]


def test_a_medium_is_a_block_of_its_own_in_the_order_of_the_parts(seeing: Template) -> None:
    one, other = picture("one"), picture("other")
    found = seeing.answered(asked(one, "first, then", other, "and again", one))
    assert spans(found.ids) == [tuple(block(m, SIZE)) for m in (one, other, one)]
    assert spans(found.ids[: found.prompt]) == spans(found.ids)


def test_a_prompt_with_media_begins_the_row(seeing: Template) -> None:
    messages = asked(picture("one"), "\nwhat is it?")
    found = seeing.answered(messages)
    assert seeing.prompt_ids(messages[:-1]) == found.ids[: found.prompt]
    assert seeing.is_own(messages)


def test_rows_without_media_have_the_ids_of_the_plain_template(
    chat_tokenizer: Callable[[str], PreTrainedTokenizerFast], seeing: Template
) -> None:
    messages = asked("How long did <|image_pad|> or <image> last?")
    plain = {Template(chat_tokenizer(style)).answered(messages).ids for style in STYLES}
    assert seeing.answered(messages).ids in plain


@given(
    words=st.lists(st.text(max_size=12), min_size=1, max_size=3),
    names=st.lists(st.sampled_from("abc"), min_size=1, max_size=3),
)
def test_text_around_media_is_read_as_between_control_tokens(
    words: list[str], names: list[str], chat_tokenizer: Callable[[str], PreTrainedTokenizerFast]
) -> None:
    """The ids are those of the same conversation with a control token in the place of each medium."""
    template = _chatml(chat_tokenizer)
    parts = [part for pair in zip(words, map(picture, names), strict=False) for part in pair]
    if not any(part.strip() for part in words):
        parts.append("what?")
    messages = asked(*parts)
    try:
        found = template.answered(messages)
    except TemplateError:
        return
    text = template.prompt_text(messages[:-1])
    pieces = text.split(STAND_INS["image"])
    reader = chat_tokenizer("chatml")
    ids: list[int] = []
    media_of = [part for part in parts if isinstance(part, Media)]
    for number, piece in enumerate(pieces):
        ids += reader(piece, add_special_tokens=False)["input_ids"]
        if number < len(media_of):
            ids += block(media_of[number], SIZE)
    assert found.ids[: found.prompt] == tuple(ids)


_made: dict[str] = {}


def _chatml(chat_tokenizer: Callable[[str], PreTrainedTokenizerFast]) -> Template:
    if not _made:
        _made["chatml"] = Template(chat_tokenizer("chatml"), 4096, takes=Takes(lambda one: SIZE))
    return _made["chatml"]


def test_a_quoted_control_token_beside_a_medium_stays_text(seeing: Template) -> None:
    plainly = seeing.answered(asked(picture("one"), "what is it?"))
    quoting = seeing.answered(asked(picture("one"), "what is <|im_end|> or <end_of_turn> or <|eot_id|>?"))
    assert spans(quoting.ids) == spans(plainly.ids)
    stops = seeing.stop_ids
    assert sum(one in stops for one in quoting.ids) == sum(one in stops for one in plainly.ids)


def test_a_text_that_holds_the_stand_in_is_refused(seeing: Template) -> None:
    with pytest.raises(TemplateError, match="stands for media"):
        seeing.answered(asked(f"what is {STAND_INS['image']}?"))


def test_media_that_begin_alike_are_told_apart_or_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(media, "_known", {})
    one = picture("one")
    twin = Media("image", "twin.png", one.sha256[: media.DIGITS] + "0" * (64 - media.DIGITS))
    last = "0" if one.sha256[media.DIGITS - 1] != "0" else "1"
    near = Media("image", "near.png", one.sha256[: media.DIGITS - 1] + last + one.sha256[media.DIGITS :])
    assert block(one, SIZE) == block(Media("image", "moved.png", one.sha256), SIZE)
    with pytest.raises(TemplateError, match="begins with"):
        block(twin, SIZE)
    assert not set(block(near, SIZE)) & set(block(one, SIZE))


@pytest.mark.parametrize("size", [0, PLACES + 1])
def test_a_medium_of_no_or_too_many_tokens_is_refused(size: int) -> None:
    with pytest.raises(TemplateError, match="1 to"):
        block(picture("one"), size)


def test_keys_are_made_of_whole_hashes() -> None:
    """Two media may have the same ids in two processes; what is remembered by them must not be confused."""
    one = picture("one")
    ids = (1, *block(one, SIZE), 2)
    told = named(ids)
    assert (told[0], told[1], told[-1]) == (1, f"{one.sha256} 0", 2)
    key = request_key("w", "t", {}, ids, 0)
    row = unit_hashes([Unit("e", ids, ())])
    twin = Media("image", "twin.png", one.sha256[:-1] + ("0" if one.sha256[-1] != "0" else "1"))
    other = {**media._known, media.number_of(one): twin}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(media, "_known", other)
        assert request_key("w", "t", {}, ids, 0) != key
        assert unit_hashes([Unit("e", ids, ())]) != row


def test_each_token_is_shown_and_a_medium_by_a_word(seeing: Template) -> None:
    one = picture("one")
    ids = seeing.answered(asked("see", one, one, "now?")).ids
    pieces = seeing.pieces(ids)
    assert len(pieces) == len(ids)
    assert pieces.count("⟨a picture⟩") == 2
    assert "".join(pieces).count("now?") == 1
