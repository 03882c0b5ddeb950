"""The process that asks a server, so that no answer that is paid for is lost with the one that wanted it.

`remote.py` starts it, in a session of its own, and tells it what to ask through a pipe: one JSON object a
line. Each answer is in the journal before it is handed back. When the pipe closes, because the work is done
or its process was killed, what is on its way is waited for and written down, and nothing more is sent.
Meanwhile the next build waits: who sends holds the lock beside the journal.

The server's key comes through the pipe too, and is written nowhere.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import math
import os
import random
import secrets
import threading
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, NoReturn

import httpx2

from espalier.core.errors import EspalierError
from espalier.core.journal import Journal
from espalier.core.spending import Budget, Ledger, Price
from espalier.core.text import counted, spelt
from espalier.servers.exchange import Job, Reply, Trouble, adapted, read_reply, read_status

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

FIRST, LONGEST = 0.5, 30.0  # seconds between two tries of a request
LONGER = 2.0  # times the wait for a byte that a whole answer may take
AWAY = 60.0  # seconds over which a server is looked for that has answered nothing yet
MANY = 10  # tries in vain before a request is given up, and refusals in a row before all are
PAUSE = 0.02  # seconds between two looks at the lock
NEVER_SENT = (httpx2.ConnectTimeout, httpx2.PoolTimeout)


@dataclass(frozen=True)
class Terms:
    """How a server is asked.

    Attributes:
        url: of the server, with its `/v1`.
        secret: the key, or "".
        journal: path of the journal.
        concurrency: most requests on their way.
        timeout: seconds to wait for an answer.
        patience: seconds over which a request is tried again.
        price: of a million tokens of prompts, and of answers.
        budget: amount and unit, or None.
    """

    url: str
    secret: str
    journal: str
    concurrency: int
    timeout: float
    patience: float
    price: tuple[float, float]
    budget: tuple[float, str] | None


class Courier:
    """Takes batches of requests, and tells of each answer, or why there will be none, to who wants it."""

    def __init__(self, terms: Terms, tell: Callable[[dict[str, Any]], None]) -> None:
        self._terms, self._tell = terms, tell
        self._journal = Journal(Path(terms.journal))
        self._session = secrets.token_hex(4)
        # A client made for OpenAI would take half a second of each process to load what it also can.
        self._client = httpx2.AsyncClient(
            headers={"Authorization": f"Bearer {terms.secret or 'none'}"},
            timeout=terms.timeout,
            follow_redirects=True,
            limits=httpx2.Limits(max_connections=None),
        )
        self._aside: dict[str, dict[str, Any]] = {}  # refused, and nothing answered since: see `_put_aside`
        self._budget = Budget(*terms.budget) if terms.budget else None
        self._ledger = Ledger(None, Price(*terms.price), self._journal)
        self._queue: deque[Job] = deque()
        self._unseen = False  # there are jobs in the queue that were not looked for in the journal
        self._wanted: dict[str, list[int]] = {}  # the batches that wait for a request, queued or on its way
        self._width = float(terms.concurrency)
        self._open_from = 0.0  # of the loop's clock; until then the server wants to be left alone
        self._last_answer: float | None = None
        self._adaptions: list[str] = []
        self._stop: Trouble | None = None
        self._closed = False  # nobody waits for answers any more
        self._wake = asyncio.Event()

    def take(self, order: dict[str, Any]) -> None:
        """Take a line of the pipe: requests to make, or a batch that nobody wants any more."""
        if "drop" in order:
            for batches in self._wanted.values():
                batches[:] = [batch for batch in batches if batch != order["drop"]]
            self._forget({job.key for job in self._queue if not self._wanted[job.key]})
        else:
            for fields in order["jobs"]:
                job = Job(**{**fields, "worst": tuple(fields["worst"])})
                if job.key not in self._wanted:
                    self._queue.append(job)
                    self._unseen = True
                self._wanted.setdefault(job.key, []).append(order["batch"])
        self._wake.set()

    def close(self) -> None:
        """Send nothing more."""
        self._closed = True
        self._forget({job.key for job in self._queue})
        self._wake.set()

    async def work(self) -> None:
        """Answer what comes until the pipe is closed."""
        while not self._closed:
            await self._wake.wait()
            self._wake.clear()
            if self._queue:
                try:
                    self._journal.path.parent.mkdir(parents=True, exist_ok=True)
                    with Path(f"{self._terms.journal}.lock").open("w") as lock:
                        if await self._locked(lock.fileno()):
                            await self._send_all()
                except (EspalierError, OSError) as error:
                    self._stop = Trouble("fatal", str(error))
                self._tell_stop()
        await self._client.aclose()

    async def _locked(self, lock: int) -> bool:
        """Wait until no other courier on this journal has requests on their way."""
        while not self._closed:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                await asyncio.sleep(PAUSE)
            else:
                return True
        return False

    async def _send_all(self) -> None:
        """Send what is queued, and return when nothing is on its way. Raises RunError."""
        self._ledger = Ledger(self._budget, Price(*self._terms.price), self._journal)
        if self._last_answer is None and self._journal.holds("request:"):
            self._last_answer = 0.0
        running: set[asyncio.Future[Any]] = set()
        woken = asyncio.ensure_future(self._wake.wait())
        self._unseen = True
        while self._queue or running:
            self._skip_answered()
            while self._queue and len(running) < max(1, int(self._width)) and self._stop is None:
                job = self._queue[0]
                if not self._ledger.hold(job.key, *job.worst):
                    if not running:
                        self._stop = Trouble("fatal", self._ledger.refusal(*job.worst))
                    break
                self._queue.popleft()
                running.add(asyncio.create_task(self._answer(job)))
            if self._stop is not None:
                self._queue.clear()
            if running:
                done, running = await asyncio.wait({*running, woken}, return_when=asyncio.FIRST_COMPLETED)
                running.discard(woken)
                for task in done:
                    task.result()
                if woken in done:
                    self._wake.clear()
                    woken = asyncio.ensure_future(self._wake.wait())
        woken.cancel()
        if self._aside and self._last_answer is None:
            self._end(Trouble("fatal", next(iter(self._aside.values()))["why"]))
        if self._stop is None:
            self._settle_aside()

    def _skip_answered(self) -> None:
        """Hand on what was answered since it was looked for, here or by another courier: of new requests."""
        new, self._unseen = self._unseen, False
        found = self._journal.find(f"request:{job.key}" for job in self._queue) if new else {}
        for name, entry in found.items():
            self._hand_on(name.removeprefix("request:"), entry)
        self._queue = deque(job for job in self._queue if f"request:{job.key}" not in found)

    def _hand_on(self, key: str, entry: dict[str, Any]) -> None:
        for batch in self._wanted.pop(key):
            self._tell({"batch": batch, "key": key, "entry": entry})

    def _tell_stop(self) -> None:
        """Tell all that still wait why they do so in vain."""
        if self._stop is not None:
            for batch in sorted({batch for batches in self._wanted.values() for batch in batches}):
                stop, again = self._stop, self._stop.kind != "fatal"
                self._tell({"batch": batch, "error": stop.why, "retryable": again, "of_key": stop.of_key})
            self._wanted.clear()
            self._queue.clear()
            self._aside.clear()
            self._stop = None

    def _forget(self, keys: Collection[str]) -> None:
        self._queue = deque(job for job in self._queue if job.key not in keys)
        for key in keys:
            del self._wanted[key]

    async def _answer(self, job: Job) -> None:
        """Ask until there is an answer, or no hope for one; write down which."""
        name = f"{job.key}:{self._session}"
        cost = {"step": job.step, "tokens": job.worst, "price": self._terms.price}
        try:
            entry = await self._tried(job, name, cost)
            if entry is None:
                self._journal.add({f"ended:{name}": {}})
                self._ledger.settle(job.key, 0, 0)
                return
            entry = {**cost, "session": self._session, **entry}
            self._journal.add({f"request:{job.key}": entry})
            self._ledger.settle(job.key, *entry["tokens"])
            self._hand_on(job.key, entry)
            self._settle_aside()
        except EspalierError as error:  # the journal cannot be written
            self._stop = Trouble("fatal", str(error))

    async def _tried(self, job: Job, name: str, cost: dict[str, Any]) -> dict[str, Any] | None:
        """Return what the journal is to hold of a request; None where it was not answered."""
        clock = asyncio.get_running_loop().time
        body, said = dict(job.body), list[str]()
        for why in self._adaptions:
            body = adapted(body, why) or body
        began, tries, unsure, vain = 0.0, 0, 0, 0
        while True:
            await self._until(lambda: self._open_from)
            if self._closed or self._stop is not None:
                return None
            if not tries:
                began = clock()
                self._journal.add({f"sent:{name}": cost})
            tries += 1
            found = await self._once(body)
            match found:
                case Reply():
                    self._learn(said)
                    return _made(found, job, tries)
                case Trouble("refused") if other := adapted(body, found.why):
                    body = other
                    said.append(found.why)
                case Trouble("refused"):
                    return self._put_aside(job.key, {**cost, **_refused(found, tries)}, found)
                case Trouble("fatal"):
                    return self._end(found)
                case _:
                    vain += not (found.busy or found.away)
                    if found.kind == "unsure":
                        unsure += 1
                        self._journal.add({f"lost:{name}:{tries}": {**cost, "why": found.why}})
                        self._ledger.lose(*job.worst)
                    if vain >= MANY and (self._last_answer or 0.0) > began:  # others are answered
                        own = replace(found, own=True)
                        return self._put_aside(job.key, {**cost, **_refused(found, tries)}, own)
                    if unsure >= MANY or self._too_long(found, began):
                        return self._end(found, tries)
                    await self._wait(found, tries)

    def _learn(self, said: Sequence[str]) -> None:
        """Note that there was an answer, and what the server had said that it does not know."""
        self._last_answer = asyncio.get_running_loop().time()
        self._width = min(self._width + 1, self._terms.concurrency)
        self._adaptions += [why for why in said if why not in self._adaptions]

    def _too_long(self, trouble: Trouble, began: float) -> bool:
        """Say whether a request has waited for long enough, or would have once the server wants it back."""
        waited = asyncio.get_running_loop().time() - max(began, self._last_answer or 0.0)
        # Where nothing was ever answered and nobody is there, it may be a wrong address.
        most = AWAY if trouble.away and not self._last_answer else math.inf
        return waited + (trouble.wait or 0) > min(most, self._terms.patience)

    def _put_aside(self, key: str, entry: dict[str, Any], trouble: Trouble) -> None:
        """Keep a refusal until another request is answered: it may be of how all are asked.

        Only then it is written down as the prompt's own, and never asked again.
        """
        self._aside[key] = {**entry, "session": self._session}
        if trouble.own and self._last_answer is not None:
            self._settle_aside()
        elif len(self._aside) >= MANY:
            self._end(replace(trouble, kind="fatal"))

    def _settle_aside(self) -> None:
        """Write down what was refused, and hand it on. Raises RunError."""
        if self._aside:
            self._journal.add({f"request:{key}": entry for key, entry in self._aside.items()})
        for key, entry in self._aside.items():
            self._hand_on(key, entry)
        self._aside = {}

    async def _once(self, body: dict[str, Any]) -> Reply | Trouble:
        try:
            async with asyncio.timeout(LONGER * self._terms.timeout):
                said = await self._client.post(f"{self._terms.url}/chat/completions", json=body)
        except TimeoutError:
            return Trouble("unsure", f"no whole answer came within {LONGER * self._terms.timeout:g} s")
        except httpx2.TimeoutException as error:
            away = isinstance(error, NEVER_SENT)
            kind = "again" if away else "unsure"
            return Trouble(kind, f"no answer came within {self._terms.timeout:g} s", away=away)
        except httpx2.ConnectError as error:
            return Trouble("again", f"the server cannot be reached: {error}".rstrip(": "), away=True)
        except httpx2.TooManyRedirects:
            return Trouble("fatal", "the server leads from one address to the next, without end")
        except httpx2.HTTPError as error:
            return Trouble("unsure", f"the server broke off: {error}")
        if said.is_success:
            return read_reply(said.content.decode(errors="replace"))
        found = read_status(said.status_code, said.text, said.headers)
        led = f" (at {said.url}, where it leads)" if said.history else ""
        # A server may say the key again that it did not like.
        return replace(found, why=found.why.replace(self._terms.secret or "\0", "…") + led)

    def _end(self, trouble: Trouble, tries: int = 0) -> None:
        """Let nothing more be sent, for this reason."""
        after = f"after {counted(tries, 'try', 'tries')}: " if tries else ""
        asks = f"; it asks to wait {spelt(trouble.wait)}" if trouble.wait else ""
        why = f"{after}{trouble.why.rstrip('.')}{asks}."
        self._stop = self._stop or replace(trouble, why=why[0].upper() + why[1:])

    async def _wait(self, trouble: Trouble, tries: int) -> None:
        """Wait as long as the server asks, all requests together; or longer with each try, this one."""
        now = asyncio.get_running_loop().time()
        if trouble.busy:
            self._width = max(1.0, self._width / 2)
        if not trouble.wait:
            until = now + min(FIRST * 2 ** (tries - 1), LONGEST) * random.uniform(0.5, 1.5)
        else:
            self._open_from = max(self._open_from, now + trouble.wait)
            until = self._open_from + random.uniform(0, 0.1 * trouble.wait)
        await self._until(lambda: until)

    async def _until(self, moment: Callable[[], float]) -> None:
        """Wait until a moment, which may be put off meanwhile, or until nothing more is to be sent."""
        clock = asyncio.get_running_loop().time
        while (left := moment() - clock()) > 0 and not self._closed and self._stop is None:
            await asyncio.sleep(min(left, 0.1))


def _made(reply: Reply, job: Job, tries: int) -> dict[str, Any]:
    fields = {"text": reply.text, "finish": reply.finish, "model": reply.model, "why": reply.why}
    tokens = reply.tokens or job.worst
    return {**fields, "tokens": tokens, "estimated": reply.tokens is None, "tries": tries}


def _refused(trouble: Trouble, tries: int) -> dict[str, Any]:
    """Return the entry of a prompt that the server does not answer: asked again it would say the same."""
    none = {"text": "", "finish": "error", "model": "", "tokens": (0, 0), "estimated": False}
    return {**none, "tries": tries, "why": trouble.why}


def _teller(pipe: int) -> Callable[[dict[str, Any]], None]:
    """Return what writes lines to a pipe in a thread: who does not read must not keep answers waiting."""
    lines: SimpleQueue[dict[str, Any]] = SimpleQueue()

    def write() -> None:
        # Nobody may be there any more; closing tells it again where something is left to be written.
        with suppress(OSError), os.fdopen(pipe, "w", encoding="utf-8") as file:
            while True:
                file.write(json.dumps(lines.get()) + "\n")
                file.flush()

    threading.Thread(target=write, daemon=True).start()
    return lines.put


async def _serve(orders: int, answers: int) -> None:
    reader = asyncio.StreamReader(limit=1 << 30)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(orders, "rb"))
    terms = await reader.readline()
    if not terms.endswith(b"\n"):
        return  # it was killed before it said anything
    courier = Courier(Terms(**json.loads(terms)), _teller(answers))

    async def listen() -> None:
        while line := await reader.readline():
            if line.endswith(b"\n"):  # the last one of a killed process may be torn
                courier.take(json.loads(line))
        courier.close()

    await asyncio.gather(listen(), courier.work())


def main() -> NoReturn:
    """Serve standard input and output."""
    asyncio.run(_serve(0, 1))
    os._exit(0)
