from __future__ import annotations

import json
import os
import pty
import re
from pathlib import Path


def test_rows_the_tree_and_the_savings_are_shown_before_any_training(home: Path, espalier) -> None:
    result = espalier("inspect", "recipe.toml", cwd=home)
    assert result.code == 0, result.err
    assert "Row 1 of 24" in result.out
    assert "<|im_start|>user" in result.out
    assert re.search(r"assistant\n⟦\w+s<\|im_end\|>⟧\n", result.out)
    assert "└──" in result.out
    tokens, distinct, ratio = re.search(
        r"([\d,]+) tokens row by row, ([\d,]+) with sharing: ([\d.]+) times fewer", result.out
    ).groups()
    assert float(ratio) == round(int(tokens.replace(",", "")) / int(distinct.replace(",", "")), 2) > 2
    assert re.search(r"[\d,]+ tokens are trained \([\d.]+% of those seen\)", result.out)
    assert "0 rows are left out." in result.out
    assert not (home / "runs").exists()


def test_rows_that_are_left_out_are_named(home: Path, espalier) -> None:
    with (home / "plural.jsonl").open("a") as file:
        file.write(json.dumps({"input": "a hen", "output": ""}) + "\n")
        for number in range(20):
            row = {"input": f"a {'very ' * 200}long word {number}", "output": "words"}
            file.write(json.dumps(row) + "\n")
    result = espalier(
        "inspect",
        "recipe.toml",
        "--rows",
        "0",
        "-o",
        "task.on_bad=reject",
        "-o",
        "train.tokens=700",
        cwd=home,
    )
    assert result.code == 0, result.err
    assert "The output is empty." in result.out
    assert "the budget train.tokens is 700" in result.out
    assert "more; `espalier run` writes all to rejects.jsonl." in result.out


def test_trained_tokens_are_green_in_a_terminal(home: Path, espalier_process) -> None:
    ours, theirs = pty.openpty()
    command = ("inspect", "recipe.toml", "--rows", "1")
    process = espalier_process(*command, cwd=home, streams={1: theirs}, TERM="xterm-256color")
    os.close(theirs)
    shown = b""
    while True:
        try:
            piece = os.read(ours, 4096)
        except OSError:  # the other end is closed
            break
        if not piece:
            break
        shown += piece
    os.close(ours)
    _, err = process.communicate()
    assert process.returncode == 0, err
    green = "".join(re.findall(r"\x1b\[1;32m(.*?)\x1b\[0m", shown.decode(), re.DOTALL))
    assert re.fullmatch(r"\w+s<\|im_end\|>", green)


def test_what_is_rewarded_is_told_beside_what_is_not(home, espalier) -> None:
    objective = 'train.objective=[{kind="grpo", rewards={well_formed=1.0, diversity=0.5}}]'
    checks = 'task.checks=["well_formed", "grounded"]'
    shown = espalier("inspect", "recipe.toml", "-o", objective, "-o", checks, cwd=home)
    assert shown.code == 0, shown.err
    assert "rewarded for well_formed × 1, diversity × 0.5. Checks held out: grounded." in shown.out


def test_of_a_reward_model_the_token_is_shown_that_holds_its_number(home, espalier) -> None:
    rows = [{"prompt": f"Name {n}.", "chosen": f"thing {n}", "rejected": f"{n} !!!"} for n in range(9)]
    (home / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    changes = ("-o", "task.path=pairs.jsonl", "-o", 'train.objective=["reward"]')
    shown = espalier("inspect", "recipe.toml", "--rows", "1", *changes, cwd=home)
    assert shown.code == 0, shown.err
    assert "⟦<|im_end|>⟧" in shown.out.split("\n\n")[0]
