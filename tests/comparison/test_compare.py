"""Comparing runs: what is refused, what is told, and that no winner is called where there is none."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import Any

import pytest

import espalier
from espalier.comparison.records import Side, Training
from espalier.comparison.sides import compare_sides
from espalier.core.errors import DataError, EspalierError, RecipeError, RunError
from espalier.core.records import Metric, Score
from tests.comparison.conftest import MakeRun, answers, right, rows

TEST = rows(120, size=2)
FAST = {"train": {"rate": 1e-3}}
WILD = {"train": {"rate": 1e-2}}
ONE = {"id": "q1", "prediction": "a"}
SHORT = {"decode": {"kind": "greedy", "limit": 9}}


def flipped(wrong: range, seed: int, count: int = 14) -> set[int]:
    """Return the wrong rows with some others of chance, as another seed leaves them."""
    found, rng = set(wrong), random.Random(seed)
    for _ in range(count):
        found ^= {rng.randrange(len(TEST))}
    return found


@pytest.fixture
def pair(make_run: MakeRun) -> tuple[Path, Path]:
    """Two runs of other recipes; the second is right on 20 rows more."""
    return (
        make_run("slow", TEST, answers(TEST, set(range(40)))),
        make_run("fast", TEST, answers(TEST, set(range(15, 35))), recipe=FAST),
    )


def test_the_better_run_is_told_with_all_that_bears_it(pair: tuple[Path, Path]) -> None:
    found = espalier.compare(*pair)
    one = found["exact_match"]
    assert (one.verdict, one.won, one.lost, one.tied) == ("better", 20, 0, 100)
    assert one.difference.value == pytest.approx(20 / 120)
    assert one.p == pytest.approx(2 * 0.5**11)  # 11 sources differ, all one way
    assert one.corrected == pytest.approx(2 * one.p)
    assert 0 < one.detectable < 0.3
    assert found.sentence.startswith("fast is better than slow: ROUGE-L is 83.3 against 66.7 (+16.7 points, ")
    assert "says nothing about retraining" in found.sentence
    assert "Newcombe's interval by source" in found.footing
    text = str(found)
    assert text.startswith(found.sentence)
    for said in ("could see", "+16.7 (", "On 120 rows of 60 sources", "p corrected for 2 comparisons (Holm)"):
        assert said in text
    back = espalier.compare(*reversed(pair))["exact_match"]
    assert (back.verdict, back.difference.value) == ("worse", -one.difference.value)


def test_all_of_it_is_json(pair: tuple[Path, Path]) -> None:
    table = json.loads(espalier.compare(*pair, margin=5, looks=3).to_json())
    one = table["pairs"][0]["measures"]["rouge_l"]
    assert one["verdict"] == "better"
    assert one["equal"] == pytest.approx(1.0)
    assert one["difference"]["method"]
    assert (table["looks"], table["rows"], table["sources"]) == (3, 120, 60)


def test_runs_that_differ_by_seed_have_no_winner(make_run: MakeRun) -> None:
    one = make_run("one", TEST, answers(TEST, set(range(60))))
    two = make_run("two", TEST, answers(TEST, set()), seed=1)
    found = espalier.compare(one, two)["exact_match"]
    assert found.verdict == "same recipe"
    assert "differ by seed alone, so no winner is called" in found.said


def test_seeds_that_agree_let_a_recipe_win_and_those_that_do_not_do_not(make_run: MakeRun) -> None:
    def made(name: str, wrong: range, count: int, **more: Any) -> list[Path]:
        return [
            make_run(
                f"{name}-{s}",
                TEST,
                answers(TEST, flipped(wrong, s + len(wrong), count)),
                seed=s,
                **more,
            )
            for s in range(3)
        ]

    slow, fast = made("slow", range(50), 6), made("fast", range(8), 6, recipe=FAST)
    found = espalier.compare(slow, fast)
    assert found["exact_match"].verdict == "better"
    assert "retraining" not in str(found)
    assert "4 degrees of freedom" in found.footing
    assert list(found.trainings.items()) == [("slow (3 seeds)", 3), ("fast (3 seeds)", 3)]
    wild = [
        make_run(
            f"wild-{s}", TEST, answers(TEST, set(range(wrong))), seed=s, recipe={"train": {"rate": 1e-2}}
        )
        for s, wrong in enumerate((0, 40, 80))
    ]
    told = espalier.compare(slow, wild)["exact_match"]
    assert told.verdict == "not told apart"
    one = espalier.compare(slow[0], wild[0])["exact_match"]
    assert one.verdict == "better", "one training looks surer than it is"
    assert one.difference.high - one.difference.low < told.difference.high - told.difference.low


def test_a_group_is_one_recipe_with_several_seeds(pair: tuple[Path, Path], make_run: MakeRun) -> None:
    slow, fast = pair
    third = make_run("third", TEST, answers(TEST, set()), recipe=WILD)
    with pytest.raises(DataError, match=r"no seeds of one recipe: train.rate is 2e-05 and 0.001"):
        espalier.compare([slow, fast], third)
    again = make_run("again", TEST, answers(TEST, set()))
    with pytest.raises(DataError, match="have the same seed: they are one training"):
        espalier.compare([slow, again], fast)


def test_what_differs_besides_the_models_is_refused_with_both_values(
    pair: tuple[Path, Path], make_run: MakeRun
) -> None:
    other = make_run(
        "other", TEST, answers(TEST, set()), template="u", recipe={"decode": {"kind": "greedy", "limit": 9}}
    )
    with pytest.raises(DataError) as error:
        espalier.compare(pair[0], other)
    assert "template (t in slow, u in other)" in str(error.value)
    assert "decoding (limit is 64 in slow, 9 in other)" in str(error.value)
    assert "--allow template --allow decoding" in str(error.value)
    with pytest.raises(DataError, match="decoding"):
        espalier.compare(pair[0], other, allow=["template"])
    found = espalier.compare(pair[0], other, allow=["template", "decoding"])
    assert sum(note.startswith("Allowed to differ") for note in found.notes) == 2


def test_prompts_of_other_words_are_another_template(pair: tuple[Path, Path], make_run: MakeRun) -> None:
    from dataclasses import replace

    from espalier.core.records import message

    worded = [replace(e, messages=(message("user", f"Please: {e.input}"),)) for e in TEST]
    other = make_run("worded", worded, answers(TEST, set()))
    with pytest.raises(DataError, match=r"template \(120 of 120 prompts differ"):
        espalier.compare(pair[0], other)


def test_other_rows_are_refused_and_shared_ones_counted(pair: tuple[Path, Path], make_run: MakeRun) -> None:
    half = make_run("half", TEST[60:], answers(TEST[60:], set()), recipe=FAST)
    with pytest.raises(DataError, match=r"data \(120 test rows in slow, 60 in half, 60 rows in both\)"):
        espalier.compare(pair[0], half)
    found = espalier.compare(pair[0], half, allow=["data"])
    assert (found.rows, found.sources) == (60, 30)
    far = make_run("far", rows(30, 900), answers(rows(30, 900), set()))
    with pytest.raises(DataError, match="share no row: their ids are like"):
        espalier.compare(pair[0], far, allow=["data"])


def test_a_test_set_that_was_trained_on_wins_nothing(pair: tuple[Path, Path], make_run: MakeRun) -> None:
    leak = make_run("leak", TEST, answers(TEST, set()), train=[*TEST[:50], *rows(9, 2000)], recipe=FAST)
    found = espalier.compare(pair[0], leak)["exact_match"]
    assert found.verdict == "spoiled"
    assert "leak was trained on the inputs of 50 of its 120 test rows" in found.said
    base = espalier.compare(f"{pair[0]}:base", pair[0])
    assert base["exact_match"].verdict == "better"
    assert base.pairs[0].first == "slow:base"


def test_a_floor_that_beats_both_is_named(make_run: MakeRun) -> None:
    wrong = set(range(120))
    a = make_run("a", TEST, answers(TEST, wrong, "nothing here"))
    b = make_run("b", TEST, answers(TEST, wrong, "after 3"), recipe=FAST)
    found = espalier.compare(a, b)
    assert found["rouge_l"].verdict == "better"
    assert any(note.startswith("Neither a nor b beats one constant answer (") for note in found.notes)


def test_where_all_rows_tie_nothing_is_told_apart(pair: tuple[Path, Path], make_run: MakeRun) -> None:
    twin = make_run("twin", TEST, answers(TEST, set(range(40))), recipe=FAST)
    found = espalier.compare(pair[0], twin)
    assert found["exact_match"].verdict == "tie"
    assert found["exact_match"].said.startswith("All 120 rows tie by exact match")
    assert "Every answer of twin is that of slow." in found.notes
    rounded = make_run(
        "rounded", TEST, answers(TEST, set()), recipe=FAST, formats="bf16 to train, bf16 to decode"
    )
    assert any(
        note.startswith("Number formats differ: fp32") for note in espalier.compare(twin, rounded).notes
    )


def test_as_good_as_is_said_within_a_margin_only(make_run: MakeRun) -> None:
    many = rows(400)
    a = make_run("a", many, answers(many, set(range(60))))
    b = make_run("b", many, answers(many, set(range(2, 61))), recipe=FAST)
    assert espalier.compare(a, b)["exact_match"].verdict == "not told apart"
    assert espalier.compare(a, b, margin=3)["exact_match"].verdict == "as good"
    assert espalier.compare(a, b, margin=0.5)["exact_match"].verdict == "not told apart"
    with pytest.raises(DataError, match="margin of 0 points holds nothing"):
        espalier.compare(a, b, margin=0)


def test_looks_are_counted_and_widen_what_is_stated(pair: tuple[Path, Path], make_run: MakeRun) -> None:
    for name in "xyz":
        make_run(name, TEST, answers(TEST, set(range(50))), recipe={"train": {"rate": 1e-4}})
    make_run("elsewhere", TEST[:30], answers(TEST[:30], set()))
    plain = espalier.compare(*pair)
    assert any("looked at 5 times" in note for note in plain.notes)
    wide = espalier.compare(*pair, looks="all")
    assert (wide.looks, wide.level) == (5, 99.0)
    a, b = plain["exact_match"], wide["exact_match"]
    assert b.difference.low < a.difference.low
    assert b.corrected == pytest.approx(5 * a.corrected)
    assert b.detectable > a.detectable
    assert any("hold for 5 looks" in note for note in wide.notes)
    with pytest.raises(DataError, match="cannot have been looked at 0 times"):
        espalier.compare(*pair, looks=0)


def test_more_than_two_runs_are_compared_with_the_first(pair: tuple[Path, Path], make_run: MakeRun) -> None:
    third = make_run("third", TEST, answers(TEST, set(range(42))), recipe={"train": {"rate": 1e-4}})
    found = espalier.compare(*pair, third)
    assert [pair.other for pair in found.pairs] == ["fast", "third"]
    assert "4 comparisons (Holm)" in found.footing
    assert found.pairs[1].measures["rouge_l"].verdict == "not told apart"


def test_what_is_no_run_is_refused(pair: tuple[Path, Path], make_run: MakeRun, tmp_path: Path) -> None:
    slow, fast = pair
    with pytest.raises(DataError, match="slow is there twice: it cannot differ from itself"):
        espalier.compare(slow, f"{slow}/../slow")
    for alone in ((slow,), (slow, [])):
        with pytest.raises(DataError, match="one side only"):
            espalier.compare(*alone)
    with pytest.raises(RunError, match="not a run folder"):
        espalier.compare(slow, tmp_path)
    with pytest.raises(DataError, match=r"no scores of 'tund'.*Did you mean 'tuned'"):
        espalier.compare(slow, f"{slow}:tund")
    with pytest.raises(DataError, match="'seed' cannot be allowed to differ"):
        espalier.compare(slow, fast, allow=["seed"])
    one = make_run("one", TEST, answers(TEST, set()), names=("rouge_l",))
    with pytest.raises(DataError, match="one has no scores of 'exact_match'"):
        espalier.compare(slow, one, measures=["exact_match"])
    assert "Left out, since not all have it: exact_match." in espalier.compare(slow, one).notes
    two = make_run("two", TEST, answers(TEST, set()), names=("exact_match",))
    with pytest.raises(DataError, match="share no measure: one has rouge_l; two has exact_match"):
        espalier.compare(one, two)
    (fast / "scores.json").unlink()
    with pytest.raises(RunError, match="has no scores yet"):
        espalier.compare(slow, fast)


def write(path: Path, lines: list[dict[str, Any]]) -> Path:
    path.write_text("\n".join(map(json.dumps, lines)))
    return path


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder with references of 60 questions, and two tools' answers to them, one in another order."""
    kept = TEST[:60]
    write(
        tmp_path / "rows.jsonl",
        [{"id": f"q{i}", "prompt": e.input, "completion": right(e)} for i, e in enumerate(kept)],
    )
    one = answers(kept, set(range(20)))
    two = answers(kept, set(range(3)))
    write(tmp_path / "one.jsonl", [{"id": f"q{i}", "prediction": text} for i, text in enumerate(one)])
    mixed = [{"doc_id": f"q{i}", "response": text} for i, text in enumerate(two)]
    random.Random(3).shuffle(mixed)
    write(tmp_path / "two.jsonl", mixed)
    return tmp_path


def test_what_other_tools_wrote_is_aligned_by_id(files: Path) -> None:
    asked = {"references": str(files / "rows.jsonl"), "measures": ["exact_match"]}
    found = espalier.compare(files / "one.jsonl", files / "two.jsonl", **asked)
    one = found["exact_match"]
    assert (one.won, one.lost, one.verdict) == (17, 0, "better")
    assert one.test == "McNemar's exact test"
    assert one.p == pytest.approx(2 * 0.5**17)
    assert any("is not known" in note for note in found.notes)
    write(files / "bare.jsonl", [{"output": right(e)} for e in TEST[:60]])
    bare = espalier.compare(files / "one.jsonl", files / "bare.jsonl", **asked)
    assert "bare.jsonl has no ids: its lines are taken in the order of the rows." in bare.notes
    assert bare["exact_match"].won == 20


def test_rows_that_nobody_answers_are_left_out(files: Path) -> None:
    for name, count in (("few", 20), ("more", 30)):
        lines = [{"id": f"q{i}", "prediction": right(TEST[i])} for i in range(count)]
        write(files / f"{name}.jsonl", lines)
    asked = {"references": str(files / "rows.jsonl"), "measures": ["exact_match"]}
    found = espalier.compare(files / "few.jsonl", files / "more.jsonl", **asked)
    assert (found.rows, found["exact_match"].won) == (30, 10)
    assert "30 rows that nobody answers are left out." in found.notes
    assert "few.jsonl has no answer to 10 rows; they count as the empty text." in found.notes


def test_ids_that_look_swapped_are_told(files: Path) -> None:
    names = [f"q{i}" for i in range(60)]
    random.Random(5).shuffle(names)
    write(
        files / "swapped.jsonl",
        [{"id": n, "prediction": right(e)} for n, e in zip(names, TEST, strict=False)],
    )
    asked = {"references": str(files / "rows.jsonl"), "measures": ["exact_match"]}
    found = espalier.compare(files / "one.jsonl", files / "swapped.jsonl", **asked)["exact_match"]
    assert found.verdict == "spoiled"
    assert "the ids of swapped.jsonl look swapped" in found.said


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (
            [{"id": "q1", "prediction": "a"}, {"id": "q1", "prediction": "b"}],
            "bad.jsonl:2: The row 'q1' is predicted twice",
        ),
        ([{"id": "zz", "prediction": "a"}], "theirs are like 'zz', the rows' like 'q0'"),
        ([{"id": "q1", "score": 1}], "this one has id, score"),
        ([{"output": "a"}], "The file has 1 prediction for 60 rows"),
        (
            [{"id": "q1", "prediction": "a"}, {"id": "q2", "prediction": {}}],
            "bad.jsonl:2: ",
        ),
        ([ONE, {"prediction": "b"}], "bad.jsonl:2: A line should be"),
    ],
)
def test_files_of_no_form_are_refused(files: Path, lines: list[dict[str, Any]], said: str) -> None:
    write(files / "bad.jsonl", lines)
    with pytest.raises(DataError) as error:
        espalier.compare(files / "one.jsonl", files / "bad.jsonl", references=str(files / "rows.jsonl"))
    assert said in str(error.value)


def test_files_need_something_to_be_scored_against(files: Path, pair: tuple[Path, Path]) -> None:
    with pytest.raises(DataError, match="scored against is not known"):
        espalier.compare(files / "one.jsonl", files / "two.jsonl")
    with pytest.raises(DataError, match="There is no such file"):
        espalier.compare(files / "one.jsonl", files / "none.jsonl", references=str(files / "rows.jsonl"))
    with pytest.raises(RecipeError, match="Did you mean 'rouge_l'"):
        espalier.compare(
            files / "one.jsonl", files / "two.jsonl", references=str(files / "rows.jsonl"), measures=["rouge"]
        )
    mixed = write(files / "mixed.jsonl", [{"id": e.id, "text": right(e)} for e in TEST])
    beside = espalier.compare(pair[0], mixed)
    assert (beside["exact_match"].won, beside["exact_match"].lost) == (40, 0)


def test_values_that_are_no_number_are_left_out_and_counted() -> None:
    ids = [f"r{i}" for i in range(30)]

    def side(name: str, values: list[float | None]) -> Side:
        scores = {"m": {i: Score(v) for i, v in zip(ids, values, strict=True)}}
        return Side(name, (Training(name, scores),), {i: i for i in ids}, {"m": Metric("M", better="lower")})

    a = side("a", [0.5] * 10 + [math.nan, None] + [0.6] * 18)
    b = side("b", [0.1 + 0.001 * i for i in range(30)])
    one = compare_sides([a, b], ["m"])["m"]
    assert (one.difference.n, one.difference.missing) == (28, 2)
    assert one.verdict == "better", "lower is better here"
    assert one.won == 28
    nothing = compare_sides([side("n", [None] * 30), b], ["m"])["m"]
    assert nothing.verdict == "not judged"
    assert math.isnan(nothing.p)


def test_a_folded_measure_of_several_seeds_is_their_mean() -> None:
    ids = [f"r{i}" for i in range(40)]
    fold = Metric("F", fold=lambda sums: sums[0] / sums[1])

    def side(name: str, shares: list[int]) -> Side:
        trainings = tuple(
            Training(
                f"{name}{n}", {"m": {i: Score(None, parts=(float(k < n), 1.0)) for k, i in enumerate(ids)}}
            )
            for n in shares
        )
        return Side(name, trainings, {i: i for i in ids}, {"m": fold})

    one = compare_sides([side("a", [10, 14]), side("b", [20, 24])], ["m"])["m"]
    assert (one.first.value, one.other.value) == (pytest.approx(0.3), pytest.approx(0.55))
    assert one.difference.value == pytest.approx(0.25)
    single = compare_sides([side("a", [12]), side("b", [22])], ["m"])["m"]
    assert single.difference.high - single.difference.low < one.difference.high - one.difference.low
    assert "2,000 times" in single.test


def test_errors_are_the_projects_own() -> None:
    for name in ("x" * 5000, "a\0b"):
        with pytest.raises(EspalierError):
            espalier.compare(name, f"{name}y")
