"""`espalier generate`: answer a person's own text with a tuned model."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from espalier.cli.progress import say
from espalier.cli.settings import DEFAULT_CACHE, Cache
from espalier.core.errors import DataError


def generate(
    run: Annotated[Path, typer.Argument(help="The run's folder.", show_default=False)],
    text: Annotated[str | None, typer.Argument(help="What to answer; without it, standard input.")] = None,
    *,
    file: Annotated[Path | None, typer.Option(help="Answer each line of a file that is not blank.")] = None,
    plain: Annotated[
        bool, typer.Option("--plain", help="Send the text as it is, not as an input of the run's task.")
    ] = False,
    base: Annotated[bool, typer.Option("--base", help="Ask the model as it was before tuning.")] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="Most new tokens of an answer.")] = None,
    cache: Cache = DEFAULT_CACHE,
) -> None:
    """Answer a text with a run's tuned model, as it writes."""
    from espalier.cli import tuning
    from espalier.cli.prepare import show
    from espalier.core.recipe import load_recipe
    from espalier.core.records import message
    from espalier.core.run import find_run
    from espalier.data.templates import available, row_prompt
    from espalier.decode.engine import stream
    from espalier.decode.strategies import strategies
    from espalier.tasks.task_files import load_task

    folder = find_run(run)
    recipe = load_recipe(folder.recipe)
    texts = _texts(text, file)
    params = {**recipe.decode.params, **({"limit": limit} if limit else {})}
    strategy = strategies.build(recipe.decode.kind, params, "decode")
    loaded = tuning.load(recipe.model, cache) if base else tuning.load_run(folder, recipe, cache)
    model = tuning.to_decode(loaded.model, recipe.model.precision)
    if not plain:
        task = load_task(recipe.task.path, lambda _: None)
        shown = available(task, show(recipe.task))
        say(f"Answering as an input of the task {task.name}; --plain sends the text as it is.")
        texts = [row_prompt(task, shown, one) for one in texts]
    for one in texts:
        for piece in stream(model, loaded.template, [message("user", one)], strategy):
            typer.echo(piece, nl=False)
        typer.echo()


def _texts(text: str | None, file: Path | None) -> list[str]:
    from espalier.core.files import read_text

    if text is not None and file is not None:
        raise DataError("Both a text and --file are given.", hint="Give one of them.")
    if file is not None:
        texts = [line for line in read_text(file).split("\n") if line.strip()]
    else:
        texts = [text if text is not None else sys.stdin.read().strip()]
    if not texts or not texts[0].strip():
        raise DataError("There is no text to answer.", hint='Write: espalier generate RUN "text"')
    return texts
