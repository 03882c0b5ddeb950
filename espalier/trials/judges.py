"""Who judges: a model of this machine, one of a server, or whatever answers prompts."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from espalier.core.errors import RecipeError
from espalier.core.files import content_hash
from espalier.core.journal import STORE, Journal, store_of
from espalier.core.run import open_run
from espalier.trials.evaluation_subject import named
from espalier.trials.judging import Judge, Manner, judge_pairs, judge_singles

if TYPE_CHECKING:
    from collections.abc import Generator

    from espalier.comparison.contest import Contest
    from espalier.core.run import RunFolder
    from espalier.trials.judged import Judged


@dataclass(frozen=True)
class Who:
    """Who judges: a model of this machine by its name or folder, or one of a server by its name there."""

    model: str
    server: str = ""
    secret: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        if not self.model:
            raise RecipeError(
                "Who judges is not said.",
                where="--model" if self.server else "--judge",
                hint="Give --judge with a model's name or folder, or --server and --model.",
            )


def judged(
    contest: Contest, who: Who | Judge, manner: Manner, *, name: str = "", folder: str = "runs", cache: Path
) -> Judged:
    """Have what is given judged, and write the record to a folder.

    Args:
        contest: what is judged.
        who: who judges; a `Judge` is asked as it is, and keeps its answers itself if they are to be kept.
        manner: how.
        name: of the folder of the record; by default made of the systems' names and of the judge's.
        folder: of such folders, in whose store verdicts are kept.
        cache: folder of bundled models.

    Raises:
        EspalierError: in one sentence what is wrong, and what to do.
    """
    two = len(contest.names) == 2
    pairs, singles = contest.pairs() if two else [], [] if two else contest.singles()
    called = name or named(who.model if isinstance(who, Who) else who.name, ["-against-".join(contest.names)])
    with open_run(Path(folder) / called) as run, _brought(who, run, cache) as judge:
        if two:
            found = judge_pairs(pairs, judge, (contest.names[0], contest.names[1]), manner)
        else:
            found = judge_singles(singles, judge, contest.names[0], manner)
        return replace(found, notes=(*contest.notes, *found.notes), folder=run.path).kept()


@contextmanager
def _brought(who: Who | Judge, run: RunFolder, cache: Path) -> Generator[Judge]:
    """Load or reach the judge; what it says is kept by its weights, or by its server and its name there."""
    if isinstance(who, Judge):
        yield who
    elif who.server:
        from espalier.servers.remote import Server, remote_of

        address = who.server.rstrip("/").removesuffix("/chat/completions")
        file = f"judge-{content_hash([address, who.model])[:16]}.sqlite"
        journal = Journal(run.path.parent / STORE / file)
        with remote_of(Server(who.server, who.secret), who.model, journal, step="judge") as remote:
            yield Judge(remote, f"{who.model} at {address}")
    else:
        from espalier.decode.journal import Generations
        from espalier.runs.talkers import find_talker

        local = find_talker(who.model).load(cache)
        journal = Generations(run.path / "generations.jsonl", store_of(run.path.parent))
        yield Judge(replace(local, journal=journal), f"{who.model} (weights {local.loaded.weights[:12]})")
