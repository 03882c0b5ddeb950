"""Code from outside the package that a recipe has named, and what is said where it raises.

What `kind = "my_module:function"` names is a user's own, and so is an error that comes out of it: the command
line tells it in a sentence, as others that a user can mend. From Python it keeps its traceback.
"""

from __future__ import annotations

import traceback
from collections import defaultdict
from pathlib import Path

_NAMED: defaultdict[str, set[str]] = defaultdict(set)  # the functions that were named, by their module


def note(module: str, function: str) -> None:
    """Take down that a recipe has named a function of a module."""
    _NAMED[module].add(function)


def told(error: BaseException) -> str:
    """Return an error that came out of such code in a sentence, with the place; '' for any other error."""
    ours = [
        (frame, line)
        for frame, line in traceback.walk_tb(error.__traceback__)
        if frame.f_globals.get("__name__") in _NAMED
    ]
    if not ours:
        return ""
    frame, line = ours[-1]
    module, file = str(frame.f_globals["__name__"]), Path(frame.f_code.co_filename).name
    within = {one.f_code.co_qualname.split(".")[0] for one, _ in ours}
    called = sorted(within & _NAMED[module]) or sorted(_NAMED[module])
    said = str(error).strip().split("\n", 1)[0].rstrip(".")
    reason = f"{type(error).__name__}: {said}" if said else type(error).__name__
    where = f"{file}, line {line}, in {frame.f_code.co_name}"
    return f"'{module}:{called[0]}' has failed: {reason} ({where})."
