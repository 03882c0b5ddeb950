"""The card of a data set that a build wrote, README.md beside the file, in the hub's own form.

The head is YAML, as `datasets` and the hub read it: licence, size, which file is the data. Below it stands
where the rows come from, what each filter found, and what was taken out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from espalier.core.files import write_atomic
from espalier.core.text import counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from espalier.building.exporting import Exported
    from espalier.building.funnel import Funnel
    from espalier.building.mixing import Portion

SIZES = {
    1_000: "n<1K",
    10_000: "1K<n<10K",
    100_000: "10K<n<100K",
    1_000_000: "100K<n<1M",
    10_000_000: "1M<n<10M",
}
UNSTATED = "unknown"
CARD, OURS = "README.md", "Built with Espalier"


@dataclass(frozen=True, slots=True)
class Made:
    """What the file is: its name and format, the filters whose rows were dropped or masked, the recipe.

    `part` says which part of the rows it is, where it is not all.
    """

    file: str
    format: str
    dropped: Sequence[str]
    masked: Sequence[str]
    recipe_hash: str
    recipe: str
    part: str = ""


def write_card(folder: Path, funnel: Funnel, exported: Exported, made: Made) -> Path:
    """Write the card into a folder, and return its path.

    It is README.md, unless that is somebody's own or the card of another file that is there, or the file is
    a part of the rows: then it is called after the file.

    Raises:
        RunError: it cannot be written.
    """
    path = folder / CARD
    if made.part or (path.exists() and not _gives_way(path, made.file)):
        path = folder / f"{Path(made.file).stem}.{CARD}"
    write_atomic(path, dataset_card(funnel, exported, made))
    return path


def _gives_way(card: Path, file: str) -> bool:
    """Tell the card of this file, or of one that is gone, from any other README."""
    text = card.read_text(encoding="utf-8", errors="replace")
    named = re.search(r"^ *(?:- )?path: *[\"']?(.+?)[\"']?$", text, re.MULTILINE)
    if OURS not in text or named is None:
        return False
    return named[1] == file or not (card.parent / named[1]).exists()


def dataset_card(funnel: Funnel, exported: Exported, made: Made) -> str:
    """Return the card as Markdown with a YAML head."""
    sections = {
        "Sources": _sources(funnel, exported.sources),
        "Filters": _filters(funnel),
        **({"Mixture": _mixture(exported.portions)} if exported.portions else {}),
        "How it was made": _made(made),
    }
    body = "\n\n".join(f"## {name}\n\n{text}" for name, text in sections.items())
    lead = f"{counted(exported.rows, 'row')} in the format `{made.format}`, of {funnel.rows} that came in."
    if made.part:
        lead += f" {made.part}"
    if exported.masked:
        lead += f" In {counted(exported.masked, 'row')} something is replaced by a tag, such as [EMAIL]."
    return f"---\n{_head(funnel, exported.rows, made)}\n---\n\n# {funnel.name}\n\n{lead}\n\n{body}\n"


def hub_licence(licence: str) -> str:
    """Return a licence as the hub calls it: "CC BY-SA 4.0" is "cc-by-sa-4.0", and '' is "unknown"."""
    return "-".join(licence.lower().split()) or UNSTATED


def _head(funnel: Funnel, rows: int, made: Made) -> str:
    licences = sorted({hub_licence(source.licence) for source in funnel.sources})
    hub: Any = import_module("huggingface_hub")  # late, for it takes long
    head = hub.DatasetCardData(
        license=licences[0] if len(licences) == 1 else licences,
        task_categories=["text-generation"],
        size_categories=next((name for most, name in SIZES.items() if rows < most), "n>10M"),
        tags=["espalier", "instruction-tuning"],
        pretty_name=funnel.name,
        configs=[{"config_name": "default", "data_files": [{"split": "train", "path": made.file}]}],
    )
    return head.to_yaml()


def _sources(funnel: Funnel, out: Mapping[str, int]) -> str:
    rows = [["source", "from", "licence", "rows in", "cannot be used", "rows out"]]
    for number, source in enumerate(funnel.sources):
        sizes = (source.rows, source.rejected, out.get(str(number), 0))
        rows.append([source.name, _name(source.path), source.licence or "not stated", *map(str, sizes)])
    return _table(rows)


def _filters(funnel: Funnel) -> str:
    if not funnel.steps:
        return "None: no row was judged."
    rows = [["filter", "settings", "found", "of all rows", "taken out", "left after"]]
    for step in funnel.steps:
        share = f"{100 * step.found / max(1, funnel.rows):.1f} %"
        drops = "yes" if step.drops else "no"
        rows.append([step.name, step.settings, str(step.found), share, drops, str(step.left)])
    return "Each filter judged all rows by itself.\n\n" + _table(rows)


def _mixture(portions: Sequence[Portion]) -> str:
    rows = [["source", "rows that pass", "rows", "of all", "passes", "tokens", "of all"]]
    for one in portions:
        shares = (
            f"{100 * one.row_share:.1f} %",
            f"{one.epochs:.2f}",
            str(one.tokens),
            f"{100 * one.token_share:.1f} %",
        )
        rows.append([one.source, str(one.available), str(one.rows), *shares])
    return _table(rows)


def _made(made: Made) -> str:
    lines = [
        f"- Taken out: the rows that {', '.join(made.dropped)} did not let pass."
        if made.dropped
        else "- No row was taken out.",
        *([f"- Replaced by tags: what {', '.join(made.masked)} found."] if made.masked else []),
        f"- {OURS} from a recipe of hash `{made.recipe_hash}`:",
    ]
    # Where files lay on the machine that built is nobody's business.
    recipe = re.sub(r'"/(?:[^"\n]*/)?([^"/\n]+)"', r'"\1"', made.recipe.strip())
    return "\n".join(lines) + f"\n\n```toml\n{recipe}\n```"


def _name(path: str) -> str:
    """Return a file's name: where it lay on the machine that built is nobody's business."""
    return Path(path).name if Path(path).is_absolute() else path


def _table(rows: Iterable[Sequence[str]]) -> str:
    first, *rest = ("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows)
    return "\n".join([first, "|" + "---|" * (first.count("|") - 1), *rest])
