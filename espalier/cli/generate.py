"""`espalier generate`: answer a person's own text with a tuned model, asked as it was in training."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from espalier.cli import rating
from espalier.cli.precision import of_run
from espalier.cli.progress import bar, heard, say, waiting, working
from espalier.cli.settings import DEFAULT_CACHE, Cache, RunPath
from espalier.cli.terminal import as_json
from espalier.core.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from espalier.cli.rating import Rater, Write
    from espalier.core.records import Completion, Message
    from espalier.core.run import RunFolder
    from espalier.data.asking import Asking

# Where the rows of a file hold what is to be answered, in this order.
KEYS = ("input", "text", "prompt", "instruction", "question", "query")


AsLines = Annotated[
    bool | None,
    typer.Option(
        "--json/--text",
        help="Print a line of JSON for each answer (index, id, text, finish), or the text alone; by default "
        "JSON for a file.",
        show_default=False,
    ),
]


@dataclass(frozen=True)
class Question:
    """A text to answer: its place among all of them, counted from 0, and its name."""

    index: int
    id: str
    text: str


def generate(
    run: RunPath,
    text: Annotated[str | None, typer.Argument(help="What to answer; without it, standard input.")] = None,
    *,
    file: Annotated[
        Path | None,
        typer.Option(help="Answer each line of a text file, or each row of a JSONL or JSON file."),
    ] = None,
    as_lines: AsLines = None,
    plain: Annotated[
        bool, typer.Option("--plain", help="Send the text as it is, not as an input of the run's task.")
    ] = False,
    system: Annotated[
        str | None, typer.Option(help="Another system turn than the run's; an empty one is none.")
    ] = None,
    base: Annotated[bool, typer.Option("--base", help="Ask the model as it was before tuning.")] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="Most new tokens of an answer.")] = None,
    best_of: Annotated[
        int | None, typer.Option(min=2, help="Sample so many answers, and keep what --reward rates best.")
    ] = None,
    reward: Annotated[Path | None, typer.Option(help="The folder of a reward model's run.")] = None,
    cache: Cache = DEFAULT_CACHE,
) -> None:
    """Answer a text with a run's tuned model, as it writes; it is asked in the shape of its training."""
    from espalier.cli import tuning
    from espalier.core.recipe import load_recipe
    from espalier.core.run import find_run

    if (reward is None) != (best_of is None):
        raise DataError("--best-of and --reward belong together.", hint="Give both, or neither.")
    folder = find_run(run)
    recipe = load_recipe(folder.recipe)
    questions = _questions(text, file)
    asking = _asking(folder, plain=plain, system=system)
    prompts = [asking.prompt(question.text) for question in questions]
    from espalier.decode.engine import generate as answers
    from espalier.decode.engine import stream
    from espalier.decode.strategies import strategies

    params = {**recipe.decode.params, **({"limit": limit} if limit else {})}
    if "samples" in params and not best_of:
        params["samples"] = 1
    strategy = strategies.build(recipe.decode.kind, params, "decode")
    loaded = tuning.load(recipe.model, cache) if base else tuning.load_run(folder, recipe, cache)
    loaded = of_run(recipe, folder, loaded, "decoding")
    model = tuning.to_decode(loaded.model, loaded.formats.decoding)
    as_lines = file is not None if as_lines is None else as_lines
    if reward and best_of:
        own = params if recipe.decode.kind == "sample" else {"limit": strategy.limit}
        strategy = strategies.build("sample", {**own, "samples": best_of}, "decode")
    written = partial(answers, model, loaded.template, strategy=strategy)
    if reward:
        _print_best(questions, prompts, rating.load_rater(reward, cache), written, as_lines)
    elif as_lines or len(prompts) > 1:
        _print_all(questions, written([_as_example(*pair) for pair in enumerate(prompts)]), as_lines)
    else:
        for piece in stream(model, loaded.template, prompts[0], strategy):
            typer.echo(piece, nl=False)
            heard()
        typer.echo()


def _print_best(
    questions: Sequence[Question],
    prompts: Sequence[tuple[Message, ...]],
    rater: Rater,
    write: Write,
    as_lines: bool,
) -> None:
    for question, prompt in zip(questions, prompts, strict=True):
        with working("Writing answers and rating them", aloud=False):
            best, numbers = rating.best_of(rater, write, prompt)
        _print(question, best, as_lines, rated=max(numbers))
        mean = sum(numbers) / len(numbers)
        say(f"The best of {len(numbers)}: rated {max(numbers):.2f}, and all of them {mean:.2f} in the mean.")


def _print_all(questions: Sequence[Question], completions: Iterable[Completion], as_lines: bool) -> None:
    """Print the answers in the order of the questions, each as soon as those before it are there."""
    waiting: dict[int, Completion] = {}
    following = 0
    with bar("Answers", len(questions)) as advance:
        for completion in completions:
            waiting[int(completion.example)] = completion
            advance(1, "")
            while following in waiting:
                answer = waiting.pop(following)
                _print(questions[following], answer.text, as_lines, finish=answer.finish)
                following += 1


def _print(question: Question, answer: str, as_lines: bool, **more: Any) -> None:
    line = {"index": question.index, "id": question.id, "text": answer, **more}
    typer.echo(as_json(line) if as_lines else answer)


def _as_example(number: int, prompt: tuple[Message, ...]) -> Any:
    return replace(rating.as_example(prompt), id=str(number))


def _asking(run: RunFolder, *, plain: bool, system: str | None) -> Asking:
    """Return how to ask: as the run's own rows do, whose file may have been changed or moved since."""
    from espalier.data.asking import Asking, asking_of
    from espalier.data.table import read_examples

    asking = Asking() if plain else asking_of(read_examples(run.data / "train.parquet"))
    if not plain:
        say("Answering as an input of the run's task; --plain sends the text as it is.")
    if system is not None:
        return asking.under(system)
    if asking.differs:
        say("The run's rows have different system turns, so none is given; --system gives one.")
    return asking


def _questions(text: str | None, file: Path | None) -> list[Question]:
    from espalier.core.files import read_text

    if text is not None and file is not None:
        raise DataError("Both a text and --file are given.", hint="Give one of them.")
    if file is not None and file.suffix in (".jsonl", ".json", ".ndjson"):
        questions = _rows(file)
    elif file is not None:
        lines = enumerate(read_text(file).split("\n"))
        questions = [Question(at, str(at), line.removesuffix("\r")) for at, line in lines if line.strip()]
    else:
        if text is None and sys.stdin is not None and sys.stdin.isatty():
            say("Type the text and end it with Ctrl-D.")
        given = text
        if given is None:
            with waiting():
                given = sys.stdin.read().strip() if sys.stdin else ""
        questions = [Question(0, "0", given)]
    if not questions or not questions[0].text.strip():
        raise DataError("There is no text to answer.", hint='Write: espalier generate RUN "text"')
    return questions


def _rows(file: Path) -> list[Question]:
    """Return what the rows of a file ask; a row is a text, or an object with one under a usual name."""
    from espalier.data.formats.readers import rows_of

    questions: list[Question] = []
    for index, raw in enumerate(rows_of(file)):
        row = cast("dict[str, Any]", raw.value) if isinstance(raw.value, dict) else {}
        asked = next((row[key] for key in KEYS if isinstance(row.get(key), str)), None)
        if asked is None:
            raise DataError(
                "The row holds no text to answer.",
                where=raw.where,
                hint=f"Write it under one of: {', '.join(KEYS)}; beside it an id, if you like.",
            )
        questions.append(Question(index, str(row.get("id", index)), asked))
    return questions
