"""The model behind a build: what writes its rows and weighs them, on this machine or behind a server.

It is brought when it is first asked, so that a build whose steps are done loads nothing. What it has written
is in the build's journal, or beside it in `generations.jsonl`, and is not written again.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from espalier.core.errors import GenerationError, RecipeError
from espalier.core.journal import NAME, Journal, store_of
from espalier.core.recipe import Choice, ModelSection
from espalier.core.run import RunFolder
from espalier.core.spending import NOTHING, Price
from espalier.data.judgement import weighing
from espalier.generate.author import Author
from espalier.servers.exchange import askings
from espalier.servers.remote import Remote, Server, remote_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from espalier.builds.recipe import BuildRecipe
    from espalier.core.records import Completion, Example, Generator, Likelihood
    from espalier.core.spending import Spent
    from espalier.decode.local import Local


@dataclass(frozen=True)
class Terms:
    """What a build is given besides its recipe.

    Attributes:
        cache: folder of bundled models.
        secret: the key of the server; written nowhere.
        replay: take every answer from the journal, and ask nobody.
    """

    cache: Path
    secret: str = field(default="", repr=False)
    replay: bool = False


def settings_of(recipe: BuildRecipe) -> Choice:
    """Return how a build's model writes; drawn with the build's seed where the recipe names none."""
    seed = {"seed": recipe.seed} if recipe.decode.kind == "sample" else {}
    return Choice.model_validate({**seed, **recipe.decode.model_dump()})


def weights_of(recipe: BuildRecipe) -> list[Any]:
    """Return what determines how likely a text is to a build's model."""
    model = recipe.model
    where = [model.schemas] if model.server else [model.precision, _files(Path(model.name))]
    return [model.name, model.server, where]


def tokenizer_of(recipe: BuildRecipe) -> str:
    """Return the model whose tokens are counted."""
    mix, model = recipe.mix, recipe.model
    return (mix.tokenizer if mix else "") or (ModelSection().name if model.server else model.name)


def token_counter(recipe: BuildRecipe, cache: Path) -> Callable[[Example], int]:
    """Return what counts the tokens of a row.

    Args:
        recipe: says whose tokens.
        cache: folder of bundled models.

    Raises:
        ModelError: there is no such model.
    """
    from espalier.encode.tokens import encode_unit
    from espalier.models.load import load_template
    from espalier.models.places import find_model

    template = load_template(find_model(tokenizer_of(recipe), cache))

    def count(row: Example) -> int:
        unit = encode_unit(row, template)
        return max([len(unit.prompt), *(len(answer.ids) for answer in unit.rows)])

    return count


class BuildModel:
    """The model of one build. Used as a context, it lets go of the server at the end.

    Args:
        recipe: of the build.
        run: its folder.
        terms: see `Terms`.

    Raises:
        RecipeError: the terms of the server cannot be, or a filter weighs rows, which a server does not.
        MissingExtra: its client is not installed.
    """

    def __init__(self, recipe: BuildRecipe, run: RunFolder, terms: Terms) -> None:
        self.name = recipe.model.name
        self.identity = [*weights_of(recipe), settings_of(recipe).model_dump(mode="json")]
        self._recipe = recipe
        self._run = run
        self._terms = terms
        if recipe.model.server and any(choice.kind in weighing.names() for choice in recipe.filter):
            raise RecipeError(
                "A server does not say how likely an answer is to its model.",
                where="model.server",
                hint="Weigh rows in a build of their own, by a model of this machine.",
            )
        self._remote = self._connected() if recipe.model.server and recipe.generate else None

    def author(self, step: str, on_answer: Callable[[], object]) -> Author:
        """Return what writes the rows of a step; `on_answer` is called for each answer. Raises ModelError."""
        model = self._recipe.model
        own: Generator = self._remote.named(step) if self._remote else self._local
        schemas = bool(self._remote) and model.schemas
        key = f"The key is that of {model.key_env}{'' if self._terms.secret else ', which is not set'}."
        return Author(_Watched(own, on_answer, key), model.name, settings_of(self._recipe), schemas)

    def likelihood(self) -> Likelihood:
        """Return what says how likely answers are. Raises ModelError: there is none, or it rates answers."""
        return self._local

    def spent(self, step: str) -> Spent:
        """Return what the requests of a step have cost in all starts; nothing here. Raises RunError."""
        return self._remote.spent().get(step, NOTHING) if self._remote else NOTHING

    def __enter__(self) -> BuildModel:
        return self

    def __exit__(self, *_: object) -> None:
        if self._remote:
            self._remote.close()

    def _connected(self) -> Remote:
        model, settings = self._recipe.model, settings_of(self._recipe)
        askings.build(settings.kind, settings.params, "decode")  # a wrong one is told before anything is paid
        server = Server(
            model.server,
            self._terms.secret,
            Price(model.price_in, model.price_out),
            budget=model.budget,
            concurrency=model.concurrency,
            timeout=model.timeout,
            patience=model.patience,
        )
        return remote_of(server, model.name, Journal(self._run.path / NAME), replay=self._terms.replay)

    @cached_property
    def _local(self) -> Local:
        from espalier.decode.journal import Generations
        from espalier.decode.local import local_of
        from espalier.runs.load import load_writer
        from espalier.runs.precision import keep_formats, settle

        model = self._recipe.model
        section = ModelSection(name=model.name, precision=model.precision, device=model.device)
        loaded = settle(section, load_writer(section, self._terms.cache), self._run)
        keep_formats(section, self._run, loaded)
        kept = Generations(self._run.path / "generations.jsonl", store_of(self._run.path.parent))
        return local_of(loaded, kept, in_place=True)


@dataclass(frozen=True)
class _Watched:
    """A generator that tells of each answer as it comes, and where its key is from if that is wrong."""

    generator: Generator
    on_answer: Callable[[], object]
    key: str

    def generate(self, examples: Sequence[Example], settings: Choice) -> Iterator[Completion]:
        try:
            for one in self.generator.generate(examples, settings):
                self.on_answer()
                yield one
        except GenerationError as error:
            error.hint = f"{self.key} {error.hint}" if error.of_key else error.hint
            raise


def _files(folder: Path) -> list[Any]:
    """Return what tells the weights in a folder from others, without reading them."""
    if not folder.is_dir():
        return []
    found = (os.stat(file) for file in sorted(folder.rglob("*.safetensors")))
    return [[stat.st_size, stat.st_mtime_ns] for stat in found]
