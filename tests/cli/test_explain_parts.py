"""`espalier explain --parts`: what the parts of prompts add, weighed once."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from espalier.attribution.parts import reading

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
    done = espalier("explain", after.folder, "--parts", "--rows", 2, cwd=after.home)
    assert done.code == 0, done.err
    assert {*weighed} == {"numbers", "gradient_by_input"}
    folder = after.folder / "explain"
    found = json.loads((folder / "parts.json").read_text())
    assert "against random order" in done.out
    assert "is less that with the part changed" in " ".join(done.out.split())
    names = ["definition", "caution 1", "good example 1", "good example 2", "input"]
    assert [line["part"] for line in found["lines"]] == names * 4
    page = (folder / "parts.html").read_text()
    assert not re.findall(r"(?:src|href)=|https?://", page)
    weighed.clear()
    again = espalier("explain", after.folder, "--parts", "--rows", 2, "--json", cwd=after.home)
    assert again.code == 0, again.err
    assert weighed == []
    second = json.loads(again.out)
    assert second["made"] == 0 < found["made"]
    assert {**second, "made": found["made"]} == found


def test_from_python_by_the_reference(after: Any) -> None:
    import espalier.api

    found = espalier.api.explain_parts(after.folder, rows=2, answer="reference", unit="sentence")
    assert (found.answer, found.unit, found.rows) == ("reference", "sentence", 2)
    assert [row.answer for row in found.told] == [f"{row.source.split()[-1]}s" for row in found.told]
    assert str(found).endswith(found.sentences[-1])
    assert "first reference" in found.footing


def test_wrong_questions_are_told(espalier: Callable[..., Any], after: Any) -> None:
    def refused(*arguments: object) -> str:
        done = espalier("explain", after.folder, *arguments, cwd=after.home)
        assert done.code == 2
        return done.err

    assert "sentence" in refused("--parts", "--unit", "sentences")
    assert "reference" in refused("--parts", "--answer", "references")
    assert "belong to --parts" in refused("--unit", "word")
    assert "asked by itself" in refused("--parts", "--card")


def test_a_task_that_is_gone_is_cut_by_turns(espalier: Callable[..., Any], after: Any) -> None:
    recipe = after.folder / "recipe.toml"
    recipe.write_text(recipe.read_text().replace("plural.toml", "gone.toml"))
    done = espalier("explain", after.folder, "--parts", "--rows", 1, "--json", cwd=after.home)
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert {line["part"] for line in found["lines"]} == {"input"}
    assert any("cannot be read again" in note for note in found["notes"])
