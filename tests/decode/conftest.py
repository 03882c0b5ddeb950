"""Prompts that share."""

from __future__ import annotations

import pytest

from espalier.core.records import Example, message


@pytest.fixture
def questions() -> list[Example]:
    """Nine prompts under one instruction, the last the same as the first."""
    words = ["cat", "mat", "sat", "hours", "meeting", "long", "on", "two", "the"]
    texts = [
        f"How long did it last?\n\nInput: the {word} {'sat on ' * (i % 3)}" for i, word in enumerate(words)
    ]
    texts[-1] = texts[0]
    return [
        Example(f"row-{number}", "task", text, (message("user", text),), references=("two hours",))
        for number, text in enumerate(texts)
    ]
