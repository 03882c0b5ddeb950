"""Annotations in three forms, what they come to, and what is told of them."""

from __future__ import annotations

import json
import math
import random
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from espalier.core.errors import DataError, RecipeError
from espalier.formats.readers import Raw, rows_of
from espalier.templating.annotations import (
    Agreement,
    Annotated,
    How,
    Layout,
    aggregated,
    dawid_skene,
    read_annotations,
)
from espalier.templating.fill import fill
from espalier.templating.template import load_template

if TYPE_CHECKING:
    from pathlib import Path

LONG = [
    {"id": "1", "text": "Fine soup!", "annotator": "ada", "label": "praise"},
    {"id": "2", "text": "Cold soup.", "annotator": "ada", "label": "blame"},
    {"id": "1", "text": "Fine soup!", "annotator": "ben", "label": "praise"},
    {"id": "1", "text": "Fine soup!", "annotator": "cem", "label": "blame"},
    {"id": "2", "text": "Cold soup.", "annotator": "ben", "label": "praise"},
    {"id": "3", "text": "Soup.", "annotator": "ben", "label": None},
]
WIDE = [
    {"id": "1", "text": "Fine soup!", "ada": "praise", "ben": "praise", "cem": "blame"},
    {"id": "2", "text": "Cold soup.", "ada": "blame", "ben": "praise", "cem": ""},
    {"id": "3", "text": "Soup.", "ada": None, "ben": None, "cem": "n/a"},
]
LISTS = [
    {"id": "1", "text": "Fine soup!", "label": {"ada": "praise", "ben": "praise", "cem": "blame"}},
    {"id": "2", "text": "Cold soup.", "label": {"ada": "blame", "ben": "praise"}},
    {"id": "3", "text": "Soup.", "label": {}},
]


def read(rows: list[dict[str, Any]], **layout: Any) -> list[Annotated]:
    raws = [Raw(f"rows.jsonl:{number}", number, row) for number, row in enumerate(rows, start=1)]
    return read_annotations(raws, Layout(**layout))


def come_to(rows: list[Annotated], how: How, **settings: Any) -> tuple[list[dict[str, Any]], Agreement]:
    raws, agreement = aggregated(rows, how, **settings)
    return [dict(raw.value) for raw in raws], agreement  # pyright: ignore


def test_three_forms_say_the_same() -> None:
    forms = [read(LONG), read(WIDE, annotators=("ada", "ben", "cem")), read(LISTS)]
    said = [[(row.id, dict(row.labels), row.raw.value) for row in rows] for rows in forms]
    assert said[0] == said[1] == said[2]
    numbered = read([{"id": 1, "label": ["a", None, "b"]}])
    assert dict(numbered[0].labels) == {"1": "a", "3": "b"}


def test_forms_in_files(tmp_path: Path) -> None:
    wide = tmp_path / "wide.csv"
    wide.write_text("text,ada,ben\nFine soup!,1,2\nCold soup.,,2\n")
    rows = read_annotations(rows_of(wide), Layout(annotators=("ada", "ben")))
    assert [dict(row.labels) for row in rows] == [{"ada": "1", "ben": "2"}, {"ben": "2"}]
    long = tmp_path / "long.csv"
    long.write_text("id,annotator,label\n1,ada,1\n1,ben,\n")
    assert dict(read_annotations(rows_of(long))[0].labels) == {"ada": "1"}
    lists = tmp_path / "lists.jsonl"
    lists.write_text(
        json.dumps({"text": "x", "label": [1, 2.0]}) + "\n" + json.dumps({"text": "x", "label": [2]})
    )
    assert [dict(row.labels) for row in read_annotations(rows_of(lists))] == [
        {"1": "1", "2": "2"},
        {"1": "2"},
    ]


def test_a_majority_and_a_tie_that_is_told() -> None:
    rows, agreement = come_to(read(LONG), "majority")
    assert rows[0] == {
        "id": "1",
        "text": "Fine soup!",
        "label": "praise",
        "references": ["praise"],
        "votes": {"praise": 2, "blame": 1},
    }
    assert "label" not in rows[1]
    assert rows[1]["references"] == ["blame", "praise"]
    assert (rows[2]["references"], rows[2]["votes"]) == ([], {})
    assert (agreement.rows, agreement.single, agreement.ties, agreement.votes) == (3, 0, 1, 5)
    assert agreement.agree == {"ada": 1, "ben": 1, "cem": 0}
    assert agreement.labels == {"praise": 3, "blame": 2}
    json.dumps(agreement.table())


def test_all_labels_and_their_distribution() -> None:
    rows, _ = come_to(read(LONG), "all")
    assert [row["references"] for row in rows] == [["praise", "blame"], ["blame", "praise"], []]
    rows, _ = come_to(read(LONG), "distribution")
    assert rows[0]["distribution"] == {"praise": 2 / 3, "blame": 1 / 3}
    assert rows[0]["label"] == "praise"
    assert "label" not in rows[1]


def crowd(count: int, rates: dict[str, float], seed: int = 0) -> tuple[list[str], list[Annotated]]:
    """Rows of two labels and who gave which; `rates` is how often each annotator is right."""
    rng = random.Random(seed)
    truth = [rng.choice("ab") for _ in range(count)]
    rows = [
        {name: label if rng.random() < rate else "ba"["ab".index(label)] for name, rate in rates.items()}
        for label in truth
    ]
    return truth, [Annotated(str(n), Raw("", n, {}), labels) for n, labels in enumerate(rows)]


def test_annotators_are_trusted_as_far_as_they_agree() -> None:
    rates = {"good": 0.97, "fair": 0.9, "bad": 0.5, "worse": 0.5, "contrary": 0.1}
    truth, rows = crowd(400, rates)
    right = {}
    for how in ("majority", "dawid_skene"):
        found, agreement = come_to(rows, how)  # pyright: ignore
        right[how] = sum(row.get("label") == label for row, label in zip(found, truth, strict=True)) / 400
        assert how != "dawid_skene" or agreement.agree["contrary"] < 0.2 < 0.85 < agreement.agree["fair"]
    assert right["majority"] < 0.9 < 0.95 < right["dawid_skene"]


def slow_dawid_skene(votes: list[dict[str, str]], labels: str, rounds: int) -> list[dict[str, float]]:
    people = sorted({name for row in votes for name in row})
    believed = [{k: (sum(v == k for v in row.values()) + 1e-9) for k in labels} for row in votes]
    believed = [{k: p / sum(row.values()) for k, p in row.items()} for row in believed]
    for _ in range(rounds):
        prior = {k: sum(row[k] for row in believed) + 0.01 for k in labels}
        rate = {}
        for name in people:
            for k in labels:
                seen = {
                    g: 0.01 + sum(b[k] for b, row in zip(believed, votes, strict=True) if row.get(name) == g)
                    for g in labels
                }
                rate |= {(name, k, g): seen[g] / sum(seen.values()) for g in labels}
        found = []
        for row in votes:
            p = {
                k: prior[k] / sum(prior.values()) * math.prod(rate[n, k, g] for n, g in row.items())
                for k in labels
            }
            found.append({k: v / sum(p.values()) for k, v in p.items()})
        believed = found
    return believed


def test_as_a_slow_twin_says() -> None:
    _, rows = crowd(30, {"x": 0.9, "y": 0.7, "z": 0.6}, seed=2)
    votes = [dict(list(row.labels.items())[: 1 + number % 3]) for number, row in enumerate(rows)]
    cells = [(n, "xyz".index(name), "ab".index(g)) for n, row in enumerate(votes) for name, g in row.items()]
    found = dawid_skene(np.array(cells), 30, 3, 2)
    expected = slow_dawid_skene(votes, "ab", 200)
    assert np.allclose(found, [[row["a"], row["b"]] for row in expected], atol=1e-4)


def test_rows_go_into_a_template_with_their_votes() -> None:
    raws, _ = aggregated(read(LONG), "majority")
    template = load_template("classification")
    template = template.model_copy(update={"columns": {"labels": "['praise', 'blame']"}})
    refused: list[dict[str, Any]] = []
    made = list(fill(template, raws, "rows.jsonl", count=None, on_reject=refused.append))
    assert Counter(example.origin["row"] for example in made) == {"1": len(template.wording)}
    assert made[0].answer == "praise"
    assert made[0].origin["votes"] == {"praise": 2, "blame": 1}
    assert all("'label' is undefined" in item["reason"] for item in refused)


@pytest.mark.parametrize(
    ("rows", "layout", "said"),
    [
        ([LONG[0], {**LONG[0], "label": "blame"}], {}, "'ada' labels the row '1' twice"),
        ([LONG[0], {**LONG[2], "text": "Other."}], {}, "another 'text'"),
        ([{"id": 1, "label": "a"}], {}, "no 'annotator'"),
        ([{"annotator": "x", "label": "a"}], {}, "no 'id'"),
        ([{"id": 1}], {}, "no 'label'"),
        ([{"id": 1, "label": [["a"]]}], {}, "no text"),
        ([{"id": 1, "label": ["a"]}, {"id": 1, "label": ["b"]}], {}, "Two rows have the id"),
        ([{"id": 1}], {"annotators": ("ada",)}, "no 'ada'"),
    ],
)
def test_annotations_that_cannot_be_read(
    rows: list[dict[str, Any]], layout: dict[str, Any], said: str
) -> None:
    with pytest.raises(DataError, match=said) as error:
        read(rows, **layout)
    assert "rows.jsonl" in error.value.where


@pytest.mark.parametrize(
    ("layout", "said"),
    [(Layout(label="lable"), "'lable'"), (Layout(annotators=("label", "bbo")), "'bbo'")],
)
def test_a_column_that_no_row_of_a_table_has_is_named(tmp_path: Path, layout: Layout, said: str) -> None:
    (tmp_path / "rows.csv").write_text("id,annotator,label\n1,ada,praise\n1,bob,\n2,ada,blame\n")
    with pytest.raises(DataError, match=f"The row has no {said}") as error:
        read_annotations(rows_of(tmp_path / "rows.csv"), layout)
    assert "label" in error.value.hint


def test_what_does_not_fit() -> None:
    with pytest.raises(RecipeError, match="No aggregation"):
        aggregated(read(LONG), "mean")  # pyright: ignore
    with pytest.raises(DataError, match="not interval"):
        aggregated(read(LONG), "majority", level="interval")
