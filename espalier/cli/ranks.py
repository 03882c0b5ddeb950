"""Under torchrun: which of the processes this is, which of them speaks, and how all end where one fails."""

from __future__ import annotations

import os
import socket
import time
import uuid
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import TYPE_CHECKING, cast

import typer

from espalier.cli.progress import console
from espalier.core.errors import EspalierError, RunError
from espalier.core.records import ALONE, Ranks
from espalier.runs.events import say

if TYPE_CHECKING:
    from collections.abc import Generator

    from torch.distributed import Store  # pyright: ignore[reportPrivateImportUsage]

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

    console.quiet = rank > 0
    if torch.cuda.is_available():
        torch.cuda.set_device(local)
    store = _open_store(rank, JOINING)
    try:
        store, missing = meet(store, rank, size, JOINING)
        if missing:
            raise _not_come(missing, size)
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


def meet(store: Store, rank: int, size: int, patience: float) -> tuple[Store, list[int]]:
    """Wait for the other ranks; return the store's part that is theirs, and who has not come in time.

    torchrun's store outlives the processes: after a restart it still holds the addresses of the dead. So rank
    0 makes up a name for this meeting, and tells it to each rank that says hello with a name of its own. (The
    count of restarts would not do: it is not the same on all hosts.)
    """
    from torch.distributed import PrefixStore  # pyright: ignore[reportPrivateImportUsage]

    own = uuid.uuid4().hex
    meeting = PrefixStore(own, store) if rank == 0 else None
    store.set(f"espalier/hello/{rank}", own)
    absent, here = list(range(size)), [f"here/{other}" for other in range(size)]
    begun = told = time.monotonic()
    while True:
        if rank == 0:
            absent = _welcomed(store, cast("Store", meeting), own, absent)
        elif not meeting and store.check([f"espalier/welcome/{own}"]):
            meeting = PrefixStore(store.get(f"espalier/welcome/{own}").decode(), store)
        if meeting:
            meeting.set(here[rank], "")
            if meeting.check(here):
                return meeting, []
        now = time.monotonic()
        if now > begun + patience:
            break
        if now > told + 10:
            say(f"Waiting for {_named(absent)} of {size}.")
            told = now
        time.sleep(0.05)
    if not meeting:
        return PrefixStore("espalier/unmet", store), [0]
    return meeting, [other for other in range(size) if not meeting.check([here[other]])]


def _welcomed(store: Store, meeting: Store, name: str, absent: list[int]) -> list[int]:
    """Tell the meeting's name to those who said hello, and return who is not there yet.

    What the dead of an earlier meeting said is still there, and is answered in vain.
    """
    absent = [other for other in absent if not meeting.check([f"here/{other}"])]
    for other in absent:
        if store.check([f"espalier/hello/{other}"]):
            hello = store.get(f"espalier/hello/{other}").decode()
            store.set(f"espalier/welcome/{hello}", name)
    return absent


def _open_store(rank: int, patience: float) -> Store:
    """Return the store at the address that the environment tells; rank 0 holds it, unless torchrun does."""
    from torch.distributed import TCPStore  # pyright: ignore[reportPrivateImportUsage]

    try:
        host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    except (KeyError, ValueError):
        raise RunError(
            "The environment does not say where the processes meet: MASTER_ADDR and MASTER_PORT.",
            where=f"rank {rank}",
            hint="Start them with torchrun, or set both.",
        ) from None
    theirs = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    holds = rank == 0 and not theirs
    begun = time.monotonic()
    while not holds and not _answers(host, port):
        if time.monotonic() > begun + patience:
            who = "torchrun" if theirs else "rank 0"
            raise RunError(f"After {patience:.0f} s {who} does not answer.", where=f"{host}:{port}")
        time.sleep(0.1)
    try:
        return TCPStore(host, port, is_master=holds, wait_for_workers=False, multi_tenant=holds)
    except RuntimeError as error:
        raise RunError(f"The processes cannot meet: {error}", where=f"{host}:{port}") from None


def _answers(host: str, port: int) -> bool:
    """Whether somebody listens there; torch's own attempts would fill the screen."""
    try:
        socket.create_connection((host, port), timeout=5).close()
    except OSError:
        return False
    return True


def _not_come(missing: list[int], size: int) -> RunError:
    have = "has" if len(missing) == 1 else "have"
    return RunError(
        f"After {JOINING:.0f} s {_named(missing)} of {size} {have} not come.",
        where="torchrun",
        hint="Look at what they say, or whether their hosts were started with the same command.",
    )


def _named(ranks: list[int]) -> str:
    """Return 'rank 3' or 'ranks 3, 4'; of many the first ones."""
    few = ", ".join(map(str, ranks[:8]))
    more = f" and {len(ranks) - 8} more" if len(ranks) > 8 else ""
    return f"rank {few}" if len(ranks) == 1 else f"ranks {few}{more}"
