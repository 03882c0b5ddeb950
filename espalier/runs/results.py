"""What a run ends with: its answers and scores, those of before kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

from espalier.core.files import write_changed
from espalier.core.standing import move_results
from espalier.runs.events import say

if TYPE_CHECKING:
    from espalier.core.run import RunFolder


def write_results(run: RunFolder, outputs: str | None, scores: str) -> None:
    """Write scores.json, and outputs.jsonl of a run that has answers; other scores of before are kept."""
    if run.scores.exists() and run.scores.read_bytes() != scores.encode():
        say("The scores came out otherwise than before, as another version of a program may have it.")
        say(f"Those of before are in {move_results(run)}.")
    if outputs is not None:
        write_changed(run.outputs, outputs.encode())
    write_changed(run.scores, scores.encode())
