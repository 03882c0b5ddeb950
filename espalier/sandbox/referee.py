"""Code against its tests, in two processes: one has the code, and one the tests, which the code never sees.

The code can leave, replace what `assert` and `==` mean, read all that it finds and write on every descriptor:
it can say what its functions return, and nothing else. That is compared where the tests are.

The question has two parts: {"code", "setup", "folder", "seconds", "memory"}, and, once the code's process has
been parted from this one, {"tests", "entry"}. The reply is {"value", "why", "alone"}.
"""

from __future__ import annotations

import ast
import os
import socket
import sys
from types import ModuleType
from typing import Any, cast

from espalier.sandbox import isolation
from espalier.sandbox.remote import Link, Lost, Remote, raised
from espalier.sandbox.worker import read_part, reply

FAILED, UNKNOWN = 0.0, None
NAMES = 2000  # of a module, that are told


def main() -> None:
    """Answer one question and end."""
    job = read_part()
    isolation.limit(job["seconds"], job["memory"])
    alone = isolation.alone(job["folder"])
    # The first process in the new namespaces; with it all others of them end.
    if alone and (child := os.fork()):
        os.waitpid(child, 0)
        return
    isolation.hidden(dies_with_parent=alone)
    ours, theirs = socket.socketpair()
    if not (code := os.fork()):
        ours.close()
        _candidate(theirs.detach(), job)
        os._exit(0)
    theirs.close()
    task = read_part()
    descriptor = ours.detach()
    try:
        value, why = _judged(Link(descriptor, descriptor, open=False), job, task)
    except Lost as error:
        value, why = FAILED, f"the code ended its process, or {error}"
    except RecursionError:
        value, why = FAILED, "the code calls itself too deeply"
    reply({"value": value, "why": why[:500], "alone": alone})
    os.kill(code, 9)


def _candidate(descriptor: int, job: dict[str, Any]) -> None:
    """Run the code, tell its names, and do what the tests ask. Nothing of the tests is in this process."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nothing, standard)
    isolation.hidden(dies_with_parent=True)
    os.chdir(job["folder"])
    link = Link(descriptor, descriptor, open=True)
    module = ModuleType("solution")
    sys.modules["solution"] = module
    program = compile(f"{job['setup']}\n", "setup", "exec") if job["setup"] else None
    isolation.without_processes()
    isolation.guard(job["folder"])
    try:
        if program:
            exec(program, vars(module))
        exec(compile(job["code"], "solution.py", "exec", dont_inherit=True), vars(module))
    except BaseException as error:
        link.send(raised(error, link))
        return
    link.send({"names": _told(vars(module), link)})
    while True:
        link.serve(link.receive())


def _told(names: dict[str, Any], link: Link) -> dict[str, Any]:
    """Return what the code defined, by name: exceptions by what they are, and anything else as it is sent."""
    told: dict[str, Any] = {}
    for name, value in list(names.items())[:NAMES]:
        if name.startswith("__") or isinstance(value, ModuleType):
            continue
        if isinstance(value, type) and issubclass(value, BaseException):
            told[name] = {"error": [kind.__name__ for kind in value.__mro__]}
        else:
            told[name] = {"value": link.packed(cast("object", value))}
    return told


def _judged(link: Link, job: dict[str, Any], task: dict[str, Any]) -> tuple[float | None, str]:
    """Return what the tests say of the code: 1, 0, or None where they say nothing."""
    ran: list[int] = []
    try:
        programs = [compile(_counting(text), "tests", "exec") for text in task["tests"]]
        setup = compile(job["setup"], "setup", "exec")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return UNKNOWN, f"the tests cannot be read: {error}"
    begun = link.receive()
    if "names" not in begun:
        said = ", ".join(map(str, begun.get("with", [])))
        return FAILED, f"the code raises {begun.get('raised')}: {said}"
    names: dict[str, Any] = {"__name__": "tests"}
    try:
        exec(setup, names)
    except Exception as error:
        return UNKNOWN, f"the setup raises {type(error).__name__}: {error}"
    for name, told in begun["names"].items():
        kinds = told.get("error")
        names[name] = link.error_class(name, kinds) if kinds else link.unpacked(told["value"])
    names["__asserted__"] = lambda: ran.append(1)
    entry = task["entry"]
    if entry:
        if entry not in names:
            return FAILED, f"the code has no '{entry}'"
        names["candidate"] = names[entry]
    for program, text in zip(programs, task["tests"], strict=True):
        why = _failure(program, names, entry)
        if why:
            return FAILED, f"{why}: {' '.join(text.split())[:200]}"
    return (1.0, "") if ran else (UNKNOWN, "the tests assert nothing")


def _failure(program: Any, names: dict[str, Any], entry: str) -> str:
    """Run a test, and the functions that it defines as one; return why it fails, or ''."""
    before = dict(names)
    try:
        exec(program, names)
        new = {n: v for n, v in names.items() if before.get(n) is not v and not isinstance(v, Remote)}
        for name, value in new.items():
            if name == "check" and entry and callable(value):
                value(names[entry])
            elif name.startswith("test") and callable(value):
                value()
    except (Lost, RecursionError):
        raise
    except AssertionError as error:
        return f"a test fails ({error})" if str(error) else "a test fails"
    except BaseException as error:
        return f"a test raises {type(error).__name__} ({error})"
    return ""


def _counting(text: str) -> ast.Module:
    """Return a program that tells of each assertion before it is made."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        for _, part in ast.iter_fields(node):
            if isinstance(part, list):
                statements = cast("list[ast.AST]", part)
                for place in reversed(
                    [n for n, item in enumerate(statements) if isinstance(item, ast.Assert)]
                ):
                    told = ast.copy_location(ast.parse("__asserted__()").body[0], statements[place])
                    statements.insert(place, told)
    return ast.fix_missing_locations(tree)
