"""Examples come back from Parquet as they were; files that are none are refused in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from espalier.core.errors import DataError
from espalier.core.records import Example, Media, Message, Text, Thought, ToolCall, ToolList, message
from espalier.data.table import as_parquet, read_examples

if TYPE_CHECKING:
    from pathlib import Path

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
PARTS = st.one_of(
    st.builds(Text, TEXT),
    st.builds(Thought, TEXT),
    st.builds(Media, st.sampled_from(["image", "audio"]), TEXT, TEXT),
    st.builds(ToolCall, TEXT, TEXT),
    st.builds(ToolList, TEXT),
)
MESSAGES = st.builds(
    Message, st.sampled_from(["system", "user", "assistant", "tool"]), st.lists(PARTS, max_size=3).map(tuple)
)
EXAMPLES = st.builds(
    Example,
    id=TEXT,
    task=TEXT,
    source=TEXT,
    messages=st.lists(MESSAGES, max_size=3).map(
        lambda turns: (*turns, message("assistant", "a", trained=True))
    ),
    references=st.lists(TEXT, max_size=3).map(tuple),
    rejected=st.lists(st.builds(message, st.just("assistant"), TEXT), max_size=2).map(tuple),
    origin=st.dictionaries(
        TEXT, st.one_of(TEXT, st.integers(), st.dictionaries(TEXT, TEXT, max_size=2)), max_size=2
    ),
    input=TEXT,
    facts=st.dictionaries(TEXT, st.one_of(TEXT, st.booleans(), st.lists(TEXT, max_size=2)), max_size=2),
)


@given(st.lists(EXAMPLES, max_size=4))
@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_table_reads_back_as_it_was(tmp_path: Path, examples: list[Example]) -> None:
    (tmp_path / "train.parquet").write_bytes(as_parquet(examples))
    assert read_examples(tmp_path / "train.parquet") == examples


def test_any_tool_can_read_it(tmp_path: Path) -> None:
    example = Example(
        "i", "t", "s", (message("user", "q"), message("assistant", "a", trained=True)), ("a", "b")
    )
    (tmp_path / "train.parquet").write_bytes(as_parquet([example]))
    row = pq.read_table(tmp_path / "train.parquet").to_pylist()[0]
    assert row["references"] == ["a", "b"]
    assert row["messages"][1]["parts"][0]["text"] == "a"
    assert [turn["trained"] for turn in row["messages"]] == [False, True]


def test_other_files_are_refused_in_words(tmp_path: Path) -> None:
    path = tmp_path / "train.parquet"
    with pytest.raises(DataError, match="no such file"):
        read_examples(path)
    path.write_text("not a table")
    with pytest.raises(DataError, match="not a Parquet table"):
        read_examples(path)
    pq.write_table(pa.table({"text": ["a"]}), path)
    with pytest.raises(DataError, match="columns text; expected id, task"):
        read_examples(path)
