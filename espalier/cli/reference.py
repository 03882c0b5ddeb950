"""`espalier recipe`: the reference of every key and choice."""

from __future__ import annotations

from rich.console import Console


def recipe() -> None:
    """Print the reference of the recipe as Markdown."""
    from espalier.runs.reference import reference

    Console(soft_wrap=True).print(reference(), markup=False, highlight=False, end="")
