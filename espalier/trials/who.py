"""Who is asked, by what a person names: a model of this machine, a run, or one of a server."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, TypeAlias

from espalier.core.errors import RecipeError
from espalier.core.files import content_hash
from espalier.core.journal import STORE, Journal, store_of

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from espalier.core.records import Generator as Answering

Does: TypeAlias = Literal["judges", "writes"]
OPTIONS = {"judges": "--judge", "writes": "--writer"}


@dataclass(frozen=True)
class Who:
    """A model of this machine by its name or folder, or one of a server by its name there.

    `does` is what it is asked for. The secret is the server's key, and is written nowhere.
    """

    model: str
    server: str = ""
    secret: str = field(default="", repr=False)
    does: Does = "judges"

    def __post_init__(self) -> None:
        if not self.model:
            option = OPTIONS[self.does]
            raise RecipeError(
                f"Who {self.does} is not said.",
                where="--model" if self.server else option,
                hint=f"Give {option} with a model's name or folder, or --server and --model.",
            )


@contextmanager
def reached(who: Who, folder: Path, runs: Path, cache: Path, step: str) -> Generator[tuple[Answering, str]]:
    """Load or reach who is asked, and yield it with its name for a person.

    What it says is kept by its weights, or by its server and its name there.

    Args:
        who: is asked.
        folder: whose `generations.jsonl` holds what a model of this machine says.
        runs: the folder of runs in whose store answers are kept.
        cache: folder of bundled models.
        step: under which name a server's tokens are counted.

    Raises:
        EspalierError: it cannot be loaded or reached.
    """
    if who.server:
        from espalier.servers.remote import Server, remote_of

        address = who.server.rstrip("/").removesuffix("/chat/completions")
        file = f"{step}-{content_hash([address, who.model])[:16]}.sqlite"
        terms = Server(who.server, who.secret)
        with remote_of(terms, who.model, Journal(runs / STORE / file), step=step) as remote:
            yield remote, f"{who.model} at {address}"
    else:
        from espalier.decode.journal import Generations
        from espalier.runs.talkers import find_talker

        local = find_talker(who.model).load(cache)
        journal = Generations(folder / "generations.jsonl", store_of(runs))
        yield replace(local, journal=journal), f"{who.model} (weights {local.loaded.weights[:12]})"
