"""Every data file beside the project loads through a build; what is no data is named in a sentence."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

import pytest

from espalier.builds.recipe import as_build
from espalier.builds.sources import SourceCounts, places
from espalier.core.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

    from espalier.tasks.raw_rows import Reject

MOST = 1_000  # rows of a file that are read
# What holds no rows of text, by its name's end, and what is said of it.
NO_DATA = {
    "README.md": "neither rows nor a task",
    "_tasks.txt": "neither rows nor a task",
    ".jpg": "is a picture",
    "dataset_info.json": "format of the rows cannot be told",
}
# Headerless: columns by their numbers.
CANDIDATES = {"context": "1", "question": "2", "answer": "3", "correct": "4"}


def test_every_file_loads_or_says_what_it_is(shared_data: Path) -> None:
    seen = 0
    for file in sorted(path for path in shared_data.rglob("*") if path.is_file()):
        columns = CANDIDATES if file.suffix == ".tsv" else {}
        asked = as_build({"name": "b", "source": [{"path": str(file), "columns": columns}]})
        (place,) = places(asked.source, asked.seed)
        found = SourceCounts()
        rejects: list[Reject] = []
        why = next((why for end, why in NO_DATA.items() if file.name.endswith(end)), "")
        if why:
            with pytest.raises(DataError) as caught:
                list(place.read(found, rejects.append))
            assert why in str(caught.value)
            continue
        rows = list(islice(place.read(found, rejects.append), MOST))
        assert rows, file
        assert all("text is empty" in reject["reason"] for reject in rejects), file
        seen += 1
    assert seen > 80
