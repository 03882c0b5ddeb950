"""The evaluation of Super-NaturalInstructions against its official rules, made of `rouge_score`."""

from __future__ import annotations

import json
import random
import string
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from rouge_score.rouge_scorer import RougeScorer

from espalier.core.errors import DataError
from espalier.core.files import jsonl
from espalier.core.records import Completion
from espalier.evaluate.predictions import own_rows, score_predictions
from espalier.scorers.registry import build_scorer
from espalier.scorers.super_ni import FIRST, gpt2, read_references

ROUGE = RougeScorer(["rougeL"], use_stemmer=True)
ROWS: list[dict[str, Any]] = [
    {"id": "a-1", "references": ["entailment"], "task_id": "taskA", "task_category": "Textual Entailment"},
    {"id": "a-2", "references": ["neutral"], "task_id": "taskA", "task_category": "Textual Entailment"},
    {
        "id": "b-1",
        "references": ["The old ferry", "A ferry"],
        "task_id": "taskB",
        "task_category": "Title Generation",
    },
    {"id": "b-2", "references": ["+"], "task_id": "taskB", "task_category": "Title Generation"},
]


def normalised(text: str) -> str:
    return " ".join("".join(c for c in text.lower() if c not in string.punctuation).split())


def plainly(rows: list[dict[str, Any]], said: dict[str, str]) -> dict[str, float]:
    """The official numbers of the English track, by their official names."""
    found: defaultdict[str, list[float]] = defaultdict(list)
    for row in rows:
        text, references = said.get(row["id"], ""), row["references"]
        exact = max(float(normalised(text) == normalised(one)) for one in references)
        rouge = max(ROUGE.score(one, text)["rougeL"].fmeasure for one in references)
        category = "_".join(row["task_category"].lower().split())
        for name, value in (("exact_match", exact), ("rougeL", rouge)):
            for key in (name, f"{name}_for_{category}", f"{name}_for_{row['task_id']}"):
                found[f"{key}_default_track"].append(value)
    return {key: round(100.0 * sum(values) / len(values), 4) for key, values in found.items()}


def scored(
    tmp_path: Path, rows: list[dict[str, Any]], said: dict[str, str], **settings: object
) -> dict[str, Any]:
    (tmp_path / "references.jsonl").write_text(jsonl(rows))
    lines = jsonl({"id": name, "prediction": text} for name, text in said.items())
    (tmp_path / "said.jsonl").write_text(lines)
    references = own_rows("super_ni", tmp_path / "references.jsonl")
    assert references is not None
    return score_predictions(references, tmp_path / "said.jsonl", "super_ni", settings=settings).percent()


def test_the_official_numbers_by_their_official_names(tmp_path: Path) -> None:
    said = {"a-1": "Entailment.", "b-1": "the old ferries", "b-2": "-", "z": "of no row"}
    result = scored(tmp_path, ROWS, said)
    assert result["official"] == plainly(ROWS, said)
    assert result["official"]["exact_match_for_taskB_default_track"] == 50.0, "ASCII signs alone are equal"
    assert (result["missing"], result["extra"]) == (1, 1)
    mixed = result["groups"]["category"]
    assert mixed["textual_entailment"]["mixed"]["value"] == 50.0
    assert mixed["title_generation"]["mixed"]["value"] == mixed["title_generation"]["rougeL"]["value"]


def test_real_tasks_in_the_official_layout(shared_data: Path, tmp_path: Path) -> None:
    """One prediction in three is right, in three is a part, in three is missing: 1,000 rows of ten tasks."""
    files = sorted((shared_data / "natural-instructions-v2/tasks").glob("*.json"))[::5]
    rows: list[dict[str, Any]] = []
    said: dict[str, str] = {}
    draw = random.Random(0)
    for file in files:
        task = json.loads(file.read_text())
        for row in task["Instances"][:FIRST]:
            about = {"task_id": file.stem, "task_category": task["Categories"][0]}
            rows.append({"id": row["id"], "references": row["output"], **about})
            words = draw.choice(row["output"]).split()
            if (kind := draw.randrange(3)) < 2:
                said[row["id"]] = " ".join(words[: len(words) // (kind + 1)]).upper()
    assert scored(tmp_path, rows, said)["official"] == plainly(rows, said)
    folder = tmp_path / "tasks"
    folder.mkdir()
    for file in files:
        (folder / file.name).symlink_to(file)
    of_tasks = read_references(folder)
    assert [(e.id, list(e.references), e.task) for e in of_tasks] == [
        (row["id"], row["references"], row["task_id"]) for row in rows
    ]


def test_the_cross_lingual_track_is_cut_by_its_tokenizer(tmp_path: Path) -> None:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=300, initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(["Она читала книгу", "книга и она"] * 9, trainer)
    tokenizer.save(str(tmp_path / "tokenizer.json"))

    class Cut:
        def tokenize(self, text: str) -> list[str]:
            return [token.lstrip("Ġ") for token in tokenizer.encode(text).tokens]

    rows = [{**ROWS[2], "references": ["Она читала книгу"], "track": "xlingual"}, ROWS[0]]
    oracle = RougeScorer(["rougeL"], tokenizer=Cut())
    said = {"b-1": "она книгу читала", "a-1": "entailment"}
    official = scored(tmp_path, rows, said, tokenizer=str(tmp_path))["official"]
    wanted = oracle.score("Она читала книгу", said["b-1"])["rougeL"].fmeasure
    assert official["rougeL_xlingual_track"] == round(100 * wanted, 4) > 0
    assert official["rougeL_default_track"] == 100.0


def test_without_the_tokenizer_the_track_is_not_scored_and_it_is_said(tmp_path: Path) -> None:
    assert gpt2(str(tmp_path / "nowhere")) is None
    rows = [{**ROWS[2], "track": "xlingual"}, ROWS[0]]
    result = scored(tmp_path, rows, {"b-1": "A ferry", "a-1": "no"}, tokenizer=str(tmp_path / "nowhere"))
    assert result["official"]["rougeL_xlingual_track"] is None
    assert result["official"]["exact_match_xlingual_track"] == 100.0
    assert any("tokenizer" in finding for finding in result["findings"])


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([{"id": "a"}], "A line should be"),
        ([{"id": "a", "references": []}], "A line should be"),
        ([{"id": "a", "references": [1]}], "A line should be"),
        ([ROWS[0], ROWS[0]], "The id 'a-1' stands twice"),
        ([], "neither references nor tasks"),
    ],
)
def test_references_of_another_form_are_refused(tmp_path: Path, lines: list[Any], message: str) -> None:
    (tmp_path / "references.jsonl").write_text(jsonl(lines))
    with pytest.raises(DataError, match=message):
        read_references(tmp_path / "references.jsonl")


def test_a_row_without_a_category_is_not_scored_by_both(tmp_path: Path) -> None:
    (tmp_path / "r.jsonl").write_text(jsonl([{"id": "a", "references": ["x"]}]))
    rows = read_references(tmp_path / "r.jsonl")
    assert build_scorer("super_ni", {}, "x").score(rows, [Completion("a", "x")])[0].value is None
    assert (
        build_scorer("super_ni", {"measure": "rougeL"}, "x").score(rows, [Completion("a", "x")])[0].value == 1
    )
