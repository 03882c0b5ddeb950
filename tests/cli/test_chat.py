"""A chat as a person has it, through a pipe and in a terminal of its own."""

from __future__ import annotations

import json
import os
import pty
import select
import termios
import time
from contextlib import suppress
from pathlib import Path

import pytest


def test_a_pipe_holds_a_conversation(finished, espalier, tmp_path: Path) -> None:
    saved = tmp_path / "talk.json"
    lines = ["a drum", "", "a kite", "/undo", "a kite", f"/save {saved}", "/system Be brief.", "/quit", "x"]
    result = espalier("chat", finished.folder, stdin="\n".join(lines))
    assert result.code == 0, result.err
    drum, kite, again = result.out.removesuffix("\n").split("\n")
    assert f"{drum}\n" == espalier("generate", finished.folder, "a drum").out
    assert kite == again
    (row,) = json.loads(saved.read_text())
    assert [turn["content"] for turn in row["messages"] if turn["role"] == "assistant"] == [drum, kite]
    assert row["messages"][-2]["content"].endswith("a kite")
    assert "Taken back: a kite" in result.err
    assert "Asked as the run's rows are" in result.err
    assert "The system turn: Be brief." in result.err
    assert "> " not in result.out


def test_a_model_is_talked_with_plainly_and_sampled_anew(finished, espalier) -> None:
    command = ("chat", "tiny", "--limit", "8", "--temperature", "3", "--seed", "4")
    turns = "a drum\n/undo\na drum\n"
    first = espalier(*command, stdin=turns, cwd=finished.home)
    assert first.code == 0, first.err
    assert espalier(*command, stdin=turns, cwd=finished.home).out == first.out
    one = espalier("generate", "tiny", "a drum", *command[2:], cwd=finished.home)
    assert first.out.startswith(one.out)
    assert first.out != one.out * 2


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("word " * 4000, "and the model's context is 4096. The turn is left out: /undo"),
        ("/nothing", "There is no command /nothing. /help lists them all."),
        ("/save", "/save needs a file."),
        ("/save talk.json", "nothing to save"),
    ],
)
def test_what_cannot_be_done_is_told_and_the_chat_goes_on(finished, espalier, line: str, said: str) -> None:
    result = espalier("chat", finished.folder, stdin=f"{line}\na drum\n")
    assert result.code == 2
    assert said in result.err
    assert result.out == espalier("generate", finished.folder, "a drum").out


def test_what_is_no_talker_is_told_before_a_word(finished, espalier) -> None:
    result = espalier("chat", "runs/plurla", cwd=finished.home)
    assert (result.code, result.out) == (2, "")
    assert "Did you mean 'runs/plural'?" in result.err


class Terminal:
    """`espalier chat` at a terminal."""

    def __init__(self, espalier_process, *arguments: object, cwd: Path) -> None:
        self.end, other = pty.openpty()
        settings = termios.tcgetattr(other)
        settings[3] |= termios.NOFLSH  # else Ctrl-C throws away what was written and not read yet
        termios.tcsetattr(other, termios.TCSANOW, settings)
        self.seen = ""
        streams = dict.fromkeys(range(3), other)
        self.process = espalier_process(*arguments, cwd=cwd, streams=streams, TERM="dumb")
        os.close(other)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.end)

    def type(self, text: str) -> None:
        os.write(self.end, text.encode())

    def press(self, key: str, text: str) -> None:
        """Press a key until a text is shown: a prompt is drawn a moment before keys are waited for."""
        for _ in range(30):
            self.type(key)
            with suppress(AssertionError):
                return self.wait_for(text, seconds=2)
        raise AssertionError(self.seen)

    def wait_for(self, text: str, least: int = 0, seconds: float = 60) -> None:
        """Wait until a text and so many characters behind it are shown."""
        until = time.monotonic() + seconds
        while text not in self.seen or len(self.seen.split(text, 1)[1]) < least:
            ready, _, _ = select.select([self.end], [], [], max(0.0, until - time.monotonic()))
            assert ready, self.seen
            try:
                self.seen += os.read(self.end, 4096).decode(errors="replace")
            except OSError:
                raise AssertionError(self.seen) from None
        self.seen = self.seen.split(text, 1)[1][least:]


@pytest.fixture
def endless(new_home, tmp_path: Path) -> Path:
    """A user's folder whose model says a letter with each token and never ends.

    No layer adds anything, and only letters are ever likely: a random model may end, or say half characters
    for long, and half a character is not shown.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    home = new_home(tmp_path / "endless")
    model = AutoModelForCausalLM.from_pretrained(home / "tiny")
    tokenizer = AutoTokenizer.from_pretrained(home / "tiny")
    with torch.no_grad():
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
        likely = model.lm_head.weight.clone()
        model.lm_head.weight.zero_()
        letters = tokenizer.convert_tokens_to_ids([*"abcdefghijklmnopqrstuvwxyz"])
        model.lm_head.weight[letters] = likely[letters]
    (home / "tiny").unlink()
    model.save_pretrained(home / "tiny")
    tokenizer.save_pretrained(home / "tiny")
    return home


def test_ctrl_c_stops_the_answer_and_ctrl_d_the_chat(endless: Path, espalier_process) -> None:
    """Stop two answers, and save what is left."""
    with Terminal(espalier_process, "chat", "tiny", "--limit", "3900", cwd=endless) as terminal:
        for words in ("tell", "more"):  # an answer that was stopped changes nothing for the next
            terminal.wait_for("> ")
            terminal.type("/undo\n")
            terminal.wait_for("ake")  # taken back, or nothing to take back
            terminal.wait_for("> ")
            terminal.type(f"{words}\n")
            terminal.wait_for(f"{words}\r\n", least=40)
            terminal.type("\x03")
            terminal.wait_for("(stopped; what was written is kept)")
        terminal.wait_for("> ")
        terminal.press("\x03", "Ctrl-D or /quit ends the chat.")
        terminal.type("/save talk.json\n")
        terminal.wait_for("Saved to talk.json.")
        terminal.wait_for("> ")
        terminal.type("\x04")
        assert terminal.process.wait(30) == 0
    (row,) = json.loads((endless / "talk.json").read_text())
    assert [turn["role"] for turn in row["messages"]] == ["user", "assistant"]
    assert row["messages"][0] == {"role": "user", "content": "more"}
    assert row["messages"][1]["weight"] == 0
    assert len(row["messages"][1]["content"]) >= 1
