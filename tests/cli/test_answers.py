"""What writes a run's answers is a `Generator` of any kind: one that gives texts and nothing else will do."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from espalier.core.errors import GenerationError
from espalier.core.recipe import Choice
from espalier.core.records import Completion, Example, Generator, message
from espalier.data.inputs import Asked, Question
from espalier.runs.answers import in_order

SAMPLED = Choice.model_validate({"kind": "sample", "samples": 2})


class Elsewhere:
    """A server, as far as anybody here can tell: it answers with texts, the last question first."""

    def __init__(self, fails_after: int = 10**6) -> None:
        self.left = fails_after
        self.asked: list[Choice] = []

    def generate(self, examples: Sequence[Example], settings: Choice) -> Iterator[Completion]:
        self.asked.append(settings)
        for example in reversed(examples):
            for sample in range(settings.params.get("samples", 1)):
                if not self.left:
                    raise GenerationError("The server is busy.", where="elsewhere", retryable=True)
                self.left -= 1
                yield Completion(example.id, f"{example.prompt[-1].text[-5:]} {sample}", sample=sample)


def test_texts_alone_are_evaluated(
    home: Path, espalier: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = Elsewhere()
    monkeypatch.setattr("espalier.runs.execute.local_of", lambda loaded, journal, raters: server)
    result = espalier("run", "recipe.toml", "-o", "decode={kind='sample', samples=2, limit=6}", cwd=home)
    assert result.code == 0, result.err
    assert {choice.kind for choice in server.asked} == {"sample"}
    folder = home / "runs" / "plural"
    lines = [json.loads(line) for line in (folder / "outputs.jsonl").read_text().splitlines()]
    tuned = [line for line in lines if line["system"] == "tuned"]
    assert [line["sample"] for line in tuned] == [0, 1] * (len(tuned) // 2)
    assert [line["example"] for line in tuned[::2]] == [line["example"] for line in tuned[1::2]]
    assert all((line["ids"], line["logprob"], line["request"]) == ([], None, "") for line in tuned)
    scores = json.loads((folder / "scores.json").read_text())
    assert scores["systems"]["tuned"]["scores"]["rouge_l"]["n"] == len(tuned) // 2
    assert "Outputs side by side" in (folder / "report.html").read_text()


def test_a_failure_elsewhere_is_told(
    home: Path, espalier: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "espalier.runs.execute.local_of", lambda loaded, journal, raters: Elsewhere(fails_after=2)
    )
    result = espalier("run", "recipe.toml", cwd=home)
    assert result.code == 2
    assert "The server is busy." in result.err
    assert "Traceback" not in result.err


def test_answers_come_in_the_order_of_their_questions() -> None:
    server: Generator = Elsewhere()
    asks = [_ask(number) for number in range(300)]
    texts = [answer.text for answer in in_order(server, asks, SAMPLED, 2)]
    assert texts == [f"n {number:03} {sample}" for number in range(300) for sample in (0, 1)]


def _ask(number: int) -> Asked:
    text = f"n {number:03}"
    return Asked(Question(number, str(number), text), text, (message("user", text),))
