"""`espalier generate`: answer a person's own text with a tuned model."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from espalier.cli import rating
from espalier.cli.progress import say
from espalier.cli.settings import DEFAULT_CACHE, Cache, RunPath
from espalier.core.errors import DataError

if TYPE_CHECKING:
    from espalier.cli.rating import Rater, Write
    from espalier.core.run import RunFolder


def generate(
    run: RunPath,
    text: Annotated[str | None, typer.Argument(help="What to answer; without it, standard input.")] = None,
    *,
    file: Annotated[Path | None, typer.Option(help="Answer each line of a file that is not blank.")] = None,
    plain: Annotated[
        bool, typer.Option("--plain", help="Send the text as it is, not as an input of the run's task.")
    ] = False,
    base: Annotated[bool, typer.Option("--base", help="Ask the model as it was before tuning.")] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="Most new tokens of an answer.")] = None,
    best_of: Annotated[
        int | None, typer.Option(min=2, help="Sample so many answers, and keep what --reward rates best.")
    ] = None,
    reward: Annotated[Path | None, typer.Option(help="The folder of a reward model's run.")] = None,
    cache: Cache = DEFAULT_CACHE,
) -> None:
    """Answer a text with a run's tuned model, as it writes."""
    from espalier.cli import tuning
    from espalier.core.recipe import load_recipe
    from espalier.core.records import message
    from espalier.core.run import find_run

    if (reward is None) != (best_of is None):
        raise DataError("--best-of and --reward belong together.", hint="Give both, or neither.")
    folder = find_run(run)
    recipe = load_recipe(folder.recipe)
    texts = _texts(text, file)
    if not plain:
        before = _task_prompt(folder)
        texts = [before + one for one in texts]
        say("Answering as an input of the run's task; --plain sends the text as it is.")
    from espalier.decode.engine import generate as answers
    from espalier.decode.engine import stream
    from espalier.decode.strategies import strategies

    params = {**recipe.decode.params, **({"limit": limit} if limit else {})}
    strategy = strategies.build(recipe.decode.kind, params, "decode")
    loaded = tuning.load(recipe.model, cache) if base else tuning.load_run(folder, recipe, cache)
    model = tuning.to_decode(loaded.model, recipe.model.precision)
    if reward and best_of:
        own = params if recipe.decode.kind == "sample" else {"limit": strategy.limit}
        strategy = strategies.build("sample", {**own, "samples": best_of}, "decode")
        write = partial(answers, model, loaded.template, strategy=strategy)
        _print_best(rating.load_rater(reward, cache), write, texts)
        return
    for one in texts:
        for piece in stream(model, loaded.template, [message("user", one)], strategy):
            typer.echo(piece, nl=False)
        typer.echo()


def _print_best(rater: Rater, write: Write, texts: list[str]) -> None:
    for one in texts:
        best, numbers = rating.best_of(rater, write, one)
        typer.echo(best)
        mean = sum(numbers) / len(numbers)
        say(f"The best of {len(numbers)}: rated {max(numbers):.2f}, and all of them {mean:.2f} in the mean.")


def _task_prompt(run: RunFolder) -> str:
    """Return what stands before the input in every prompt of the run's task, as it was trained.

    It is taken from the run's own rows: the task file may have been changed or moved since.
    """
    from espalier.data.table import read_examples

    example = read_examples(run.data / "train.parquet")[0]
    return example.prompt[-1].text.removesuffix(example.input)


def _texts(text: str | None, file: Path | None) -> list[str]:
    from espalier.core.files import read_text

    if text is not None and file is not None:
        raise DataError("Both a text and --file are given.", hint="Give one of them.")
    if file is not None:
        texts = [line for line in read_text(file).split("\n") if line.strip()]
    else:
        if text is None and sys.stdin.isatty():
            say("Type the text and end it with Ctrl-D.")
        texts = [text if text is not None else sys.stdin.read().strip()]
    if not texts or not texts[0].strip():
        raise DataError("There is no text to answer.", hint='Write: espalier generate RUN "text"')
    return texts
