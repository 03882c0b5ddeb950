"""A model behind an OpenAI-compatible server, as a `Generator`, and the journal of what was asked of it.

Each request is one entry of the journal, keyed by the hash of model, messages, settings and sample. What is
there is never asked again, by whatever version of this program; `replay` asks nothing at all. Who waits on
the server is a process of its own (`courier.py`), so that what is on its way when this one is killed is not
paid for in vain.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import weakref
from collections import deque
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from espalier.core.errors import GenerationError, MissingExtra, RecipeError
from espalier.core.records import Completion
from espalier.core.spending import Price, Spent, budget_of, spent
from espalier.servers.exchange import Job, askings, job_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import IO

    from espalier.core.journal import Journal
    from espalier.core.recipe import Choice
    from espalier.core.records import Example


# The same package as here, wherever it was found, and nothing from the folder that the command was given in.
START = "import sys; sys.path.insert(0, sys.argv[1]); from espalier.servers.courier import main; main()"


@dataclass(frozen=True)
class Server:
    """Where a model is served, and on what terms.

    Attributes:
        url: the server's address, with its `/v1`.
        secret: the key that it asks for; "" where it asks for none. It is written nowhere.
        price: of a million tokens, for the money that is counted.
        budget: "5 USD" or "200000 tokens", past which nothing is sent; "" for no bound.
        concurrency: most requests on their way at a time.
        timeout: seconds to wait for a byte of an answer; the whole may take twice as long.
        patience: seconds over which a request is tried again.
    """

    url: str
    secret: str = field(default="", repr=False)
    price: Price = field(default_factory=Price)
    budget: str = ""
    concurrency: int = 8
    timeout: float = 120.0
    patience: float = 600.0


@dataclass(frozen=True)
class Remote:
    """A served model; `remote_of` makes it. Used as a context, it ends its process at the end.

    Attributes:
        model: its name on the server.
        journal: where its answers are kept.
        step: under which name tokens and money are counted.
    """

    model: str
    journal: Journal
    step: str
    _line: _Line | None

    def generate(self, examples: Sequence[Example], settings: Choice) -> Iterator[Completion]:
        """Yield the completions of each example, what is in the journal first.

        Settings are `greedy` or `sample` with their parameters, and `json_schema` besides. A
        prompt that the server refuses, as its content filter may, is a completion that ended in "error".

        Raises:
            RecipeError: the settings do not fit.
            DataError: a message holds more than text.
            GenerationError: the server cannot be reached, or answers nothing; the budget is used up; or, in a
                replay, the journal does not hold all answers.
            RunError: the journal cannot be read or written.
        """
        asking = askings.build(settings.kind, settings.params, "decode")
        jobs: dict[str, Job] = {}
        wanted: dict[str, list[tuple[str, int]]] = {}
        for example in examples:
            for sample in range(asking.samples):
                job = job_of(self.model, example.prompt, asking, sample, self.step)
                jobs[job.key] = job
                wanted.setdefault(job.key, []).append((example.id, sample))
        found = self.journal.find(f"request:{key}" for key in jobs)
        missing = [job for key, job in jobs.items() if f"request:{key}" not in found]
        if missing and self._line is None:
            held = len(jobs) - len(missing)
            raise GenerationError(
                f"The journal holds {held:,} of {len(jobs):,} answers, and a replay asks nobody.",
                where=str(self.journal.path),
                hint="Ask without `replay`, or with the recipe and rows that it was made with.",
            )
        for key in jobs:
            if entry := found.get(f"request:{key}"):
                yield from _completions(key, entry, wanted[key])
        if missing and self._line is not None:
            for key, entry in self._line.ask(missing):
                yield from _completions(key, entry, wanted[key])

    def named(self, step: str) -> Remote:
        """Return the same, to be counted under another step."""
        return replace(self, step=step)

    def spent(self) -> dict[str, Spent]:
        """Return what the journal's requests have cost, by step, and "" for all. Raises RunError."""
        return spent(self.journal)

    def close(self) -> None:
        """End the process that asks, once what it has sent is answered."""
        if self._line is not None:
            self._line.close()

    def __enter__(self) -> Remote:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def remote_of(
    server: Server, model: str, journal: Journal, *, step: str = "generate", replay: bool = False
) -> Remote:
    """Return a served model as one that can be asked.

    Args:
        server: where it is.
        model: its name there.
        journal: of the run.
        step: see `Remote`; `named` changes it.
        replay: take everything from the journal, and open no connection.

    Raises:
        MissingExtra: the client is not installed.
        RecipeError: the terms cannot be.
    """
    if not _is_address(server.url):
        raise RecipeError(
            f"'{server.url}' is no address of a server.",
            where="model.server",
            hint='Write it as "http://localhost:8000/v1".',
        )
    if server.concurrency < 1:
        raise RecipeError("At least 1 request must be on its way.", where="model.concurrency")
    if not (server.timeout > 0 and server.patience >= 0):
        raise RecipeError("Timeout and patience are in seconds, above 0.", where="model.timeout")
    budget = budget_of(server.budget, server.price, "model.budget") if server.budget else None
    if replay:
        return Remote(model, journal, step, None)
    if importlib.util.find_spec("httpx2") is None:
        raise MissingExtra("Asking a server", "build")
    terms = {
        "url": server.url.rstrip("/").removesuffix("/chat/completions"),
        "secret": server.secret,
        "journal": str(journal.path.absolute()),
        "concurrency": server.concurrency,
        "timeout": server.timeout,
        "patience": server.patience,
        "price": (server.price.read, server.price.written),
        "budget": (budget.amount, budget.unit) if budget else None,
    }
    return Remote(model, journal, step, _Line(terms, server.url))


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        named = bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that cannot be
        return False
    return named and parts.scheme in ("http", "https") and not parts.query and url.split() == [url]


def _completions(
    key: str, entry: Mapping[str, Any], wanted: Sequence[tuple[str, int]]
) -> Iterator[Completion]:
    for example, sample in wanted:
        yield Completion(example, entry["text"], sample=sample, finish=entry["finish"], request=key)


class _Line:
    """The line to the process that asks, which starts with the first request."""

    def __init__(self, terms: Mapping[str, Any], where: str) -> None:
        self._terms, self._where = terms, where
        self._process: subprocess.Popen[str] | None = None
        self._batch = 0
        self._early: dict[int, deque[dict[str, Any]]] = {}  # what came for a batch while another was read

    def ask(self, jobs: Sequence[Job]) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield key and entry of each request as it is answered. Raises GenerationError, RunError."""
        self._batch += 1
        batch, left = self._batch, {job.key for job in jobs}
        self._early[batch] = deque()
        self._send({"batch": batch, "jobs": [asdict(job) for job in jobs]})
        try:
            while left:
                told = self._next(batch)
                if "error" in told:
                    left.clear()
                    advice = _advice(told["retryable"])
                    raise GenerationError(told["error"], where=self._where, of_key=told["of_key"], **advice)
                left.discard(told["key"])
                yield told["key"], told["entry"]
        finally:
            del self._early[batch]
            if left and self._process is not None:
                self._write({"drop": batch})

    def close(self) -> None:
        """Close the pipe and wait until the process has ended."""
        if self._process is not None:
            _end(self._process)
            self._process = None

    def _next(self, batch: int) -> dict[str, Any]:
        """Return the next line for a batch; what is for another one is put aside for it."""
        if self._early[batch]:
            return self._early[batch].popleft()
        while self._process is not None:
            line = _pipe(self._process.stdout).readline()
            if not line:
                break
            told = json.loads(line)
            if told["batch"] == batch:
                return told
            if told["batch"] in self._early:
                self._early[told["batch"]].append(told)
        self.close()
        raise GenerationError(
            "The process that asks the server has ended.", where=self._where, **_advice(True)
        )

    def _send(self, order: Mapping[str, Any]) -> None:
        if self._process is None:
            # In a session of its own, a signal to this one's group leaves it to finish what it has sent.
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", START, str(Path(__file__).parents[2])],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                encoding="utf-8",
                start_new_session=True,
            )
            weakref.finalize(self, _end, self._process)
            self._write(self._terms)
        self._write(order)

    def _write(self, value: Mapping[str, Any]) -> None:
        assert self._process is not None
        with suppress(OSError):  # it has ended, which the next reading tells
            pipe = _pipe(self._process.stdin)
            pipe.write(json.dumps(value) + "\n")
            pipe.flush()


def _advice(retryable: bool) -> dict[str, Any]:
    run = "Run the same command again" if retryable else "Mend that, and run the same command again"
    return {"hint": f"{run}: what is answered is not asked, or paid for, again.", "retryable": retryable}


def _pipe(stream: IO[str] | None) -> IO[str]:
    assert stream is not None
    return stream


def _end(process: subprocess.Popen[str]) -> None:
    for stream in (process.stdin, process.stdout):
        with suppress(OSError):  # it has ended with something unread
            _pipe(stream).close()
    process.wait()
