from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from espalier.core.errors import DataError
from espalier.evaluate.predictions import score_logprobs


def test_it_is_of_all_tokens_and_not_a_mean_of_rows(tmp_path: Path) -> None:
    path = tmp_path / "l.jsonl"
    lines = [
        {"id": "a", "logprobs": [-1.0, -2.0, -3.0]},
        {"id": "b", "logprob": -0.5, "tokens": 1},
        {"id": "b", "logprob": 0, "tokens": 6},
    ]
    path.write_text("\n".join(map(json.dumps, lines)))
    result = score_logprobs(path).percent()
    assert result["value"] == round(math.exp(6.5 / 10), 4)
    assert result["n"] == 3
    assert result["low"] <= result["value"] <= result["high"]
    path.write_text(json.dumps(lines[0]))
    assert score_logprobs(path).percent()["low"] is None, "one source has no interval"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"logprob": NaN, "tokens": 2}', "no number, not finite, or above 0"),
        ('{"logprob": 0.5, "tokens": 2}', "above 0"),
        ('{"logprobs": [-1, "x"]}', "no number"),
        ('{"logprobs": []}', "A line should be"),
        ('{"logprob": -1, "tokens": 0}', "A line should be"),
        ("", "The file is empty"),
    ],
)
def test_what_is_no_log_probability_is_refused(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "l.jsonl"
    path.write_text(line)
    with pytest.raises(DataError, match=message):
        score_logprobs(path)
