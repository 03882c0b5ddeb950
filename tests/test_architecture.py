"""The house rules, held by a machine: import order, sizes, and the habits that this code does without.

A rule that looks at one module is a function from a module to its offences; `RULES` is the list of them. The
rules about the whole package are tests of their own below.
"""

from __future__ import annotations

import ast
import functools
import graphlib
import io
import resource
import subprocess
import sys
import tokenize
import tomllib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from espalier.builds.recipe import load_build
from espalier.core.recipe import load_recipe, recipe_keys

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "espalier"
ORDER = [
    *("core", "tasks", "sandbox", "scorers", "evaluate", "judge", "media", "formats", "data"),
    *("filters", "templating", "generate", "building"),
    *("encode", "models", "decode", "servers", "train"),
    *("report", "comparison", "runs", "builds", "trials", "explain", "attribution"),
    *("design", "study", "claims", "serve", "cli"),
]
# A room may import from those before it; a study and a server know nothing of each other.
MAY_IMPORT = {room: set(ORDER[:place]) for place, room in enumerate(ORDER)}
MAY_IMPORT["serve"] -= {"explain", "attribution", "design", "study", "claims"}
BUILDING = ("filters", "templating", "generate", "building")
# Training knows nothing of how its rows came to be, and the report loads no model.
for room in ("encode", "models", "decode", "train"):
    MAY_IMPORT[room] -= set(BUILDING)
for room in ("report", "comparison"):
    MAY_IMPORT[room] -= {"encode", "models", "decode", "train"}
CATCH_ALL = {"util", "utils", "common", "helper", "helpers", "base", "manager", "managers", "misc"}
BASES = {"Protocol", "Generic", "NamedTuple", "BaseModel", "Section", "Choice", "Function", "Module"}
BASES |= {"TorchFunctionMode"}  # torch knows no other way to watch what a model calls
SPINE = ("core", "encode", "models", "decode", "train")
TORCH_FREE = (*ORDER[: ORDER.index("encode")], "encode/template.py", "encode/tokens.py", "encode/tree.py")


@dataclass(frozen=True)
class Module:
    """One file of the package: its dotted name, its room ('' at the top), its text and its syntax tree."""

    name: str
    room: str
    path: Path
    text: str
    tree: ast.Module

    @functools.cached_property
    def nodes(self) -> list[ast.AST]:
        """All of the tree, walked once for all rules."""
        return list(ast.walk(self.tree))

    def functions(self) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
        for node in self.nodes:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield node

    def dictated(self) -> set[str]:
        """Functions whose parameters others choose: transformers' attention interface, and torch.autograd."""
        attention = [
            ast.unparse(argument)
            for called, call in self.calls
            if called == "AttentionInterface.register"
            for argument in call.args
        ]
        classes = (node for node in self.nodes if isinstance(node, ast.ClassDef))
        autograd = [c for c in classes if any(ast.unparse(b).endswith("autograd.Function") for b in c.bases)]
        return {*attention, *(["forward", "backward"] if autograd else [])}

    @functools.cached_property
    def calls(self) -> list[tuple[str, ast.Call]]:
        """Each call with the name of what is called."""
        return [(ast.unparse(node.func), node) for node in self.nodes if isinstance(node, ast.Call)]


def _module(path: Path, text: str) -> Module:
    parts = path.relative_to(ROOT).with_suffix("").parts
    name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
    return Module(name, parts[1] if len(parts) > 2 else "", path, text, ast.parse(text))


@functools.cache
def modules() -> list[Module]:
    """The package's; not at import, as every process that collects tests would read all of it."""
    return [_module(path, path.read_text(encoding="utf-8")) for path in sorted(PACKAGE.rglob("*.py"))]


@functools.cache
def known() -> set[str]:
    """The names of the package's modules."""
    return {module.name for module in modules()}


def _imported(nodes: Iterator[ast.AST]) -> Iterator[str]:
    """Yield the modules of this package that the import statements among `nodes` name."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith("espalier"))
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("espalier"):
            inner = (f"{node.module}.{alias.name}" for alias in node.names)
            yield from (name if name in known() else str(node.module) for name in inner)


def import_order(module: Module) -> Iterator[str]:
    """A room imports from the rooms above it only, for types too; the top of the package is lazy."""
    for name in _imported(iter(module.nodes)):
        room = f"{name}.".split(".")[1]
        if module.room and room not in MAY_IMPORT[module.room] | {module.room}:
            yield f"'{module.room}' imports {name}"


def relative_imports(module: Module) -> Iterator[str]:
    """Imports are absolute, so that the rules above see them."""
    for node in module.nodes:
        if isinstance(node, ast.ImportFrom) and node.level:
            yield f"line {node.lineno} imports relatively"


def empty_init(module: Module) -> Iterator[str]:
    """The __init__.py of a room is empty."""
    if module.room and module.path.name == "__init__.py" and module.text.strip():
        yield "is not empty"


def sizes(module: Module) -> Iterator[str]:
    """A file has at most 400 lines, a function 60 and 6 positional parameters; the loop 220 and 6 ifs."""
    dictated = module.dictated()
    lines = len(module.text.splitlines())
    loop = module.name == "espalier.train.loop"
    if lines > (220 if loop else 400):
        yield f"{lines} lines"
    for function in module.functions():
        length = (function.end_lineno or 0) - function.lineno + 1
        if length > 60:
            yield f"{function.name} has {length} lines"
        given = [a.arg for a in (*function.args.posonlyargs, *function.args.args)]
        count = len([name for name in given if name not in ("self", "cls")])
        if count > 6 and function.name not in dictated:
            yield f"{function.name} has {count} positional parameters"
    ifs = [node for node in module.nodes if isinstance(node, ast.If | ast.IfExp)]
    branches = [node for node in ifs if ast.unparse(node.test) != "TYPE_CHECKING"]
    if loop and len(branches) > 6:
        yield f"{len(branches)} ifs"


def names(module: Module) -> Iterator[str]:
    """No module is a place for everything."""
    if CATCH_ALL & set(module.path.stem.split("_")):
        yield "is named for nothing in particular"


def open_signatures(module: Module) -> Iterator[str]:
    """A public function takes no **kwargs, unless others choose its parameters."""
    dictated = module.dictated()
    for function in module.functions():
        if function.args.kwarg and not function.name.startswith("_") and function.name not in dictated:
            yield f"{function.name} takes **{function.args.kwarg.arg}"


def guessed_attributes(module: Module) -> Iterator[str]:
    """What an object is, is known by its type: no hasattr, no getattr with a default."""
    for called, call in module.calls:
        if called == "hasattr" or (called == "getattr" and len(call.args) + len(call.keywords) > 2):
            yield f"line {call.lineno} calls {called}"


def broad_excepts(module: Module) -> Iterator[str]:
    """Only a run, the command line and limited processes, which call what others wrote, catch anything."""
    calls_others = module.room in ("runs", "cli") or module.room == "sandbox"
    for node in module.nodes:
        if isinstance(node, ast.ExceptHandler) and not calls_others:
            caught = {n.id for n in ast.walk(node.type) if isinstance(n, ast.Name)} if node.type else {""}
            if caught & {"", "Exception", "BaseException"}:
                yield f"line {node.lineno} catches everything"


def inheritance(module: Module) -> Iterator[str]:
    """Behaviour is not inherited: bases are protocols, errors, records and what torch insists on."""
    for node in module.nodes:
        for base in node.bases if isinstance(node, ast.ClassDef) else ():
            name = ast.unparse(base).split("[")[0].split(".")[-1]
            if name not in BASES and not name.endswith(("Error", "Exception")):
                yield f"line {base.lineno} inherits from {name}"


def world(module: Module) -> Iterator[str]:
    """The environment and argv are read, and text is printed, only in cli; one file sets what torch reads."""
    if module.room == "cli" or module.name == "espalier.core.runtime":
        return
    for node in module.nodes:
        if isinstance(node, ast.Attribute | ast.Name) and ast.unparse(node) in (
            "os.environ",
            "os.getenv",
            "sys.argv",
            "sys.stdout",
            "print",
        ):
            yield f"line {node.lineno} uses {ast.unparse(node)}"


RULES: tuple[Callable[[Module], Iterator[str]], ...] = (
    import_order,
    relative_imports,
    empty_init,
    sizes,
    names,
    open_signatures,
    guessed_attributes,
    broad_excepts,
    inheritance,
    world,
)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_each_module_keeps_the_rule(rule: Callable[[Module], Iterator[str]]) -> None:
    offences = [f"{module.path.relative_to(ROOT)}: {what}" for module in modules() for what in rule(module)]
    assert not offences, "\n".join([str(rule.__doc__), *offences])


@pytest.mark.parametrize(
    ("place", "text", "offended"),
    [
        ("decode/x.py", "def f():\n    from espalier.train import loop", "import_order"),
        ("core/x.py", "import espalier.tasks.checks", "import_order"),
        ("train/x.py", "from . import loop", "relative_imports"),
        ("core/__init__.py", "x = 1", "empty_init"),
        ("core/x.py", "x = 1\n" * 401, "sizes"),
        ("core/x.py", "def f():\n" + "    x = 1\n" * 60, "sizes"),
        ("core/x.py", "def f(a, b, c, d, e, f, g): ...", "sizes"),
        ("train/loop.py", "if x: ...\n" * 7, "sizes"),
        ("data/text_utils.py", "", "names"),
        ("core/x.py", "def f(**rest): ...", "open_signatures"),
        ("core/x.py", "hasattr(x, 'y')", "guessed_attributes"),
        ("core/x.py", "getattr(x, 'y', None)", "guessed_attributes"),
        ("core/x.py", "try: ...\nexcept (OSError, Exception): ...", "broad_excepts"),
        ("core/x.py", "try: ...\nexcept: ...", "broad_excepts"),
        ("train/x.py", "class A(Trainer[int]): ...", "inheritance"),
        ("core/x.py", "from os import environ\nimport os\nos.environ['HOME']", "world"),
        ("core/x.py", "print('x')", "world"),
    ],
)
def test_the_rules_see(place: str, text: str, offended: str) -> None:
    module = _module(PACKAGE / place, text)
    assert [rule.__name__ for rule in RULES if list(rule(module))] == [offended]


def test_imports_have_no_cycle() -> None:
    graph = {module.name: set(_imported(iter(module.tree.body))) - {module.name} for module in modules()}
    assert list(graphlib.TopologicalSorter(graph).static_order())


def test_the_package_stays_small() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    rooms: Counter[str] = Counter()
    for module in modules():
        rooms[module.room] += _code_lines(module)
    assert rooms.total() < 57_000
    assert sum(rooms[room] for room in SPINE) < 12_700
    most = {
        "core": 2_250,
        "scorers": 2_370,
        "train": 2_200,
        "runs": 4_750,
        "models": 4_250,
        "decode": 2_700,
        "evaluate": 2_760,
        "formats": 2_250,
        "trials": 2_300,
        "attribution": 2_405,
        "cli": 2_680,
    }
    assert not {room: lines for room, lines in rooms.items() if lines > most.get(room, 2_000)}
    assert len(project["dependencies"]) <= 15
    assert len(list(recipe_keys())) <= 60
    assert len(list((ROOT / "recipes").rglob("*.toml"))) <= 16
    assert len([entry for entry in (ROOT / "examples").glob("*") if entry.suffix == ".py"]) <= 5


@pytest.mark.parametrize("path", sorted((ROOT / "recipes").rglob("*.toml")), ids=lambda path: path.stem)
def test_each_recipe_loads(path: Path) -> None:
    assert (load_build if path.stem.startswith("build-") else load_recipe)(path).name


HEAVY = {"torch", "transformers", "numpy", "jinja2", "readline"}


def _loaded(module: Module) -> set[str]:
    """Return what importing a module imports at once: modules of this package, and packages of others."""
    checked = [node for node in module.tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    others = {
        name.split(".")[0]
        for node in checked
        for name in (
            [str(node.module)] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
        )
    }
    return set(_imported(iter(checked))) | (others - {"espalier"})


def test_verbs_import_at_the_top_but_for_what_takes_long_to_load() -> None:
    loaded = {module.name: _loaded(module) for module in modules()}

    def reaches_heavy(name: str, seen: set[str]) -> bool:
        if name in HEAVY:
            return True
        new = loaded.get(name, set()) - seen
        seen |= new
        return any(reaches_heavy(one, seen) for one in sorted(new))

    light = [
        f"{module.name}: {name}"
        for module in modules()
        if module.room == "cli"
        for function in module.functions()
        for node in ast.walk(function)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in (_imported(iter([node])) or [])
        if not reaches_heavy(name, set())
    ]
    assert not light
    main = next(module for module in modules() if module.name == "espalier.cli.main")
    assert not reaches_heavy(main.name, {main.name})


def _code_lines(module: Module) -> int:
    """Return how many lines hold code: no blank line, no comment, no docstring (docs/decisions/size.md)."""
    ignored = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT)
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(module.text).readline):
        if token.type not in ignored:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in module.nodes:
        match node:
            case ast.Expr(value=ast.Constant(value=str())):
                lines -= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
            case _:
                pass
    return len(lines)


def _run(*command: str) -> float:
    """Run a command and return the CPU seconds that it took; wall time would measure the neighbours."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stderr
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_rooms_without_torch_stay_without() -> None:
    free = [m.name for m in modules() if str(m.path.relative_to(PACKAGE)).startswith(TORCH_FREE)]
    lines = [f"import {name}" for name in ("espalier", *free)]
    lines.append("import sys; heavy = {'torch', 'transformers'} & set(sys.modules); assert not heavy, heavy")
    _run(sys.executable, "-c", "\n".join(lines))


def test_import_and_help_are_quick() -> None:
    command = str(Path(sys.executable).with_name("espalier"))
    assert min(_run(sys.executable, "-c", "import espalier") for _ in range(3)) < 0.5
    assert min(_run(command, "--help") for _ in range(3)) < 0.8
