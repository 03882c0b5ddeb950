"""`espalier inspect`: what a recipe would train on, before any training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.text import Text
from rich.tree import Tree as Branches

from espalier.cli.settings import DEFAULT_CACHE, Cache, Overrides, RecipeFile
from espalier.core.recipe import load_recipe
from espalier.core.text import counted
from espalier.encode.media import media_tokens
from espalier.evaluate.symptoms import of_limit

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from espalier.runs.inspection import Branch, Look

SHOWN_CHILDREN = 4
SHOWN_CHARACTERS = 70
TRAINED = ("⟦", "⟧")


def inspect(
    recipe: RecipeFile,
    override: Overrides = None,
    rows: Annotated[int, typer.Option(min=0, help="How many rows to show token by token.")] = 2,
    cache: Cache = DEFAULT_CACHE,
) -> None:
    """Show what would be trained on, before any training.

    It shows rows with their trained tokens, the prompt tree, what sharing saves, and what is left out.
    """
    from espalier.runs.plan import resolve

    choices = resolve(load_recipe(recipe, override or ()))
    from espalier.runs.inspection import branches, inspect_recipe, stretches

    console = Console(soft_wrap=True, highlight=False)
    seen = inspect_recipe(choices, cache)
    for note in seen.notes:
        console.print(f"Note: {note}", markup=False)
    for number, look in enumerate(seen.stages, start=1):
        if len(seen.stages) > 1:
            console.print(f"Stage {number} of {len(seen.stages)}", style="bold")
        _print_rows(console, look, [stretches(row, seen.template) for row in look.rows[:rows]])
        _print_trees(console, look, [branches(tree, seen.template) for tree in look.trees])
        _print_numbers(console, look)
        _print_rewards(console, look, choices.checks)
    _print_rejects(console, seen.rejects)
    if seen.limit:
        test = len(choices.prepared.test)
        console.print(
            f"{counted(test, 'row')} to score. Answers are cut at {counted(seen.limit.tokens, 'token')}; "
            f"the references need at most {seen.limit.needed}."
        )
        for finding in of_limit(seen.limit, test):
            console.print(finding.text, style="bold")


def _print_rows(console: Console, look: Look, rows: Sequence[Sequence[tuple[str, bool]]]) -> None:
    """Print rows, their trained stretches in colour, or between marks: a file has no colours."""
    marks = ("", "") if console.is_terminal else TRAINED
    which = "in green" if console.is_terminal else f"between {' and '.join(TRAINED)}"
    for number, (row, stretches) in enumerate(zip(look.rows, rows, strict=False), start=1):
        media = f", {shown} of media" if (shown := media_tokens(row.ids)) else ""
        head = f"Row {number} of {len(look.rows)} ({len(row.ids)} tokens{media}; trained ones {which}):"
        console.print(head, style="bold")
        text = Text()
        for said, trained in stretches:
            shown = f"{marks[0]}{said}{marks[1]}" if trained else said
            text.append(shown, "bold green" if trained else "dim")
        console.print(text, end="\n\n")


def _print_trees(console: Console, look: Look, drawn: Sequence[Sequence[Branch]]) -> None:
    for number, (tree, branches) in enumerate(zip(look.trees, drawn, strict=True), start=1):
        which = f", tree {number} of {len(look.trees)}" if len(look.trees) > 1 else ""
        console.print(f"The first step{which}: each branch is computed once.", style="bold")
        sizes = f"{counted(len(tree.rows), 'row')}, {counted(len(tree.ids), 'distinct token')}"
        root = Branches(Text(sizes))
        _grow(root, branches)
        console.print(root, end="\n\n")


def _grow(root: Branches, branches: Sequence[Branch]) -> None:
    """Draw branches: how many tokens each has, and the text that begins it."""
    for branch in branches[:SHOWN_CHILDREN]:
        text = " ".join(branch.text.split())
        shown = text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 1] + "…"
        _grow(root.add(Text(f"{counted(branch.tokens, 'token')}  {shown}")), branch.children)
    if rest := branches[SHOWN_CHILDREN:]:
        tokens = counted(sum(branch.whole for branch in rest), "token")
        root.add(Text(f"… {counted(len(rest), 'more branch', 'more branches')}, {tokens}", style="dim"))


def _print_numbers(console: Console, look: Look) -> None:
    seen = look.numbers
    console.print(
        f"{counted(seen['rows'], 'row')} of at most {counted(seen['longest'], 'token')}; one epoch is "
        f"{counted(seen['steps'], 'step')} of {counted(look.size, 'row')} in "
        f"{counted(seen['trees'], 'tree')}.\n"
        f"{seen['tokens']:,} tokens row by row, {seen['distinct_tokens']:,} with sharing: "
        f"{seen['tokens'] / seen['distinct_tokens']:.2f} times fewer.\n"
        f"{seen['trained_tokens']:,} tokens are trained "
        f"({seen['trained_tokens'] / seen['tokens']:.1%} of those seen), stop tokens among them."
    )
    if "media_tokens" in seen:
        console.print(
            f"{seen['media_tokens']:,} of the tokens are of media, {seen['distinct_media_tokens']:,} with "
            f"sharing: {seen['distinct_media_tokens'] / seen['steps']:,.0f} a step."
        )


def _print_rewards(console: Console, look: Look, checks: Sequence[str]) -> None:
    if look.rewards:
        held = ", ".join(name for name in checks if name not in look.rewards) or "none"
        paid = ", ".join(f"{name} × {weight:g}" for name, weight in look.rewards.items())
        console.print(f"It learns from answers of its own, rewarded for {paid}. Checks held out: {held}.")


def _print_rejects(console: Console, rejects: Sequence[Mapping[str, str]]) -> None:
    console.print(f"{counted(len(rejects), 'row')} {'is' if len(rejects) == 1 else 'are'} left out.")
    for reject in rejects[:10]:
        console.print(f"  {reject['where']}: {reject['reason']}", markup=False)
    if len(rejects) > 10:
        console.print(f"  … and {len(rejects) - 10} more; `espalier run` writes all to rejects.jsonl.")
