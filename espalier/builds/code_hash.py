"""What tells code from its earlier versions, so that what it made is known to be old.

What a function does is decided by its file and by all that this imports in turn, and by no other: so the hash
is of these, found by reading the files and not by running them. It sees, beside import statements wherever
they stand, a module that is named in a text (a process of the sandbox), the modules of a registry that is
asked for more than to register, and data files that are named as they lie beside the code. What is imported
for types alone decides nothing.
"""

from __future__ import annotations

import ast
from collections import Counter
from dataclasses import dataclass
from functools import cache
from inspect import getsourcefile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from espalier.core.files import content_hash, file_sha256
from espalier.core.run import version_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

PACKAGE = Path(__file__).resolve().parent.parent
LONGEST = 60  # characters of a text that may name a file


def code_hash(code: Callable[..., Any] | str) -> str:
    """Return the hash of a function's file, or of a module by its name, and of all files that this uses."""
    found = f"{PACKAGE.parent / code.replace('.', '/')}.py" if isinstance(code, str) else getsourcefile(code)
    file = Path(found).resolve() if found else PACKAGE
    if not file.is_file():
        return ""
    used = content_hash([[one.name, file_sha256(one)] for one in files_used(file)])
    return f"{version_of('espalier-lm')} {used}" if PACKAGE in file.parents else used


def files_used(file: Path) -> list[Path]:
    """Return a file of code and the files that it uses in turn: of this package, or beside it."""
    seen: dict[Path, None] = {}
    left = [file]
    while left:
        one = left.pop()
        if one not in seen:
            seen[one] = None
            left += _used(one) if one.suffix == ".py" else []
    return sorted(seen)


@dataclass(frozen=True)
class _Mentions:
    """What stands in a file of code.

    Attributes:
        modules: names that may be modules: imported, or in a text.
        texts: all texts.
        asked: names that are used otherwise than to register something, by where they are imported from.
        registries: the texts in a registry's making, by its name.
    """

    modules: frozenset[str]
    texts: frozenset[str]
    asked: Mapping[str, str]
    registries: Mapping[str, frozenset[str]]


def _mentions(file: Path) -> _Mentions:
    return _read(file, file.stat().st_mtime_ns)


@cache
def _read(file: Path, _: int) -> _Mentions:
    nodes = [*_run(ast.parse(file.read_bytes()))]
    uses = Counter(node.id for node in nodes if isinstance(node, ast.Name))
    modules: set[str] = set()
    texts: Counter[str] = Counter()
    homes: dict[str, str] = {}
    registries: dict[str, frozenset[str]] = {}
    for node in nodes:
        match node:
            case ast.Import():
                modules |= {alias.name for alias in node.names}
            case ast.ImportFrom():
                home = "." * node.level + (node.module or "")
                modules |= {home, *(f"{home}.{alias.name}" for alias in node.names)}
                homes |= {alias.asname or alias.name: home for alias in node.names}
            case ast.Attribute(value=ast.Name(id=name), attr="register"):
                uses[name] -= 1
            case ast.AnnAssign(
                target=ast.Name(id=name), value=ast.Call(func=ast.Name(id="Registry")) as made
            ):
                registries[name] = frozenset(_texts(made))
                texts.subtract(_texts(made))
                uses[name] -= 1
            case ast.Constant(value=str(text)):
                texts[text] += 1
            case _:
                pass
    said = frozenset(text for text, count in texts.items() if count > 0)
    asked = {name: homes.get(name, "") for name, count in uses.items() if count > 0}
    return _Mentions(frozenset(modules | said), said, asked, registries)


def _run(tree: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes of a tree that are run, without what is for types alone."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            continue
        yield node
        yield from _run(node)


def _texts(tree: ast.AST) -> list[str]:
    nodes = (node for node in ast.walk(tree) if isinstance(node, ast.Constant))
    return [node.value for node in nodes if isinstance(node.value, str)]


def _used(file: Path) -> list[Path]:
    """Return the files that a file of code uses itself; those of this package stay while it runs."""
    return _own(file, file.stat().st_mtime_ns) if PACKAGE in file.parents else _found(file)


@cache
def _own(file: Path, _: int) -> list[Path]:
    return _found(file)


def _found(file: Path) -> list[Path]:
    mentions = _mentions(file)
    modules = set(mentions.modules)
    for name, home in mentions.asked.items():
        where = _module(home, file) if home else file
        if where is not None:
            modules |= _mentions(where).registries.get(name, frozenset())
    texts = [text for text in mentions.texts if len(text) < LONGEST and text.replace(".", "").isidentifier()]
    beside = [file.with_suffix(text) if text[0] == "." else file.parent / text for text in texts]
    data = [one for place in beside for one in ([place] if place.suffix else place.glob("*"))]
    code = [found for name in modules if (found := _module(name, file)) is not None]
    return [*code, *(one for one in data if one.suffix != ".pyc" and one.is_file())]


def _module(name: str, by: Path) -> Path | None:
    """Return the file of a module as a file of code names it; None where it is neither ours nor beside it."""
    plain = name.lstrip(".")
    if not plain.replace(".", "").isidentifier():
        return None
    if plain == name:
        ours = plain.split(".", 1)[0] == PACKAGE.name
        roots = [PACKAGE.parent] if ours else _roots(by) if PACKAGE not in by.parents else []
    else:
        roots = [by.parents[len(name) - len(plain) - 1]]
    places = (root / plain.replace(".", "/") for root in roots)
    ends = (file for place in places for file in (place.with_suffix(".py"), place / "__init__.py"))
    return next((file for file in ends if file.is_file()), None)


def _roots(file: Path) -> list[Path]:
    """Return the folders from which a file that is not ours may name what lies beside it."""
    roots = [file.parent]
    while (roots[-1] / "__init__.py").is_file():
        roots.append(roots[-1].parent)
    return roots
