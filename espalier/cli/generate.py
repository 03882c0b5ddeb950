"""`espalier generate`: answer texts, or rows of a file, with a tuned model, asked as it was trained."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

from espalier.cli import settings as options
from espalier.cli.asking import questions_of
from espalier.cli.completion import run_folders
from espalier.cli.progress import heard
from espalier.cli.terminal import as_json
from espalier.core.errors import DataError
from espalier.data.inputs import asked, media_given
from espalier.runs.asking import tell_asking
from espalier.runs.events import say

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from espalier.core.records import Completion
    from espalier.data.inputs import Asked

File = Annotated[
    Path | None, typer.Option(help="Answer each line of a text file, or each row of a file of rows.")
]
BestOf = Annotated[
    int | None, typer.Option(min=2, help="Sample so many answers, and keep what --reward rates best.")
]
Reward = Annotated[
    Path | None, typer.Option(help="The folder of a reward model's run.", autocompletion=run_folders)
]
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
    run: options.Talks,
    text: Annotated[str | None, typer.Argument(help="What to answer; without it, standard input.")] = None,
    override: options.Changes = None,
    *,
    file: File = None,
    image: options.Images = None,
    audio: options.Audios = None,
    system: options.System = None,
    plain: Annotated[
        bool, typer.Option("--plain", help="Send the text as it is, not as the run's rows were asked.")
    ] = False,
    base: Annotated[bool, typer.Option("--base", help="Ask the model as it was before tuning.")] = False,
    limit: options.Limit = None,
    temperature: options.Temperature = None,
    top_p: options.TopP = None,
    top_k: options.TopK = None,
    min_p: options.MinP = None,
    repetition_penalty: options.RepetitionPenalty = None,
    beams: options.Beams = None,
    samples: Annotated[int, typer.Option(min=1, help="How many answers to sample for each text.")] = 1,
    seed: options.Seed = None,
    best_of: BestOf = None,
    reward: Reward = None,
    as_lines: AsLines = None,
    cache: options.Cache = options.DEFAULT_CACHE,
) -> None:
    """Answer a text with a run's tuned model, or with any other model, as it writes.

    A run is asked in the shape that it was trained with: under its system turn, behind its task. It decodes
    as its recipe says; --temperature, --top-p, --top-k, --min-p, --samples or --seed draw, --beams searches.
    """
    _check_options(reward, best_of, samples)
    from espalier.decode.local import strategy_of
    from espalier.runs import answers, rating, talkers

    talker = talkers.find_talker(run, plain=plain, changes=override or ())
    questions = questions_of(text, file, talker.columns, media_given(image or (), audio or (), "the text"))
    asks = asked(questions, talker.asking, system)
    if talker.run and not plain and not all(question.prompt for question in questions):
        tell_asking(talker.asking, system)
    drawn = (temperature, top_p, seed, best_of or samples, top_k, min_p)
    wanted = talkers.Sampling(limit, *drawn, repetition_penalty, beams)
    strategy_of(wanted.over(talker.answers(2)))  # what does not fit is told before anything is loaded
    local = talker.load(cache, base=base)
    settings = wanted.over(talker.answers(local.template.context))
    strategy = strategy_of(settings)
    answers.check_asks(asks, local.template, strategy.limit)
    as_lines = file is not None if as_lines is None else as_lines
    if reward:
        rated = answers.best(local, asks, settings, strategy.samples, rating.load_rater(reward, cache))
        _print_best(rated, asks, strategy.samples, as_lines=as_lines)
    elif file is None and not as_lines and strategy.samples == 1:
        for piece, _ in local.stream(asks[0].prompt, settings):
            typer.echo(piece, nl=False)
            heard()
        typer.echo()
    else:
        found = answers.in_order(local, asks, settings, strategy.samples)
        _print_all(found, asks, strategy.samples, as_lines=as_lines)


def _check_options(reward: Path | None, best_of: int | None, samples: int) -> None:
    if (reward is None) != (best_of is None):
        raise DataError("--best-of and --reward belong together.", hint="Give both, or neither.")
    if reward and samples > 1:
        raise DataError("--samples and --best-of are both given.", hint="Give one of them.")


def _print_all(found: Iterable[Completion], asks: Sequence[Asked], samples: int, *, as_lines: bool) -> None:
    out = _out()
    each = (ask for ask in asks for _ in range(samples))
    for ask, answer in zip(each, found, strict=True):
        which = {"sample": answer.sample} if samples > 1 else {}
        line = {**_about(ask), **which, "text": answer.text, "finish": answer.finish}
        print(as_json(line) if as_lines else answer.text, file=out, flush=True)


def _print_best(
    found: Iterable[tuple[Completion, list[float]]], asks: Sequence[Asked], samples: int, *, as_lines: bool
) -> None:
    out = _out()
    for ask, (best, numbers) in zip(asks, found, strict=True):
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
