"""Natural Instructions task files, v1 and v2, as they are published.

Mishra et al. 2022 (arXiv 2104.08773) for v1, Wang et al. 2022 (arXiv 2204.07705) for v2. What differs:

    what             v1                                           v2
    definition       text                                         list of texts
    examples         {"Examples": {"Positive Examples": …}}       "Positive Examples" at the top
    why              "reason" (and "suggestion", not read)        "explanation"
    cautions         "Things to Avoid", "Emphasis & Caution"      part of the definition
    instances        {input, output}                              {id, input, output}
    about            "Title", "Prompt" (not read)                 "Categories", "Source", "Instance License"

"-", "N/A", a blank and their like stand for "none" in both, and an output is a text or a list of references.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from espalier.core.errors import DataError, nearest
from espalier.core.files import read_json
from espalier.core.records import Task
from espalier.tasks.raw_rows import (
    OnReject,
    RawRow,
    demonstration,
    is_placeholder,
    kind,
    optional_text,
    task_rows,
    texts,
)

if TYPE_CHECKING:
    from pathlib import Path

    from espalier.core.records import Demonstration, TaskRow

CAUTIONS = ("Things to Avoid", "Emphasis & Caution")


def load_natural_instructions(path: Path, on_reject: OnReject | None = None) -> Task:
    """Return the task of a v1 or v2 file; its name is the file's, or what an export says under "Name".

    Raises:
        DataError: not JSON (line and column), another shape, no definition, no usable instance; or a bad
            instance, unless `on_reject` takes it.
    """
    where = str(path)
    content: object = read_json(path)
    if not isinstance(content, dict):
        raise DataError(
            f"The file holds {kind(content)}; a task is an object {{…}} with a Definition and Instances.",
            where=where,
        )
    data = cast("dict[str, Any]", content)
    examples = data.get("Examples", data)
    if not isinstance(examples, dict):
        raise DataError(f"'Examples' should be an object {{…}}; it is {kind(examples)}.", where=where)
    licences = texts(data.get("Instance License"), "Instance License", where)
    return Task(
        name=optional_text(data.get("Name")) or path.stem,
        definition=_definition(data, where),
        rows=_rows(data, path, on_reject),
        positive=_demonstrations(cast("dict[str, Any]", examples), "Positive Examples", where),
        negative=_demonstrations(cast("dict[str, Any]", examples), "Negative Examples", where),
        cautions=tuple(text for key in CAUTIONS for text in texts(data.get(key), key, where)),
        categories=texts(data.get("Categories"), "Categories", where),
        sources=texts(data.get("Source"), "Source", where),
        licence=", ".join(licences) or "Unknown",
        origin=where,
    )


def _definition(data: dict[str, Any], where: str) -> str:
    if "Definition" not in data:
        raise DataError("The task has no 'Definition'.", where=where, hint=nearest("Definition", data))
    definition = "\n".join(texts(data["Definition"], "Definition", where))
    if not definition:
        raise DataError("The task's definition is empty.", where=where)
    return definition


def _rows(data: dict[str, Any], path: Path, on_reject: OnReject | None) -> tuple[TaskRow, ...]:
    if "Instances" not in data:
        raise DataError("The task has no 'Instances'.", where=str(path), hint=nearest("Instances", data))
    instances = data["Instances"]
    if not isinstance(instances, list):
        raise DataError(f"'Instances' should be a list […]; it is {kind(instances)}.", where=str(path))
    raw = (
        RawRow(f"{path}, instance {index}", f"{path.stem}-{index}", value)
        for index, value in enumerate(cast("list[object]", instances))
    )
    return task_rows(raw, on_reject, str(path))


def _demonstrations(examples: dict[str, Any], key: str, where: str) -> tuple[Demonstration, ...]:
    value: object = examples.get(key)
    items = cast("list[object]", value) if isinstance(value, list) else [value]
    return tuple(
        demonstration(item, f"{where}, {key} {index}", bad=key.startswith("Negative"))
        for index, item in enumerate(items)
        if not is_placeholder(item)
    )
