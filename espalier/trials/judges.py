"""Who judges: a model of this machine, one of a server, or whatever answers prompts."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from espalier.core.run import open_run
from espalier.trials.evaluation_subject import named
from espalier.trials.judging import Judge, Manner, judge_pairs, judge_singles
from espalier.trials.who import Who, reached

if TYPE_CHECKING:
    from collections.abc import Generator

    from espalier.comparison.contest import Contest
    from espalier.core.run import RunFolder
    from espalier.trials.judged import Judged


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
    if isinstance(who, Judge):
        yield who
    else:
        with reached(who, run.path, run.path.parent, cache, "judge") as (model, name):
            yield Judge(model, name)
