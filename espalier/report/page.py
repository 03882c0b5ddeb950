"""The report of a run: one self-contained HTML file, made from what the run folder holds and nothing else.

`gather.py` reads; `words.py`, `lengths.py`, `tuning.py`, `charts.py`, `picks.py` and `browse.py` say what is
shown; the templates lay it out. No network; the one script is ours, and every text of the run is escaped.
"""

from __future__ import annotations

import functools
import re
from collections import Counter
from typing import TYPE_CHECKING, Any

from markupsafe import Markup, escape

from espalier.core.errors import RecipeError
from espalier.core.files import write_atomic
from espalier.core.recipe import parse_recipe
from espalier.core.run import RunFolder
from espalier.core.text import counted
from espalier.data.parents import chain
from espalier.evaluate import sheet
from espalier.evaluate.findings import findings
from espalier.evaluate.forgetting import METRICS, sentence
from espalier.evaluate.groups import MACRO, by_task
from espalier.evaluate.measures import ALL, AS_IS, FLOORS
from espalier.evaluate.seeing import by_kind
from espalier.report import browse, words
from espalier.report.charts import axis
from espalier.report.gather import Material, gather
from espalier.report.gather import scores_of as scores_of
from espalier.report.layout import environment, ours, page_of
from espalier.report.lengths import lengths
from espalier.report.picks import pick, picked_by
from espalier.report.seen import (
    MOST,
    compared,
    encoded,
    first_row,
    has_media,
    orders,
    shelved,
    without_folders,
)
from espalier.report.tuning import how, trainings
from espalier.tasks.checks import checks

if TYPE_CHECKING:
    from pathlib import Path

    from jinja2 import Environment

    from espalier.evaluate.score_records import Answers
    from espalier.evaluate.scores import Scores

SLOT = "{media}"  # where media come once it is known what room the rest leaves
SHOWN = 1_000  # tokens of the first row: more would fill pages; the middle is left out then
DESCRIBED = {
    AS_IS: "the model as it is",
    "tuned": "the model after tuning",
    "base": "the model before tuning",
    **FLOORS,
    "constant": "one answer for every input",
    "copy": "the input as the answer",
    "lead": "as many first words of the input as answers have",
}


def write_report(folder: Path) -> Path:
    """Write `report.html` into a run folder, finished or not, and return its path.

    Raises:
        RunError: there is no such folder, or the file cannot be written.
    """
    path = RunFolder(folder).report
    write_atomic(path, render(gather(folder)))
    return path


@functools.cache
def _pages() -> Environment:
    from jinja2 import pass_context

    made = environment(
        {
            "percent": sheet.percent,
            "counted": counted,
            "title_of": pass_context(lambda page, name: page["run"].scores.metric(name).title),
            "of_row": pass_context(
                lambda page, value, name: f"{page['run'].scores.metric(name).scale * value:.1f}"
            ),
            "whole": unbroken,
            "reward": words.reward,
            "duration": words.duration,
            "size": words.size,
            "number": lambda n: f"{n:,}".replace(",", "\u202f"),
        }
    )
    made.tests["floor"] = FLOORS.__contains__
    return made


def render(material: Material) -> str:
    """Return the report as HTML."""
    tasks, picks = _tasks(material), pick(material)
    listed = browse.listed(material)
    media = has_media(material) and listed is not None
    if media and listed:
        compared(listed, material)
    shown = {
        "listed": Markup(browse.embedded(listed)) if listed else None,
        "media": SLOT if media else None,
        **(_of_media(material, listed) if media and listed else {}),
        "run": material,
        "task": tasks[0][0] if len(tasks) == 1 else counted(len(tasks), "task") if tasks else material.name,
        "tasks": tasks,
        "findings": findings(material.scores),
        "changes": _changes(material.scores),
        "asked": _asked(material),
        "alone": AS_IS in material.scores.systems,
        "figures": _figures(material),
        "floor_text": _floor_text(material, "constant"),
        "majority": _floor_text(material, "majority"),
        "checks": _checks(material),
        "shape": _shape(material),
        "lengths": lengths(material),
        "forgetting": _forgetting(material.scores),
        "reasons": _reasons(material),
        "how": how(material),
        "trainings": trainings(material),
        "picks": picks,
        "order": picked_by(material.scores),
        "recipe_hash": _recipe_hash(material),
        "comes_from": chain(material.provenance, material.name),
        "encoders": encoded(material),
        **_training(material),
    }
    if not media or not listed:
        return page_of(_pages(), "report.html", shown, "browse.js")
    html = without_folders(page_of(_pages(), "report.html", shown, "media.js", "browse.js"), material)
    given = shelved(
        material, [name for one in picks for name in one.media], listed, MOST - len(html.encode())
    )
    at = '<script type="application/json" id="browse-media">'  # no text of a run has this: "<" is escaped
    return html.replace(at + SLOT, at + browse.embedded(given), 1)


def _of_media(material: Material, listed: dict[str, Any]) -> dict[str, Any]:
    """Return what the templates show of media besides themselves."""
    return {
        "media_style": ours("media.css"),
        "first_media": [one.sha256 for one in first_row(material)],
        **({"orders": orders(listed)} if "filters" in listed else {}),
    }


def unbroken(text: str) -> Markup:
    """Return the text, escaped; no line ends within ROUGE-L, within an option, or before a unit."""
    safe = str(escape(text)).replace(" %", "\u00a0%")
    return Markup(re.sub(r"ROUGE-L|-o \S+\w", r"<span class='whole'>\g<0></span>", safe))


def _tasks(material: Material) -> list[tuple[str, int, int]]:
    """Return each task with how many rows of it are trained on and scored, in the order of the rows."""
    train, test = (Counter(row.task for row in rows) for rows in (material.train, material.test))
    return [(name or material.name, train[name], test[name]) for name in {**train, **test}]


def _changes(scores: Scores) -> list[dict[str, Any]]:
    """Return base, tuned and their difference for what leads, and for what all checks do not see."""
    if not scores.judged:
        return []
    first, *others = scores.measures
    changes: list[dict[str, Any]] = []
    for measure in (first, *(others[:1] if first == ALL else [])):
        gap = scores.difference("base", measure)
        if gap is not None:
            changes.append(
                {
                    "measure": measure,
                    "base": scores.estimate("base", measure),
                    "tuned": scores.estimate("tuned", measure),
                    "gap": gap.estimate,
                    "means": words.verdict(gap),
                    "floors": words.against_floors(scores, measure),
                }
            )
    return changes


def _asked(material: Material) -> str:
    """Return the first paragraph of the prompt, which is the task's definition where the prompt shows it."""
    for example in (*material.train, *material.test):
        return example.prompt[-1].text.split("\n\n")[0]
    return ""


def _figures(material: Material) -> list[dict[str, Any]]:
    """Return, for all checks and each scorer, the systems with their intervals, and the floors."""
    scores = material.scores
    systems = _systems(scores)
    figures: list[dict[str, Any]] = []
    for measure in scores.measures if {"tuned", AS_IS} & {*systems} else ():
        rows = [(name, scores.estimate(name, measure)) for name in systems]
        floors = [(name, floor.value) for name, floor in scores.floors(measure).items() if floor.known]
        figures.append(
            {
                "measure": measure,
                "note": words.note(scores.metric(measure)),
                "rewarded": measure in scores.rewarded,
                "rows": rows,
                "floors": floors,
                "counts": [(name, told) for name in systems if (told := scores.tally(name, measure))],
                "tasks": by_task(scores, measure),
                "kinds": by_kind(scores, measure),
                "axis": axis(scores.metric(measure), [estimate for _, estimate in rows]),
            }
        )
    return figures


def _forgetting(scores: Scores) -> dict[str, Any] | None:
    """Return what became of the general questions, in words and by kind; None where they were not asked."""
    asked = scores.abilities
    if asked is None:
        return None
    tables = [
        (metric.title, metric.note, [one for one in by_task(asked, measure) if one.name != MACRO])
        for measure, metric in METRICS.items()
    ]
    return {"told": sentence(asked), "count": asked.rows, "tables": tables}


def _floor_text(material: Material, floor: str) -> str:
    """Return the text of a floor that gives one answer to everything; '' where the run has it not."""
    texts = (line["text"] for (system, _), line in material.outputs.items() if system == floor)
    return next(texts, "")


def _checks(material: Material) -> list[tuple[str, list[dict[str, Any]]]]:
    """Return each check with its pass rates before and after, and what it asks for, in named groups.

    Where some were rewarded, those come first, and beside them those that were not.
    """
    scores = material.scores
    if not scores.judged:
        return []
    known, base = checks.names(), scores.systems["base"].checks
    rows = [
        {
            "name": name,
            "asks": checks.describe(name)[0] if name in known else "",
            "base": base[name],
            "tuned": estimate,
            "gap": gap.estimate if (gap := scores.difference("base", name)) else None,
        }
        for name, estimate in scores.systems["tuned"].checks.items()
    ]
    rewarded = scores.rewarded
    groups = (
        ("Rewarded while the model learned", [row for row in rows if row["name"] in rewarded]),
        ("Held out of the rewards" if rewarded else "", [row for row in rows if row["name"] not in rewarded]),
    )
    return [group for group in groups if group[1]]


def _shape(material: Material) -> list[tuple[str, str, Answers]]:
    """Return what is known of each system's answers without looking at the references."""
    return [
        (name, DESCRIBED.get(name, "the model after this stage"), answers)
        for name in _systems(material.scores)
        if (answers := material.scores.systems[name].answers)
    ]


def _systems(scores: Scores) -> list[str]:
    """Return the systems as they are shown: tuned, the stages before it, latest first, base, the floors."""
    return [
        name for name in (AS_IS, "tuned", *scores.stages[::-1], "base", *FLOORS) if name in scores.systems
    ]


def _recipe_hash(material: Material) -> str:
    """Return the hash of the recipe, or '' where it is missing or of another version of the schema."""
    try:
        return parse_recipe(material.recipe).hash if material.recipe else ""
    except RecipeError:
        return ""


def _reasons(material: Material) -> list[tuple[str, int, dict[str, Any]]]:
    """Return why rows were left out, most frequent first: the reason, how many, and the first of them."""
    counts: Counter[str] = Counter()
    first: dict[str, dict[str, Any]] = {}
    for row in material.rejects:
        counts[row["reason"]] += 1
        first.setdefault(row["reason"], row)
    return [(reason, count, first[reason]) for reason, count in counts.most_common()]


def _training(material: Material) -> dict[str, Any]:
    """Return what the sections on data and cost show of the events."""
    encoded, steps, stages = material.last("encoded"), material.steps(), material.stages()
    tokens = sum(step.get("tokens", 0) for step in steps)
    distinct = sum(step.get("distinct_tokens", 0) for step in steps)
    first = encoded.get("first", {"pieces": [], "trained": []})
    pieces = list(zip(first["pieces"], first["trained"], strict=True))
    long = len(pieces) > SHOWN
    shown = [*pieces[: SHOWN // 2], *pieces[-SHOWN // 2 :]] if long else pieces
    return {
        "encoded": encoded,
        "stages": stages,
        "seconds": sum(stage["seconds"] for stage in stages),
        "peak": max((stage.get("peak_bytes") or 0 for stage in stages), default=0),
        "tokens": tokens,
        "distinct": distinct,
        "pieces": shown,
        "cut_at": SHOWN // 2 + 1 if long else 0,
        "sources": len({example.source for example in material.train}),
    }
