"""Every data file beside the project loads through a build; what is no data is named in a sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from espalier.builds.authors import Terms
from espalier.builds.build import build
from espalier.builds.recipe import as_build
from espalier.core.errors import DataError
from espalier.core.files import read_jsonl

TERMS = Terms(Path("nowhere"))
# What holds no rows of text, by its name's end, and what is said of it.
NO_DATA = {
    "README.md": "neither rows nor a task",
    "_tasks.txt": "neither rows nor a task",
    ".jpg": "is a picture",
    "dataset_info.json": "format of the rows cannot be told",
    "mllm_demo.json": "comes with images",
}
# Headerless: columns by their numbers.
CANDIDATES = {"context": "1", "question": "2", "answer": "3", "correct": "4"}


def test_every_file_loads_or_says_what_it_is(shared_data: Path, tmp_path: Path) -> None:
    seen = 0
    for file in sorted(path for path in shared_data.rglob("*") if path.is_file()):
        columns = CANDIDATES if file.suffix == ".tsv" else {}
        asked = as_build({"name": "b", "source": [{"path": str(file), "columns": columns}]})
        why = next((why for end, why in NO_DATA.items() if file.name.endswith(end)), "")
        if why:
            with pytest.raises(DataError) as caught:
                build(asked, tmp_path / "b", TERMS)
            assert why in str(caught.value)
            continue
        (source,) = build(asked, tmp_path / "b", TERMS).funnel.sources
        assert source.rows > 0, file
        reasons = [row["reason"] for _, row in read_jsonl(tmp_path / "b" / "rejects.jsonl")]
        assert all("text is empty" in reason for reason in reasons), file
        seen += 1
    assert seen > 80
