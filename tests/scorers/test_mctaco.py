"""MC-TACO against its official rules, written down once more in the plain way, and against known numbers."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from espalier.core.errors import DataError
from espalier.core.records import Completion, Example, message
from espalier.evaluate.baselines import point
from espalier.evaluate.measures import metric_of
from espalier.evaluate.predictions import own_rows, score_predictions
from espalier.scorers.mctaco import read_candidates
from espalier.scorers.registry import build_scorer

ROWS = [
    "He slept.\tHow long did he sleep?\tan hour\tyes\tEvent Duration",
    "He slept.\tHow long did he sleep?\t9 hours\tyes\tEvent Duration",
    "He slept.\tHow long did he sleep?\ta year\tno\tEvent Duration",
    "He slept.\tHow often does he sleep?\tonce a year\tno\tFrequency",
    "She ate.\tHow often does he sleep?\tdaily\tyes\tFrequency",
]


def plainly(rows: list[tuple[str, str, str]]) -> tuple[float, float]:
    """EM and F1 of (question, label, answer) as the official evaluator counts them."""
    questions = list(dict.fromkeys(question for question, _, _ in rows))
    strict = f1 = 0.0
    for question in questions:
        own = [(label, answer) for name, label, answer in rows if name == question]
        strict += all(label == answer for label, answer in own)
        both = sum(label == answer == "yes" for label, answer in own)
        claimed, true = sum(answer == "yes" for _, answer in own), sum(label == "yes" for label, _ in own)
        p, r = both / claimed if claimed else 1.0, both / true if true else 1.0
        f1 += 2 * p * r / (p + r) if p + r else 0.0
    return strict / len(questions), f1 / len(questions)


LABEL = st.sampled_from(["yes", "no"])


@given(
    st.lists(
        st.tuples(st.sampled_from("abcd"), LABEL, st.sampled_from(["yes", "no", "Yes", ""])),
        min_size=1,
        max_size=24,
    )
)
def test_strict_and_f1_are_the_official_ones(rows: list[tuple[str, str, str]]) -> None:
    examples = [
        Example(str(i), "t", question, (message("user", "?"),), references=(label,))
        for i, (question, label, _) in enumerate(rows)
    ]
    answers = [Completion(str(i), answer) for i, (_, _, answer) in enumerate(rows)]
    for measure, wanted in zip(("em", "f1"), plainly(rows), strict=True):
        scorer = build_scorer("mctaco", {"measure": measure, "strict": True}, "x")
        assert point(metric_of("x", scorer), scorer.score(examples, answers)) == pytest.approx(
            wanted, abs=1e-12
        )


def test_a_model_s_sentence_is_read_where_it_may_be(tmp_path: Path) -> None:
    path = tmp_path / "rows.tsv"
    path.write_text("\n".join(ROWS) + "\n\n")
    examples = read_candidates(path)
    said = ["Yes, it is.", "yes", "No.", "False", "true"]
    answers = [Completion(str(i), text) for i, text in enumerate(said)]
    values = {
        (measure, strict): point(metric_of("x", scorer), scorer.score(examples, answers))
        for measure in ("em", "accuracy")
        for strict in (False, True)
        for scorer in [build_scorer("mctaco", {"measure": measure, "strict": strict}, "x")]
    }
    assert values == {("em", False): 1, ("em", True): 0, ("accuracy", False): 1, ("accuracy", True): 0.2}


def test_what_has_no_label_is_not_scored() -> None:
    examples = [
        Example(str(i), "t", "q" if i < 2 else "r", (message("user", "?"),), references=(label,))
        for i, label in enumerate(["yes", "perhaps", "no"])
    ]
    answers = [Completion(str(i), "no") for i in range(3)]
    scores = build_scorer("mctaco", {}, "x").score(examples, answers)
    assert [score.scored for score in scores] == [False, False, True]


@pytest.mark.parametrize(
    ("text", "message", "line"),
    [
        ("", "The file is empty", ""),
        (f"{ROWS[0]}\nHe slept.\tWhy?\tno\n", "this one has 3", ":2"),
        ("a\tb\tc\tmaybe\td\n", "the label 'maybe'", ":1"),
        (f"{ROWS[0]}\n\n{ROWS[1]}\n", "this one has 1", ":2"),
    ],
)
def test_another_file_is_refused(tmp_path: Path, text: str, message: str, line: str) -> None:
    path = tmp_path / "rows.tsv"
    path.write_text(text)
    with pytest.raises(DataError, match=message) as error:
        read_candidates(path)
    assert error.value.where == f"{path}{line}"


# EM and F1 ×100 of the published predictions, as the official evaluator gives them.
PUBLISHED = {
    "esim.glove": (20.8709, 50.3775),
    "esim.elmo": (26.3514, 54.8577),
    "bert.norm": (42.7177, 69.9303),
    "roberta": (43.6186, 72.3388),
}


@pytest.mark.parametrize(("name", "expected"), PUBLISHED.items())
def test_published_predictions_score_what_was_published(
    shared_data: Path, name: str, expected: tuple[float, float]
) -> None:
    folder = shared_data / "mctaco"
    file = next(iter(sorted(folder.rglob(f"{name}.output.txt"))), None)
    if file is None:
        pytest.skip(f"the published predictions {name}.output.txt are not beside this checkout")
    rows = own_rows("mctaco", folder / "test_9442.tsv")
    assert rows is not None
    measures = score_predictions(rows, file, "mctaco").percent()["measures"]
    assert (measures["em"]["value"], measures["f1"]["value"]) == expected


def test_the_floors_of_the_test_set(shared_data: Path, tmp_path: Path) -> None:
    """All-no 17.4 and 17.4, of Duration 22.0; all-yes 12.2 and 49.8, of Duration 2.2 and 37.3."""
    rows = own_rows("mctaco", shared_data / "mctaco/test_9442.tsv")
    assert rows is not None
    said = tmp_path / "no.txt"
    said.write_text("no\n" * len(rows.names))
    result = score_predictions(rows, said, "mctaco").percent()
    found = {name: one["value"] for name, one in result["measures"].items()}
    assert found == {"em": 17.4174, "f1": 17.4174, "accuracy": 66.1301}
    floors = {name: one["baselines"] for name, one in result["measures"].items()}
    assert floors["em"]["all-yes"]["value"] == 12.1622
    assert floors["f1"]["all-yes"]["value"] == 49.8357
    assert floors["f1"]["constant"]["text"] == "yes"
    duration = result["groups"]["category"]["Event Duration"]
    assert (duration["em"]["value"], duration["em"]["n"]) == (21.9745, 314)
    assert (result["questions"], result["measures"]["em"]["n"]) == (1332, 1332)
    assert result["findings"][0].startswith("The predictions cannot be told from one constant answer, “no”")
    assert any(one.startswith("The predictions do worse than one constant") for one in result["findings"])
