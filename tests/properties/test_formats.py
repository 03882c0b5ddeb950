"""Whatever a file of rows holds, each row becomes examples or a reject with its place and reason."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from espalier.core.errors import DataError
from espalier.formats.load import FORMATS, load_rows

if TYPE_CHECKING:
    from pathlib import Path

TOP = ["messages", "conversations", "instruction", "input", "output", "history", "system", "tools", "prompt"]
OTHER = ["completion", "chosen", "rejected", "label", "kto_tag", "instances", "message_tree_id", "question"]
INNER = ["answer", "role", "from", "content", "value", "text", "replies", "tool_calls", "function", "name"]
KEYS = [*TOP, *OTHER, *INNER, "arguments", "weight", "deleted"]
words = st.sampled_from(
    ["user", "assistant", "system", "tool", "gpt", "human", "function_call", "{}", "[]", ""]
)
leaves = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | words | st.text(max_size=3)


def objects(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.dictionaries(st.sampled_from(KEYS), values, max_size=4)


turns = st.fixed_dictionaries({"role": words, "content": leaves}) | st.fixed_dictionaries(
    {"from": words, "value": leaves}
)
deep = st.recursive(leaves | turns, lambda inner: st.lists(inner, max_size=3) | objects(inner), max_leaves=8)
rows = st.dictionaries(st.sampled_from(KEYS), deep | st.lists(turns, max_size=4), min_size=1, max_size=6)


@given(
    content=st.lists(rows | deep, max_size=4), kind=st.sampled_from(["auto", *FORMATS]), lines=st.booleans()
)
@settings(max_examples=250, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_row_is_used_or_rejected(tmp_path: Path, content: list[Any], kind: str, lines: bool) -> None:
    path = tmp_path / ("rows.jsonl" if lines else "rows.json")
    path.write_text("\n".join(map(json.dumps, content)) if lines else json.dumps(content))
    rejects: list[dict[str, Any]] = []
    try:
        loaded = load_rows(path, kind, rejects.append)
    except DataError as error:
        said = str(error)
        assert said.startswith(str(path))
        return
    assert all(reject["where"].startswith(str(path)) and reject["reason"] for reject in rejects)
    used = {int(item.origin["row"]) for item in loaded}
    assert len(used) + len(rejects) == len(content)
    assert len({item.id for item in loaded}) == len(loaded)
