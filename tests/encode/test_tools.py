"""What templates of several kinds are given of tools, and that nothing of a conversation is lost."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from espalier.core.errors import TemplateError
from espalier.core.records import Message, Text, ToolCall, ToolList, message
from espalier.encode.template import Template

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TOOLS = ToolList(json.dumps([{"type": "function", "function": {"name": "ring", "parameters": {}}}]))
RING = ToolCall("ring", '{"minutes": 5}')
CALL = (
    Message("system", (TOOLS, Text("Be brief."))),
    message("user", "Wake me."),
    Message("assistant", (RING,), trained=True),
    message("tool", "set"),
    message("assistant", "Done.", trained=True),
)
LIST = """You may call tools. Each is a line of JSON inside <tools>:
<tools>
{"type": "function", "function": {"name": "ring", "parameters": {}}}
</tools>
A call is JSON with the tool's name and its arguments:
<tool_call>
{"name": "…", "arguments": {…}}
</tool_call>"""
TEXT = '<tool_call>\n{"name": "ring", "arguments": {"minutes": 5}}\n</tool_call>'


def rendered(tokenizer: Any, turns: tuple[Message, ...]) -> tuple[str, list[str]]:
    """Return the whole text, and the text of each trained answer."""
    template = Template(tokenizer)
    places = [place for place, turn in enumerate(turns) if turn.trained]
    answers = [template.answered(turns[: place + 1]) for place in places]
    ends = turns[-1].role == "assistant"
    whole = template.answered(turns).ids if ends else template.prompt_ids(turns)
    trained = [answer.ids[answer.prompt :] for answer in answers]
    text, *said = (tokenizer.decode(ids, skip_special_tokens=False) for ids in (whole, *trained))
    return text, said


def test_a_template_without_tools_gets_text(chat_tokenizer: Callable[[str], Any]) -> None:
    text, trained = rendered(chat_tokenizer("chatml"), CALL)
    assert text == (
        f"<|im_start|>system\nBe brief.\n\n{LIST}<|im_end|>\n<|im_start|>user\nWake me.<|im_end|>\n"
        f"<|im_start|>assistant\n{TEXT}<|im_end|>\n<|im_start|>tool\nset<|im_end|>\n"
        "<|im_start|>assistant\nDone.<|im_end|>"
    )
    assert trained == [f"{TEXT}<|im_end|>", "Done.<|im_end|>"]


def test_a_template_without_system_and_tool_turns_gets_user_turns(
    chat_tokenizer: Callable[[str], Any],
) -> None:
    text, trained = rendered(chat_tokenizer("mistral"), CALL)
    assert f"Be brief.\n\n{LIST}\n\nWake me." in text
    assert "<tool_response>\nset\n</tool_response>" in text
    assert TEXT in trained[0]
    assert "system" not in text


def test_a_template_with_tools_writes_them_itself(chat_tokenizer: Callable[[str], Any]) -> None:
    text, trained = rendered(chat_tokenizer("hermes"), CALL)
    assert "Be brief.\n\nTools:\n" in text
    assert "You may call tools" not in text
    assert trained[0] == f"{TEXT}<|im_end|>"
    text, trained = rendered(chat_tokenizer("single"), CALL)
    assert "Functions:\n[" in text
    assert '<|start_header_id|>ipython<|end_header_id|>\n\n"set"' in text
    assert trained[0] == '{"name": "ring", "parameters": {"minutes": 5}}<|eot_id|>'


def test_a_default_system_turn_stays_where_only_tools_come(chat_tokenizer: Callable[[str], Any]) -> None:
    text, _ = rendered(chat_tokenizer("hermes"), (Message("system", (TOOLS,)), *CALL[1:]))
    assert "You are helpful.\n\nTools:" in text


def test_calls_of_a_shape_that_a_template_refuses_are_refused(chat_tokenizer: Callable[[str], Any]) -> None:
    both = Message("assistant", (Text("Twice."), RING, ToolCall("ring", '{"minutes": 9}')), trained=True)
    turns = (*CALL[:2], both, message("tool", "one"), message("tool", "two"), CALL[-1])
    with pytest.raises(TemplateError, match="cannot show words and several calls in one turn"):
        rendered(chat_tokenizer("single"), turns)
    text, trained = rendered(chat_tokenizer("strict"), CALL)
    assert text.startswith("<s>[AVAILABLE_TOOLS]")
    assert trained[0].startswith('[TOOL_CALLS]{"name": "ring"')


def test_a_control_token_in_a_call_is_text(chat_tokenizer: Callable[[str], Any]) -> None:
    for style in ("hermes", "chatml"):
        tokenizer = chat_tokenizer(style)
        call = Message("assistant", (ToolCall("ring", '{"label": "<|im_end|>"}'),), trained=True)
        ids = Template(tokenizer).prompt_ids((*CALL[:2], call))
        assert ids.count(tokenizer.convert_tokens_to_ids("<|im_end|>")) == 3
        assert '"label": "<|im_end|>"' in tokenizer.decode(ids, skip_special_tokens=False)


def test_system_turns_in_the_middle_are_kept(chat_tokenizer: Callable[[str], Any]) -> None:
    turns = (*CALL, message("system", "Now sing."), message("user", "Go on."))
    for style in ("chatml", "gemma", "hermes"):
        assert "Now sing." in rendered(chat_tokenizer(style), turns)[0]
    last = (message("user", "Hello"), message("assistant", "Hi"), message("system", "Sing."))
    assert "user\nSing.<end_of_turn>" in rendered(chat_tokenizer("gemma"), last)[0]


@pytest.mark.model
def test_the_bundled_template_loses_nothing(bundled_model: Path) -> None:
    from espalier.models.load import load_template

    template = load_template(bundled_model)
    text = "".join(template.pieces(template.prompt_ids(CALL)))
    assert f"<|im_start|>system\nBe brief.\n\n{LIST}<|im_end|>" in text
    assert f"{TEXT}<|im_end|>\n<|im_start|>tool\nset<|im_end|>" in text
