"""The model card of an exported run: where it comes from, what it scored, what it must not be trusted with.

The front matter is written by huggingface_hub. A section for which the run folder holds nothing is left out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from huggingface_hub import ModelCardData

from espalier.core.text import counted
from espalier.data.parents import chain
from espalier.evaluate.findings import findings
from espalier.evaluate.sheet import interval, shown

if TYPE_CHECKING:
    from collections.abc import Iterable

    from espalier.core.records import Estimate
    from espalier.evaluate.scores import Scores
    from espalier.report.gather import Material


@dataclass(frozen=True, slots=True)
class Source:
    """What the run folder does not hold: names and licences of the base model and the data.

    A licence that nobody stated is ''. `hub` is the base model's hub id, where it has one; `language` lists
    what the base model's own card says.
    """

    base: str
    hub: str
    base_licence: str
    data: str
    data_licence: str
    language: tuple[str, ...] = ()


def card(material: Material, recipe_hash: str, source: Source, sort: str, load: str, compared: str) -> str:
    """Return the card as Markdown with a YAML head.

    Args:
        material: the run folder.
        recipe_hash: of the resolved recipe.
        source: see there.
        sort: 'hf', 'adapter' or 'gguf'.
        load: the code that loads the export.
        compared: a sentence on how far the export is from the trained model.
    """
    sections = {
        "Data": _data(material, source),
        "Training": _training(material, recipe_hash, source),
        "Scores": _scores(material.scores),
        "How to load it": load,
        "Limitations": _limitations(material, source, compared),
    }
    body = "\n\n".join(f"## {name}\n\n{text}" for name, text in sections.items() if text)
    lead = f"`{source.base}`, tuned on {source.data} with Espalier."
    if comes_from := chain(material.provenance, material.name):
        lead += f"\n\nIt comes from other runs: {comes_from}. What those were tuned on is part of it."
    return f"---\n{_head(source, sort)}\n---\n\n# {material.name}\n\n{lead}\n\n{body}\n"


def _head(source: Source, sort: str) -> str:
    library = {"hf": "transformers", "adapter": "peft", "gguf": "gguf"}[sort]
    return ModelCardData(
        license=source.base_licence.lower() or "unknown",
        base_model=source.hub or None,
        language=list(source.language) or None,
        library_name=library,
        pipeline_tag="text-generation",
        tags=["espalier", "instruction-tuning", *([sort] if sort != "hf" else [])],
    ).to_yaml()


def _data(material: Material, source: Source) -> str:
    licence = source.data_licence or "not stated"
    lines = [f"- {source.data}; its licence: {licence}."]
    kinds = {"trained on": material.train, "held out, to choose among its weights": material.dev}
    for name, rows in {**kinds, "kept for the scores": material.test}.items():
        if rows:
            sources = counted(len({row.source for row in rows}), "source")
            lines.append(f"- {counted(len(rows), 'row')} from {sources}, {name}.")
    if material.rejects:
        left = counted(len(material.rejects), "row")
        lines.append(f"- {left} left out, each with its reason in `rejects.jsonl`.")
    return "\n".join(lines)


def _training(material: Material, recipe_hash: str, source: Source) -> str:
    train = material.recipe.get("train", {})
    stages = train if isinstance(train, list) else [train]
    lines = [f"- Base model: `{source.base}`; its licence: {source.base_licence or 'not stated'}."]
    for number, stage in enumerate(stages, start=1):
        name = f"Stage {number}: " if len(stages) > 1 else ""
        method = [f"method `{stage['method']['kind']}`"] if "method" in stage else []
        aims = [f"objective {aim['kind']} × {aim.get('weight', 1)}" for aim in stage.get("objective", [])]
        sizes = [f"{key} {stage[key]}" for key in ("rate", "epochs", "rows") if key in stage]
        data = [f"on {Path(stage['data']).name}"] if stage.get("data") else []
        lines.append(f"- {name}{', '.join([*method, *aims, *sizes, *data]) or 'not known'}.")
    steps = material.steps()
    if steps:
        first, last = steps[0]["loss"], steps[-1]["loss"]
        lines.append(f"- {counted(len(steps), 'step')}; loss {first:.3f} at first, {last:.3f} at last.")
    formats = material.provenance.get("inputs", {}).get("formats")
    lines += [f"- Computed in {formats}."] if formats else []
    versions = material.provenance.get("packages", {})
    if versions:
        lines.append(
            "- Made with " + ", ".join(f"{name} {version}" for name, version in versions.items()) + "."
        )
    # Where files lay on the machine that trained is nobody's business.
    text = re.sub(r'"/(?:[^"\n]*/)?([^"/\n]+)"', r'"\1"', material.recipe_text.strip())
    recipe = f"The recipe, of hash `{recipe_hash}`:\n\n```toml\n{text}\n```"
    return "\n".join(lines) + f"\n\n{recipe}"


def _scores(scores: Scores) -> str:
    """Return a table of every measure: the tuned model and its floors, in percent with 95 % intervals."""
    if not scores.systems:
        return ""
    systems = {name: system.estimates for name, system in scores.systems.items()}
    rows = [["", *systems]]
    rows += [
        [scores.metric(name).title, *(_cell(estimates.get(name)) for estimates in systems.values())]
        for name in scores.listed
    ]
    sources = counted(scores.sources, "source")
    said = (
        f"On {counted(scores.rows, 'row')} from {sources} not trained on, in % with 95 % intervals. "
        "*constant* gives one training answer to everything, *copy* gives the input back"
        f"{', *lead* its first words' if 'lead' in systems else ''}"
        f"{', *majority* the most frequent training answer' if 'majority' in systems else ''}"
        f"{', *random* draws a label' if 'random' in systems else ''}"
        f"{', *example* gives the answer of the first worked example' if 'example' in systems else ''}."
    )
    told = "\n".join(f"- {finding.text}" for finding in findings(scores))
    return "\n\n".join([*([told] if told else []), said, _table(rows)])


def _cell(estimate: Estimate | None) -> str:
    if not estimate:
        return "–"
    ends = interval(estimate)
    return shown(estimate) + (f" ({ends})" if ends else "")


def _table(rows: Iterable[list[str]]) -> str:
    first, *rest = ("| " + " | ".join(row) + " |" for row in rows)
    return "\n".join([first, "|" + "---|" * (first.count("|") - 1), *rest])


def _limitations(material: Material, source: Source, compared: str) -> str:
    several = len({row.task for row in (*material.train, *material.test)}) > 1
    what, these = ("the tasks", "those tasks") if several else ("one task,", "that task")
    lines = [
        f"- It was tuned for {what} {source.data}, and scored on {these} only; what else it does, and "
        "what it has unlearned, was not measured.",
        f"- It keeps what `{source.base}` has of errors and bias.",
    ]
    return "\n".join([*lines, f"- {compared}"])
