"""A run folder belongs to one process, knows which stages are done, and survives torn lines."""

from __future__ import annotations

import fcntl
import importlib.metadata
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from espalier.core.errors import DataError, RunError
from espalier.core.run import RunFolder, find_run, open_run, provenance

if TYPE_CHECKING:
    from pathlib import Path

HOLDER = """
import sys, time
from pathlib import Path
from espalier.core.run import open_run
with open_run(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def hold(folder: Path) -> subprocess.Popen[str]:
    """Start a second process that holds the folder, and wait until it does."""
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder)], stdout=subprocess.PIPE, text=True, encoding="utf-8"
    )
    assert holder.stdout
    assert holder.stdout.readline() == "held\n"
    return holder


def test_two_processes_cannot_write_to_one_folder(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "trial"
    with hold(folder) as holder:
        with pytest.raises(RunError, match=r"Another run is writing.*-o name=NEW"), open_run(folder):
            pass
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    with open_run(folder) as run:
        run.log({"kind": "after the kill"})
    assert run.read_events()[0]["kind"] == "after the kill"


def test_one_that_is_about_to_end_is_waited_for(tmp_path: Path) -> None:
    """As a worker may be that torchrun has just killed, when it starts the next one."""
    with hold(tmp_path) as holder:
        threading.Timer(0.2, holder.kill).start()
        with open_run(tmp_path, patience=20.0) as run:
            assert holder.wait() == -signal.SIGKILL
            assert run.path == tmp_path


def test_what_was_made_goes_again_where_no_run_has_begun(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").write_text("")
    before = sorted(tmp_path.rglob("*"))
    for place in ("new/runs/trial", "there", "there/trial", "mine"):
        with open_run(tmp_path / place):
            assert (tmp_path / place / ".lock").exists()
        assert sorted(tmp_path.rglob("*")) == before
    with open_run(tmp_path / "new") as run:
        run.recipe.write_text("")
    assert (tmp_path / "new" / ".lock").exists()


def test_a_lock_that_was_taken_away_is_no_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One process makes the folder and goes, just when another has opened the lock in it."""
    flock, taken = fcntl.flock, []

    def late(file: object, how: int) -> None:
        if not taken:
            taken.append((tmp_path / "trial" / ".lock").unlink())
        flock(file, how)  # type: ignore[arg-type]

    monkeypatch.setattr(fcntl, "flock", late)
    with open_run(tmp_path / "trial", patience=5.0), pytest.raises(RunError), open_run(tmp_path / "trial"):
        pass


def test_one_process_can_open_its_folder_again(tmp_path: Path) -> None:
    for _ in range(2):
        with open_run(tmp_path / "trial") as run:
            assert run.path.is_dir()


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(RunError, match="The run folder cannot be made"),
        open_run(tmp_path / "file" / "trial"),
    ):
        pass


def test_a_stage_is_done_for_its_key_only(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    assert not run.is_done("data", "a")
    run.mark_done("data", "a")
    run.mark_done("train", "b")
    assert run.is_done("data", "a")
    assert not run.is_done("data", "b")
    run.mark_done("data", "c")
    assert RunFolder(tmp_path).is_done("data", "c")
    assert RunFolder(tmp_path).is_done("train", "b")
    run.mark_done("train", "b", {"model.safetensors": [3, "hash"]})
    done = RunFolder(tmp_path).done("train")
    assert done
    assert done.files == {"model.safetensors": [3, "hash"]}
    run.forget("train")
    run.forget("train")
    assert RunFolder(tmp_path).done("train") is None
    run.stages.write_text('{"train": "of an earlier version", "data": ""}')
    assert run.is_done("train", "of an earlier version")
    assert run.done("data") is None


@pytest.mark.parametrize(
    ("text", "said"),
    [('{"data": ', "The file is not JSON"), ("[]", "no object"), ('{"data": [1]}', "no key")],
)
def test_a_damaged_stage_file_is_said(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "stages.json").write_text(text)
    with pytest.raises(DataError, match=rf"stages\.json: .*{said}.* Remove the file"):
        RunFolder(tmp_path).is_done("data", "a")


def test_a_torn_line_costs_that_line_only(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    run.log({"step": 1})
    with run.events.open("a") as file:
        file.write('{"time": 3, "step": 2, "lo')
    with run.events.open("ab") as file:
        file.write(b"\xff\n[]\n")
    run.log({"step": 3})
    run.log({"step": 4, "text": "line\u2028separator"})
    assert [event["step"] for event in run.read_events()] == [1, 3, 4]
    assert all(event["time"] > 1.7e9 for event in run.read_events())


def test_no_events_before_the_first(tmp_path: Path) -> None:
    assert RunFolder(tmp_path).read_events() == []


def test_rejects_are_replaced_where_they_have_changed(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    long = [{"where": "row 2", "reason": "5,000 tokens"}]
    assert run.write_rejects({"data": [{"where": "row 1", "reason": "empty output"}], "encode": long})
    assert run.write_rejects({"data": [], "encode": long})
    assert not run.write_rejects({"data": [], "encode": long})
    assert run.rejects.read_text() == '{"stage": "encode", "where": "row 2", "reason": "5,000 tokens"}\n'


def test_a_folder_that_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"holds no recipe\.toml") as caught:
        find_run(tmp_path)
    assert "runs/event-duration" in caught.value.hint
    (tmp_path / "recipe.toml").write_text("")
    assert find_run(tmp_path).path == tmp_path


def test_provenance_names_versions_seed_and_inputs() -> None:
    record = provenance(3, {"task": "abc"})
    assert (record["seed"], record["inputs"]) == (3, {"task": "abc"})
    assert record["packages"]["torch"] == importlib.metadata.version("torch")
