"""A run's tuned model for other tools: written, loaded again, and compared with what was trained."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import torch
from huggingface_hub import metadata_load
from safetensors import SafetensorError

from espalier.core.errors import DataError, EspalierError, ModelError, RunError
from espalier.core.files import read_json, write_atomic
from espalier.core.recipe import Choice, load_recipe
from espalier.core.standing import read_provenance
from espalier.core.text import some
from espalier.data.table import read_examples
from espalier.decode.local import local_of
from espalier.models import llama_check
from espalier.models.bundled import KNOWN
from espalier.models.encoders.attached import chosen_beside
from espalier.models.export import (
    BOUNDS,
    Seen,
    check_plain,
    compare_outputs,
    compare_weights,
    copy_adapter,
    load_adapter,
    load_hf,
    logits_of,
    save_hf,
    witness,
)
from espalier.models.gguf_file import read_gguf, stop_ids, write_gguf
from espalier.models.places import base_of, check_run
from espalier.models.precision import PLAIN
from espalier.models.soft_prompt import virtual_ids
from espalier.report.card import Source, card
from espalier.report.gather import gather
from espalier.runs.asking import run_asking
from espalier.runs.events import say, working
from espalier.runs.load import load_run
from espalier.runs.prepare import TASKS, paths_of, prepare

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from espalier.core.recipe import Recipe
    from espalier.core.run import RunFolder
    from espalier.models.export import Comparison
    from espalier.models.load import Loaded
    from espalier.models.places import Place

Sort: TypeAlias = Literal["hf", "adapter", "gguf"]
Form: TypeAlias = Literal["f32", "f16", "bf16", "q8_0"]
RECORD = "export.json"


def export_run(
    run: RunFolder,
    to: Sort,
    cache: Path,
    *,
    form: Form | None = None,
    out: Path | None = None,
    rows: int = 8,
    llama_python: Path | None = None,
) -> tuple[Path, list[Comparison]]:
    """Write a run's tuned model for other tools, with a model card, if it is what was trained.

    Args:
        run: the run.
        to: a merged Hugging Face folder, a PEFT adapter, or GGUF.
        cache: folder of converted models.
        form: number format; by default f32, and f16 for GGUF.
        out: the new folder; by default RUN/export/FORMAT.
        rows: how many test prompts to compare on.
        llama_python: a Python that has llama_cpp, to compare GGUF in llama.cpp too.

    Returns:
        The folder, which is not there where a comparison is not `ok`; and the comparisons.

    Raises:
        ModelError: it cannot be written so.
        RunError: the folder is there and no earlier export of this run, or the disk fails.
    """
    recipe = load_recipe(run.recipe)
    form = form or ("f16" if to == "gguf" else "f32")
    if (to != "gguf" and form == "q8_0") or (to == "adapter" and form != "f32"):
        raise ModelError(f"--to {to} cannot be written in {form}.", hint="Leave --type out.")
    target = out or run.path / "export" / to
    earlier = _recorded(target)
    if target.exists() and (not earlier or (out and earlier != recipe.hash)):
        raise RunError(
            "It exists and is no earlier export of this run.",
            where=str(target),
            hint="Name another folder with --out, or remove that one.",
        )
    check_run(run, rating=False)
    if encoders := chosen_beside(run.model):
        raise _seeing(run, to, [choice.kind for choice in encoders])
    with working("Loading the tuned model"):
        loaded = load_run(run, cache)
    job = Job(run, recipe, loaded, to, form, _base(run, cache))
    try:
        return target, _export(job, target, rows, llama_python)
    except (OSError, SafetensorError) as error:
        raise RunError(f"The export cannot be written and read again: {error}", where=str(target)) from None


# A recipe's settings of decoding by their names among transformers' generation settings.
GENERATION = {
    **{name: name for name in ("temperature", "top_p", "top_k", "min_p", "repetition_penalty")},
    **{name: name for name in ("length_penalty", "early_stopping")},
    "typical": "typical_p",
    "epsilon": "epsilon_cutoff",
    "eta": "eta_cutoff",
    "no_repeat": "no_repeat_ngram_size",
    "beams": "num_beams",
}


@dataclass(frozen=True)
class Job:
    """What is exported, and as what; `base` is where the model that was tuned lies, if it is still there."""

    run: RunFolder
    recipe: Recipe
    loaded: Loaded
    to: Sort
    form: Form
    base: Place | None

    @property
    def file(self) -> str:
        """Name of the GGUF file."""
        return f"{self.recipe.name}-{self.form}.gguf"

    @property
    def hub(self) -> str:
        """Hub id of the model that was tuned, or '' where it has none."""
        name = self.recipe.model.name
        return name if name.count("/") == 1 and not Path(name).is_dir() else ""

    @property
    def folder(self) -> str:
        """The folder of the model that an exported adapter is one to. Raises ModelError."""
        if self.base is None or self.base.base is not None:
            raise ModelError(
                f"The run's adapter is one to the model of {Path(self.recipe.model.name).name}, which is an "
                "adapter itself and no folder that peft could load.",
                where=str(self.run.path),
                hint="Export it with --to hf, or --to gguf: all adapters are folded in.",
            )
        return self.base.folder


def _seeing(run: RunFolder, to: Sort, encoders: list[str]) -> ModelError:
    return ModelError(
        f"The run's model sees or hears through {some(encoders, TASKS)} and a projector, which no model of "
        f"transformers, peft or llama.cpp has, so --to {to} would write one that cannot.",
        where=str(run.path),
        hint=f"What travels is the folder {run.model}: its media.safetensors holds the projector and names "
        "the encoders, and Espalier loads it wherever the model that it was tuned from lies.",
    )


def _base(run: RunFolder, cache: Path) -> Place | None:
    try:
        return base_of(run, cache)
    except (ModelError, RunError):  # only an adapter needs it, and would not have been loaded without
        return None


def _recorded(folder: Path) -> str:
    """Return the hash of the recipe whose run was exported into a folder; '' where that is not known."""
    try:
        return str(read_json(folder / RECORD).get("recipe", ""))
    except (DataError, AttributeError):
        return ""


def _export(job: Job, target: Path, rows: int, llama_python: Path | None) -> list[Comparison]:
    """Write the export beside its place, and put it there if it is what was trained."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as work:
        partial = Path(work) / "export"
        partial.mkdir()
        found = _write_and_compare(job, partial, rows, llama_python)
        if all(comparison.ok for comparison in found):
            about = {"run": job.recipe.name, "recipe": job.recipe.hash, "to": job.to, "type": job.form}
            write_atomic(partial / RECORD, json.dumps({**about, **plain(found)}, indent=1) + "\n")
            write_atomic(partial / "README.md", _card(job, found))
            shutil.rmtree(target, ignore_errors=True)
            partial.rename(target)
    return found


def _write_and_compare(job: Job, partial: Path, rows: int, llama_python: Path | None) -> list[Comparison]:
    """Write the export into a folder, load it again, and compare it with the trained model on test rows."""
    loaded = job.loaded
    examples = read_examples(job.run.data / "test.parquet")[:rows]
    local = local_of(replace(loaded, formats=PLAIN))
    merged = local.writer
    limit = int(job.recipe.decode.params.get("limit", 64))
    with working(f"Writing {job.to}"):
        _write(job, merged, partial)
    with working(f"Answering {len(examples)} test prompts with the trained model"):
        greedy = Choice.model_validate({"kind": "greedy", "limit": limit})
        written = {c.example: c.ids for c in local.generate(examples, greedy)}
        answers = [written[example.id] for example in examples]
        prompts = [loaded.template.prompt_ids(example.prompt) for example in examples]
        trained = list(map(Seen, logits_of(loaded.model, prompts, answers), answers))
    names = [example.id for example in examples]
    with working("Loading the export again, and answering with it"):
        reloaded, stops, by = _reload(job, partial)
        # What stands for a soft prompt in front of ours, peft adds by itself.
        bare = [prompt[len(virtual_ids(loaded.model)) :] for prompt in prompts]
        seen = witness(reloaded, bare, answers, limit, stops)
        found = [compare_outputs(by, names, trained, seen, BOUNDS[job.form])]
        if job.to != "adapter":
            found.append(compare_weights(merged, reloaded, job.form))
    python = llama_python or (Path(sys.executable) if find_spec("llama_cpp") else None)
    if job.to == "gguf" and python:
        with working("Answering with llama.cpp"):
            texts = [loaded.template.prompt_text(example.prompt) for example in examples]
            task = {"prompts": prompts, "answers": answers, "texts": texts, "limit": limit}
            seen = _in_llama(python, partial / job.file, task)
            # llama.cpp keeps keys and values in half precision, whatever the file is in.
            found.append(compare_outputs("llama.cpp", names, trained, seen, BOUNDS[job.form] + BOUNDS["f16"]))
    elif job.to == "gguf":
        say("llama.cpp was not asked: llama_cpp is not installed here; --llama-python names one that has it.")
    return found


def _write(job: Job, merged: PreTrainedModel, partial: Path) -> None:
    loaded = job.loaded
    if job.to == "adapter":
        copy_adapter(job.run.model, partial, job.hub or job.folder)
        return
    check_plain(merged)
    if job.to == "gguf":
        write_gguf(partial / job.file, merged, loaded.tokenizer, loaded.template, job.form)
    else:
        params = job.recipe.decode.params
        sampling = {name: params[key] for key, name in GENERATION.items() if key in params}
        if job.recipe.decode.kind == "sample":
            sampling["do_sample"] = True
        elif job.recipe.decode.kind == "beam":
            sampling.setdefault("num_beams", 4)
        save_hf(partial, merged, loaded.tokenizer, loaded.template, job.form, sampling)


def _reload(job: Job, partial: Path) -> tuple[PreTrainedModel, frozenset[int], str]:
    """Return the model as other tools load it, its stop tokens where the folder does not say, and by whom."""
    stops: frozenset[int] = frozenset()
    if job.to == "adapter":
        model, stops, by = load_adapter(job.folder, partial), job.loaded.template.stop_ids, "peft"
    elif job.to == "gguf":
        path = partial / job.file
        model, stops, by = read_gguf(path), stop_ids(path), "transformers, from GGUF"
    else:
        model, by = load_hf(partial, job.loaded.pixels), "transformers"
    torch.nn.Module.to(model, job.loaded.model.device)
    return model, stops, by


def _in_llama(python: Path, file: Path, task: dict[str, Any]) -> list[Seen]:
    """Return what llama.cpp makes of the prompts; see `models/llama_check.py`. Raises ModelError."""
    script = Path(llama_check.__file__)
    with tempfile.TemporaryDirectory(prefix="espalier-llama-") as work:
        out = Path(work) / "out.npz"
        told = json.dumps({**task, "file": str(file), "out": str(out)})
        try:
            done = subprocess.run(
                [str(python), "-I", str(script)], input=told, capture_output=True, text=True, check=False
            )
        except OSError as error:
            raise ModelError(f"It cannot be run: {error.strerror}.", where=str(python)) from None
        if done.returncode:
            reason = (done.stderr.strip() or f"status {done.returncode}").split("\n")[-1]
            raise ModelError(f"llama.cpp could not be asked: {reason}", where=str(python))
        found = np.load(out)
        for number, prompt in enumerate(task["prompts"]):
            if tuple(found[f"tokens-{number}"].tolist()) != tuple(prompt):
                say(f"Note: llama.cpp cuts the text of test prompt {number} into other tokens.")
        return [
            Seen(found[f"logits-{number}"], tuple(found[f"written-{number}"].tolist()))
            for number in range(len(task["prompts"]))
        ]


def _card(job: Job, comparisons: list[Comparison]) -> str:
    first = comparisons[0]
    same = sum(row.parted is None for row in first.rows)
    compared = (
        f"Beside the trained model in fp32, the largest gap of a logit is {first.gap:.2g} (by {first.by}), "
        f"and {same} of {len(first.rows)} greedy answers are the same."
    )
    material = gather(job.run.path)
    # As the run wrote it down: the hash of a recipe changes with the schema.
    recipe_hash = material.provenance.get("inputs", {}).get("recipe", job.recipe.hash)
    return card(material, recipe_hash, _source(job), job.to, _how_to_load(job), compared)


def _source(job: Job) -> Source:
    """Return names and licences that the run folder does not hold, as far as they are stated anywhere."""
    name = job.recipe.model.name
    before = read_provenance(job.run).get("parents", [])
    first = before[0]["name"] if before else name
    page = Path(job.base.root) / "README.md" if job.base else None
    stated: dict[str, Any] = (metadata_load(page) if page and page.exists() else None) or {}
    spoken = stated.get("language", [])
    source = Source(
        base=Path(name).name if Path(name).is_absolute() else name,
        hub=job.hub,
        base_licence=str(stated.get("license", "")),
        data=some([Path(path).stem for path in paths_of(job.recipe.task)], TASKS),
        data_licence="",
        language=(spoken,) if isinstance(spoken, str) else tuple(spoken),
    )
    if first in KNOWN:
        known = KNOWN[first]
        source = replace(source, hub=known.hub, base_licence=known.licence, language=(known.language,))
    try:
        parts = prepare(job.recipe).parts
    except EspalierError:  # a task file was moved since; the run's own rows are in its folder
        return source
    licences = dict.fromkeys(part.task.licence if part.task else "Unknown" for part in parts)
    licence = "" if "Unknown" in licences else ", ".join(licences)
    return replace(source, data=some([part.name for part in parts], TASKS), data_licence=licence)


def _how_to_load(job: Job) -> str:
    base = job.hub or "BASE_FOLDER"
    turns = [turn for turn in run_asking(job.run).prompt("…") if turn.text]
    asked = [{"role": turn.role, "content": turn.text} for turn in turns]
    messages = json.dumps(asked, ensure_ascii=False, indent=2)
    code = {
        "hf": "from transformers import pipeline\n\n"
        'chat = pipeline("text-generation", "THIS_FOLDER")\n'
        f"chat({messages})",
        "adapter": "from peft import PeftModel\nfrom transformers import AutoModelForCausalLM\n\n"
        f'base = AutoModelForCausalLM.from_pretrained("{base}")\n'
        'model = PeftModel.from_pretrained(base, "THIS_FOLDER")',
        "gguf": f"llama-cli -m {job.file} -cnv --temp 0",
    }
    language = "sh" if job.to == "gguf" else "python"
    said = "Its chat template and the tokens that end an answer go with it; answers were decoded "
    said = f"```{language}\n{code[job.to]}\n```\n\n{said}with `{job.recipe.decode.kind}`. "
    if job.to == "hf":
        return f"{said}It was trained on prompts of this shape, with the input in the place of “…”."
    shape = f"```json\n{messages}\n```"
    return f"{said}It was trained on prompts of this shape, with the input in the place of “…”:\n\n{shape}"


def plain(comparisons: list[Comparison]) -> dict[str, Any]:
    """Return the comparisons as JSON has them: what is not a finite number is null."""
    text = json.dumps([asdict(comparison) for comparison in comparisons])
    return {"comparisons": json.loads(text, parse_constant=lambda _: None)}
