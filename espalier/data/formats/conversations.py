"""Whole conversations, every answer trained: OpenAI's messages and ShareGPT's conversations."""

from __future__ import annotations

from espalier.core.records import Example
from espalier.data.formats.row import Format, Row, example
from espalier.data.formats.turns import FRAME, conversation


def messages() -> Format:
    """OpenAI's messages: role and content, `tool_calls`, the role tool, and `tools` beside the messages."""
    sample = '{"messages": [{"role": "user", "content": "…"}, {"role": "assistant", "content": "…"}]}'
    return _conversations("messages", sample)


def sharegpt() -> Format:
    """ShareGPT: from (human, gpt, function_call, observation, system) and value, `tools` beside them."""
    sample = '{"conversations": [{"from": "human", "value": "…"}, {"from": "gpt", "value": "…"}]}'
    return _conversations("conversations", sample)


def _conversations(key: str, sample: str) -> Format:
    def read(row: Row) -> list[Example]:
        return [example(row, conversation(row.value, key, row.where))]

    return Format((key,), read, sample, FRAME)
