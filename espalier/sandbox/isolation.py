"""What a process of somebody else's code is kept from, by what the system offers.

| what | how | where |
|---|---|---|
| processor time, size of a file, core dumps | resource limits | Linux, macOS |
| memory | a limit of addresses | Linux |
| processes and threads of its own | a limit of processes, which root does not have | Linux, macOS |
| the network, other processes' signals | namespaces of its own | Linux, where they may be made |
| writing outside its folder, also deleting | all file systems read-only, the folder in memory | the same |
| writing, processes, sockets, foreign functions, once more | an audit hook of Python | everywhere |

Root becomes another user first, if that user can read what Python imports. Where not, a process may start
others by ways that no hook sees; they have no powers, and end with their namespace.

Where namespaces may not be made (some containers, macOS), the audit hook is all that stands before files and
network: it stops what Python does by itself, and not one who knows its inside. Reading files is not limited,
but for /proc: nothing that is read can leave, except as the answer to a test.
"""

from __future__ import annotations

import ctypes
import os
import resource
import sys
from contextlib import suppress
from typing import Any

NOBODY = 65534
FILE_BYTES = 16 << 20
NEWNS, NEWIPC, NEWUSER, NEWPID, NEWNET = 0x20000, 0x8000000, 0x10000000, 0x20000000, 0x40000000
PRIVATE = 0x4000 | 0x40000  # MS_REC, MS_PRIVATE
MOUNT_SETATTR, HERE, RECURSIVE, READ_ONLY = 442, -100, 0x8000, 1
DIES_WITH_PARENT, DUMPABLE, BOUND, NO_NEW_PRIVILEGES = 1, 4, 24, 38  # of prctl
CAPABILITIES, POWERS = 0x20080522, 64  # of capset
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
# Audit events that are refused, by how they begin.
REFUSED = (
    *("os.fork", "os.exec", "os.posix_spawn", "os.spawn", "os.system", "os.kill", "subprocess.", "pty."),
    *(
        "socket.",
        "ctypes.",
        "resource.setrlimit",
        "resource.prlimit",
        "signal.pthread_kill",
        "sqlite3.connect",
    ),
    *("os.chown", "os.setxattr", "os.removexattr", "syslog.", "webbrowser.", "sys._debugmalloc"),
)
UNKNOWN = ("ctypes", "_ctypes", "_posixsubprocess")  # modules
# Audit events of what is written: how many of their first arguments are paths.
PATHS = {
    **dict.fromkeys(("os.remove", "os.rmdir", "os.mkdir", "os.truncate", "os.chmod", "os.utime"), 1),
    **dict.fromkeys(("os.rename", "os.link", "os.symlink", "shutil.move"), 2),
}


def limit(seconds: int, memory: int) -> None:
    """Limit this process and those that it starts: processor seconds, and bytes of memory."""
    for kind, most in (
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_FSIZE, FILE_BYTES),
        (resource.RLIMIT_CORE, 0),
    ):
        _lower(kind, most)


def alone(folder: str) -> bool:
    """Put this process into namespaces of its own, with nothing to write but a folder in memory.

    The next process that it starts is the first of them, and all end with that one. Returns whether it could.
    """
    if sys.platform != "linux":
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    user, group = os.getuid(), os.getgid()
    flags = NEWNS | NEWIPC | NEWPID | NEWNET
    if libc.unshare(flags if user == 0 else flags | NEWUSER):
        return False
    try:
        if user:
            for name, text in (
                ("setgroups", "deny"),
                ("uid_map", f"0 {user} 1"),
                ("gid_map", f"0 {group} 1"),
            ):
                with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
                    file.write(text)
    except OSError:
        return False
    read_only = (ctypes.c_uint64 * 4)(READ_ONLY, 0, 0, 0)
    steps = (
        lambda: libc.mount(None, b"/", None, ctypes.c_ulong(PRIVATE), None),
        lambda: libc.syscall(MOUNT_SETATTR, HERE, b"/", RECURSIVE, ctypes.byref(read_only), 32),
        lambda: libc.mount(b"tmpfs", folder.encode(), b"tmpfs", ctypes.c_ulong(0), b"size=16m,mode=777"),
    )
    return all(step() == 0 for step in steps)


def hidden(*, dies_with_parent: bool) -> None:
    """Keep this process's memory from others of its user, and let it end with the one that started it."""
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        libc.prctl(DUMPABLE, 0)
        if dies_with_parent:
            libc.prctl(DIES_WITH_PARENT, 9)


def without_processes() -> None:
    """Let this process start no other, and no thread. Root, who is not limited, becomes nobody first."""
    if os.getuid() == 0 and _readable_for_nobody():
        with suppress(OSError):  # in a namespace of one user
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
    _lower(resource.RLIMIT_NPROC, 0)
    if sys.platform == "linux":
        _without_powers()


def _without_powers() -> None:
    """Give up what root may do in a namespace, such as to let a file system be written again."""
    libc = ctypes.CDLL(None)
    libc.prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    for power in range(POWERS):
        libc.prctl(BOUND, power, 0, 0, 0)
    header, none = (ctypes.c_uint32 * 2)(CAPABILITIES, 0), (ctypes.c_uint32 * 6)()
    libc.capset(ctypes.byref(header), ctypes.byref(none))


def _readable_for_nobody() -> bool:
    """Tell whether another user could still import what Python has."""
    path = os.path.dirname(os.path.realpath(os.__file__))
    while path != "/":
        if not os.stat(path).st_mode & 0o001:
            return False
        path = os.path.dirname(path)
    return True


def guard(folder: str) -> None:
    """Refuse, from now on and for ever in this process, what Python is asked to do beyond a folder."""
    inside = os.path.realpath(folder)
    resolve = os.path.realpath

    def within(path: Any) -> bool:
        if isinstance(path, int):
            return True  # a file that is open
        place = resolve(os.fsdecode(path))
        return place == inside or place.startswith(inside + "/")

    def opened(path: Any, _: object, flags: int) -> None:
        if isinstance(path, int):
            return
        if flags & WRITES and path != os.devnull and not within(path):
            raise PermissionError(f"only its own folder can be written: {path}")
        if resolve(os.fsdecode(path)).startswith("/proc"):
            raise PermissionError("processes cannot be looked at")

    def hook(event: str, args: tuple[Any, ...]) -> None:
        if event == "open":
            opened(*args)
        elif event == "import" and str(args[0]).split(".")[0] in UNKNOWN:
            raise ImportError(f"{args[0]} is not there")
        elif event.startswith(REFUSED) or not all(within(path) for path in args[: PATHS.get(event, 0)]):
            raise PermissionError(f"{event} is not allowed")

    sys.addaudithook(hook)


def _lower(kind: int, most: int) -> None:
    _, hard = resource.getrlimit(kind)
    most = most if hard == resource.RLIM_INFINITY else min(most, hard)
    with suppress(ValueError, OSError):  # macOS refuses a limit of addresses
        resource.setrlimit(kind, (most, most))
