"""Whole conversations, every answer trained: OpenAI's messages and ShareGPT's conversations."""

from __future__ import annotations

from espalier.core.records import Example
from espalier.formats.format import Format, Row, example
from espalier.formats.turns import FRAME, conversation

# What files call the list of turns.
MESSAGES = ("messages", "contents")
SHAREGPT = ("conversations", "conversation", "dialogue", "dialog")


def messages() -> Format:
    """OpenAI's messages: role and content, `tool_calls`, the role tool, and `tools` beside the messages."""
    sample = '{"messages": [{"role": "user", "content": "…"}, {"role": "assistant", "content": "…"}]}'
    return _conversations(MESSAGES, sample)


def sharegpt() -> Format:
    """ShareGPT: from (human, gpt, function_call, observation, system) and value, `tools` beside them."""
    sample = '{"conversations": [{"from": "human", "value": "…"}, {"from": "gpt", "value": "…"}]}'
    return _conversations(SHAREGPT, sample)


def _conversations(keys: tuple[str, ...], sample: str) -> Format:
    def read(row: Row) -> list[Example]:
        key = next(key for key in keys if key in row.value)
        return [example(row, conversation(row.value, key, row.where))]

    return Format(keys, read, sample, FRAME)
