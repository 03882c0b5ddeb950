"""Streams that are closed, full, cut off or of a small encoding: an exit status and at most a sentence."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

ESPALIER = f"{sys.executable} -W error -m espalier"
RECIPES = f"{ESPALIER} recipes"
# Longer than what a pipe holds, so that its writer meets the reader's end while it writes.
LONG = "import sys, typer; from espalier.cli.main import app, main; app.command('long')({}); main()"
BY_TYPER = LONG.format("lambda: [typer.echo('x' * 999) for _ in range(999)] and None")
BY_RICH = LONG.format("lambda: [__import__('rich').print('x' * 999) for _ in range(999)] and None")


def shell(line: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a line of bash whose status is that of the first command to fail."""
    command = ["bash", "-o", "pipefail", "-c", line]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, **environment}
    )


@pytest.mark.parametrize(
    ("command", "buffered"),
    [(RECIPES, ""), (RECIPES, "1"), (f'{sys.executable} -c "{BY_RICH}" long', "")],
    ids=["typer", "unbuffered", "rich"],
)
def test_a_full_disk_is_said(command: str, buffered: str) -> None:
    done = shell(f"{command} > /dev/full", PYTHONUNBUFFERED=buffered)
    assert (done.returncode, done.stderr) == (
        2,
        "Error: The output cannot be written: No space left on device.\n",
    )


@pytest.mark.parametrize(
    ("program", "buffered"),
    [(BY_TYPER, ""), (BY_TYPER, "1"), (BY_RICH, "")],
    ids=["typer", "unbuffered", "rich"],
)
def test_a_reader_that_has_seen_enough_ends_it_in_silence(program: str, buffered: str) -> None:
    done = shell(f'{sys.executable} -W error -c "{program}" long | head -1', PYTHONUNBUFFERED=buffered)
    assert (done.returncode, done.stderr) == (141, "")
    assert done.stdout.strip("\n") == "x" * len(done.stdout.strip("\n"))


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (f"{RECIPES} >&-", 0),
        (f"{RECIPES} >&- 2>&- <&-", 0),
        (f"{ESPALIER} run nothing 2>&-", 2),
        (f"{ESPALIER} run nothing 2> /dev/full", 2),
        (f"{ESPALIER} run nothing 2>&1 >&- | true", 2),
    ],
)
def test_closed_streams_end_it_as_open_ones_do(line: str, status: int) -> None:
    done = shell(line)
    assert (done.returncode, done.stdout, done.stderr) == (status, "", "")


def test_no_file_takes_the_place_of_a_closed_stream() -> None:
    opened = "lambda: open('/dev/null').fileno() > 2 or exit(9)"
    done = shell(f'{sys.executable} -c "{LONG.format(opened)}" long <&- >&- 2>&-')
    assert done.returncode == 0


@pytest.mark.parametrize(("encoding", "shown"), [("latin-1", "\\u8a66\\u9a13"), ("gbk", "試験")])
def test_what_an_encoding_lacks_is_escaped(encoding: str, shown: str) -> None:
    program = LONG.format("lambda: __import__('rich').print('試験')")
    for command in (f"{ESPALIER} run 試験 2>&1", f'{sys.executable} -c "{program}" long'):
        done = subprocess.run(
            ["bash", "-c", command], stdout=-1, check=False, env={**os.environ, "PYTHONIOENCODING": encoding}
        )
        assert shown in done.stdout.decode(encoding)


def test_the_version_is_told_with_what_it_runs_on() -> None:
    done = shell(f"{ESPALIER} --version")
    assert re.fullmatch(r"espalier \S+\ntorch \S+, transformers \S+, Python \S+\n", done.stdout)
