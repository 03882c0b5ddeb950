"""Which rows an example becomes, and what each of them trains."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from espalier.core.files import content_hash
from espalier.core.records import Encoded, Example, RowRole, message
from espalier.encode.batches import build_trees
from espalier.encode.template import Template
from espalier.encode.tokenizer import TOGETHER, Reader
from espalier.encode.tokens import Unit, encode_unit, read_ahead, unit_hashes

if TYPE_CHECKING:
    from collections.abc import Callable

    from espalier.core.records import Encoded

TURNS = (
    message("user", "Hello"),
    message("assistant", "Hm, hello.</think>Hi", trained=True),
    message("user", "And?"),
    message("assistant", "Nothing.</think>Yes", trained=True),
)


def split(tokenizer: Any, row: Encoded) -> tuple[str, str]:
    """Return what a row is prompted with and what it trains, as text."""
    trained = [token for token, weight in zip(row.ids, row.weights, strict=True) if weight]
    return tokenizer.decode(row.ids[: row.prompt]), tokenizer.decode(trained)


def test_a_conversation_is_one_row(chat_tokenizer: Callable[[str], Any]) -> None:
    tokenizer = chat_tokenizer("chatml")
    unit = encode_unit(Example("id", "task", "source", TURNS), Template(tokenizer))
    assert len(unit.rows) == 1
    assert split(tokenizer, unit.rows[0])[1].count("<|im_end|>") == 2


@pytest.mark.parametrize("style", ["reasoning", "thinking"])
def test_each_turn_is_a_row_where_histories_are_rendered_anew(
    chat_tokenizer: Callable[[str], Any], style: str
) -> None:
    tokenizer = chat_tokenizer(style)
    example = Example("id", "task", "source", TURNS, rejected=(message("assistant", "No"),))
    unit = encode_unit(example, Template(tokenizer))
    assert [(row.role, row.number) for row in unit.rows] == [("answer", 1), ("answer", 3), ("rejected", 0)]
    rendered = [{"role": turn.role, "content": turn.text} for turn in TURNS]
    for row, place in zip(unit.rows, (1, 3), strict=False):
        whole = tokenizer.apply_chat_template(rendered[: place + 1], tokenize=False)
        prompt, answer = split(tokenizer, row)
        assert prompt + answer + "\n" == whole
        assert answer.endswith(TURNS[place].text + "<|im_end|>")
    assert unit.prompt == unit.rows[1].ids[: unit.rows[1].prompt] == unit.rows[2].ids[: unit.rows[2].prompt]
    (tree,) = build_trees([unit.rows], 1000)
    assert len(tree.ids) < sum(len(row.ids) for row in unit.rows[1:])


def test_the_tokenizer_is_called_once_for_all_rows_that_are_read_ahead(
    chat_tokenizer: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    template = Template(chat_tokenizer("chatml"))
    said = [(message("user", f"Hello {n}"), message("assistant", f"Hi {n}", trained=True)) for n in range(9)]
    examples = [Example(str(number), "task", "source", turns) for number, turns in enumerate(said)]
    kind = type(template._tokenizer)
    calls: list[object] = []
    own = kind.__call__
    monkeypatch.setattr(
        kind, "__call__", lambda self, text, **how: calls.append(text) or own(self, text, **how)
    )
    read_ahead(examples, template)
    units = [encode_unit(example, template) for example in examples]
    assert len(calls) == 1
    monkeypatch.undo()
    assert units == [encode_unit(example, Template(chat_tokenizer("chatml"))) for example in examples]


def test_what_threads_read_ahead_together_is_what_the_tokenizer_reads(
    chat_tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 3)
    tokenizer = chat_tokenizer("chatml")
    reader = Reader(tokenizer, "<|im_start|>user\nHello<|im_end|>")
    texts = [f"<|im_start|>user\nthe cat {n % 2 * n} sat<|im_end|>\n" for n in range(300)]
    assert len(set(texts)) > 2 * TOGETHER
    reader.read_ahead(texts)
    assert [reader.ids(text) for text in texts] == [reader.whole(text) for text in texts]


def test_a_tokenizer_that_does_more_than_its_library_is_read_by_itself(
    chat_tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = chat_tokenizer("chatml")
    own = type(tokenizer).__call__
    monkeypatch.setattr(
        type(tokenizer),
        "__call__",
        lambda self, text, **how: own(
            self,
            text.replace("cat", "dog") if isinstance(text, str) else [t.replace("cat", "dog") for t in text],
            **how,
        ),
    )
    monkeypatch.setattr("os.cpu_count", lambda: 3)
    reader = Reader(tokenizer, "<|im_start|>user\nthe cat<|im_end|>")
    texts = [f"the cat {n}" for n in range(2 * TOGETHER)]
    reader.read_ahead(texts)
    assert [reader.ids(text) for text in texts] == [reader.whole(text) for text in texts]


@given(
    st.lists(st.tuples(st.lists(st.integers(0, 300), min_size=1), st.sampled_from(["answer", "rejected"])))
)
def test_the_hash_of_a_unit_is_that_of_its_content(rows: list[tuple[list[int], RowRole]]) -> None:
    encoded = [Encoded(tuple(ids), (0.0,) * (len(ids) - 1) + (0.5,), 0, "a", role) for ids, role in rows]
    units = [Unit("a", row.ids[:1], tuple(encoded[at:])) for at, row in enumerate(encoded)]
    assert unit_hashes(units) == [
        content_hash([unit.prompt, [(row.ids, row.weights, row.role) for row in unit.rows]]) for unit in units
    ]
