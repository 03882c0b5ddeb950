"""Under torchrun: which of the processes this is, which of them speaks, and how all end where one fails."""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import TYPE_CHECKING

import typer

from espalier.cli.progress import console
from espalier.core.errors import EspalierError, RunError
from espalier.core.records import ALONE, Ranks

if TYPE_CHECKING:
    from collections.abc import Generator

# Seconds until all have come: on machines with slow disks it takes a minute or two to import torch.
JOINING = 300.0
# From then on rank 0 decodes while the others wait. That a process is gone, torchrun tells, or a connection
# that closes.
PATIENCE = timedelta(days=7)


@contextmanager
def joined() -> Generator[Ranks]:
    """Join the processes that torchrun started, as the environment tells; alone, join nothing.

    Only rank 0 tells what is done. The first process that fails tells why, and the others end in silence.

    Raises:
        RunError: a process has not come, or has gone away in the middle of the work.
    """
    names = {"RANK": 0, "WORLD_SIZE": 1, "LOCAL_RANK": 0}
    rank, size, local = (int(os.environ.get(name, default)) for name, default in names.items())
    if size == 1:
        yield ALONE
        return
    import torch
    from torch import distributed

    from espalier.runs.meeting import gather, open_store

    console.quiet = rank > 0
    if torch.cuda.is_available():
        torch.cuda.set_device(local)
    theirs = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    store = open_store(*_address(rank), rank, JOINING, theirs=theirs)
    try:
        store = gather(store, rank, size, JOINING)
        distributed.init_process_group(store=store, rank=rank, world_size=size, timeout=PATIENCE)
        yield Ranks(rank, size)
    except (EspalierError, RuntimeError) as error:
        if not (isinstance(error, EspalierError | distributed.DistError) or "gloo" in str(error).lower()):
            raise  # a bug
        with suppress(distributed.DistError):  # the store may be gone too
            if store.add("espalier/failed", 1) > 1:
                raise typer.Exit(2) from None
        if isinstance(error, EspalierError):
            raise
        raise RunError(
            "Another process of this run has ended.",
            where=f"rank {rank} of {size}",
            hint="The last checkpoint stands: the same command goes on from it.",
        ) from None
    distributed.destroy_process_group()


def restarted() -> bool:
    """Whether torchrun has started the processes again because one of them failed."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0


def _address(rank: int) -> tuple[str, int]:
    """Return host and port of the store where the processes meet. Raises RunError where nobody tells."""
    try:
        return os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    except (KeyError, ValueError):
        raise RunError(
            "The environment does not say where the processes meet: MASTER_ADDR and MASTER_PORT.",
            where=f"rank {rank}",
            hint="Start them with torchrun, or set both.",
        ) from None
