"""Drawn pictures in the layouts that recipes read, a few kB each."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

from PIL import Image, ImageDraw

DOCS = Path(__file__).parents[2] / "docs"
COLOURS = ("red", "blue", "green")
SHAPES = ("circle", "triangle", "rectangle")


def draw(path: Path, colour: str, shape: str, size: int = 20) -> None:
    """Draw one shape on white."""
    image = Image.new("RGB", (24, 24), "white")
    pen, corner = ImageDraw.Draw(image), (2, 2, size, size)
    if shape == "circle":
        pen.ellipse(corner, fill=colour)
    elif shape == "rectangle":
        pen.rectangle(corner, fill=colour)
    else:
        pen.polygon([(2, size), (size, size), (size // 2, 2)], fill=colour)
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


def script(number: int) -> str:
    """Return a script of the page on pictures."""
    return re.findall(r"```python\n(.*?)```", (DOCS / "easy-vqa.md").read_text(), re.DOTALL)[number]


def easy_vqa(folder: Path) -> None:
    """Make what the package easy-vqa has, and the page's rows of it."""
    data = folder / "easy_vqa" / "data"
    for split in ("train", "test"):
        asked: list[tuple[str, str, int]] = []
        for number in range(18):
            colour, shape = COLOURS[number % 3], SHAPES[(number // 3 + number) % 3]
            draw(data / split / "images" / f"{number}.png", colour, shape, 12 + number // 2)
            asked += [("what color is the shape?", colour, number), ("what shape is present?", shape, number)]
            for named in (colour, COLOURS[(number + 1) % 3]):
                there = named == colour
                asked.append((f"is there a {named} shape?", "yes" if there else "no", number))
                asked.append((f"is no {named} shape present?", "no" if there else "yes", number))
            asked.append(("is there a circle?", "yes" if shape == "circle" else "no", number))
        (data / split / "questions.json").write_text(json.dumps(asked))
    _run(folder, script(0))


def stamps(folder: Path) -> None:
    """Make what the package tuxpaint-stamps-default has, and the page's rows of it."""
    drawings = folder / "stamps" / "usr" / "share" / "tuxpaint" / "stamps" / "shapes"
    for number in range(12):
        colour, shape = COLOURS[number % 3], SHAPES[(number // 3) % 3]
        draw(drawings / f"{number}.png", colour, shape, 12 + number // 2)
        (drawings / f"{number}.txt").write_text(f"A {colour} {shape}.\nde.utf8=Etwas.\n", encoding="utf-8")
    draw(drawings / "unnamed.png", "red", "circle")
    _run(folder, script(1))


def dialogues(folder: Path) -> None:
    """Make rows as LLaMA-Factory's mllm_demo.json has them: pictures in several turns, one of them twice."""
    rows: list[dict[str, object]] = []
    for number in range(6):
        colour = COLOURS[number % 3]
        name = f"mllm_demo_data/{number}.png"
        draw(folder / name, colour, "circle", 12 + number)
        turns = [("user", "<image>What is it?"), ("assistant", f"A {colour} circle.")]
        turns += [("user", "And here?<image>"), ("assistant", "The same.")] if number % 2 else []
        messages = [{"role": role, "content": content} for role, content in turns]
        rows.append({"messages": messages, "images": [name] * (len(turns) // 2)})
    (folder / "mllm_demo.json").write_text(json.dumps(rows))


def _run(folder: Path, program: str) -> None:
    subprocess.run([sys.executable, "-c", program], cwd=folder, check=True)
