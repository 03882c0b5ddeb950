"""Which files of a folder hold rows: all that are called so, or those of one split.

Rows of a test set would be trained if a folder with several splits were read as a whole; so "train" is read
where there is one, `FOLDER:SPLIT` names another, and what is left out is told.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from espalier.core.errors import DataError, nearest
from espalier.core.files import read_json
from espalier.tasks.task_files import is_task

PACKED = (".gz", ".zst", ".zstd", ".lz4", ".bz2", ".xz")
TABLES = (".csv", ".tsv", ".tab", ".psv")
ROWS = (".json", ".jsonl", ".ndjson", *TABLES, ".parquet", ".arrow", ".feather")
# What stands beside rows, and is nothing to tell of.
BESIDE = ("readme", "licen", "notice", "dataset_info", "state.json", "dataset_dict")
SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("valid", "validation", "val", "dev", "eval", "evaluation"), "validation"),
    **dict.fromkeys(("test", "testing", "heldout", "holdout"), "test"),
}
_WORD = re.compile("([a-z]+?)(?:set|data|split)?(?![a-z])")  # "trainset" is of "train"


@dataclass(frozen=True, slots=True)
class Files:
    """Files of rows in the order of their names, and a sentence on what was left out, or ''."""

    paths: tuple[Path, ...]
    note: str = ""


def files_of(path: Path) -> Files:
    """Return the files of rows that a path means: itself, those of a folder, or of FOLDER:SPLIT.

    Raises:
        DataError: there are none, none is of the split, or there are several splits and none is "train".
    """
    folder, split = path, ""
    if not path.exists() and is_split(str(path)):
        before, _, split = str(path).rpartition(":")
        folder = Path(before)
    if not folder.is_dir():
        return Files((path,))
    saved = folder / "dataset_dict.json"
    if saved.is_file():
        names = cast("list[str]", _listed(saved, "splits"))
        chosen = _chosen(split, names, folder)
        return Files(
            files_of(folder / chosen).paths, not_read(folder, [name for name in names if name != chosen])
        )
    state = folder / "state.json"
    if state.is_file():  # what datasets.save_to_disk leaves
        items = cast("list[dict[str, str]]", _listed(state, "_data_files"))
        return Files(tuple(folder / item.get("filename", "") for item in items))
    return _by_names(folder, split)


def _listed(file: Path, key: str) -> list[Any]:
    """Return the list under a key of a file that `datasets` wrote. Raises DataError where it is not there."""
    found: object = read_json(file)
    listed = cast("dict[str, object]", found).get(key) if isinstance(found, dict) else None
    items = cast("list[Any]", listed) if isinstance(listed, list) else []
    if not items or {*map(type, items)} - {str if key == "splits" else dict}:
        raise DataError(f"There is no list '{key}' in it.", where=str(file), hint="Save the data set again.")
    return items


def is_split(path: str) -> bool:
    """Tell FOLDER:SPLIT from a path."""
    folder, colon, split = path.rpartition(":")
    return bool(colon and split) and not Path(path).exists() and Path(folder).is_dir()


def name_of(path: Path) -> str:
    """Return what a file of rows is called without what says how it is written or packed."""
    if is_split(str(path)):
        return path.name.replace(":", "-")
    return path.name if path.is_dir() else plain(path).stem


def plain(file: Path) -> Path:
    """Return the name without what says that it is packed."""
    return file.with_suffix("") if file.suffix.lower() in PACKED else file


def is_rows(file: Path) -> bool:
    """Tell by its name whether a file holds rows."""
    return plain(file).suffix.lower() in ROWS and not _is_beside(file)


def within(folder: Path) -> tuple[list[Path], list[Path]]:
    """Return the files within a folder, from there: those that are called as rows are, and others."""
    files = [file.relative_to(folder) for file in sorted(folder.rglob("*")) if file.is_file()]
    shown = [file for file in files if not any(part.startswith((".", "_")) for part in file.parts)]
    told = [file for file in shown if not _is_beside(file)]
    rows = [file for file in told if is_rows(file)]
    return rows, [file for file in told if file not in rows]


def _by_names(folder: Path, split: str) -> Files:
    rows, beside = within(folder)
    if not rows:
        raise DataError(
            "The folder holds no file of rows.",
            where=str(folder),
            hint=f"Known by their names: {', '.join(ROWS)}, packed or not.",
        )
    others = [str(file) for file in beside]
    part, _, split = split.rpartition("/")
    if part:
        rows = [file for file in rows if part in map(str, (*file.parents, *file.parent.parts))]
    found = sorted({name for file in rows if (name := _split_of(file))})
    # A task's file is of no split, whatever its name.
    if split or (len(found) > 1 and not any(map(is_task, (folder / file for file in rows)))):
        chosen = _chosen(SPLITS.get(split, split), found, folder)
        # Beside splits that are named, what has no name belongs to none of them.
        others += [str(file) for file in rows if _split_of(file) != chosen]
        rows = [file for file in rows if _split_of(file) == chosen]
    return Files(tuple(folder / file for file in rows), not_read(folder, others))


def _is_beside(file: Path) -> bool:
    return file.name.lower().startswith(BESIDE)


def _split_of(file: Path) -> str:
    """Return the split that a file's name says that it is of, or that of its folder, or ''."""
    words = (word for part in reversed(file.parts) for word in _WORD.findall(part.lower()))
    return next((SPLITS[word] for word in words if word in SPLITS), "")


def _chosen(split: str, names: list[str], folder: Path) -> str:
    if split and split not in names:
        hint = nearest(split, names)
        raise DataError(f"No file is of the split '{split}'.", where=str(folder), hint=hint)
    if split or len(names) == 1:
        return split or names[0]
    if "train" in names:
        return "train"
    raise DataError(
        f"The folder has the splits {', '.join(names)}, and none is called train.",
        where=str(folder),
        hint=f"Name one: {folder}:{names[0]}.",
    )


def not_read(folder: Path, left_out: Iterable[str]) -> str:
    """Return a sentence on files of a folder that are left out, '' where there are none."""
    names = list(left_out)
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return f"{folder}: not read: {', '.join(names[:5])}{more}." if names else ""
