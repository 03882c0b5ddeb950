"""Data sets of the hub by name: their files of rows, brought into the hub's own cache."""

from __future__ import annotations

import os
import re
from importlib import import_module
from pathlib import Path
from typing import Any, cast

from espalier.core.errors import DataError
from espalier.formats.folders import files_of

NAME = re.compile(r"([\w.-]+/[\w.-]+?)(?::([\w./-]+))?")
KEPT = ("parquet", "jsonl", "json", "csv", "tsv", "jsonl.gz", "json.gz", "csv.gz", "jsonl.zst")


def is_hub_name(path: str) -> bool:
    """Tell a hub name, owner/name or owner/name:split, from the path of a file that is not there."""
    owner = path.partition("/")[0]
    plain = path.partition(":")[0]
    known = plain.endswith((*(f".{end}" for end in KEPT), ".toml", ".txt"))
    return bool(NAME.fullmatch(path)) and not known and owner not in (".", "..") and not os.path.exists(owner)


def fetch_rows(path: str) -> Path:
    """Return FOLDER:SPLIT of owner/name:SPLIT or owner/name:CONFIG/SPLIT; "train" where none is named.

    Raises:
        DataError: the hub cannot be asked, the data set has no such files, or rows of several kinds.
    """
    found = NAME.fullmatch(path)
    name, split = found.groups() if found else (path, None)
    split = split or "train"
    hub: Any = import_module("huggingface_hub")
    wanted = [f"*{split}*.{end}" for end in KEPT] + [f"*{split}*/*.{end}" for end in KEPT]
    try:
        folder = Path(cast("str", hub.snapshot_download(name, repo_type="dataset", allow_patterns=wanted)))
    except (OSError, ValueError) as error:
        reason = str(error).strip().split("\n", 1)[0]
        raise DataError(
            f"There is no such file, and the hub cannot be asked for it: {reason}",
            where=path,
            hint="Without the hub, name a file or a folder.",
        ) from None
    if not any(file.is_file() for file in folder.rglob("*")):
        raise DataError(
            f"The data set has no file of rows for the split '{split}'.",
            where=path,
            hint=f"Name another split: {name}:SPLIT. Data sets that are made by code cannot be read.",
        )
    place = Path(f"{folder}:{split}")
    kinds = sorted({file.parent.relative_to(folder) for file in files_of(place).paths})
    if len(kinds) > 1:
        raise DataError(
            f"The data set has several kinds of rows: {', '.join(map(str, kinds))}.",
            where=path,
            hint=f"Name one: {name}:{kinds[0]}/{split}.",
        )
    return place
