"""A run folder as a run leaves it, small: made with the real harness from answers written here."""

from __future__ import annotations

import json
import random
import re
import shutil
import subprocess
from html import escape, unescape
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from espalier.core.files import jsonl
from espalier.core.records import Completion, Example, example_id, message
from espalier.data.table import as_parquet
from espalier.evaluate.baselines import constant, copy
from espalier.evaluate.harness import evaluate
from espalier.scorers.registry import scorers
from espalier.tasks.checks import Verdict, check, checks

if TYPE_CHECKING:
    from collections.abc import Callable

    Measured = Callable[..., str]

RECIPE = """\
name = "durations"
seed = 7

[task]
path = "event-duration"

[model]
name = "smollm2-135m"

[train]
rate = 2e-5
epochs = 2.0

[train.method]
kind = "full"
"""
PROVENANCE = {
    "started": "2026-11-24T11:50:00+00:00",
    "seed": 7,
    "recipe": "0123456789abcdef",
    "inputs": {"task": "ab" * 32},
    "python": "3.11.7",
    "packages": {"torch": "2.13.0"},
}
WHO = ("Mara", "The baker", "Tom's brother", "A clerk", "Our neighbour", "Ada <b>&amp;</b> Sons")
DID = (
    "walked the dog",
    "painted the fence",
    "read the letter aloud",
    "waited for the ferry",
    "fixed the pump",
)
WHEN = ("before supper", "in the rain", "after the meeting", "while it was still dark")

if "asks_how_long" not in checks.names():

    @check("asks_how_long")
    def asks_how_long(task_input: str, output: str) -> Verdict:
        """It asks how long something lasts."""
        return Verdict("how long" in output.lower(), "It does not ask how long something lasts.")

    @check("shares_a_word")
    def shares_a_word(task_input: str, output: str) -> Verdict:
        """It is about something in the sentence."""
        shared = {w for w in output.lower().split() if len(w) > 4} & set(task_input.lower().split())
        return Verdict(bool(shared), "It shares no word with the sentence.")


def _example(i: int) -> Example:
    who, did, when = WHO[i % 6], DID[i % 5], WHEN[i % 4]
    sentence = f"{who} {did} {when}."
    prompt = f"Write a question on how long an event lasts.\n\nInput: {sentence}"
    question = f"How long did it take until {who} {did} {when}?"
    turns = (message("user", prompt), message("assistant", question, trained=True))
    return Example(example_id(sentence, i), "durations", sentence, turns, (question,), input=sentence)


def _answers(examples: list[Example], share: float, seed: int) -> list[Completion]:
    rng = random.Random(seed)
    wrong = (
        "I think that it was quite <i>nice</i>.",
        "How long is it?",
        "Why did " + "they do it, and " * 12,
    )
    texts = [e.references[0].lower() if rng.random() < share else rng.choice(wrong) for e in examples]
    return [
        Completion(e.id, t, finish="length" if len(t) > 150 else "stop")
        for e, t in zip(examples, texts, strict=True)
    ]


@pytest.fixture
def run_folder(whole_run: Path, tmp_path: Path) -> Path:
    """A copy of the complete run."""
    return Path(shutil.copytree(whole_run, tmp_path / "runs" / "durations"))


@pytest.fixture(scope="session")
def whole_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete run: 90 training rows, 30 test rows, four systems, 40 steps, two rejects."""
    folder = tmp_path_factory.mktemp("whole") / "durations"
    (folder / "data").mkdir(parents=True)
    examples = [_example(i) for i in range(120)]
    train, test = examples[:90], examples[90:]
    (folder / "data" / "train.parquet").write_bytes(as_parquet(train))
    (folder / "data" / "test.parquet").write_bytes(as_parquet(test))
    systems = {
        "tuned": _answers(test, 0.85, 1),
        "base": _answers(test, 0.1, 2),
        "constant": constant(test, train),
        "copy": copy(test),
    }
    chosen = {name: scorers.build(name, {}) for name in ("rouge_l", "exact_match")}
    scores = evaluate(test, systems, chosen, ["asks_how_long", "shares_a_word"], seed=7)
    lines = [
        {"system": name, "example": c.example, "text": c.text, "finish": c.finish}
        for name, completions in systems.items()
        for c in completions
    ]
    rejects = [
        {"stage": "data", "where": f"task.json, instance {i}", "reason": "The output is empty."}
        for i in (3, 9)
    ]
    files = {
        "recipe.toml": RECIPE,
        "provenance.json": json.dumps(PROVENANCE),
        "scores.json": scores.to_json(),
        "outputs.jsonl": jsonl(lines),
        "rejects.jsonl": jsonl(rejects),
        "events.jsonl": jsonl(_events()),
    }
    for name, text in files.items():
        (folder / name).write_text(text)
    return folder


def _events() -> list[dict[str, object]]:
    rng = random.Random(3)
    pieces = [
        "<|im_start|>",
        "user",
        "\n",
        "Write",
        " a",
        " question",
        "…",
        "<|im_start|>",
        "assistant",
        "\n",
    ]
    answer = ["How", " long", " did", " it", " take", "?", "<|im_end|>"]
    first = {"pieces": pieces + answer, "trained": [False] * len(pieces) + [True] * len(answer)}
    encoded = {
        "event": "encoded",
        "rows": 90,
        "tokens": 24_120,
        "trained_tokens": 1_530,
        "distinct_tokens": 3_410,
    }
    steps = [
        {"event": "step", "step": i, "loss": 2.6 * 0.94**i + 0.6 + rng.uniform(-0.12, 0.12), "rate": 2e-5,
         "rows_per_s": 14.2, "tokens": 8_500, "distinct_tokens": 1_300}
        for i in range(1, 41)
    ]  # fmt: skip
    stages = [
        ("data", 0.4, None),
        ("train", 92.3, 2.31e9),
        ("generate", 31.0, 1.2e9),
        ("evaluate", 0.8, 1.2e9),
    ]
    timed = [{"event": "stage", "stage": n, "seconds": s, "peak_bytes": p} for n, s, p in stages]
    return [{**encoded, "first": first}, *steps, *timed]


@pytest.fixture
def measured(tmp_path: Path) -> Measured:
    """Return what tells the value of a script in the report of a folder, in a window of some width.

    `page` is the report's document.
    """

    def tell(folder: Path, script: str, width: int = 1280) -> str:
        # A window is at least 500 px wide; a frame is as narrow as it is made.
        frame = folder / "frame.html"
        told = f"const page = this.contentDocument; document.title = {script}"
        shown = f'width="{width}" height="9000" onload="{escape(told)}"'
        frame.write_text(f'<meta charset="utf-8"><iframe src="report.html" {shown}></iframe>')
        command = [
            "chromium",
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--allow-file-access-from-files",
        ]
        command += [f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=2000", "--dump-dom"]
        command += ["--window-size=1400,900", frame.as_uri()]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
        found = re.search(r"<title>(.*?)</title>", done.stdout, re.DOTALL)
        assert found
        return unescape(found[1])

    return tell
