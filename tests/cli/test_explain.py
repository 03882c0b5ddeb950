"""`espalier explain`: what is behind a run's score, asked once; a run that did not move claims nothing."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from espalier.decode import engine
from espalier.explain import token_shift

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Lists each time that a model is asked to write, or to read."""
    seen: list[str] = []
    for module, name in ((engine, "decode_tokens"), (token_shift, "edge_logprobs")):
        call = getattr(module, name)

        def counted(*given: Any, call: Any = call, name: str = name, **more: Any) -> Any:
            seen.append(name)
            return call(*given, **more)

        monkeypatch.setattr(module, name, counted)
    return seen


def test_a_run_that_did_not_move_is_told_so_and_asked_once(
    espalier: Callable[..., Any], home: Path, asked: list[str]
) -> None:
    lora = ("-o", "train.method=lora", "-o", "train.rate=1e-20", "-o", "train.epochs=1")
    assert espalier("run", "recipe.toml", *lora, cwd=home).code == 0
    asked.clear()
    parts = ("--card", "--shift")
    done = espalier("explain", "runs/plural", *parts, cwd=home)
    assert done.code == 0, done.err
    assert {*asked} == {"decode_tokens", "edge_logprobs"}
    folder = home / "runs" / "plural" / "explain"
    found = json.loads((folder / "explain.json").read_text())
    assert found["shift"]["shares"]["unshifted"]["value"] == 1
    assert found["shift"]["kl"]["value"] == 0
    assert found["shift"]["moved"] is False
    assert found["shift"]["top"] == []
    assert not any(cell["apart"] for cell in found["card"]["cells"])
    assert {"labels", "random_labels", "random label"} <= found["card"]["left"].keys()
    assert len(found["sentences"]) == 3
    assert "moved nothing that can be seen" in found["sentences"][1]
    assert all("cannot be seen" in one for one in (found["sentences"][0], found["sentences"][2]))
    said = " ".join(done.out.split())
    assert all(" ".join(sentence.split()) in said for sentence in found["sentences"])
    page = (folder / "explain.html").read_text()
    assert all(word in page for word in ("Token shift", "shuffled", "delusive", "<polyline", "<rect"))
    assert not re.findall(r"(?:src|href)=|https?://", page)

    asked.clear()
    again = espalier("explain", "runs/plural", *parts, "--json", cwd=home)
    assert again.code == 0, again.err
    assert asked == []
    second = json.loads(again.out)
    assert second["made"] == 0 < found["made"]
    assert {**second, "made": found["made"]} == found


def test_from_python(after: Any) -> None:
    import espalier.api

    found = espalier.api.explain(after.folder, parts=("shift",))
    assert found.shift is not None
    assert found.card is None
    assert found.style is None
    assert len(found.sentences) == 1
    assert str(found).endswith(found.sentences[0])


def test_what_is_no_run_is_refused(espalier: Callable[..., Any], after: Any) -> None:
    def refused(*arguments: object) -> str:
        done = espalier("explain", *arguments, cwd=after.home)
        assert done.code == 2
        return done.err

    assert "not a run folder" in refused("recipe.toml")
    (after.folder / "scores.json").unlink()
    assert "has no scores yet" in refused(after.folder)


def test_a_task_that_is_gone_leaves_the_rest(espalier: Callable[..., Any], after: Any) -> None:
    recipe = after.folder / "recipe.toml"
    recipe.write_text(recipe.read_text().replace("plural.toml", "gone.toml"))
    done = espalier("explain", after.folder, "--card", cwd=after.home)
    assert done.code == 0, done.err
    said = " ".join(done.out.split())
    assert "The task cannot be read again" in said
    assert "What the definition does cannot be told. The task cannot be read" in said
