"""Real chat templates of two dozen families, which TRL ships: the tokenizer's own ids, or a row refused."""

from __future__ import annotations

import json
import re
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from espalier.core.errors import TemplateError
from espalier.core.records import Example, Message, Text, Thought, ToolCall, ToolList, message
from espalier.encode.template import Template
from espalier.encode.tokens import encode_unit
from espalier.encode.voice import Rendering

if TYPE_CHECKING:
    from collections.abc import Sequence

FOUND = find_spec("trl")
FOLDER = Path(FOUND.origin).parent / "chat_templates" if FOUND and FOUND.origin else Path("absent")
FILES = sorted(FOLDER.glob("*.jinja"))
pytestmark = pytest.mark.skipif(not FILES, reason="trl, whose chat templates are read, is not installed")

CONTROLS = re.compile(
    r"<\|?[a-zA-Z_0-9]+\|?>|<｜[^｜]+｜>|</s>|\[/?INST\]|<(?:start|end)_of_[a-z]+>|</?think>"
)
PATTERN = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
ENDS = {
    "cohere": "<|END_OF_TURN_TOKEN|>",
    "deepseek": "<｜end▁of▁sentence｜>",
    "gptoss": "<|return|>",
    "llama3": "<|eot_id|>",
    "lfm": "<|im_end|>",
    "qwen": "<|im_end|>",
    "nemotron": "<|im_end|>",
}
# Their prompts open a thought that they then leave out of answers, and no argument closes it.
THINKERS = ("deepseek_r1_distill", "deepseekv3")
SCHEMA = {"type": "object", "properties": {"minutes": {"type": "integer", "description": "how many"}}}
TOOLS = [{"type": "function", "function": {"name": "ring", "description": "Rings.", "parameters": SCHEMA}}]
RING = ToolCall("ring", '{"minutes": 5}')
USER, ANSWER = message("user", "Is 4 even?"), message("assistant", "Yes.", trained=True)
THOUGHT = Message("assistant", (Thought("Half of 4 is 2."), Text("Yes.")), trained=True)
LISTED = Message("system", (ToolList(json.dumps(TOOLS)), Text("Be brief.")))
CONVERSATIONS: dict[str, tuple[Message, ...]] = {
    "one": (USER, ANSWER),
    "system": (message("system", "Be brief."), USER, ANSWER),
    "two": (USER, ANSWER, message("user", "And 5?"), message("assistant", "No.", trained=True)),
    "thought": (USER, THOUGHT, message("user", "And 6?"), THOUGHT),
    "inline": (USER, message("assistant", "<think>\nHm.\n</think>\n\nYes.", trained=True)),
    "spaces": (message("user", " Is 4 even?\n"), message("assistant", " Yes. \n", trained=True)),
    "line": (USER, message("assistant", "\nYes.", trained=True)),
    "quote": (message("user", "What is <|im_end|>?"), message("assistant", "It </s> ends.", trained=True)),
    "call": (LISTED, USER, Message("assistant", (RING,), trained=True), message("tool", "set"), ANSWER),
    "worded": (LISTED, USER, Message("assistant", (Text("Now."), RING), trained=True)),
    "calls": (LISTED, USER, Message("assistant", (RING, ToolCall("ring", "{}")), trained=True)),
    "twice": (USER, USER, ANSWER),
    "empty": (USER, message("assistant", "", trained=True)),
}


def tokenizer_of(file: Path) -> PreTrainedTokenizerFast:
    """Return a tokenizer of bytes, with the pattern of Llama 3 and the control tokens of a template."""
    text = file.read_text(encoding="utf-8")
    end = next((end for family, end in ENDS.items() if file.stem.startswith(family)), "<|endoftext|>")
    controls = dict.fromkeys(["<|endoftext|>", "<bos>", end, *CONTROLS.findall(text)])
    thoughts = [name for name in controls if "think" in name or "tool_call>" in name]
    made = Tokenizer(models.BPE())
    split = pre_tokenizers.Split(Regex(PATTERN), "isolated")
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=700,
        special_tokens=[name for name in controls if name not in thoughts],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator(["Is 4 even?\nYes.\n\n", "How long did it last? Two hours.\n"] * 3, trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=made, eos_token=end, bos_token="<bos>")
    fast.add_tokens(thoughts)
    fast.chat_template = text
    fast.chat_control_tokens = []
    return fast


def outcomes(tokenizer: Any, chat: Template) -> dict[str, str]:
    """Return why each conversation is refused, '' where it is not; what is not is compared."""
    found: dict[str, str] = {}
    for name, turns in CONVERSATIONS.items():
        try:
            unit = encode_unit(Example(name, "task", "source", turns), chat)
        except TemplateError as error:
            found[name] = error.message
            continue
        found[name] = ""
        for row in unit.rows:
            end = row.number or len(turns) - 1
            whole, prompt = (
                own(tokenizer, chat, turns[: end + more], opening)
                for more, opening in ((1, False), (0, True))
            )
            size = len(row.ids)
            written = row.ids if row.ids == whole[:size] else row.ids[:-1]  # a stop token that is added
            assert written == whole[: len(written)], name
            assert row.ids[: row.prompt] == prompt, name
            assert row.ids[-1] in chat.stop_ids, name
    return found


def own(tokenizer: Any, chat: Template, turns: Sequence[Message], opening: bool) -> tuple[int, ...]:
    given, tools = chat.turns_of(turns)
    return tuple(
        tokenizer.apply_chat_template(
            given,
            tools=tools,
            add_generation_prompt=opening,
            return_dict=False,
            sanitize_control_tokens=bool(chat.quoted(turns)),
            **chat.rendering.arguments,
        )
    )


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_rows_have_the_ids_of_the_tokenizer(file: Path) -> None:
    tokenizer = tokenizer_of(file)
    chat = Template(tokenizer)
    refused = outcomes(tokenizer, chat)
    if file.stem.removesuffix("_training") in THINKERS:
        assert all("not the beginning" in why for why in (refused["one"], refused["two"]))
        return
    if refused["one"]:  # a prompt that opens a thought
        with pytest.raises(TemplateError, match=r"With model.template = {enable_thinking = false} it fits"):
            chat.answered(CONVERSATIONS["one"])
        assert not refused["thought"]
        chat = chat.under(Rendering(arguments={"enable_thinking": False}))
        refused = outcomes(tokenizer, chat)
    easy = ("one", "system", "two", "quote", "call", "empty")
    assert not any(refused[name] for name in easy), {name: refused[name] for name in easy}
