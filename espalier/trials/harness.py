"""EleutherAI's tasks on our models: lm-eval poses and judges them, and `asked.py` answers along prompt trees.

What lm-eval (the extra `harness`) finds goes into a `scores.json` like any other: of each task and measure
the mean over its samples with our interval, where its own value is that mean, and else its value with the
interval that its standard error gives.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from espalier.core.errors import DataError, MissingExtra, RecipeError, RunError, nearest
from espalier.core.files import jsonl, write_atomic, write_changed
from espalier.core.journal import store_of
from espalier.core.recipe import as_recipe
from espalier.core.records import Completion, Estimate, Example, Metric, Score, example_id, message
from espalier.core.run import RunFolder, open_run, provenance, run_at
from espalier.core.scoring import Fold
from espalier.data.looks import model_of
from espalier.data.table import as_parquet
from espalier.evaluate.facts import expected, of_references
from espalier.evaluate.harness import estimated
from espalier.evaluate.measures import AS_IS
from espalier.evaluate.score_records import System
from espalier.evaluate.scores import Scores
from espalier.report.page import write_report
from espalier.runs.asking import run_asking
from espalier.runs.events import say
from espalier.runs.looking import count
from espalier.trials.evaluation import local_model
from espalier.trials.evaluation_subject import named

if TYPE_CHECKING:
    from espalier.core.recipe import Recipe

    Sample = Mapping[str, Any]

NORMAL = 1.959964  # of a 95 % interval
DRAWS = 1000  # of lm-eval's own standard errors, for what is no mean
# What is no mean of samples, of the sums of their logarithms and weights.
FOLDS: dict[str, Fold] = {
    **dict.fromkeys(
        ("perplexity", "word_perplexity", "byte_perplexity"), lambda sums: math.exp(-sums[0] / sums[1])
    ),
    "bits_per_byte": lambda sums: -sums[0] / sums[1] / math.log(2),
}


@dataclass(frozen=True)
class Harness:
    """What lm-eval is to pose.

    Attributes:
        model: as for `espalier evaluate`.
        tasks: names of tasks or groups.
        include: a folder of task files besides lm-eval's own.
        limit: rows of each task; None for all.
        shots: worked examples; None for as many as a task says.
        name: of the folder; "" makes one.
        chat: whether a task's text is put into the model's chat template.
    """

    model: str
    tasks: tuple[str, ...]
    include: str = ""
    limit: int | None = None
    shots: int | None = None
    name: str = ""
    chat: bool = False


def evaluate_harness(asked: Harness, overrides: Sequence[str], cache: Path) -> RunFolder:
    """Let lm-eval evaluate a model, and return the folder with outputs.jsonl, scores.json and the report.

    Raises:
        MissingExtra: lm-eval is not installed.
        RecipeError: it knows no such task.
        DataError: a task's rows cannot be had.
        EspalierError: the model cannot be loaded.
    """
    if importlib.util.find_spec("lm_eval") is None:
        raise MissingExtra("Evaluating with lm-eval", "harness")
    manager = importlib.import_module("lm_eval.tasks").TaskManager(include_path=asked.include or None)
    for task in asked.tasks:
        if task not in manager.all_tasks:
            raise RecipeError(
                f"lm-eval knows no task '{task}'.", where="--harness", hint=_near(task, manager)
            )
    called = asked.name or named(asked.model, [f"harness-{'-'.join(asked.tasks)}"])
    table = {"name": called, "task": {"path": [f"lm-eval:{task}" for task in asked.tasks]}}
    recipe = as_recipe(table, [f"model.name={asked.model}", *overrides])
    folder = RunFolder(Path(recipe.folder) / recipe.name)
    if folder.model.exists() or folder.stages.exists():
        raise RunError("A run has this name.", where=str(folder.path), hint="Give this another with --name.")
    say(f"Evaluation {recipe.name}, in {folder.path}")
    with open_run(folder.path) as run:
        _write(run, recipe, _posed(asked, manager, recipe, run, cache))
    write_report(folder.path)
    return folder


def _near(task: str, manager: Any) -> str:
    found = nearest(task, manager.all_tasks)  # there are thousands
    guess = found.split("Known:")[0].strip()
    return f"{guess} `lm-eval ls tasks` lists them." if guess else "`lm-eval ls tasks` lists them."


def _posed(asked: Harness, manager: Any, recipe: Recipe, run: RunFolder, cache: Path) -> Mapping[str, Any]:
    from espalier.trials.asked import lm_of

    lm = lm_of(local_model(recipe, run, cache), store_of(run.path.parent))
    try:
        return importlib.import_module("lm_eval.evaluator").simple_evaluate(
            model=lm,
            tasks=list(asked.tasks),
            num_fewshot=asked.shots,
            limit=asked.limit,
            log_samples=True,
            bootstrap_iters=DRAWS,
            task_manager=manager,
            apply_chat_template=asked.chat,
            system_instruction=_system(asked),
            random_seed=recipe.seed,
        )
    except (OSError, ImportError) as error:  # what it loads rows with, raises these
        told = str(error).strip().split("\n", 1)[0]
        raise DataError(
            f"lm-eval cannot get the rows of a task: {told}.",
            where=", ".join(asked.tasks),
            hint="It loads them from the hub: look at the network, or give tasks of your own with --include.",
        ) from None


def _system(asked: Harness) -> str | None:
    """Return the system turn of a run's rows, where there is a chat to put it before."""
    own = run_at(Path(asked.model).expanduser()) if asked.chat else None
    return next((turn.text for turn in run_asking(own).whole.turns if turn.text), None) if own else None


def _write(run: RunFolder, recipe: Recipe, found: Mapping[str, Any]) -> None:
    tasks = {task: _rows_of(task, samples) for task, samples in found["samples"].items()}
    parts = [_scores_of(task, rows, found, recipe.seed) for task, rows in tasks.items()]
    scores = merged([*_groups(found), *parts])
    examples = [example for rows in tasks.values() for example, _ in rows.values()]
    answers = [_answer(example, group[0]) for rows in tasks.values() for example, group in rows.values()]
    made = replace(scores, seed=recipe.seed, references=of_references(examples, expected(examples, ())))
    write_changed(run.recipe, recipe.to_toml().encode())
    write_changed(run.data / "test.parquet", as_parquet(examples))
    write_changed(run.outputs, jsonl([{"system": AS_IS, **one.plain()} for one in answers]).encode())
    count(run.path, examples, [model_of(answers)], "evaluate", "test")
    write_changed(run.scores, made.to_json().encode())
    told = {key: found.get(key) for key in ("results", "versions", "n-shot", "higher_is_better")}
    version = importlib.metadata.version("lm_eval")
    text = json.dumps({"lm_eval": version, **told}, indent=1, default=str, ensure_ascii=False)
    write_atomic(run.path / "harness.json", text + "\n")
    write_atomic(
        run.provenance, json.dumps(provenance(recipe.seed, {"recipe": recipe.hash}), indent=1) + "\n"
    )


def _rows_of(task: str, samples: Sequence[Sample]) -> dict[Any, tuple[Example, list[Sample]]]:
    """Return each of a task's rows with its samples: one for each of the task's filters."""
    rows: dict[Any, tuple[Example, list[Sample]]] = {}
    for sample in samples:
        _, group = rows.setdefault(sample["doc_id"], (_example(task, sample), []))
        group.append(sample)
    return rows


def _example(task: str, sample: Sample) -> Example:
    arguments = _arguments(sample)
    prompt, target = str(arguments[0][0]), str(sample["target"])
    name = example_id(task, sample["doc_id"], prompt, target)
    return Example(name, task, name, (message("user", prompt),), (target,), input=prompt)


def _arguments(sample: Sample) -> list[list[Any]]:
    """Return what was asked for a sample: of each request its arguments."""
    given: Any = sample["arguments"]
    if isinstance(given, Mapping):
        requests = cast("Mapping[str, Mapping[str, Any]]", given)
        return [list(request.values()) for request in requests.values()]
    return [list(request) for request in given]


def _answer(example: Example, sample: Sample) -> Completion:
    """Return what was written, or the likeliest of what was weighed."""
    said: Any = sample["filtered_resps"]
    if said and isinstance(said[0], str):
        return Completion(example.id, said[0])
    weighed = [float(one[0] if isinstance(one, Sequence) else one) for one in said]
    best = weighed.index(max(weighed)) if weighed else 0
    asked = _arguments(sample)
    text = str(asked[best][1]) if weighed and len(asked[best]) > 1 else ""
    return Completion(example.id, text, logprob=weighed[best] if weighed else None)


def _scores_of(
    task: str, rows: Mapping[Any, tuple[Example, list[Sample]]], found: Mapping[str, Any], seed: int
) -> Scores:
    """Return what a task comes to, by measure: `task/metric`."""
    examples = [replace(example, task="") for example, _ in rows.values()]  # its measures name the task
    columns: dict[str, list[Score]] = {}
    metrics: dict[str, Metric] = {}
    theirs: dict[str, Estimate] = {}
    for key, value in found["results"][task].items():
        metric, _, by = key.partition(",")
        if not by or metric.endswith("_stderr") or not isinstance(value, int | float):
            continue
        name = f"{task}/{metric}" if by == "none" else f"{task}/{metric} ({by})"
        higher = found.get("higher_is_better", {}).get(task, {}).get(metric, True)
        kept = [next((s for s in group if s["filter"] == by), group[0]) for _, group in rows.values()]
        fold = FOLDS.get(metric)
        column = [_score(sample.get(metric), folded=fold is not None) for sample in kept]
        values = [score.value for score in column if score.value is not None]
        share = bool(values) and all(0 <= one <= 1 for one in values)
        metrics[name] = Metric(
            name,
            unit="%" if share else "",
            better="lower" if higher is False else "higher",
            scale=100.0 if share else 1.0,
            note=f"As lm-eval judges it, {found.get('n-shot', {}).get(task, 0)} worked examples.",
            floors=_guessing(metric, kept, found["configs"].get(task, {})),
            fold=fold,
        )
        columns[name] = column
        if not math.isclose(_value(column, fold), value, rel_tol=1e-6, abs_tol=1e-9):
            theirs[name] = _theirs(found["results"][task], key, len(rows), metrics[name].scale)
    made = estimated(examples, {AS_IS: columns}, metrics, (), seed)
    ours = made.systems[AS_IS].scores
    return replace(made, systems={AS_IS: System({**ours, **theirs}, {}, None)})


def _groups(found: Mapping[str, Any]) -> list[Scores]:
    """Return what lm-eval makes of its groups of tasks, such as `mmlu`: their rows are those of the tasks."""
    made: list[Scores] = []
    for group, results in (found.get("groups") or {}).items():
        keys = [key for key, value in results.items() if "_stderr" not in key and isinstance(value, float)]
        names = {key: f"{group}/{key.removesuffix(',none').replace(',', ' ')}" for key in keys if "," in key}
        estimates = {name: _theirs(results, key, 0, 100.0) for key, name in names.items()}
        metrics = {name: Metric(name, unit="%", note="A mean of tasks, by lm-eval.") for name in estimates}
        made.append(Scores(metrics=metrics, systems={AS_IS: System(estimates, {}, None)}))
    return made


def _theirs(results: Mapping[str, Any], key: str, rows: int, scale: float) -> Estimate:
    """Return a value of lm-eval's with the interval that its standard error gives; none where it has none."""
    metric, _, by = key.partition(",")
    value, error = float(results[key]), results.get(f"{metric}_stderr,{by}")
    reach = NORMAL * error if isinstance(error, int | float) else math.nan
    return Estimate(value, value - reach, value + reach, rows, scale=scale)


def _guessing(metric: str, samples: Sequence[Sample], config: Mapping[str, Any]) -> dict[str, float]:
    """Return what guessing reaches of a share of right choices."""
    if config.get("output_type") != "multiple_choice" or not metric.startswith("acc"):
        return {}
    chances = [1 / max(1, len(sample["filtered_resps"])) for sample in samples]
    return {"guessing": sum(chances) / len(chances)}


def _score(value: object, *, folded: bool) -> Score:
    """Return a sample's value as a score: a number, or for a fold a sum of logarithms with its weight."""
    match value:
        case bool() | int() | float() if math.isfinite(value):
            return Score(None, parts=(float(value), 1.0)) if folded else Score(float(value))
        case [int() | float() as logarithm, int() | float() as weight] if folded:
            return Score(None, parts=(float(logarithm), float(weight)))
        case _:
            return Score(None)


def _value(column: Sequence[Score], fold: Fold | None) -> float:
    """Return what a column comes to; NaN where nothing in it is scored."""
    scored = [score for score in column if score.scored]
    if not scored:
        return math.nan
    if fold is None:
        return sum(score.value or 0.0 for score in scored) / len(scored)
    return fold([sum(parts) for parts in zip(*(score.parts for score in scored), strict=True)])


def merged(parts: Sequence[Scores]) -> Scores:
    """Return the scores of tasks as one: each measure is of its own task's rows."""
    names = [name for part in parts for name in part.systems[AS_IS].scores]
    nothing = dict.fromkeys(names, Score(None))
    return Scores(
        rows=sum(part.rows for part in parts),
        sources=sum(part.sources for part in parts),
        metrics={name: metric for part in parts for name, metric in part.metrics.items()},
        systems={AS_IS: System({n: e for p in parts for n, e in p.systems[AS_IS].scores.items()}, {}, None)},
        examples=tuple(
            replace(row, systems={AS_IS: {**nothing, **row.systems[AS_IS]}})
            for part in parts
            for row in part.examples
        ),
    )
