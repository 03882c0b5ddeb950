"""`espalier generate`: answer texts, or rows of a file, with a tuned model, asked as it was trained."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

from espalier.cli.asking import questions_of
from espalier.cli.completion import run_folders
from espalier.cli.progress import heard
from espalier.cli.settings import DEFAULT_CACHE, Cache, RunPath
from espalier.cli.terminal import as_json
from espalier.core.errors import DataError
from espalier.data.asking import Asking
from espalier.runs.events import bar, say

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from transformers import PreTrainedModel

    from espalier.core.recipe import Recipe
    from espalier.core.records import Completion, Example
    from espalier.data.inputs import Asked
    from espalier.decode.strategies import Strategy
    from espalier.encode.template import Template
    from espalier.runs.rating import Rater, Write

AsLines = Annotated[
    bool | None,
    typer.Option(
        "--json/--text",
        help="Print a line of JSON for each answer (index, id, input, text, finish), or the text alone; by "
        "default JSON for a file.",
        show_default=False,
    ),
]
TOGETHER = 256  # prompts decoded at a time: what they share is computed once, and answers come soon


def generate(
    run: RunPath,
    text: Annotated[str | None, typer.Argument(help="What to answer; without it, standard input.")] = None,
    *,
    file: Annotated[
        Path | None, typer.Option(help="Answer each line of a text file, or each row of a file of rows.")
    ] = None,
    system: Annotated[
        str | None, typer.Option(help="A system turn in place of that of the run's rows; '' for none.")
    ] = None,
    plain: Annotated[
        bool, typer.Option("--plain", help="Send the text as it is, not as the run's rows were asked.")
    ] = False,
    base: Annotated[bool, typer.Option("--base", help="Ask the model as it was before tuning.")] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="Most new tokens of an answer.")] = None,
    best_of: Annotated[
        int | None, typer.Option(min=2, help="Sample so many answers, and keep what --reward rates best.")
    ] = None,
    reward: Annotated[
        Path | None,
        typer.Option(help="The folder of a reward model's run.", autocompletion=run_folders),
    ] = None,
    as_lines: AsLines = None,
    cache: Cache = DEFAULT_CACHE,
) -> None:
    """Answer a text with a run's tuned model, as it writes.

    It is asked in the shape that the run was trained with: under its system turn, behind its task.
    """
    from espalier.core.recipe import load_recipe
    from espalier.core.run import find_run
    from espalier.data.inputs import asked
    from espalier.runs.asking import run_asking, tell_asking

    if (reward is None) != (best_of is None):
        raise DataError("--best-of and --reward belong together.", hint="Give both, or neither.")
    folder = find_run(run)
    recipe = load_recipe(folder.recipe)
    questions = questions_of(text, file, recipe.task.columns)
    asking = Asking() if plain else run_asking(folder)
    asks = asked(questions, asking, system)
    if not plain and not all(question.prompt for question in questions):
        tell_asking(asking, system)
    strategy, sampled = _strategies(recipe, limit, best_of or 1)
    from espalier.decode.engine import generate as answers
    from espalier.runs.load import load_to_decode
    from espalier.runs.rating import load_rater

    model, template = load_to_decode(folder, cache, base=base)
    _check(asks, template, strategy.limit)
    as_lines = file is not None if as_lines is None else as_lines
    if reward and best_of:
        write = partial(answers, model, template, strategy=sampled)
        _print_best(load_rater(reward, cache), write, asks, best_of, as_lines=as_lines)
    elif file is None and not as_lines:
        _print_as_written(model, template, asks[0], strategy)
    else:
        _print_all(_in_order(model, template, asks, strategy), asks, as_lines=as_lines)


def _strategies(recipe: Recipe, limit: int | None, samples: int) -> tuple[Strategy, Strategy]:
    """Return the strategy of the run for one answer, and one that samples several."""
    from espalier.decode.strategies import strategies

    once = {"samples": 1} if "samples" in recipe.decode.params else {}
    params = {**recipe.decode.params, **once, **({"limit": limit} if limit else {})}
    one = strategies.build(recipe.decode.kind, params, "decode")
    own = params if recipe.decode.kind == "sample" else {"limit": one.limit}
    return one, strategies.build("sample", {**own, "samples": samples}, "decode")


def _check(asks: Sequence[Asked], template: Template, limit: int) -> None:
    """Refuse a prompt that the model's context has no room for, before any is answered."""
    from espalier.decode.engine import check_room

    for ask in asks:
        try:
            check_room([len(template.prompt_ids(ask.prompt))], limit, template.context)
        except DataError as error:
            hint = "Shorten it, or lower --limit."
            raise DataError(error.message, where=ask.question.where, hint=hint) from None


def _print_as_written(model: PreTrainedModel, template: Template, ask: Asked, strategy: Strategy) -> None:
    from espalier.decode.engine import stream

    for piece in stream(model, template, ask.prompt, strategy):
        typer.echo(piece, nl=False)
        heard()
    typer.echo()


def _in_order(
    model: PreTrainedModel, template: Template, asks: Sequence[Asked], strategy: Strategy
) -> Iterator[Completion]:
    """Yield the answers in the order of their questions; many are decoded together, in any order."""
    from espalier.decode.engine import generate as answers

    for start in range(0, len(asks), TOGETHER):
        examples = [ask.example(number) for number, ask in enumerate(asks[start : start + TOGETHER])]
        early: dict[int, Completion] = {}
        following = 0
        for completion in answers(model, template, examples, strategy):
            early[int(completion.example)] = completion
            while following in early:
                yield early.pop(following)
                following += 1


def _print_all(answers: Iterator[Completion], asks: Sequence[Asked], *, as_lines: bool) -> None:
    out = _out()
    with bar("Answers", len(asks)) as advance:
        for ask, answer in zip(asks, answers, strict=True):
            if as_lines:
                print(
                    as_json({**_about(ask), "text": answer.text, "finish": answer.finish}),
                    file=out,
                    flush=True,
                )
            else:
                print(answer.text, file=out, flush=True)
            advance(1, "")


def _print_best(rater: Rater, write: Write, asks: Sequence[Asked], samples: int, *, as_lines: bool) -> None:
    from espalier.runs.rating import best_of

    out = _out()
    with bar("Answers", len(asks) * samples) as advance:

        def writing(examples: Sequence[Example]) -> Iterator[Completion]:
            for completion in write(examples):
                advance(1, "")
                yield completion

        for ask in asks:
            best, numbers = best_of(rater, writing, ask)
            if as_lines:
                rated = {"finish": best.finish, "rated": max(numbers), "all_rated": numbers}
                print(as_json({**_about(ask), "text": best.text, **rated}), file=out, flush=True)
                continue
            print(best.text, file=out, flush=True)
            mean = sum(numbers) / len(numbers)
            of = f"{samples}" if len(numbers) == samples else f"{len(numbers)} of {samples} that can be rated"
            say(f"The best of {of}: rated {max(numbers):.2f}, and all of them {mean:.2f} in the mean.")


def _out() -> TextIO | None:
    """Return where answers go while a bar is shown, None for standard output as it then is.

    A bar prints what goes to standard output above itself, on the terminal: not what should go elsewhere.
    """
    return None if sys.stdout is None or sys.stdout.isatty() else sys.stdout


def _about(ask: Asked) -> dict[str, object]:
    return {"index": ask.question.index, "id": ask.question.id, "input": ask.text}
