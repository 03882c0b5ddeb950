"""The model card: what a run folder holds, in the form that model hubs read."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from huggingface_hub import ModelCard

from espalier.evaluate.findings import findings
from espalier.report.card import Source, card
from espalier.report.gather import Material, gather

SOURCE = Source("smollm2-135m", "owner/model", "Apache-2.0", "durations", "", ("en",))


def written(material: Material, source: Source = SOURCE, sort: str = "hf") -> str:
    return card(material, "0123456789abcdef", source, sort, "Load it.", "They are the same.")


def test_the_head_is_what_a_hub_reads(run_folder: Path) -> None:
    data = ModelCard(written(gather(run_folder), sort="adapter")).data
    assert (data.license, data.base_model, data.library_name) == ("apache-2.0", "owner/model", "peft")
    assert data.language == ["en"]
    assert data.tags == ["espalier", "instruction-tuning", "adapter"]
    unknown = Source("folder", "", "", "durations", "CC-BY-4.0")
    data = ModelCard(written(gather(run_folder), unknown)).data
    assert (data.license, data.base_model, data.language) == ("unknown", None, None)


def test_data_recipe_and_scores_with_their_floors_are_told(run_folder: Path) -> None:
    material = gather(run_folder)
    text = written(material)
    assert f"90 rows from {len({row.source for row in material.train})} sources, trained on" in text
    assert "2 rows left out" in text
    assert "of hash `0123456789abcdef`" in text
    assert "its licence: not stated" in text
    header, rows = text.index("| tuned | base | constant | copy |"), text.split("\n")
    assert header
    (rouge,) = (row for row in rows if row.startswith("| ROUGE-L |"))
    assert rouge.count(" to ") == 4
    for finding in findings(material.scores):
        assert f"- {finding.text}" in rows
    assert material.scores.references
    material.scores = replace(material.scores, references=replace(material.scores.references, closed=True))
    exact, rouge = (written(material).index(name) for name in ("| Exact match |", "| ROUGE-L |"))
    assert exact < rouge, "what leads comes first"
    assert "- They are the same." in text


def test_where_files_lay_is_not_told(run_folder: Path) -> None:
    material = gather(run_folder)
    material.recipe_text = 'folder = "/home/ada/runs"\n[task]\npath = "/home/ada/task.json"\n'
    text = written(material)
    assert "ada" not in text
    assert 'path = "task.json"' in text


def test_no_section_is_empty() -> None:
    material = Material("bare", recipe={"train": {}})
    text = written(material, SOURCE)
    assert "## Scores" not in text
    for section in text.split("\n## ")[1:]:
        heading, _, body = section.partition("\n")
        assert body.strip(), heading
