"""The documentation says what is so: pages in step, links that lead somewhere, commands and code that run."""

from __future__ import annotations

import functools
import re
import shlex
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
import typer.main

from espalier.cli.main import app
from espalier.core.recipe import Choice, load_recipe, parse_recipe
from espalier.core.records import Completion, Example, Score, message
from espalier.decode.strategies.registry import strategies
from espalier.design.factors import factors
from espalier.design.files import Files
from espalier.encode.tokens import Unit
from espalier.encode.tree import build_tree
from espalier.evaluate.compare import estimate
from espalier.evaluate.measures import metric_of
from espalier.generate.author import Author, steps
from espalier.models.adapters import methods
from espalier.models.forward import edge_logprobs
from espalier.runs.reference import reference
from espalier.runs.trackers import Start, trackers
from espalier.scorers.registry import scorers
from espalier.train.objectives import Resources, objectives

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
ROOMS = sorted({path.parent.name for path in (ROOT / "espalier").glob("*/*.py") if path.stem != "__init__"})


class Saying:
    """A generator that always says the same."""

    def __init__(self, text: str) -> None:
        self.text = text

    def generate(self, examples: Sequence[Example], settings: Choice) -> Iterator[Completion]:
        yield from (Completion(row.id, self.text, request="r") for row in examples)


pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def code(page: Path) -> list[str]:
    """Return the page's code: each inline span, and each line of its blocks."""
    text = page.read_text(encoding="utf-8")
    fences = re.findall(r"^```[a-z]*\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    blocks = "\n".join([*fences, *re.findall(r"^    (.*)", text, re.MULTILINE)])
    return re.findall(r"`([^`\n]+)`", text) + [line.removeprefix("$ ").strip() for line in blocks.split("\n")]


def test_the_recipe_page_is_in_step() -> None:
    written = (ROOT / "docs" / "recipe.md").read_text(encoding="utf-8")
    assert written == reference(), "run `make docs`"


@pages
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8"))
    dead = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert not dead


@pages
def test_files_that_are_named_exist(page: Path) -> None:
    pattern = re.compile(r"(espalier|tests|docs|bench|recipes|examples)/[\w./-]*\w/?")
    named = [span for span in code(page) if pattern.fullmatch(span)]
    assert not [name for name in named if not (ROOT / name).exists()]


@pages
def test_commands_exist(page: Path) -> None:
    wrong = [line for line in code(page) if line.startswith("espalier ") and not runs(line)]
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    makes = [match.group(1) for line in code(page) if (match := re.match(r"make ([a-z-]+)", line))]
    assert not wrong
    assert set(makes) <= set(targets)


@functools.cache
def verbs() -> object:
    """Return the command line as Typer makes it, anew each time it is asked."""
    return typer.main.get_command(app)


def runs(line: str) -> bool:
    """Say whether the command line knows the verb and every option of `line`."""
    command: Any = verbs()
    _, *words = shlex.split(line.split(" | ")[0], comments=True)
    while words and words[0] in vars(command).get("commands", {}):
        command = command.commands[words.pop(0)]
    if words and not words[0].startswith("-") and vars(command).get("commands"):
        return False
    options = {option for parameter in command.params for option in parameter.opts} | {"--help"}
    return {w.split("=")[0] for w in words if w.startswith("-")} <= options


@pages
def test_recipes_are_recipes(page: Path) -> None:
    """Blocks of TOML that begin with a name and have stages."""
    blocks = re.findall(r"```toml\n(name = .*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    for block in blocks:
        if "[[train]]" in block:
            assert parse_recipe(tomllib.loads(block)).train


def test_a_wrong_command_is_seen() -> None:
    assert runs("espalier models fetch smollm2-135m")
    assert runs("espalier run recipes/event-duration.toml -o train.rate=1e-5  # slower")
    assert not runs("espalier walk")
    assert not runs("espalier run x.toml --fast")


def test_the_seams_are_as_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_llama: Any, tiny_rows: list[Any]
) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "seams.md").read_text(), re.DOTALL)
    (tmp_path / "my_module.py").write_text("\n".join(blocks))
    monkeypatch.syspath_prepend(str(tmp_path))

    scorer = scorers.build("my_module:brevity", {"words": 2})
    row = Example("id", "t", "s", (message("user", "?"),), references=("one two",))
    answer = Completion("id", "one two three")
    assert scorer.score([row], [answer]) == [Score(0.0, "3 words")]
    f1 = scorers.build("my_module:word_f1", {})
    assert estimate(metric_of("f1", f1), f1.score([row] * 2, [answer] * 2), ["a", "b"]).value == 0.8
    units = [Unit(row.example, row.ids[: row.prompt], (row,)) for row in tiny_rows]
    nothing = Resources(1, *[lambda *_: pytest.fail("not needed")] * 4)
    losses = [
        objectives.build(kind, params).begin(units, nothing)(0, units).loss
        for kind, params in (("my_module:focal", {"gamma": 0.0}), ("sft", {}))
    ]
    tree = build_tree(tiny_rows)
    edges = edge_logprobs(tiny_llama, tree)
    focal, usual = (loss(edges, tree).total for loss in losses)
    assert torch.allclose(focal, usual)
    moving = methods.build("my_module:last_layers", {"count": 1})(tiny_llama).named_parameters()
    assert {name.split(".")[2] for name, weight in moving if weight.requires_grad} == {"1"}
    strategy = strategies.build("my_module:second_best", {"limit": 3})
    assert strategy.step([], torch.tensor([[0.0, 2.0, 1.0]])).ids.tolist() == [2]
    factor = factors.build("my_module:longer", {"times": 3})
    assert factor.apply(load_recipe("event-duration"), 4, Files(tmp_path)).decode.params["limit"] == 12
    tracker = trackers.build("my_module:loss_file", {})(Start("run", {}, tmp_path))
    for event in ({"event": "step", "step": 3, "loss": 0.5}, {"event": "end"}):
        tracker.log(event)
    assert (tmp_path / "loss.txt").read_text() == "3 0.5\n"
    author = Author(Saying("One."), "m", Choice(kind="greedy"))
    (made,) = steps.build("my_module:shorten", {"words": 1})([row], author)
    assert isinstance(made, Example)
    assert (made.answer, made.origin["parents"]) == ("One.", ["id"])


def test_the_readme_is_short_and_names_every_room() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 150
    assert not [room for room in ROOMS if f"`{room}/`" not in text and f"`{room}`" not in text]
