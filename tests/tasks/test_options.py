"""What an answer is chosen from, and which option is right: by its text, its letter, or its place."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from espalier.core.errors import DataError
from espalier.core.records import Example, message
from espalier.tasks.options import likeliest, option_named, options_of, right_option

OPTIONS = ("Two hours", "a cat", "10", "2")
WEIGHED = st.lists(
    st.tuples(st.text(min_size=1, max_size=9), st.floats(-50, -0.1), st.integers(1, 9)),
    min_size=1,
    max_size=5,
)


def row(options: object, *references: str, **facts: object) -> Example:
    origin = {"file": "rows.jsonl", "row": 7}
    turns = (message("user", "Which?"),)
    return Example("id", "t", "s", turns, references, origin=origin, facts={"options": options, **facts})


@pytest.mark.parametrize(
    ("said", "place"),
    [("a cat", 1), ("A cat.", 1), ("B", 1), ("(b)", 1), ("0", 0), ("10", 2), ("2", 3), ("3", 3), ("9", None),
     ("E", None), ("", None), ("a", 0)],
)  # fmt: skip
def test_an_option_is_named_by_its_text_then_its_letter_then_its_place(said: str, place: int | None):
    assert option_named(said, OPTIONS) == place


def test_the_right_one_is_a_place_or_the_first_reference_that_names_one():
    assert right_option(row(OPTIONS, "none of them", answer=2), OPTIONS) == 2
    assert right_option(row(OPTIONS, "some cat", "a cat"), OPTIONS) == 1
    assert right_option(row(OPTIONS), OPTIONS) is None
    with pytest.raises(DataError, match=r"'a dog' is none of the options 'Two hours', 'a cat', '10', '2'"):
        right_option(row(OPTIONS, "a dog", answer=4), OPTIONS)


@pytest.mark.parametrize(
    ("options", "said"),
    [([], "has no options"), (["x"], "one option, 'x'"), (["x", "y", "x"], "'x' is there twice"),
     (["x", " "], "no text, or an empty one"), (["x", 3], "no text"), ("xy", "has no options")],
)  # fmt: skip
def test_options_that_are_none_are_refused_at_their_row(options: object, said: str):
    with pytest.raises(DataError, match=rf"rows.jsonl, row 7: .*{said}"):
        options_of(row(options))


@given(WEIGHED)
def test_the_likeliest_is_so_by_what_it_is_divided_by(found: list[tuple[str, float, int]]):
    texts, weighed = [text for text, _, _ in found], [(logprob, tokens) for _, logprob, tokens in found]
    lengths = {
        "none": [1 for _ in texts],
        "characters": [len(text) for text in texts],
        "bytes": [len(text.encode(errors="surrogatepass")) for text in texts],
        "tokens": [tokens for _, tokens in weighed],
    }
    for normalise, sizes in lengths.items():
        each = [logprob / size for (logprob, _), size in zip(weighed, sizes, strict=True)]
        assert likeliest(texts, weighed, normalise) == max(range(len(each)), key=each.__getitem__)  # type: ignore[arg-type]
