"""What rows with pictures and sounds cost: features, once and again, and steps on trees beside single rows.

    python -m bench media

Pictures of 224×224 and sounds of 2 s are drawn here; their features are made with the bundled encoders, and
then again as a second run does: files are looked up, features read. A step has `QUESTIONS` questions on a
picture of 49 tokens, the same weights under LoRA, forward and backward, each side in a process of its own: as
a tree; row by row with one backward, as a model is trained that cannot share; and each row with a backward of
its own, which holds least. CPU seconds count.
"""

from __future__ import annotations

import hashlib
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.side import Clock, Job, Side, commands, steady, take_turns

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from multiprocessing.connection import Connection

    from espalier.core.records import Encoded, Media
    from espalier.encode.template import Template
    from espalier.media.kinds import Kind

ENCODERS: dict[Kind, str] = {"image": "efficientnet-lite0", "audio": "whisper-tiny.en"}
QUESTIONS = 10
SIDES = ("tree", "row by row", "single rows")
SIDE, RATE, SECONDS = 224, 16_000, 2
WORDS = ("shape", "colour", "place", "size", "edge", "corner", "middle", "left", "right", "number")


def main(model: str, say: Callable[[str], None], *, count: int, rounds: int, threads: int) -> dict[str, Any]:
    """Return what was measured."""
    import torch

    torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory(prefix="espalier-bench-") as folder:
        found: dict[str, Any] = {
            kind: features(encoder, media(Path(folder), kind, count), Path(folder) / "kept", say)
            for kind, encoder in ENCODERS.items()
        }
        sides = [
            Side(name, run, Job(model, [], "lora", 1e-4, threads, {"folder": folder, "side": name}))
            for name in SIDES
        ]
        loads = take_turns(sides, rounds, say)
    steps = {side.name: steady(side) for side in sides}
    cpu = {name: statistics.median(one["cpu_seconds"][1:]) for name, one in steps.items()}
    ratios = {name: round(cpu[name] / cpu["tree"], 2) for name in SIDES}
    loads = [round(one, 1) for one in loads]
    return {**found, "steps": {**steps, "cpu": cpu, "ratios": ratios, "loads": loads}}


def media(folder: Path, kind: Kind, count: int) -> list[Media]:
    """Write so many files that all differ, and return them."""
    from PIL import Image

    from espalier.core.records import Media
    from espalier.media.sounds import soundfile

    drawn = np.random.default_rng(0)
    made: list[Media] = []
    for number in range(count):
        path = folder / f"{number}.{'png' if kind == 'image' else 'wav'}"
        if kind == "image":
            pixels = np.full((SIDE, SIDE, 3), 255, np.uint8)
            x, y = drawn.integers(0, SIDE // 2, 2)
            pixels[y : y + SIDE // 2, x : x + SIDE // 2] = drawn.integers(0, 255, 3)
            Image.fromarray(pixels).save(path, compress_level=1)
        else:
            time_of = np.arange(RATE * SECONDS) / RATE
            heard = np.sin(2 * np.pi * (200 + number) * time_of) + 0.1 * drawn.standard_normal(len(time_of))
            soundfile().write(path, 0.3 * heard, RATE)
        made.append(Media(kind, str(path), hashlib.sha256(path.read_bytes()).hexdigest()))
    return made


def features(encoder: str, files: Sequence[Media], kept: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """Return the CPU seconds of a first run's features and of a second run's."""
    from espalier.models.encoders.encoders import encoders
    from espalier.models.encoders.features import KeptFeatures

    built = encoders.build(encoder, {})
    seconds: list[float] = []
    for _ in range(2):
        begun = time.process_time()
        made = KeptFeatures(kept, {built.kind: built})
        made.open(files)
        made.make(files)
        for one in files:
            made.of(one)
        seconds.append(round(time.process_time() - begun, 2))
    say(f"  {encoder}: {len(files)} files in {seconds[0]} CPU s, again in {seconds[1]}")
    return {
        "files": len(files),
        "first": seconds[0],
        "again": seconds[1],
        "load": round(os.getloadavg()[0], 1),
    }


def run(job: Job, connection: Connection) -> None:
    """Take forward and backward of the same rows, one step per command."""
    from espalier.core.recipe import Choice
    from espalier.encode.tree import build_tree
    from espalier.models.adapters import method_on
    from espalier.models.encoders.attached import attach, features_of
    from espalier.models.forward import edge_logprobs
    from espalier.models.load import load_model
    from espalier.train.objectives import row_sums

    loaded = load_model(job.model)
    kept = features_of([Choice(kind="efficientnet-lite0")])
    model = attach(loaded.model, kept, seed=0)
    (picture,) = media(Path(job.settings["folder"]), "image", 1)
    kept.open([picture])
    kept.make([picture])
    rows = rows_on(picture, loaded.template.seeing(kept.takes))
    model = method_on(model, "lora", {"rank": 16}, 0).train()
    shared = job.settings["side"] == "tree"
    parts = [[row] for row in rows] if job.settings["side"] == "single rows" else [rows]
    for _ in commands(connection):
        clock, loss = Clock(), 0.0
        for part in parts:
            tree = build_tree(part)
            total = -row_sums(edge_logprobs(model, tree, shared=shared), tree).sum()
            total.backward()
            loss += float(total.detach())
        model.zero_grad()
        connection.send(clock.stop(loss / len(rows)))


def rows_on(picture: Media, template: Template) -> list[Encoded]:
    """Return `QUESTIONS` rows on a picture."""
    from espalier.core.records import Example, Message, Text, message
    from espalier.encode.tokens import encode

    rows: list[Encoded] = []
    for word in WORDS[:QUESTIONS]:
        asked = Message(
            "user", (picture, Text(f"What can you say of the {word} of what is in this picture?"))
        )
        answer = message("assistant", f"The {word}.", trained=True)
        rows.append(encode(Example(word, "media", picture.sha256, (asked, answer)), template))
    return rows
