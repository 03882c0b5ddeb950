"""The command `espalier`: each verb is a function in a file of its own, and errors are told here.

An `EspalierError` is printed as one sentence and ends with exit status 2. Anything else is a bug and shows
its traceback.
"""

from __future__ import annotations

import os
import sys

import typer
from rich.console import Console

from espalier.cli.export import export
from espalier.cli.forecast import forecast
from espalier.cli.generate import generate
from espalier.cli.inspect import inspect
from espalier.cli.models import models
from espalier.cli.reference import recipe
from espalier.cli.report import report
from espalier.cli.run import run
from espalier.cli.score import score
from espalier.cli.verify import verify
from espalier.core.errors import EspalierError

# What libraries read from the environment, where a person has not set it.
ENVIRONMENT = {
    "TOKENIZERS_PARALLELISM": "false",  # read when they fork
    "THP_MEM_ALLOC_ENABLE": "1",  # large pages; read at torch's first allocation
    # oneDNN, and what stands between it and torch, keep what they prepared for the last 1024 products, by
    # exact size. Every tree has sizes of its own, some 25 that its layers share, so half a GB would be kept
    # that never serves again, in small blocks all over the heap between which no large tensor fits.
    "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "64",
    "LRU_CACHE_CAPACITY": "64",
}

app = typer.Typer(
    help="Instruction tuning on prompt trees: from a task to a tuned model, with the evidence.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    add_completion=False,
)
app.command()(run)
app.command()(inspect)
app.command()(verify)
app.command()(forecast)
app.command()(generate)
app.command()(score)
app.command()(report)
app.command()(export)
app.add_typer(models, name="models")
app.command()(recipe)


def main() -> None:
    """Run the command line."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    # A recipe's kind = "my_module:function" is looked for here too, after everything that is installed.
    sys.path.append(os.getcwd())
    try:
        app()
    except EspalierError as error:
        Console(stderr=True, soft_wrap=True).print(
            f"Error: {error}", style="red", markup=False, highlight=False
        )
        sys.exit(2)


if __name__ == "__main__":
    main()
