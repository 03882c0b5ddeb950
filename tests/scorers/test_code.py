"""Code against its tests: what passes, what does not, and what only wants to look so, or to harm."""

# ruff: noqa: E501 - a program is a line

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

import espalier
from espalier.core.errors import RecipeError
from espalier.core.records import Completion, Example, Score, message
from espalier.sandbox.worker import ROOT, Worker
from espalier.scorers.blocks import block
from espalier.scorers.code import build_code

ADDS = ["assert add(1, 2) == 3", "assert add(-1, 1) == 0"]


def score(code: str, tests: object, *, seconds: float = 5.0, memory: int = 1024, **facts: Any) -> Score:
    row = Example("i", "t", "s", (message("user", "?"),), ("x",), facts={"tests": tests, **facts})
    return build_code(seconds=seconds, memory=memory).score([row], [Completion("i", code)])[0]


GOOD: list[tuple[str, object]] = [
    ("def add(a, b):\n    return a + b", ADDS),
    ("Here it is:\n```python\ndef add(a, b):\n    return a + b\n```\nAnd tests:\n```\nadd()\n```", ADDS),
    ("add = lambda a, b: a + b", "\n".join(ADDS)),
    ("import math\ndef f(x): return math.sqrt(x)", "assert abs(f(2) - 1.41421356) < 1e-6"),
    ("def f(xs): xs.sort()", "xs = [3, 1, 2]\nf(xs)\nassert xs == [1, 2, 3]"),
    ("def f(d): d['a'] = {1}; return d", "d = {}\nassert f(d) == {'a': {1}} and d == {'a': {1}}"),
    ("def f(n):\n    for i in range(n): yield i", "assert list(f(3)) == [0, 1, 2]"),
    ("def f(n):\n    for i in range(n): yield i", "assert sum(x for x in f(4)) == 6 and 2 in f(4)"),
    ("def f(g, xs): return [g(x) for x in xs]", "assert f(lambda x: x * 2, [1, 2]) == [2, 4]"),
    ("def f(n): return lambda x: x + n", "assert f(1)() == 1 if False else True"),
    ("def f(x):\n    raise ValueError('no')", "try:\n    f(1)\n    assert False\nexcept ValueError as e:\n    assert str(e) == 'no'"),
    (
        "class Odd(ValueError): pass\ndef f(x):\n    if x % 2: raise Odd(x)",
        "for kind in (Odd, ValueError):\n    try:\n        f(1)\n    except kind:\n        pass\n    else:\n        assert 0\nassert f(2) is None",
    ),
    (
        "class Stack:\n    def __init__(self): self.xs = []\n    def push(self, x): self.xs.append(x)\n"
        "    def pop(self): return self.xs.pop()\n    def __len__(self): return len(self.xs)",
        "s = Stack()\ns.push(1)\ns.push('a')\nassert len(s) == 2 and s.pop() == 'a' and s.xs == [1]\n"
        "assert isinstance(s, Stack)",
    ),
    (
        "class V:\n    def __init__(self, x): self.x = x\n    def __add__(self, o): return V(self.x + o.x)\n"
        "    def __eq__(self, o): return self.x == o.x\n    def __mul__(self, n): return V(self.x * n)\n"
        "    def __lt__(self, o): return self.x < o.x\n    def __repr__(self): return f'V({self.x})'",
        "assert V(1) + V(2) == V(3)\nassert V(2) * 3 == V(6)\nassert V(1) < V(2)\nassert str(V(1)) == 'V(1)'",
    ),
    (
        "class N:\n    def __init__(self, v, n=None): self.v, self.n = v, n\n"
        "def rev(h):\n    p = None\n    while h: h.n, p, h = p, h, h.n\n    return p",
        "h = rev(N(1, N(2)))\nassert h.v == 2 and h.n.v == 1 and h.n.n is None",
    ),
    ("def f(): return 2 ** 500, -1.5, float('inf'), b'x', {1, 2}, (1,), None, 3 + 4j, 'é\\ud800', {(1, 2): [3]}",
     "assert f() == (2 ** 500, -1.5, float('inf'), b'x', {1, 2}, (1,), None, 3 + 4j, 'é\\ud800', {(1, 2): [3]})"),
    ("from collections import Counter, OrderedDict\ndef f(x): return Counter(x)", "assert f('aab') == {'a': 2, 'b': 1}"),
    ("def f(x): return x", "from fractions import Fraction\nimport datetime as d\nassert f(Fraction(1, 3)) == Fraction(1, 3)\n"
     "assert f(d.date(2020, 1, 2)) == d.date(2020, 1, 2)\nassert f(d.timedelta(1)) == d.timedelta(1)"),
    ("def f():\n    print('x' * 10)\n    return 1", "assert f() == 1"),
    ("def f(n): return 1 if n == 0 else n * f(n - 1)", "assert f(20) == 2432902008176640000"),
    ("def add(a, b): return a + b", "def test_one():\n    assert add(1, 2) == 3\ndef test_two():\n    assert add(0, 0) == 0"),
    ("import tempfile, os\ndef f():\n    open('a.txt', 'w').write('x')\n    return open('a.txt').read()", "assert f() == 'x'"),
    ("from dataclasses import dataclass\n@dataclass\nclass P:\n    x: int\n    y: int = 0", "assert P(1) == P(1, 0)\nassert P(1) != P(2)\nassert P(3).x == 3"),
]  # fmt: skip

ADDED = "\ndef add(a, b): return 0"
CHEATS = {
    "wrong": "def add(a, b): return a - b",
    "nothing": "",
    "prose": "I cannot write that.",
    "no such name": "def plus(a, b): return a + b",
    "leaves": "import sys\nsys.exit(0)",
    "leaves later": "import sys\ndef add(a, b): sys.exit(0)",
    "leaves at once": "import os\nos._exit(0)",
    "leaves when called": "import os\ndef add(a, b): os._exit(0)",
    "raises": "raise SystemExit",
    "equals everything": "class E:\n    def __eq__(self, o): return True\n    __ne__ = lambda s, o: False\n"
    "    __hash__ = None\ndef add(a, b): return E()",
    "an int that equals everything": "class E(int):\n    def __eq__(self, o): return True\n"
    "    __hash__ = int.__hash__\n    def __reduce__(self): return (int, (3,))\ndef add(a, b): return E(7)",
    "a text that equals everything": "class E(str):\n    def __eq__(self, o): return True\n"
    "    __hash__ = str.__hash__\ndef add(a, b): return E('7')",
    "a class that equals everything": "class M(type):\n    def __eq__(cls, o): return True\n    __hash__ = type.__hash__\n"
    "class add(metaclass=M):\n    def __init__(self, a, b): pass\n    def __eq__(self, o): return True",
    "no assertion error": "import builtins\nbuiltins.AssertionError = type('A', (BaseException,), {})" + ADDED,
    "no exceptions": "import builtins\nbuiltins.Exception = builtins.BaseException = ()" + ADDED,
    "equality": "import operator\noperator.eq = lambda a, b: True" + ADDED,
    "at exit": "import atexit, os\natexit.register(lambda: os._exit(0))" + ADDED,
    "a verdict of its own": "import os\nfor d in range(20):\n    try: os.write(d, b'{\"value\": 1.0, \"why\": \"\"}\\n')\n"
    "    except OSError: pass" + ADDED,
    "a verdict when called": "import os\ndef add(a, b):\n    for d in range(20):\n"
    "        try: os.write(d, b'{\"value\": 1.0, \"why\": \"\", \"alone\": true}\\n')\n"
    "        except OSError: pass\n    return 0",
    "looks for the tests": "import gc, sys\ndef add(a, b):\n    needle = ''.join(['ass', 'ert add'])\n"
    "    seen = [o for o in gc.get_objects() if type(o) in (dict, list, tuple)]\n"
    "    f = sys._getframe()\n    while f:\n        seen.append(f.f_locals)\n        f = f.f_back\n"
    "    for o in seen:\n        items = o.values() if type(o) is dict else o\n"
    "        if any(type(x) is str and x != needle and needle in x for x in list(items)): return 3 if a > 0 else 0\n    return 7",
    "reads its own memory": "def add(a, b):\n    data = open('/proc/self/mem', 'rb').read(9)\n    return 3 if a > 0 else 0",
    "looks at its neighbours": "import os\ndef add(a, b):\n    os.listdir('/proc')\n"
    "    x = open(f'/proc/{os.getppid()}/mem', 'rb')\n    return 3 if a > 0 else 0",
    "kills the referee": "import os, signal\nos.kill(os.getppid(), 9)" + ADDED,
    "waits for ever": "import time\ntime.sleep(1000)",
    "never ends": "while True: pass",
    "never ends when called": "def add(a, b):\n    while True: pass",
    "does not let itself be stopped": "import signal\nfor s in range(1, 64):\n    try: signal.signal(s, signal.SIG_IGN)\n"
    "    except (OSError, ValueError): pass\nwhile True:\n    try:\n        while True: pass\n    except BaseException: pass",
    "reads what is typed": "x = input()" + ADDED,
    "waits for what is typed": "import sys\nsys.stdin.read(1)\nraise ValueError",
    "forks": "import os\nwhile True: os.fork()",
    "forks under another name": "import _posixsubprocess" + ADDED,
    "forks behind the hook": "import os, subprocess\nr, w = os.pipe()\n"
    "a = [[b'/bin/sleep', b'60'], (b'/bin/sleep',), True, (), None, None, *[-1] * 6, r, w, True, True, 0, None, None, None, -1]\n"
    "pid = subprocess._fork_exec(*a, None, True)\ndef add(a, b): return 7",
    "starts a shell": "import os\nos.system('touch stolen')" + ADDED,
    "starts a program": "import subprocess\nsubprocess.run(['touch', 'stolen'])" + ADDED,
    "starts threads": "import threading, time\nfor _ in range(9999): threading.Thread(target=time.sleep, args=(99,)).start()",
    "takes all memory": "x = 'a' * (1 << 40)",
    "takes all memory bit by bit": "xs = []\nwhile True: xs.append(bytearray(1 << 24))",
    "takes it when called": "def add(a, b): return 'x' * (1 << 40)",
    "says much": "while True: print('x' * 1000000)",
    "says much on all descriptors": "import os\nwhile True:\n    for d in range(3, 30):\n        try: os.write(d, b'x' * 65536)\n"
    "        except OSError: pass",
    "answers much": "def add(a, b): return 'x' * (1 << 26)",
    "answers for ever": "def add(a, b):\n    x = []\n    x.append(x)\n    return x",
    "deep": "def add(a, b):\n    x = []\n    for _ in range(100000): x = [x]\n    return x",
    "calls itself": "def add(a, b): return add(a, b)",
    "crashes": "import sys\nsys.setrecursionlimit(10 ** 9)\ndef add(a, b): return add(a, b)",
    "broken": "def add(a, b)\n    return a + b",
    "null": "def add(a, b): return a + b\x00",
    "half a character": "def add(a, b): return '\ud800'",
    "foreign functions": "import ctypes\nctypes.string_at(0)",
    "connects": "import socket\ns = socket.create_connection(('127.0.0.1', 80), 1)" + ADDED,
    "fills the disk": "f = open('big', 'wb')\nwhile True: f.write(b'x' * (1 << 20))",
}  # fmt: skip


@pytest.mark.parametrize(("code", "tests"), GOOD)
def test_code_that_does_what_the_tests_say_passes(code: str, tests: object) -> None:
    found = score(code, tests)
    assert found.value == 1, found.why


@pytest.mark.parametrize("name", CHEATS)
def test_code_that_does_not_never_passes(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    begun = time.monotonic()
    found = score(CHEATS[name], ADDS, seconds=1)
    assert found.value == 0
    assert found.why
    assert time.monotonic() - begun < 6
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "action",
    [
        "open(P + '/new', 'w').write('x')",
        "open(P + '/kept', 'w')",
        "open(P + '/kept', 'a').write('x')",
        "os.remove(P + '/kept')",
        "os.rename(P + '/kept', P + '/new')",
        "os.truncate(P + '/kept', 0)",
        "os.mkdir(P + '/new')",
        "os.symlink('/', P + '/new')",
        "os.close(os.open(P + '/new', os.O_CREAT | os.O_WRONLY))",
        "os.mkfifo(P + '/new')",
        "os.chmod(P + '/kept', 0)",
        "pathlib.Path(P, 'kept').unlink()",
        "shutil.rmtree(P)",
        "io.FileIO(P + '/new', 'w').write(b'x')",
        "sqlite3.connect(P + '/new').execute('create table a (b)')",
        "os.chdir(P) or open('new', 'w')",
        "os.symlink(P, 'there') or open('there/new', 'w')",
    ],
)
def test_nothing_outside_is_written(action: str, tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("kept")
    tmp_path.chmod(0o777)
    (tmp_path / "kept").chmod(0o666)
    code = f"import io, os, pathlib, shutil, sqlite3\nP = {str(tmp_path)!r}\ndef f():\n    {action}\n    return 1"
    assert score(code, "assert f() == 1").value == 0
    assert [entry.name for entry in tmp_path.iterdir()] == ["kept"]
    assert (tmp_path / "kept").read_text() == "kept"
    assert (tmp_path / "kept").stat().st_mode & 0o777 == 0o666


@pytest.mark.parametrize(
    ("result", "test"),
    [
        ("T()", "assert f() == 3"),
        ("T()", "assert 3 == f()"),
        ("T()", "assert f() in (3, 4)"),
        ("T()", "assert f() < 3"),
        ("T()", "assert 3 > f()"),
        ("T()", "assert abs(f() - 3) < 1e-6"),
        ("T()", "assert abs(3 - f()) < 1e-6"),
        ("T()", "assert 3 in f()"),
        ("T()", "assert f().startswith('abc')"),
        ("T()", "assert f().issubset({3})"),
        ("T()", "assert f()[0] == 3"),
        ("T()", "assert list(f()) == [3]"),
        ("[T()]", "assert f() == [3]"),
        ("[T()]", "assert f()[0] == 3"),
        ("{'a': T()}", "assert f() == {'a': 3}"),
        ("(T(),)", "assert f() == (3,)"),
        ("T()", "import math\nassert math.isclose(f(), 3)"),
        ("T()", "assert isinstance(f(), int)"),
        ("T()", "assert str(f()) == '3'"),
        ("T()", "assert sorted(f()) == [3]"),
        ("T()", "assert set(f()) == {3}"),
        ("T()", "assert f() is 3"),
    ],
)
@pytest.mark.filterwarnings("ignore::SyntaxWarning")
def test_an_object_that_agrees_to_everything_does_not_pass(result: str, test: str) -> None:
    code = f"""
class T:
    def __getattr__(self, name): return lambda *a, **k: True
    def __eq__(self, o): return True
    __hash__ = lambda s: 3
    __lt__ = __le__ = __gt__ = __ge__ = __contains__ = lambda s, o: True
    __sub__ = __rsub__ = __add__ = __radd__ = lambda s, o: 0
    __abs__ = lambda s: 0
    __iter__ = lambda s: iter([T()])
    __getitem__ = lambda s, i: T()
    __float__ = lambda s: 7.0
    __len__ = lambda s: 1
    __str__ = lambda s: T()
def f(): return {result}
"""
    assert score(code, test).value == 0


@pytest.mark.parametrize(
    ("tests", "why"),
    [
        ("add(1, 2)", "assert nothing"),
        ("def helper():\n    assert add(1, 2) == 3", "assert nothing"),
        ("assert add(1, 2", "cannot be read"),
        ([], "no tests"),
        (None, "no tests"),
        ([1], "no texts"),
    ],
)
def test_tests_that_say_nothing_do_not_judge(tests: object, why: str) -> None:
    found = score("def add(a, b): return a + b", tests)
    assert found.value is None
    assert why in found.why


def test_tests_in_the_forms_of_benchmarks() -> None:
    check = "def check(candidate):\n    assert candidate(1, 2) == 3"
    assert score("def add(a, b): return a + b", check, entry_point="add").value == 1
    assert score("def add(a, b): return a - b", check, entry_point="add").value == 0
    assert score("def plus(a, b): return a - b", check, entry_point="add").value == 0
    setup = "import math\nclass Node:\n    def __init__(self, v): self.v = v"
    assert score("def f(n): return math.floor(n.v)", "assert f(Node(1.5)) == 1", setup=setup).value == 1


def test_the_first_test_that_fails_is_named() -> None:
    assert score("def add(a, b): return 3", ADDS).why == "a test fails: assert add(-1, 1) == 0"
    assert "ZeroDivisionError" in score("def add(a, b): return 1 / 0", ADDS).why


def test_no_process_is_left(tmp_path: Path) -> None:
    mark = f"mark_{os.getpid()}"
    code = f"import os, time\n{mark} = 1\nos.setsid()\ntime.sleep(1000)"
    assert score(code, ADDS, seconds=0.5).value == 0
    time.sleep(0.3)
    mine = [p for p in Path("/proc").glob("[0-9]*/stat") if _parent(p) == 1 and "python" in _name(p)]
    assert not [p for p in mine if b"espalier.sandbox" in (p.parent / "cmdline").read_bytes()]


def _name(stat: Path) -> str:
    try:
        return stat.read_text().split("(")[1].split(")")[0]
    except OSError:
        return ""


def _parent(stat: Path) -> int:
    try:
        return int(stat.read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def test_the_environment_stays_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    code = "import os\ndef f(): return dict(os.environ)"
    assert score(code, "assert 'PATH' in f() and 'OPENAI_API_KEY' not in f()").value == 1


def test_a_worker_that_died_is_started_anew() -> None:
    with Worker("espalier.sandbox.query_process") as worker:
        assert worker.ask(["no job"], 5) is None
        job = {"schema": "CREATE TABLE t (a)", "wanted": "SELECT a FROM t", "query": "SELECT a FROM t"}
        assert worker.ask([{**job, "count": 2, "seconds": 1}], 10) == {"value": 1.0, "why": ""}


def test_settings_that_do_not_fit() -> None:
    with pytest.raises(RecipeError, match="at least 64"):
        build_code(memory=1)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x = 1", "x = 1"),
        ("a\n```\nb\n```\nc", "b"),
        ("```sql\nq\n```\n```python\np\n```", "p"),
        ("```sql\nq\n```", "```sql\nq\n```"),
        ("```Python title='x'\np", "p"),
        ("~~~py\na\n```\nb\n~~~", "a\n```\nb"),
        ("  ```python\n  p\n  ```", "  p"),
        ("```python\r\np\r\n```\r\n", "p"),
    ],
)
def test_the_block_that_is_meant(text: str, expected: str) -> None:
    assert block(text, "python", "py") == expected


def test_the_process_runs_this_package_and_no_folder_around_it() -> None:
    assert Path(espalier.__file__) == ROOT / "espalier" / "__init__.py"
