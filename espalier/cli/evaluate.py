"""`espalier evaluate`: score a model as it is, with floors and intervals, and nothing trained."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from espalier.cli.settings import DEFAULT_CACHE, Cache, KeyEnv, Overrides, ServerUrl, Split, Talks
from espalier.cli.summary import print_summary
from espalier.core.errors import RunError
from espalier.runs.events import say


def evaluate(
    model: Talks,
    what: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="RECIPE|TASK…",
            help="A recipe, whose test set is scored; or tasks and files of rows. By default a run's own.",
        ),
    ] = None,
    override: Overrides = None,
    *,
    split: Split = "test",
    name: Annotated[str, typer.Option(help="Of the folder in which the results go.")] = "",
    server: ServerUrl = "",
    model_name: Annotated[str, typer.Option(help="What the server calls the model, if not MODEL.")] = "",
    key_env: KeyEnv = "",
    harness: Annotated[
        str, typer.Option(metavar="TASKS", help="Tasks of EleutherAI's lm-eval instead: mmlu,hellaswag.")
    ] = "",
    include: Annotated[str, typer.Option(help="A folder of lm-eval's task files of your own.")] = "",
    limit: Annotated[int | None, typer.Option(min=1, help="Rows of each of lm-eval's tasks.")] = None,
    shots: Annotated[int | None, typer.Option(min=0, help="Worked examples of lm-eval's tasks.")] = None,
    chat: Annotated[bool, typer.Option(help="Put lm-eval's prompts into the chat template.")] = False,
    plain: Annotated[
        bool, typer.Option("--plain", help="Ask a run other rows as they stand, not as its own were asked.")
    ] = False,
    cache: Cache = DEFAULT_CACHE,
) -> None:
    """Score a model on a task, without training.

    Answers are kept: what is known is not generated again, and no server is asked twice.
    """
    if harness:
        from espalier.trials.harness import Harness, evaluate_harness

        if what or server:
            raise RunError("--harness goes with neither rows nor a server.", hint="Give it a command alone.")
        tasks = tuple(filter(None, (task.strip() for task in harness.split(","))))
        done = evaluate_harness(
            Harness(model, tasks, include, limit, shots, name, chat), override or (), cache
        )
    else:
        from espalier.trials.evaluation import evaluated
        from espalier.trials.evaluation_subject import asked_of

        secret = os.environ.get(key_env, "") if key_env else ""
        asked = asked_of(
            model, what or (), override or (), name=name, server=server, secret=secret,
            model_name=model_name, plain=plain, split=split,
        )  # fmt: skip
        done = evaluated(asked, cache)
    from espalier.report.page import scores_of

    print_summary(scores_of(done.path))
    say(f"Report: {done.report}")
