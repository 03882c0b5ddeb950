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
from espalier.cli.settings import DEFAULT_CACHE, Cache, Limit, Seed, Talks, Temperature, TopP
from espalier.cli.terminal import as_json
from espalier.core.errors import DataError
from espalier.runs.events import bar, say

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from espalier.core.recipe import Choice
    from espalier.core.records import Completion, Example
    from espalier.data.inputs import Asked
    from espalier.decode.local import Local
    from espalier.encode.template import Template
    from espalier.runs.rating import Write

AsLines = Annotated[
    bool | None,
    typer.Option(
        "--json/--text",
        help="Print a line of JSON for each answer (index, id, input, text, finish), or the text alone; by "
        "default JSON for a file.",
        show_default=False,
    ),
]


def generate(
    run: Talks,
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
    limit: Limit = None,
    temperature: Temperature = None,
    top_p: TopP = None,
    samples: Annotated[int, typer.Option(min=1, help="How many answers to sample for each text.")] = 1,
    seed: Seed = None,
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
    """Answer a text with a run's tuned model, or with any other model, as it writes.

    A run is asked in the shape that it was trained with: under its system turn, behind its task. It decodes
    as its recipe says; --temperature, --top-p, --samples or --seed sample.
    """
    from espalier.data.inputs import asked
    from espalier.runs.answers import in_order
    from espalier.runs.asking import tell_asking
    from espalier.runs.talkers import Sampling, find_talker

    _check_options(reward, best_of, samples)
    talker = find_talker(run, plain=plain)
    questions = questions_of(text, file, talker.columns)
    asks = asked(questions, talker.asking, system)
    if talker.run and not plain and not all(question.prompt for question in questions):
        tell_asking(talker.asking, system)
    from espalier.decode.local import strategy_of

    local = talker.load(cache, base=base)
    decode = talker.answers(local.template.context)
    settings = Sampling(limit, temperature, top_p, seed, best_of or samples).over(decode)
    _check(asks, local.template, strategy_of(settings).limit)
    samples = strategy_of(settings).samples
    as_lines = file is not None if as_lines is None else as_lines
    if reward:
        write = partial(local.generate, settings=settings)
        _print_best(reward, cache, write, asks, samples, as_lines=as_lines)
    elif file is None and not as_lines and samples == 1:
        _print_as_written(local, asks[0], settings)
    else:
        _print_all(in_order(local, asks, settings, samples), asks, samples, as_lines=as_lines)


def _check_options(reward: Path | None, best_of: int | None, samples: int) -> None:
    if (reward is None) != (best_of is None):
        raise DataError("--best-of and --reward belong together.", hint="Give both, or neither.")
    if reward and samples > 1:
        raise DataError("--samples and --best-of are both given.", hint="Give one of them.")


def _check(asks: Sequence[Asked], template: Template, limit: int) -> None:
    """Refuse a prompt that the model's context has no room for, before any is answered."""
    from espalier.decode.engine import check_room

    for ask in asks:
        try:
            check_room([len(template.prompt_ids(ask.prompt))], limit, template.context)
        except DataError as error:
            hint = "Shorten it, or lower --limit."
            raise DataError(error.message, where=ask.question.where, hint=hint) from None


def _print_as_written(local: Local, ask: Asked, settings: Choice) -> None:
    for piece, _ in local.stream(ask.prompt, settings):
        typer.echo(piece, nl=False)
        heard()
    typer.echo()


def _print_all(answers: Iterator[Completion], asks: Sequence[Asked], samples: int, *, as_lines: bool) -> None:
    out = _out()
    with bar("Answers", len(asks) * samples) as advance:
        each = (ask for ask in asks for _ in range(samples))
        for ask, answer in zip(each, answers, strict=True):
            if as_lines:
                which = {"sample": answer.sample} if samples > 1 else {}
                print(
                    as_json({**_about(ask), **which, "text": answer.text, "finish": answer.finish}),
                    file=out,
                    flush=True,
                )
            else:
                print(answer.text, file=out, flush=True)
            advance(1, "")


def _print_best(
    reward: Path, cache: Path, write: Write, asks: Sequence[Asked], samples: int, *, as_lines: bool
) -> None:
    from espalier.runs.rating import best_of, load_rater

    rater, out = load_rater(reward, cache), _out()
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
