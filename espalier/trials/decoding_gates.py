"""What has to hold before ways of decoding are compared, tried on a few rows: see `decode/gates.py`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from espalier.builds.code_hash import code_hash
from espalier.core.errors import ModelError
from espalier.core.files import content_hash, write_atomic
from espalier.core.text import counted
from espalier.decode.gates import GATES, Asked
from espalier.runs.events import bar
from espalier.trials.decoding_times import kept

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from espalier.core.records import Example
    from espalier.decode.gates import Difference
    from espalier.decode.local import Local

ROWS = 4
LIMIT = 8  # tokens of an answer: one of the gates computes all of a row anew for each


def held(local: Local, rows: Sequence[Example], file: Path) -> dict[str, str]:
    """Return what each gate finds on the first rows, in words; '' where nothing differs.

    What was found of the same model and rows stands in the file, and is not looked for again.

    Raises:
        ModelError: one fails in fp32, where any difference is a fault.
    """
    few, loaded = rows[:ROWS], local.loaded
    model = [loaded.weights, str(local.writer.dtype), str(loaded.model.device), local.template.hash]
    key = content_hash([model, [row.id for row in few], LIMIT, [*GATES], code_hash("espalier.decode.gates")])
    if before := kept(file, key):
        return before["found"]
    room = local.template.context - max(len(local.template.prompt_ids(row.prompt)) for row in few)
    asked = Asked(local.writer, local.template, few, max(1, min(LIMIT, room)))
    found: dict[str, str] = {}
    with bar("Gates", len(GATES)) as advance:
        for gate, differs in GATES.items():
            found[gate] = _told(differs(asked), len(asked.requests()))
            advance(1, gate)
    failed = [f"{gate}: {told}" for gate, told in found.items() if told]
    if failed and loaded.formats.decoding == "fp32":
        raise ModelError(
            f"Ways of decoding cannot be compared: what must be the same is not. {'; '.join(failed)}.",
            where=str(file.parent.parent),
            hint="In fp32 that is a fault of this program or of the model's code; see `espalier verify`.",
        )
    write_atomic(file, json.dumps({"key": key, "found": found}, indent=1) + "\n")
    return found


def _told(differences: Sequence[Difference], prompts: int) -> str:
    if not differences:
        return ""
    first = differences[0]
    of = f"{len(differences)} of {counted(prompts, 'prompt')}"
    return f"{of} differ, the first (example {first.example}) from token {first.place + 1} on"


def of_gates(gates: Mapping[str, str], local: Local) -> list[str]:
    """Return a note where gates found what a coarse number format explains."""
    failed = [f"{gate} ({told})" for gate, told in gates.items() if told]
    if not failed:
        return []
    return [
        f"Not the same in {local.loaded.formats.decoding}: {'; '.join(failed)}. Rounding depends there on "
        "the shape of a batch, so that tokens which are nearly as likely change places: as much of a "
        "difference between settings is rounding."
    ]
