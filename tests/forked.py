"""What a process does that `tests/conftest.py` forks: it becomes `python COMMAND`, with streams of its own.

It is run by its path, with COMMAND, FOLDER, ENVIRONMENT and STREAMS (connections whose descriptors become the
standard ones, by number) among its names.
"""

from __future__ import annotations

import fcntl
import gc
import os
import runpy
import sys
import termios
import warnings


def become(command: list[str], folder: str, environment: dict[str, str], streams: dict) -> None:
    """Take streams, folder, environment and arguments, and run a module ("-m", NAME) or a file."""
    gc.freeze()  # what the process is forked with stays
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    for number, connection in streams.items():
        os.dup2(connection.fileno(), number)
        connection.close()
    if 0 in streams:  # a terminal: it becomes the session's, so that Ctrl-C is a signal
        os.setsid()
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        sys.stdin = sys.__stdin__ = os.fdopen(0, closefd=False)
    sys.stdout = sys.__stdout__ = os.fdopen(1, "w", buffering=1 if os.isatty(1) else -1, closefd=False)
    sys.stderr = sys.__stderr__ = os.fdopen(2, "w", buffering=1, errors="backslashreplace", closefd=False)
    warnings.resetwarnings()
    warnings.simplefilter("error")
    warnings.simplefilter("ignore", ResourceWarning)  # a signal may come while a file is opened
    module = command[0] == "-m"
    sys.argv = command[1:] if module else command
    sys.path[0] = "" if module else os.path.dirname(command[0])
    if module:
        sys.modules.pop(command[1], None)  # it may be among what is imported, and runs as if it were not
        runpy.run_module(command[1], run_name="__main__", alter_sys=True)
    else:
        runpy.run_path(command[0], run_name="__main__")


if __name__ == "__forked__":
    told = dict(globals())
    become(told["COMMAND"], told["FOLDER"], told["ENVIRONMENT"], told["STREAMS"])
