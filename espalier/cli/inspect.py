"""`espalier inspect`: what a recipe would train on, before any training."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from itertools import accumulate, groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.text import Text
from rich.tree import Tree as Branches

from espalier.cli.settings import DEFAULT_CACHE, Cache, Overrides, RecipeFile
from espalier.core.text import counted
from espalier.runs.events import working

if TYPE_CHECKING:
    from collections.abc import Sequence

    from espalier.core.records import Encoded, Example
    from espalier.encode.template import Template
    from espalier.encode.tree import Tree
    from espalier.evaluate.score_records import Limit
    from espalier.runs.plan import Stage

SHOWN_CHILDREN = 4
SHOWN_CHARACTERS = 70
TRAINED = ("⟦", "⟧")
PARTED = "·"  # inside the name of a special token that is text


def inspect(
    recipe: RecipeFile,
    override: Overrides = None,
    rows: Annotated[int, typer.Option(min=0, help="How many rows to show token by token.")] = 2,
    cache: Cache = DEFAULT_CACHE,
) -> None:
    """Show what would be trained on, before any training.

    It shows rows with their trained tokens, the prompt tree, what sharing saves, and what is left out.
    """
    from espalier.core.recipe import load_recipe
    from espalier.core.run import RunFolder
    from espalier.runs.plan import resolve, stages_of

    console = Console(soft_wrap=True, highlight=False)
    choices = resolve(load_recipe(recipe, override or ()))
    asked, prepared = choices.recipe, choices.prepared
    with working("Getting ready") as tell:
        from espalier.models.load import load_template
        from espalier.models.places import find_model
        from espalier.runs.judging import answer_limit, try_judges
        from espalier.runs.load import dated_as, rendering_of

        if not choices.rates:
            try_judges(choices)
        place = find_model(asked.model.name, cache, tell)
        run = RunFolder(Path(asked.folder) / asked.name)
        template = load_template(place).under(dated_as(run, rendering_of(asked)))
        stages = stages_of(choices, template, Path())
    for note in prepared.notes:
        console.print(f"Note: {note}", markup=False)
    rejects = list(prepared.rejects)
    for stage in stages:
        if len(stages) > 1:
            console.print(f"Stage {stage.number + 1} of {len(stages)}", style="bold")
        _print_stage(console, stage, asked.seed, template, rows)
        _print_rewards(console, stage, choices.checks)
        rejects += stage.encoded.rejects
    _print_rejects(console, rejects)
    if not choices.rates:
        _print_limit(console, prepared.test, answer_limit(prepared.test, template, choices.strategy.limit))


def _print_stage(console: Console, stage: Stage, seed: int, template: Template, rows: int) -> None:
    from espalier.encode.batches import build_trees, schedule
    from espalier.runs.overview import learned, overview, visible

    units, size = learned(stage), stage.section.rows
    shown = [visible(stage, row) for unit in units for row in unit.rows]
    seen = overview(stage, seed, template)
    marks = ("", "") if console.is_terminal else TRAINED  # a file has no colours
    for number, row in enumerate(shown[:rows], start=1):
        console.print(
            f"Row {number} of {len(shown)} ({len(row.ids)} tokens; "
            f"trained ones {'between ' + ' and '.join(marks) if marks[0] else 'in green'}):",
            style="bold",
        )
        console.print(_coloured(row, template, marks), end="\n\n")
    first = schedule(units, size, seed)(0)
    trees = build_trees([unit.rows for unit in first], stage.section.tokens)
    for number, tree in enumerate(trees, start=1):
        which = f", tree {number} of {len(trees)}" if len(trees) > 1 else ""
        console.print(f"The first step{which}: each branch is computed once.", style="bold")
        console.print(_branches(tree, template), end="\n\n")
    console.print(
        f"{counted(seen['rows'], 'row')} of at most {counted(seen['longest'], 'token')}; one epoch is "
        f"{counted(seen['steps'], 'step')} of {counted(size, 'row')} in {counted(seen['trees'], 'tree')}.\n"
        f"{seen['tokens']:,} tokens row by row, {seen['distinct_tokens']:,} with sharing: "
        f"{seen['tokens'] / seen['distinct_tokens']:.2f} times fewer.\n"
        f"{seen['trained_tokens']:,} tokens are trained "
        f"({seen['trained_tokens'] / seen['tokens']:.1%} of those seen), stop tokens among them."
    )


def _print_rewards(console: Console, stage: Stage, checks: Sequence[str]) -> None:
    rewards = {name: weight for objective, _ in stage.shared for name, weight in objective.rewards.items()}
    if rewards:
        held = ", ".join(name for name in checks if name not in rewards) or "none"
        paid = ", ".join(f"{name} × {weight:g}" for name, weight in rewards.items())
        console.print(f"It learns from answers of its own, rewarded for {paid}. Checks held out: {held}.")


def _coloured(row: Encoded, template: Template, marks: tuple[str, str]) -> Text:
    """Return the row's text, its trained stretches in colour and between the marks."""
    text = Text()
    pieces = zip(parted(template.pieces(row.ids), template.control), row.weights, strict=True)
    for trained, stretch in groupby(pieces, key=lambda piece: piece[1] > 0):
        said = "".join(piece for piece, _ in stretch)
        text.append(f"{marks[0]}{said}{marks[1]}" if trained else said, "bold green" if trained else "dim")
    return text


def parted(pieces: list[str], names: re.Pattern[str]) -> list[str]:
    """Return the pieces of a text with a dot in every name of a special token where two tokens meet in it."""
    ends = list(accumulate(map(len, pieces)))
    marked = [*pieces]
    for name in names.finditer("".join(pieces)):
        for at in range(bisect_right(ends, name.start()), bisect_left(ends, name.end())):
            marked[at] += PARTED
    return marked


def _branches(tree: Tree, template: Template) -> Branches:
    """Return the tree's nodes as branches: how many tokens each has, and the text that begins it."""
    children: dict[int, list[int]] = {}
    for node, parent in enumerate(tree.parents.tolist()):
        children.setdefault(parent, []).append(node)

    def grow(branch: Branches, node: int) -> None:
        below = children.get(node, [])
        for child in below[:SHOWN_CHILDREN]:
            start, end = tree.node_spans[child].tolist()
            text = " ".join("".join(template.pieces(tree.ids[start:end].tolist())).split())
            shown = text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 1] + "…"
            grow(branch.add(Text(f"{counted(end - start, 'token')}  {shown}")), child)
        if len(below) > SHOWN_CHILDREN:
            rest = sum(tree.ends[child] - tree.node_spans[child, 0] for child in below[SHOWN_CHILDREN:])
            more = counted(len(below) - SHOWN_CHILDREN, "more branch", "more branches")
            branch.add(Text(f"… {more}, {counted(rest, 'token')}", style="dim"))

    sizes = f"{counted(len(tree.rows), 'row')}, {counted(len(tree.ids), 'distinct token')}"
    root = Branches(Text(sizes))
    grow(root, -1)
    return root


def _print_limit(console: Console, test: Sequence[Example], limit: Limit) -> None:
    from espalier.evaluate.symptoms import of_limit

    console.print(
        f"{counted(len(test), 'row')} to score. Answers are cut at {counted(limit.tokens, 'token')}; the "
        f"references need at most {limit.needed}."
    )
    for finding in of_limit(limit, len(test)):
        console.print(finding.text, style="bold")


def _print_rejects(console: Console, rejects: list[dict[str, str]]) -> None:
    console.print(f"{counted(len(rejects), 'row')} {'is' if len(rejects) == 1 else 'are'} left out.")
    for reject in rejects[:10]:
        console.print(f"  {reject['where']}: {reject['reason']}", markup=False)
    if len(rejects) > 10:
        console.print(f"  … and {len(rejects) - 10} more; `espalier run` writes all to rejects.jsonl.")
