"""Trackers: where people watch many runs side by side. Each takes a step's numbers and works offline.

A tracker is a `Tracker`: it takes the events that go to `events.jsonl`, and one more, {"event": "end"}. Its
factory returns a function that opens it once the run is known. What a tracker raises must not stop a run, and
that is the command line's business.
"""

from __future__ import annotations

import contextlib
import io
import json
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast

from espalier.core.errors import MissingExtra
from espalier.core.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from espalier.core.records import Tracker


@dataclass(frozen=True, slots=True)
class Start:
    """The run that is tracked: its name, its resolved recipe as a table, and its folder."""

    name: str
    recipe: Mapping[str, Any]
    folder: Path


Opener: TypeAlias = "Callable[[Start], Tracker]"
trackers: Registry[Opener] = Registry("tracker")


@dataclass(frozen=True, slots=True)
class Scalars:
    """A tracker made of what to do with a step's numbers by name, and what to do at the end."""

    write: Callable[[dict[str, float], int], object]
    end: Callable[[], object]

    def log(self, event: Mapping[str, Any]) -> None:
        """Take one event; steps of several stages have the stage before each name."""
        if event["event"] in ("step", "dev"):
            self.write(scalars(event), event["step"])
        elif event["event"] == "end":
            self.end()


def scalars(event: Mapping[str, Any]) -> dict[str, float]:
    """Return the numbers of a step's event and what its objectives say, named as 'train/loss'.

    Those of an evaluation are named as 'train/dev_loss'.
    """
    prefix = f"{event.get('stage', 'train')}/{'dev_' if event['event'] == 'dev' else ''}"
    return {
        f"{prefix}{key}": float(value)
        for key, value in {**event.get("said", {}), **event}.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and key not in ("step", "time")
    }


@trackers.register("tensorboard")
def tensorboard(*, folder: str = "") -> Opener:
    """TensorBoard's event files, by default in the run's folder."""
    _check("tensorboard")

    def begin(start: Start) -> Tracker:
        package = cast("Any", import_module("torch.utils.tensorboard"))
        writer = package.SummaryWriter(folder or str(start.folder / "tensorboard"))
        writer.add_text("recipe", f"```json\n{json.dumps(start.recipe, indent=1)}\n```")

        def write(values: dict[str, float], step: int) -> None:
            for name, value in values.items():
                writer.add_scalar(name, value, step)
            writer.flush()

        return Scalars(write, writer.close)

    return begin


@trackers.register("mlflow")
def mlflow(*, uri: str = "", experiment: str = "espalier") -> Opener:
    """MLflow: the server at `uri`, by default an SQLite file in the run's folder."""
    _check("mlflow", *([] if uri else ["alembic", "sqlalchemy"]))

    def begin(start: Start) -> Tracker:
        client = cast("Any", import_module("mlflow")).MlflowClient(
            tracking_uri=uri or f"sqlite:///{start.folder.resolve()}/mlflow.db"
        )
        found = client.get_experiment_by_name(experiment)
        place = found.experiment_id if found else client.create_experiment(experiment)
        run = client.create_run(place, run_name=start.name).info.run_id
        for name, value in _flat(start.recipe):
            client.log_param(run, name, value)

        def write(values: dict[str, float], step: int) -> None:
            for name, value in values.items():
                client.log_metric(run, name, value, step=step)

        return Scalars(write, lambda: client.set_terminated(run))

    return begin


@trackers.register("trackio")
def trackio(*, project: str = "espalier") -> Opener:
    """Trackio's local database; `trackio show` opens it."""
    _check("trackio")

    def begin(start: Start) -> Tracker:
        package = cast("Any", import_module("trackio"))
        with contextlib.redirect_stdout(io.StringIO()):  # it greets
            run = package.init(
                project, name=start.name, config=dict(start.recipe), embed=False, auto_log_gpu=False
            )

        def end() -> None:
            with contextlib.redirect_stdout(io.StringIO()):
                package.finish()

        return Scalars(lambda values, step: run.log(values, step=step), end)

    return begin


@trackers.register("wandb")
def wandb(*, project: str = "espalier", mode: Literal["offline", "online"] = "offline") -> Opener:
    """Weights & Biases, by default into the run's folder, for `wandb sync` to send."""
    _check("wandb")

    def begin(start: Start) -> Tracker:
        package = cast("Any", import_module("wandb"))
        run = package.init(
            project=project,
            name=start.name,
            dir=str(start.folder),
            config=dict(start.recipe),
            settings=package.Settings(mode=mode, silent=True, console="off"),
        )
        # Its own step may only rise, and each stage begins anew.
        run.define_metric("*", step_metric="step")
        return Scalars(lambda values, step: run.log({**values, "step": step}), run.finish)

    return begin


def _check(tracker: str, *packages: str) -> None:
    """Raise MissingExtra where what a tracker needs is not installed, before anything has begun."""
    if not all(map(find_spec, (tracker, *packages))):
        raise MissingExtra(f"The tracker '{tracker}'", "track")


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (path, value) of what is neither a table nor a list: ('train.0.rate', 2e-5)."""
    if not isinstance(value, dict | list | tuple):
        yield path, value
        return
    items = value.items() if isinstance(value, dict) else enumerate(cast("list[Any]", value))
    for key, inner in items:
        yield from _flat(inner, f"{path}.{key}" if path else str(key))
