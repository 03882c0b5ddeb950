"""A tuned model for other tools: a merged Hugging Face folder, a PEFT adapter or a GGUF file.

What was written is loaded again the way that those tools load it, and shown the run's own prompts: how far
its logits are from the trained model's, and whether it writes the same; and each of its weights is held to
what the number format can hold of the trained one. A difference in text is accepted
only where the gap of the logits explains it: where a model takes another token, the two tokens' logits are
at most twice the gap apart.
"""

from __future__ import annotations

import copy
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from peft import PeftModel, PeftType

from espalier.core.errors import ModelError
from espalier.core.files import read_json
from espalier.models.adapters import ADAPTER, CONFIG, is_plain, peft_as_it_is
from espalier.models.call import call_model
from espalier.models.encoders.attached import blind
from espalier.models.media import by_whole_rows, never_written
from espalier.models.multimodal.attached import attach_own, copy_processor, sees_itself

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from espalier.encode.template import Template

# The largest gap between two logits that a number format explains, as a share of the largest logit.
BOUNDS = {"f32": 1e-4, "f16": 0.005, "bf16": 0.08, "q8_0": 0.08}
# The same of a weight and the largest of its tensor: half of the format's last digit.
WEIGHT_BOUNDS = {"f32": 0.0, "f16": 2**-11, "bf16": 2**-8, "q8_0": 1 / 200}
DTYPES = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}
ROUNDING = 1e-5  # share of the largest logit: between a forward with a cache and one without


@dataclass(frozen=True, slots=True)
class Seen:
    """What a model makes of one prompt.

    Attributes:
        logits: [A, V] in fp32, from which the A tokens of the trained model's answer are taken.
        answer: the ids that it writes itself, greedily, its stop token included.
    """

    logits: np.ndarray
    answer: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Row:
    """Two models on one prompt: the largest gap of their logits, and where their texts part.

    `parted` is the first token that differs, `margin` how far apart the trained model's logits of the two
    tokens are there; both None where the texts are equal. The margin is infinite where one stops and the
    other does not go on to stop.
    """

    example: str
    gap: float
    parted: int | None
    margin: float | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """An exported model beside the trained one: the largest `gap`, and what the number format explains of it.

    `by` says what computed the logits that are compared, for each of the `rows`; or it is 'weights'.
    """

    by: str
    gap: float
    bound: float
    ok: bool
    rows: tuple[Row, ...] = ()


def save_hf(
    folder: Path,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    template: Template,
    kind: str,
    sampling: Mapping[str, Any],
) -> None:
    """Save a merged model as any tool of the Hugging Face world loads it.

    Its generation settings are the run's: the tokens that end an answer, and `sampling` where it sampled.
    """
    from transformers import GenerationConfig

    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=sorted(template.stop_ids),
        pad_token_id=tokenizer.pad_token_id if tokenizer.pad_token_id is not None else min(template.stop_ids),
        **sampling,
    )
    twin = copy.deepcopy(model)
    torch.nn.Module.to(twin, DTYPES[kind])
    with blind(twin):
        twin.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    copy_processor(model, folder)
    for file in folder.iterdir():
        file.chmod(0o644)  # safetensors makes files that only their owner can read


def copy_adapter(source: Path, folder: Path, base: str) -> None:
    """Copy a run's PEFT adapter with its tokenizer; `base` is what its configuration calls the base model.

    Raises:
        ModelError: the run's model is not an adapter, or one that peft does not know.
    """
    if not (source / ADAPTER).exists():
        raise ModelError(
            "The run's method trains the model's own weights, so there is no adapter to export.",
            where=str(source),
            hint="Use --to hf, or --to gguf.",
        )
    shutil.copytree(source, folder, dirs_exist_ok=True)
    config = {**read_json(folder / CONFIG), "base_model_name_or_path": base}
    if config["peft_type"] not in PeftType.__members__:
        raise ModelError(f"peft knows no adapter of the type '{config['peft_type']}'.", where=str(source))
    (folder / CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def check_plain(model: PreTrainedModel) -> None:
    """Refuse a model with parts that cannot be folded into its weights. Raises ModelError."""
    if not is_plain(model):
        raise ModelError(
            "What the run's method added cannot be folded into the model's weights.",
            where="train.method",
            hint="A soft prompt can be exported with --to adapter.",
        )


def load_hf(folder: Path, pixels: int | None = None) -> PreTrainedModel:
    """Load a folder as transformers does, in fp32; one that sees or hears by itself is given media.

    `pixels` are the most of a picture that it is shown.
    """
    from transformers import AutoModelForCausalLM, AutoModelForMultimodalLM, AutoTokenizer

    if not sees_itself(Path(folder)):
        return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    model = AutoModelForMultimodalLM.from_pretrained(folder, dtype=torch.float32).eval()
    return attach_own(model, Path(folder), AutoTokenizer.from_pretrained(folder), pixels)


def load_adapter(base: str, folder: Path) -> PreTrainedModel:
    """Load an adapter as peft does, on its base model in fp32."""
    with peft_as_it_is():
        return cast("PreTrainedModel", PeftModel.from_pretrained(load_hf(cast("Any", base)), folder)).eval()


@torch.inference_mode()
def logits_of(
    model: PreTrainedModel, prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[int]]
) -> list[np.ndarray]:
    """Return the logits [A, V] that each answer's A tokens are taken from."""
    found: list[np.ndarray] = []
    for prompt, answer in zip(prompts, answers, strict=True):
        logits = call_model(model, np.array([[*prompt, *answer[:-1]]]))
        found.append(logits[0, -len(answer) :].float().cpu().numpy())
    return found


@torch.inference_mode()
def witness(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    answers: Sequence[Sequence[int]],
    limit: int,
    stops: Collection[int] = (),
) -> list[Seen]:
    """Return what a loaded model makes of prompts, by transformers' own `generate`.

    It stops at `stops`, or without them where the folder's generation settings say.
    """
    settings = {"eos_token_id": sorted(stops), "pad_token_id": min(stops)} if stops else {}
    written: list[tuple[int, ...]] = []
    for prompt in prompts:
        if by_whole_rows(model):
            written.append(_written(model, prompt, limit, stops or _stops(model)))
            continue
        ids = torch.tensor([list(prompt)], device=model.device)
        out = cast("Any", model).generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            max_new_tokens=limit,
            **settings,
        )
        written.append(tuple(out[0, ids.shape[1] :].tolist()))
    return [Seen(*both) for both in zip(logits_of(model, prompts, answers), written, strict=True)]


def _written(
    model: PreTrainedModel, prompt: Sequence[int], limit: int, stops: Collection[int]
) -> tuple[int, ...]:
    """Return the likeliest tokens after a prompt, the row computed whole for each."""
    found: list[int] = []
    while len(found) < limit and not (found and found[-1] in stops):
        logits = call_model(model, np.array([[*prompt, *found]]))[0, -1]
        logits[never_written(model)] = -torch.inf
        found.append(int(logits.argmax()))
    return tuple(found)


def _stops(model: PreTrainedModel) -> list[int]:
    stops: Any = cast("Any", model).generation_config.eos_token_id
    return stops if isinstance(stops, list) else [stops]


def compare_outputs(
    by: str, examples: Sequence[str], trained: Sequence[Seen], exported: Sequence[Seen], share: float
) -> Comparison:
    """Compare what the exported model makes of each prompt with what the trained one makes of it.

    `share` is the largest gap that is allowed, as a share of the largest logit; see `BOUNDS`.
    """
    scale = max(float(np.abs(seen.logits).max()) for seen in trained)
    rows = tuple(_row(*pair) for pair in zip(examples, trained, exported, strict=True))
    gap = max(row.gap for row in rows)
    bound = share * scale
    apart = 2 * gap + ROUNDING * scale
    # Not `gap > bound`: a gap that is not a number is too large as well.
    ok = gap <= bound and all(row.margin is None or row.margin <= apart for row in rows)
    return Comparison(by, gap, bound, ok, rows)


def compare_weights(trained: PreTrainedModel, exported: PreTrainedModel, kind: str) -> Comparison:
    """Compare every tensor; a gap is a share of the tensor's largest weight."""
    theirs = exported.state_dict()
    gaps = [
        (ours - theirs[name]).abs().max() / ours.abs().max().clamp(min=torch.finfo(ours.dtype).tiny)
        for name, ours in trained.state_dict().items()
    ]
    gap, bound = float(torch.stack(gaps).max()), WEIGHT_BOUNDS[kind]
    return Comparison("weights", gap, bound, gap <= bound)


def _row(example: str, trained: Seen, exported: Seen) -> Row:
    gap = float(np.abs(trained.logits - exported.logits).max())
    if trained.answer == exported.answer:
        return Row(example, gap, None, None)
    pairs = enumerate(zip(trained.answer, exported.answer, strict=False))
    shorter = min(len(trained.answer), len(exported.answer))
    place = next((at for at, (one, other) in pairs if one != other), shorter)
    if place == shorter:
        return Row(example, gap, place, float("inf"))
    at = trained.logits[place]
    return Row(example, gap, place, float(at[trained.answer[place]] - at[exported.answer[place]]))
