"""`espalier export`: a run's tuned model for other tools."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from espalier.cli.settings import DEFAULT_CACHE, Cache, Json, RunPath
from espalier.core.run import find_run

if TYPE_CHECKING:
    from espalier.models.export import Comparison

Sort = Literal["hf", "adapter", "gguf"]
Form = Literal["f32", "f16", "bf16", "q8_0"]


def export(
    run: RunPath,
    *,
    to: Annotated[Sort, typer.Option(help="A merged Hugging Face folder, a PEFT adapter, or GGUF.")] = "hf",
    out: Annotated[Path | None, typer.Option(help="The new folder; by default RUN/export/FORMAT.")] = None,
    kind: Annotated[
        Form | None, typer.Option("--type", help="Number format; by default f32, and f16 for GGUF.")
    ] = None,
    rows: Annotated[int, typer.Option(min=1, help="How many test prompts to compare on.")] = 8,
    llama_python: Annotated[
        Path | None, typer.Option(help="A Python that has llama_cpp, to compare GGUF in llama.cpp too.")
    ] = None,
    as_json: Json = False,
    cache: Cache = DEFAULT_CACHE,
) -> None:
    """Write a run's tuned model for other tools, with a model card.

    It is loaded again and compared with the trained model on test prompts, logits and text. The exit status
    is 1, and nothing is left, if a gap is too large.
    """
    from espalier.runs.export import export_run, plain

    target, found = export_run(
        find_run(run), to, cache, form=kind, out=out, rows=rows, llama_python=llama_python
    )
    ok = all(comparison.ok for comparison in found)
    if as_json:
        typer.echo(json.dumps({"folder": str(target) if ok else None, "ok": ok, **plain(found)}))
    else:
        _tell(found, target)
    if not ok:
        raise typer.Exit(1)


def _tell(comparisons: list[Comparison], target: Path) -> None:
    for found in comparisons:
        same = sum(row.parted is None for row in found.rows)
        texts = f"; {same} of {len(found.rows)} texts the same" if found.rows else ""
        verdict = "ok" if found.ok else "TOO LARGE"
        typer.echo(f"{verdict:<9}  {found.by}: largest gap {found.gap:.2g}, bound {found.bound:.2g}{texts}")
        for row in found.rows:
            if row.parted is not None and row.margin is not None:
                typer.echo(
                    f"           {row.example} parts at token {row.parted}, where the logits of the two "
                    f"tokens were {row.margin:.2g} apart"
                )
    if all(found.ok for found in comparisons):
        typer.echo(target)
    else:
        typer.echo("Nothing was left behind: what was written is not the model that was trained.", err=True)
