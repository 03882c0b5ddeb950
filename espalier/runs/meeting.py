"""How the processes of a run find each other: in a store at an address, whoever was there before them."""

from __future__ import annotations

import socket
import time
import uuid
from typing import TYPE_CHECKING, cast

from torch.distributed import PrefixStore, TCPStore  # pyright: ignore[reportPrivateImportUsage]

from espalier.core.errors import RunError
from espalier.runs.events import say

if TYPE_CHECKING:
    from torch.distributed import Store  # pyright: ignore[reportPrivateImportUsage]


def open_store(host: str, port: int, rank: int, patience: float, *, theirs: bool) -> Store:
    """Return the store at an address; rank 0 holds it, unless it is the launcher's (`theirs`).

    Raises:
        RunError: after `patience` seconds nobody has answered there, or rank 0 cannot hold it.
    """
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


def gather(store: Store, rank: int, size: int, patience: float) -> Store:
    """Return the store's part of this meeting once all ranks are there. Raises RunError where one is not."""
    store, missing = meet(store, rank, size, patience)
    if missing:
        have = "has" if len(missing) == 1 else "have"
        raise RunError(
            f"After {patience:.0f} s {_named(missing)} of {size} {have} not come.",
            where="torchrun",
            hint="Look at what they say, or whether their hosts were started with the same command.",
        )
    return store


def meet(store: Store, rank: int, size: int, patience: float) -> tuple[Store, list[int]]:
    """Wait for the other ranks; return the store's part that is theirs, and who has not come in time.

    torchrun's store outlives the processes: after a restart it still holds the addresses of the dead. So rank
    0 makes up a name for this meeting, and tells it to each rank that says hello with a name of its own. (The
    count of restarts would not do: it is not the same on all hosts.)
    """
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


def _answers(host: str, port: int) -> bool:
    """Whether somebody listens there; torch's own attempts would fill the screen."""
    try:
        socket.create_connection((host, port), timeout=5).close()
    except OSError:
        return False
    return True


def _named(ranks: list[int]) -> str:
    """Return 'rank 3' or 'ranks 3, 4'; of many the first ones."""
    few = ", ".join(map(str, ranks[:8]))
    more = f" and {len(ranks) - 8} more" if len(ranks) > 8 else ""
    return f"rank {few}" if len(ranks) == 1 else f"ranks {few}{more}"
