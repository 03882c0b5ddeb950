"""IFEval as a scorer of a run's rows: from the facts that a row has, to a score."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from espalier.core.errors import RecipeError
from espalier.core.records import Completion, Example, Score, message
from espalier.evaluate.compare import estimate
from espalier.evaluate.measures import metric_of
from espalier.formats.load import iter_rows
from espalier.scorers.ifeval import language
from espalier.scorers.registry import build_scorer

if TYPE_CHECKING:
    from pathlib import Path

KINDS = ["punctuation:no_comma", "detectable_format:title"]
FACTS: dict[str, Any] = {"instruction_id_list": KINDS, "kwargs": [{}, {}]}


def score(text: str, facts: dict[str, Any] = FACTS, **params: Any) -> Score:
    example = Example("i", "t", "s", (message("user", "?"),), facts=facts | {"train": False})
    return build_scorer("ifeval", params, "").score([example], [Completion("i", text)])[0]


def test_a_prompt_is_followed_where_all_instructions_are() -> None:
    assert score("<<So>>\nit is") == Score(1.0)
    assert score("So, it is") == Score(
        0.0, "punctuation:no_comma: it has a comma; detectable_format:title: it has no <<title>>"
    )
    assert score("Sure, here:\n<<So>>").value == 0
    assert score("Sure, here:\n<<So>>", loose=True).value == 1
    assert score("", loose=True).value == 0


def test_shares_of_instructions_are_folded() -> None:
    scorer = build_scorer("ifeval", {"per": "instruction"}, "")
    facts = (FACTS, {"instruction_id_list": KINDS[1:], "kwargs": [{}]})
    rows = [Example(str(n), "t", str(n), (message("user", "?"),), facts=one) for n, one in enumerate(facts)]
    scores = scorer.score(rows, [Completion("0", "So it is"), Completion("1", "<<So>>")])
    assert [one.parts for one in scores] == [(1.0, 2.0), (1.0, 1.0)]
    assert estimate(metric_of("ifeval", scorer), scores, ["0", "1"]).value == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    "facts",
    [
        {"other": 1},
        {"instruction_id_list": KINDS},
        {"instruction_id_list": ["nothing"], "kwargs": [{}]},
        {"instruction_id_list": ["keywords:existence"], "kwargs": [{"keywords": None}]},
        {"instruction_id_list": ["language:response_language"], "kwargs": [{"language": "et"}]},
    ],
)
def test_what_cannot_be_verified_is_not_scored(
    facts: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(language, "detector", lambda: None)
    found = score("Linnud tulevad tagasi.", facts)
    assert found.value is None
    assert "cannot be verified" in found.why


def test_a_mode_that_is_none_is_refused() -> None:
    with pytest.raises(RecipeError, match="'offical' does not fit"):
        build_scorer("ifeval", {"mode": "offical"}, "evaluate")


def test_rows_of_ifeval_are_a_test_set(tmp_path: Path) -> None:
    rows = [
        {
            "key": 1,
            "prompt": "Name a bird.",
            "instruction_id_list": KINDS,
            "kwargs": [{}, {"num_words": None}],
        },
        {"key": 2, "prompt": "And one more.", **FACTS},
    ]
    path = tmp_path / "prompts.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    examples = list(iter_rows(path))
    assert [one.prompt[0].text for one in examples] == ["Name a bird.", "And one more."]
    completions = [Completion(one.id, "<<A wren>>") for one in examples]
    assert [one.value for one in build_scorer("ifeval", {}, "").score(examples, completions)] == [1, 1]
