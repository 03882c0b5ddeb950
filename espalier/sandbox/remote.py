"""Two processes that call each other's functions, where neither trusts what the other's objects say.

Plain values are copied: None, numbers, texts, lists, tuples, sets, dicts and a few of the standard library's,
each as its plain kind, so that an object that calls itself equal to everything does not arrive as such. Any
other object stays where it is; the other side holds a `Remote` of it, which asks. A Remote equals no plain
value, and is neither larger nor smaller than one. One that a *function* returned takes no argument in its
methods and operators, for the argument may be what a test expects.
"""

from __future__ import annotations

import builtins
import json
import operator
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any, cast

LONGEST = 16 << 20  # bytes of a message
WHOLE = 2**53
OPERATORS = ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "and_", "or_", "xor", "matmul")
BUILT_IN = ("str", "repr", "len", "bool", "iter", "next", "int", "float", "abs", "round", "hash")
LOOKED_UP = ("neg", "getitem", "setitem", "delitem", "eq", "lt", "le", "contains")


# How each kind of plain value is written; of a kind under another the first counts. And how it is read.
PACKED: dict[type, Callable[[Any, Callable[[object], object]], object]] = {
    int: lambda value, _: int(value) if abs(value) <= WHOLE else {"int": hex(value)},
    float: lambda value, _: float(value),
    str: lambda value, _: str.__str__(value),
    list: lambda value, pack: [pack(item) for item in value],
    tuple: lambda value, pack: {"tuple": [pack(item) for item in value]},
    set: lambda value, pack: {"set": [pack(item) for item in value]},
    frozenset: lambda value, pack: {"frozenset": [pack(item) for item in value]},
    dict: lambda value, pack: {"dict": [[pack(key), pack(item)] for key, item in value.items()]},
    bytes: lambda value, _: {"bytes": value.hex()},
    bytearray: lambda value, _: {"bytearray": value.hex()},
    complex: lambda value, _: {"complex": [value.real, value.imag]},
    range: lambda value, _: {"range": [value.start, value.stop, value.step]},
    Fraction: lambda value, _: {"Fraction": str(value)},
    Decimal: lambda value, _: {"Decimal": str(value)},
    datetime: lambda value, _: {"datetime": value.isoformat()},
    date: lambda value, _: {"date": value.isoformat()},
    timedelta: lambda value, _: {"timedelta": [value.days, value.seconds, value.microseconds]},
}
UNPACKED: dict[str, Callable[[Any, Callable[[object], Any]], Any]] = {
    "int": lambda inner, _: int(inner, 16),
    "tuple": lambda inner, part: tuple(part(item) for item in inner),
    "set": lambda inner, part: {part(item) for item in inner},
    "frozenset": lambda inner, part: frozenset(part(item) for item in inner),
    "dict": lambda inner, part: {part(key): part(item) for key, item in inner},
    "bytes": lambda inner, _: bytes.fromhex(inner),
    "bytearray": lambda inner, _: bytearray.fromhex(inner),
    "complex": lambda inner, _: complex(*inner),
    "range": lambda inner, _: range(*inner),
    "Fraction": lambda inner, _: Fraction(inner),
    "Decimal": lambda inner, _: Decimal(inner),
    "datetime": lambda inner, _: datetime.fromisoformat(inner),
    "date": lambda inner, _: date.fromisoformat(inner),
    "timedelta": lambda inner, _: timedelta(*inner),
}


def _call(function: Any, args: Any, named: Any) -> Any:
    return function(*args, **named)


def _is_instance(kind: Any, value: Any) -> bool:
    return isinstance(value, kind)


def _enter(manager: Any) -> Any:
    return manager.__enter__()


def _exit(manager: Any) -> Any:
    return manager.__exit__(None, None, None)


ASKED: dict[str, Callable[..., Any]] = {
    "call": _call,
    "get": getattr,
    "set": setattr,
    "isinstance": _is_instance,
    "enter": _enter,
    "exit": _exit,
    **{name: getattr(operator, name) for name in (*OPERATORS, *LOOKED_UP)},
    **{name: getattr(builtins, name) for name in BUILT_IN},
}


class Lost(Exception):
    """The other side is gone, or says what nobody can read."""


class Link:
    """One end of the talk between two processes.

    Args:
        reads: descriptor to read from.
        writes: descriptor to write to.
        open: whether the other side may look at any attribute, and set some.
    """

    def __init__(self, reads: int, writes: int, *, open: bool) -> None:
        self._reads, self._writes, self._open = reads, writes, open
        self._data = bytearray()
        self._held: dict[int, object] = {}
        self._raised: dict[str, type[BaseException]] = {}

    def send(self, value: object) -> None:
        """Write a message."""
        data = json.dumps(value).encode() + b"\n"
        try:
            while data:
                data = data[os.write(self._writes, data) :]
        except OSError:
            raise Lost("the other side is gone") from None

    def receive(self) -> dict[str, Any]:
        """Return the next message."""
        while (end := self._data.find(b"\n")) < 0:
            try:
                part = os.read(self._reads, 1 << 16)
            except OSError:
                part = b""
            if not part or len(self._data) > LONGEST:
                raise Lost("the other side is gone" if not part else "a value is too large")
            self._data += part
        line = bytes(self._data[:end])
        del self._data[: end + 1]
        try:
            value: object = json.loads(line)
        except (ValueError, RecursionError):
            raise Lost("the other side cannot be read") from None
        if not isinstance(value, dict):
            raise Lost("the other side cannot be read")
        return cast("dict[str, Any]", value)

    def ask(self, what: str, handle: int, *args: object, free: bool = True) -> Any:
        """Have something done to an object of the other side, and return what comes of it.

        Whatever the other side asks meanwhile is answered. Lists, dicts and sets that it changed are changed
        here, too. `free`: what comes of it may be given arguments.
        """
        self.send({"ask": what, "of": handle, "args": [self.packed(arg) for arg in args]})
        while "ask" in (message := self.receive()):
            self.serve(message)
        if "raised" in message:
            raise self._error(message)
        for arg, new in zip(_flat(args), message.get("args", ()), strict=False):
            if new is not None:
                _change(arg, self.unpacked(new))
        return self.unpacked(message["value"], free=free)

    def serve(self, message: Mapping[str, Any]) -> None:
        """Do what the other side asks, and reply."""
        try:
            what, target = str(message["ask"]), self._held[message["of"]]
            args = [self.unpacked(arg) for arg in message["args"]]
            if not self._open and (what == "set" or (what == "get" and str(args[0]).startswith("_"))):
                raise AttributeError(str(args[0]))
            value = ASKED[what](target, *args)
            changed = [self.packed(arg) if _changes(arg) else None for arg in _flat(args)]
            made = {"value": self.packed(value), "args": changed}
        except Lost:
            raise
        except BaseException as error:
            made = raised(error, self)
        self.send(made)

    def packed(self, value: object) -> object:
        """Return a value as JSON can hold it."""
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, Remote):
            return {"yours": value.handle}
        for kind, pack in PACKED.items():
            if isinstance(value, kind):
                return pack(value, self.packed)
        self._held[id(value)] = value
        return {"mine": [id(value), isinstance(value, type)]}

    def unpacked(self, value: Any, *, free: bool = True) -> Any:
        """Return the value of JSON. What is no plain value is a Remote. Raises Lost."""

        def part(inner: Any) -> Any:
            return self.unpacked(inner, free=free)

        if isinstance(value, list):
            return [part(item) for item in cast("list[Any]", value)]
        if not isinstance(value, dict):
            return value
        (name, inner), *_ = cast("dict[str, Any]", value).items()
        try:
            if name == "yours":
                return self._held[inner]
            if name == "mine":
                handle, made = inner
                return Remote(self, handle, free or made is True, made is True)
            return UNPACKED[name](inner, part)
        except (LookupError, TypeError, ValueError, ArithmeticError):
            raise Lost("the other side cannot be read") from None

    def error_class(self, name: str, kinds: Iterable[str]) -> type[BaseException]:
        """Return the class here of an exception there: of its name, under the nearest built-in one."""
        if name not in self._raised:
            known = [vars(builtins).get(kind) for kind in kinds]
            errors = [k for k in known if isinstance(k, type) and issubclass(k, Exception)]
            nearest = errors[0] if errors else RuntimeError
            self._raised[name] = nearest if nearest.__name__ == name else type(name, (nearest,), {})
        return self._raised[name]

    def _error(self, message: Mapping[str, Any]) -> BaseException:
        kind = self.error_class(str(message["raised"]), message["kinds"])
        try:
            return kind(*self.unpacked(message["with"]))
        except (TypeError, ValueError):
            return kind.__new__(kind)


def raised(error: BaseException, link: Link) -> dict[str, Any]:
    """Return an exception as a message."""
    kinds = [kind.__name__ for kind in type(error).__mro__]
    try:
        given = link.packed([arg for arg in error.args if isinstance(arg, str | int | float)])
    except (TypeError, ValueError, RecursionError):
        given = []
    return {"raised": type(error).__name__, "kinds": kinds, "with": given}


def _flat(args: Iterable[object]) -> list[object]:
    """Return the arguments of a call one by one: they come as a list and a dict."""
    found: list[object] = []
    for arg in args:
        if type(arg) in (list, tuple):
            found += cast("list[object]", arg)
        elif type(arg) is dict:
            found += cast("dict[str, object]", arg).values()
    return found


def _changes(value: object) -> bool:
    return type(value) in (list, dict, set, bytearray)


def _change(old: Any, new: Any) -> None:
    """Make a value that was handed over what the other side made of it."""
    if type(old) is not type(new) or not _changes(old) or old == new:
        return
    if isinstance(old, list | bytearray):
        old[:] = new
    else:
        old.clear()
        old.update(new)


class Remote:
    """An object of the other process; see the top of the file."""

    __slots__ = ("_free", "_link", "_made", "handle")
    _free: bool
    _link: Link
    _made: bool
    handle: int

    def __init__(self, link: Link, handle: int, free: bool, made: bool) -> None:
        values = (("_link", link), ("handle", handle), ("_free", free), ("_made", made))
        for name, value in values:
            object.__setattr__(self, name, value)

    def _ask(self, what: str, *args: object) -> Any:
        return self._link.ask(what, self.handle, *args, free=self._free)

    def _with(self, what: str, other: object) -> Any:
        if not self._free and not isinstance(other, Remote):
            return NotImplemented
        return self._ask(what, other)

    def __call__(self, *args: object, **named: object) -> Any:
        """Call it there. What a class makes is as free as a class; what a function returns is not."""
        if not self._free and (args or named):
            raise TypeError("what a function returned cannot be given arguments")
        return self._link.ask("call", self.handle, list(args), named, free=self._made)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self._ask("get", name)

    def __setattr__(self, name: str, value: object) -> None:
        self._ask("set", name, value)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Remote):
            return False
        return self.handle == other.handle or self._ask("eq", other) is True

    def __lt__(self, other: object) -> Any:
        return self._ask("lt", other) if isinstance(other, Remote) else NotImplemented

    def __le__(self, other: object) -> Any:
        return self._ask("le", other) if isinstance(other, Remote) else NotImplemented

    def __iter__(self) -> Iterator[Any]:
        return iter(self._ask("iter")) if self._free else _items(self._ask("iter"))

    def __contains__(self, item: object) -> bool:
        return self._ask("contains", item) is True if self._free else any(item == one for one in self)

    def __instancecheck__(self, value: object) -> bool:
        return isinstance(value, Remote) and self._ask("isinstance", value) is True

    def __exit__(self, *_: object) -> None:
        self._ask("exit")


def _items(iterator: Any) -> Iterator[Any]:
    while True:
        try:
            item = iterator.__next__()
        except StopIteration:
            return
        yield item


def _asking(what: str) -> Callable[..., Any]:
    def operate(self: Any, *args: object) -> Any:
        return self._ask(what, *args)

    return operate


def _joining(what: str) -> Callable[..., Any]:
    def operate(self: Any, other: object) -> Any:
        return self._with(what, other)

    return operate


# Operators are looked up on the class: those that take what stands beside them, and those that do not.
for _name in ("neg", "getitem", "setitem", "delitem", "enter", *BUILT_IN):
    if _name != "iter":
        setattr(Remote, f"__{_name}__", _asking(_name))
for _name in OPERATORS:
    setattr(Remote, f"__{_name.strip('_')}__", _joining(_name))
