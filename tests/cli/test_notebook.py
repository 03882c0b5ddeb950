"""In a notebook's own kernel: a run draws one bar that is gone at the end, and leaves a few lines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

RUN = "import espalier\nrun = espalier.run('recipe.toml')\nprint(run.scores['tuned']['rouge_l'])"


class Watched(NotebookClient):
    """Keeps all that a cell showed while it ran, what was updated and what was taken away."""

    def __init__(self, *cells: str, home: Path) -> None:
        notebook: Any = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
        resources = {"metadata": {"path": str(home)}}
        super().__init__(notebook, timeout=120, kernel_name="python3", resources=resources)
        self.shown: list[str] = []

    def process_message(self, msg: Any, cell: Any, cell_index: int) -> Any:
        if msg["msg_type"] in ("display_data", "update_display_data"):
            self.shown.append(msg["content"]["data"].get("text/html", ""))
        return super().process_message(msg, cell, cell_index)

    def printed(self, stream: str) -> str:
        outputs: Any = self.nb.cells[0].outputs
        return "".join(output.text for output in outputs if output.get("name") == stream)


def test_a_run_draws_one_bar_and_leaves_lines(home: Path) -> None:
    client = Watched(RUN, home=home)
    client.execute()
    bars = [html for html in client.shown if "<progress" in html]
    assert any(html.startswith("Training <progress") for html in bars)
    assert client.shown[-1] == ""
    assert sum(output.output_type == "display_data" for output in client.nb.cells[0].outputs) == 1
    lines = client.printed("stdout").splitlines()
    assert lines[0] == "Run plural, in runs/plural"
    assert len(lines) < 20
    assert not [line for line in lines if line.startswith("Training:")]
    assert not client.printed("stderr")


def test_an_error_is_a_sentence_and_the_bar_is_gone(home: Path) -> None:
    client = Watched("import espalier\nespalier.run('recipe.toml', 'train.rat=1')", home=home)
    with pytest.raises(CellExecutionError, match=r"There is no key 'rat' here"):
        client.execute()
