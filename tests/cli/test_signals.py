"""What is under way when a signal comes is finished, or left, in bounded time; in processes of their own."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

PROGRAM = """
import hashlib, os, signal, sys, time
from espalier.cli.progress import beating
from espalier.runs import signals, stopping
from espalier.runs.signals import stoppable
from espalier.runs.stopping import Stopped

long = sys.argv[1] == "stuck in a long step"
stopping.FIRST_STEP, signals.AT_ONCE, signals.UNWINDING = 30.0 if long else 0.3, 0.2, 0.3
this = stopping.stopping

def stuck():
    print("stuck", flush=True)
    hashlib.pbkdf2_hmac("sha256", b"", b"", 2**28)  # one instruction, as Python sees it

def patient(work):
    with this.after_step():
        work()

def step():
    print("under way", flush=True)
    end = time.monotonic() + 20
    while not this.asked and time.monotonic() < end:
        time.sleep(0.01)
    print("finished", this.asked, flush=True)

if sys.argv[1] == "ignored":
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
try:
    with beating("this"), stoppable():
        {"step": lambda: patient(step), "stuck": stuck, "stuck in a step": lambda: patient(stuck),
         "stuck in a long step": lambda: patient(stuck),
         "ignored": step, "anything": step}[sys.argv[1]]()
except Stopped as stopped:
    print("stopped by", stopped)
    sys.exit(stopped.status)
assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
"""


@contextmanager
def started(kind: str) -> Iterator[subprocess.Popen[str]]:
    """Start the program above, and wait until it is where the signal shall find it."""
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, kind],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout
        assert process.stdout.readline() in ("stuck\n", "under way\n")
        time.sleep(0.2)  # from the line to the long instruction behind it
        yield process
    finally:  # one that is stuck after all would be so for minutes, on a processor of its own
        process.kill()
        process.communicate()


@pytest.mark.parametrize(
    ("kind", "number", "status", "printed"),
    [
        ("step", signal.SIGTERM, 143, "finished 15\nstopped by SIGTERM\n"),
        ("anything", signal.SIGTERM, 143, "stopped by SIGTERM\n"),
        ("anything", signal.SIGHUP, 129, "stopped by SIGHUP\n"),
        ("stuck", signal.SIGTERM, 143, ""),
        ("stuck in a step", signal.SIGHUP, 129, ""),
    ],
)
def test_a_signal_is_waited_for_or_ends_it(kind: str, number: int, status: int, printed: str):
    with started(kind) as process:
        process.send_signal(number)
        out, err = process.communicate(timeout=10)
    assert (process.returncode, out) == (status, printed), err
    assert "Traceback" not in err
    assert ("after this step" in err) == (kind == "step")


def test_a_second_signal_does_not_wait():
    with started("stuck in a long step") as process:
        for _ in range(2):
            process.send_signal(signal.SIGTERM)
            time.sleep(0.05)
        process.communicate(timeout=10)
    assert process.returncode == 143


def test_what_nohup_ignores_stays_ignored():
    with started("ignored") as process:
        process.send_signal(signal.SIGHUP)
        time.sleep(0.1)
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert process.communicate(timeout=10)[0] == "stopped by SIGTERM\n"
