"""Options that several verbs share, so that they are called and explained the same everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from espalier.cli.completion import recipe_files, run_folders

RecipeFile = Annotated[
    Path,
    typer.Argument(
        help="The recipe: a TOML file, or the name of a bundled one (`espalier recipes`).",
        show_default=False,
        autocompletion=recipe_files,
    ),
]
RunPath = Annotated[
    Path, typer.Argument(help="The run's folder.", show_default=False, autocompletion=run_folders)
]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "-o",
        "--override",
        metavar="KEY=VALUE",
        help="Change one key, such as train.rate=1e-5; `espalier recipe` tells all keys. Can be repeated.",
    ),
]
Cache = Annotated[
    Path,
    typer.Option(envvar="ESPALIER_CACHE", help="Folder of converted bundled models.", show_default=False),
]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace the run of this name, where it is of another recipe.")
]
Keep = Annotated[
    bool, typer.Option("--keep", help="Keep the run of this name as NAME.1, where it is of another recipe.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]

DEFAULT_CACHE = Path.home() / ".cache" / "espalier" / "models"
