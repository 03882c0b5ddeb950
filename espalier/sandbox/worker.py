"""A process of its own for what may never end or may do harm, asked over pipes and killed when it is late.

The parts of a question are sent one behind another, each with its length, so that whoever reads one has not
read the next. The reply is one line of JSON. The process leads a group and a session of its own: killing the
group ends all that it started there.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

ROOT = Path(__file__).resolve().parents[2]
LONGEST = 1 << 20  # bytes of a reply
# Nothing of the environment goes along: no keys, no proxies.
ENVIRONMENT = {
    "PATH": "/usr/bin:/bin",
    "LC_ALL": "C.UTF-8",
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
}


class Worker:
    """A process that runs `main()` of a module, and answers questions until it is closed.

    It is started with the first question, and anew after one that it did not answer.
    """

    def __init__(self, module: str) -> None:
        # This package is found first, and stands before no other once it is loaded.
        first = f"import sys; sys.path.insert(0, {str(ROOT)!r})"
        self._command = f"{first}; from {module} import main; del sys.path[0]; main()"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def ask(self, parts: Sequence[object], seconds: float) -> dict[str, Any] | None:
        """Return the reply; None where there is none in time, and the process is ended."""
        process = self._process or self._start()
        end = time.monotonic() + seconds
        data = b"".join(b"%d\n%s" % (len(text), text) for text in (json.dumps(p).encode() for p in parts))
        reply = _exchange(process, data, end)
        if reply is None:
            self.close()
        return reply

    def close(self) -> None:
        """End the process and all of its group."""
        process, self._process = self._process, None
        if process is None:
            return
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe:
                pipe.close()

    def _start(self) -> subprocess.Popen[bytes]:
        # Unbuffered, so that nothing is left to write when a pipe is closed.
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-c", self._command],
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=ENVIRONMENT,
            start_new_session=True,
        )
        for pipe in (self._process.stdin, self._process.stdout):
            os.set_blocking(cast("Any", pipe).fileno(), False)
        return self._process


def _exchange(process: subprocess.Popen[bytes], data: bytes, end: float) -> dict[str, Any] | None:
    """Write to a process and read its line, whichever it is ready for."""
    into, out = cast("Any", process.stdin).fileno(), cast("Any", process.stdout).fileno()
    reply = b""
    with selectors.DefaultSelector() as ready:
        ready.register(out, selectors.EVENT_READ)
        ready.register(into, selectors.EVENT_WRITE)
        while (left := end - time.monotonic()) > 0:
            for key, _ in ready.select(left):
                try:
                    if key.fd == into:
                        data = data[os.write(into, data[:65536]) :]
                        if not data:
                            ready.unregister(into)
                        continue
                    part = os.read(out, 65536)
                except BrokenPipeError:
                    ready.unregister(into)
                    continue
                except BlockingIOError:
                    continue
                reply += part
                if not part or len(reply) > LONGEST:
                    return None
                if reply.endswith(b"\n"):
                    return _object(reply)
    return None


def _object(line: bytes) -> dict[str, Any] | None:
    try:
        value: object = json.loads(line)
    except ValueError:
        return None
    return cast("dict[str, Any]", value) if isinstance(value, dict) else None


def read_part(descriptor: int = 0) -> Any:
    """Return the next part of a question: for the process that is asked. Raises EOFError at the end."""
    head = b""
    while not head.endswith(b"\n"):
        head += _some(descriptor, 1)
    size = int(head)
    data = bytearray()
    while len(data) < size:
        data += _some(descriptor, min(size - len(data), 1 << 20))
    return json.loads(bytes(data))


def _some(descriptor: int, size: int) -> bytes:
    part = os.read(descriptor, size)
    if not part:
        raise EOFError
    return part


def reply(value: dict[str, Any], descriptor: int = 1) -> None:
    """Write the reply: for the process that is asked."""
    data = json.dumps(value).encode() + b"\n"
    while data:
        data = data[os.write(descriptor, data) :]
