"""Trackers: what is sent is what the tracker's own reader finds; absent packages are named."""

from __future__ import annotations

import struct
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from espalier.core.errors import MissingExtra
from espalier.runs.trackers import Start, scalars, trackers

RECIPE = {"name": "run", "train": [{"rate": 2e-5, "method": {"kind": "full"}}]}
STEPS = [
    {"event": "train", "step": 0, "steps": 2},
    {
        "event": "step",
        "stage": "train 0",
        "step": 1,
        "loss": 2.5,
        "tokens": 10,
        "why": "text",
        "ok": True,
    },
    {"event": "step", "stage": "train 0", "step": 2, "loss": 2.25, "tokens": 11},
    {"event": "dev", "stage": "train 0", "step": 2, "loss": 2.75, "rows": 4},
    {"event": "kept", "stage": "train 0", "step": 2, "loss": 2.75},
    {"event": "step", "stage": "train 1", "step": 1, "loss": 0.5, "tokens": 12},
    {"event": "end"},
]
LOSSES = {
    "train 0/loss": [(1, 2.5), (2, 2.25)],
    "train 0/dev_loss": [(2, 2.75)],
    "train 1/loss": [(1, 0.5)],
}

# Other people's packages warn of each other.
pytestmark = pytest.mark.filterwarnings("default")


def track(kind: str, folder: Path, **params: Any) -> None:
    tracker = trackers.build(kind, params)(Start("run", RECIPE, folder))
    for event in STEPS:
        tracker.log(event)


def test_only_numbers_are_sent() -> None:
    assert scalars(STEPS[1]) == {"train 0/loss": 2.5, "train 0/tokens": 10.0}
    assert scalars({"event": "step", "step": 1, "loss": 1.0, "time": 5.0}) == {"train/loss": 1.0}


def test_tensorboard_reads_what_was_sent(tmp_path: Path) -> None:
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    track("tensorboard", tmp_path)
    found = reader.EventAccumulator(str(tmp_path / "tensorboard"))
    found.Reload()
    assert {n: [(e.step, e.value) for e in found.Scalars(n)] for n in LOSSES} == LOSSES
    assert b'"rate": 2e-05' in found.Tensors("recipe/text_summary")[0].tensor_proto.string_val[0]


def test_mlflow_reads_what_was_sent(tmp_path: Path) -> None:
    mlflow = pytest.importorskip("mlflow")
    pytest.importorskip("alembic")
    track("mlflow", tmp_path)
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{tmp_path}/mlflow.db")
    (run,) = client.search_runs([client.get_experiment_by_name("espalier").experiment_id])
    history = {n: [(m.step, m.value) for m in client.get_metric_history(run.info.run_id, n)] for n in LOSSES}
    assert history == LOSSES
    assert run.data.params["train.0.rate"] == "2e-05"
    assert (run.info.run_name, run.info.status) == ("run", "FINISHED")


def test_trackio_reads_what_was_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any) -> None:
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path))
    storage = pytest.importorskip("trackio.sqlite_storage").SQLiteStorage
    track("trackio", tmp_path)
    rows = storage.get_logs("espalier", "run")
    found = {n: [(row["step"], row[n]) for row in rows if n in row] for n in LOSSES}
    assert found == LOSSES
    assert capfd.readouterr().out == ""


def frames(data: bytes) -> Iterator[bytes]:
    """Yield the records of wandb's file: LevelDB's log in one block, frames of (checksum, length, type)."""
    place = 7  # after the file's own head
    while place < len(data):
        _, size, kind = struct.unpack_from("<IHB", data, place)
        assert kind == 1, "a record that goes over more than one frame"
        yield data[place + 7 : place + 7 + size]
        place += 7 + size


def test_wandb_reads_what_was_sent(tmp_path: Path) -> None:
    pytest.importorskip("wandb")
    from wandb.proto.wandb_internal_pb2 import Record  # type: ignore[import-not-found]

    track("wandb", tmp_path)
    (file,) = tmp_path.glob("wandb/offline-run-*/run-*.wandb")
    records: list[Any] = []
    end = time.monotonic() + 20
    # A process of wandb's own writes the file, a little later.
    while not (records and records[-1].HasField("exit")) and time.monotonic() < end:
        time.sleep(0.05)
        records = [Record.FromString(data) for data in frames(file.read_bytes())]
    rows = [
        {(item.key or item.nested_key[0]): item.value_json for item in record.history.item}
        for record in records
        if record.WhichOneof("record_type") == "history"
    ]
    found = {n: [(int(row["step"]), float(row[n])) for row in rows if n in row] for n in LOSSES}
    assert found == LOSSES


@pytest.mark.parametrize(
    ("kind", "package"),
    [(kind, kind) for kind in ("tensorboard", "mlflow", "trackio", "wandb")] + [("mlflow", "alembic")],
)
def test_an_absent_package_is_named_with_the_line_that_brings_it(
    kind: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtra, match=rf"The tracker '{kind}' needs .*'espalier-lm\[track\]'"):
        trackers.build(kind, {})
