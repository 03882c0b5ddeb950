"""`espalier explain --parts`: what the parts of prompts add, weighed once."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from espalier.explain.parts import reading

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def weighed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Lists each time that a model is asked to weigh answers."""
    seen: list[str] = []
    for name in ("numbers", "gradient_by_input"):
        call = getattr(reading, name)

        def counted(*given: Any, call: Any = call, name: str = name) -> Any:
            seen.append(name)
            return call(*given)

        monkeypatch.setattr(reading, name, counted)
    return seen


def test_parts_are_told_and_weighed_once(
    espalier: Callable[..., Any], after: Any, weighed: list[str]
) -> None:
    done = espalier("explain", after.folder, "--parts", "--rows", 3, cwd=after.home)
    assert done.code == 0, done.err
    assert {*weighed} == {"numbers", "gradient_by_input"}
    folder = after.folder / "explain"
    found = json.loads((folder / "parts.json").read_text())
    print(done.out)
    names = ["definition", "caution 1", "good example 1", "good example 2", "input"]
    assert [line["part"] for line in found["lines"]] == names * 4
    page = (folder / "parts.html").read_text()
    assert not re.findall(r"(?:src|href)=|https?://", page)
    weighed.clear()
    again = espalier("explain", after.folder, "--parts", "--rows", 3, "--json", cwd=after.home)
    assert again.code == 0, again.err
    assert weighed == []
    second = json.loads(again.out)
    assert second["made"] == 0 < found["made"]
    assert {**second, "made": found["made"]} == found
