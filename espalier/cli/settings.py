"""Options that several verbs share, so that they are called and explained the same everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from espalier.cli.completion import recipe_files, run_folders, talkers
from espalier.core.caches import default_cache, keep_in

Split = Annotated[
    Literal["test", "dev"],
    typer.Option(help="Which rows: those of the test set, or those that are held out (data.dev)."),
]
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
Talks = Annotated[
    str,
    typer.Argument(
        metavar="RUN|MODEL",
        help="A run's folder, a model's folder, a bundled model's name (`espalier models`), or a hub id.",
        show_default=False,
        autocompletion=talkers,
    ),
]
System = Annotated[
    str | None, typer.Option(help="A system turn in place of that of the run's rows; '' for none.")
]
Images = Annotated[
    list[str] | None,
    typer.Option("--image", help="A picture that the text is about, or its URL. Can be repeated."),
]
Audios = Annotated[
    list[str] | None,
    typer.Option("--audio", help="A sound that the text is about, or its URL. Can be repeated."),
]
Limit = Annotated[int | None, typer.Option(min=1, help="Most new tokens of an answer.")]
Temperature = Annotated[
    float | None, typer.Option(help="Sample, sharper below 1 and flatter above; 0 takes the likeliest token.")
]
TopP = Annotated[float | None, typer.Option(help="Sample from the likeliest tokens of this probability.")]
TopK = Annotated[int | None, typer.Option(min=1, help="Sample from so many likeliest tokens.")]
MinP = Annotated[
    float | None, typer.Option(help="Sample from tokens of this share of the likeliest one's probability.")
]
Beams = Annotated[int | None, typer.Option(min=1, help="Search with so many beams; --samples of the best.")]
RepetitionPenalty = Annotated[
    float | None, typer.Option(help="Make tokens less likely that are there already, where above 1.")
]
Seed = Annotated[int | None, typer.Option(help="Sample, and other answers with another number.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "-o",
        "--override",
        metavar="KEY=VALUE",
        help="Change one key, such as train.rate=1e-5; `espalier recipe` tells all keys. Can be repeated.",
    ),
]
Changes = Annotated[
    list[str] | None,
    typer.Option(
        "-o",
        "--override",
        metavar="decode.KEY=VALUE",
        help="Answer by another strategy or setting: decode.kind=contrastive, decode.top_k=4; `espalier "
        "recipe` tells all. Can be repeated.",
    ),
]
Cache = Annotated[
    Path,
    typer.Option(
        envvar="ESPALIER_CACHE",
        help="Folder of converted bundled models, and of what is kept of media.",
        show_default=False,
        callback=keep_in,
    ),
]
ServerUrl = Annotated[
    str, typer.Option(metavar="URL", help="An OpenAI-compatible server that has the model.")
]
KeyEnv = Annotated[str, typer.Option(help="The environment's variable with the server's key.")]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace the run of this name, where it is of another recipe.")
]
Keep = Annotated[
    bool, typer.Option("--keep", help="Keep the run of this name as NAME.1, where it is of another recipe.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]

DEFAULT_CACHE = default_cache()
