"""What is asked of a type of model: that all which Espalier does with it comes out as transformers has it.

A tiny random model of the type is saved, loaded as a user's would be, and put through every room. What is
refused has to be refused in a sentence of ours; any other error is a fault.
"""

from __future__ import annotations

import copy
import io
import signal
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from transformers import AutoModelForCausalLM, GenerationConfig
from transformers.utils import logging

from conformance.tiny import tiny_config
from conformance.words import chat_tokenizer
from espalier.core.errors import EspalierError
from espalier.core.records import Encoded
from espalier.decode.engine import can_share, decode_tokens
from espalier.decode.requests import Request
from espalier.decode.strategies.sampling import greedy
from espalier.encode.tokens import Unit
from espalier.encode.tree import build_tree
from espalier.models.adapters import merged, methods
from espalier.models.exact import in_fp64
from espalier.models.export import load_hf, save_hf
from espalier.models.forward import edge_logprobs
from espalier.models.load import load_model, load_tuned, save_tuned
from espalier.models.places import find_model
from espalier.models.support import unsupported
from espalier.train.loop import Settings, train
from espalier.train.objectives import Resources, sft
from espalier.train.steps import steps_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from espalier.models.load import Loaded

SECONDS = 120
WINDOW = 16
LIMIT = 6
# Largest relative gaps: of two ways in fp64, whose norms and routers compute in fp32, and of a saved model.
FP64, FP32, SAVED = 3e-6, 1e-4, 1e-5
# A prefix, and the ends of the rows that share it.
PREFIX = tuple(range(40, 64))
ENDS = ((70, 71, 72, 73, 74, 75), (80, 81, 82, 83, 84, 85, 86), (90, 91, 92, 93))


@dataclass(frozen=True)
class Finding:
    """What came of a type of model.

    Attributes:
        type: as transformers names it.
        verdict: "shares", "row by row", "refused", "not made" (no tiny one can be built), or "fault".
        why: the reason of any other verdict than the first.
    """

    type: str
    verdict: str
    why: str = ""


class Fault(Exception):
    """Something that came out otherwise than transformers has it."""


def check(model_type: str) -> Finding:
    """Put a type of model through all that Espalier does, and say what came of it."""
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()
    torch.set_num_threads(1)
    step = "build"
    try:
        with _limited(SECONDS), _silent(), tempfile.TemporaryDirectory() as place:
            try:
                made = _make(model_type, Path(place) / "model")
            except Exception as error:  # what transformers itself cannot build
                return Finding(model_type, "not made", _line(error))
            step = "load"
            loaded = load_model(find_model(str(made), Path(place)))
            longest = len(PREFIX) + max(map(len, ENDS)) + LIMIT
            why_not = unsupported(loaded.model, longest, training=True)
            for question, ask in _questions(loaded, why_not is None, Path(place)):
                step = question
                ask()
    except EspalierError as error:
        where = "" if step == "load" else f"{step}: "
        return Finding(model_type, "refused", f"{where}{error.message} {error.hint}".strip())
    except Exception as error:  # a fault of any kind is what is looked for
        return Finding(model_type, "fault", f"{step}: {type(error).__name__}: {_line(error)}")
    return Finding(model_type, "row by row" if why_not else "shares", why_not or "")


def _questions(loaded: Loaded, shared: bool, place: Path) -> Iterator[tuple[str, Callable[[], None]]]:
    exact = in_fp64(loaded.model)
    yield "loss", partial(_check_loss, exact, loaded.model, shared)
    yield "greedy", partial(_check_greedy, loaded.model, shared)
    for method in ("full", "lora"):
        yield method, partial(_check_training, loaded, method, shared, place)


def _make(model_type: str, folder: Path) -> Path:
    tokenizer = chat_tokenizer()
    tokens = {
        "eos_token_id": tokenizer.eos_token_id,
        "bos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    config = tiny_config(model_type, len(tokenizer), tokens, WINDOW)
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    with torch.no_grad():  # logits that are far apart, so that rounding chooses no token
        for weight in model.parameters():
            if weight.dim() > 1:
                weight.mul_(4)
    _logits(model.eval(), PREFIX)  # what transformers cannot compute is not a tiny model of the type
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _rows() -> list[Encoded]:
    rows = []
    for end in ENDS:
        ids = (*PREFIX, *end)
        weights = (0.0,) * (len(ids) - len(end) + 1) + (1.0,) * (len(end) - 1)
        rows.append(Encoded(ids, weights, len(ids) - len(end) + 1, str(end[0])))
    return rows


def _logits(model: PreTrainedModel, ids: tuple[int, ...]) -> torch.Tensor:
    return model(input_ids=torch.tensor([ids]), use_cache=False).logits[0]


@torch.no_grad()
def _check_loss(exact: PreTrainedModel, single: PreTrainedModel, shared: bool) -> None:
    model, bound = exact, FP64
    try:
        _logits(exact, PREFIX)
    except RuntimeError:  # a type whose own code knows no fp64
        model, bound = single, FP32
    rows = _rows()
    tree = build_tree(rows)
    found = edge_logprobs(model, tree, shared=shared).logprobs
    said = torch.zeros(len(rows), dtype=torch.float64).index_add(
        0, torch.from_numpy(tree.entry_rows), found[torch.from_numpy(tree.entry_edges)].double()
    )
    wanted = []
    for row in rows:
        logprobs = _logits(model, row.ids).double().log_softmax(-1)
        places = [index for index, weight in enumerate(row.weights) if weight]
        wanted.append(sum(logprobs[index - 1, row.ids[index]] for index in places))
    _close(said, torch.stack(cast("Any", wanted)), bound, "log-probabilities of the rows")


@torch.no_grad()
def _check_greedy(model: PreTrainedModel, shared: bool) -> None:
    prompts = [(*PREFIX, *end[:2]) for end in ENDS] + [PREFIX[:9]]
    requests = [Request(str(row), prompt, 0, ()) for row, prompt in enumerate(prompts)]
    answers: list[list[int]] = [[] for _ in prompts]
    strategy = greedy(limit=LIMIT)
    by_tree = shared and can_share(model, requests, strategy)
    for token in decode_tokens(model, requests, strategy, (), shared=by_tree):
        answers[token.row].append(token.id)
    for prompt, answer in zip(prompts, answers, strict=True):
        wanted = _reference(model, prompt)
        if wanted != answer:
            raise Fault(f"generate writes {wanted}, and the engine {answer}")


@torch.no_grad()
def _reference(model: PreTrainedModel, prompt: tuple[int, ...]) -> list[int]:
    """Return the answer of transformers' `generate`; where that fails, what computing all again gives."""
    plain: Any = copy.copy(model)
    plain.generation_config = GenerationConfig()  # what a type forces at the end is no part of decoding
    ids = torch.tensor([prompt])
    settings = GenerationConfig(max_new_tokens=LIMIT, do_sample=False, pad_token_id=0)
    try:
        output = plain.generate(ids, attention_mask=torch.ones_like(ids), generation_config=settings)
    except (AttributeError, IndexError, RuntimeError, ValueError):
        for _ in range(LIMIT):
            ids = torch.cat([ids, plain(input_ids=ids, use_cache=False).logits[:, -1:].argmax(-1)], 1)
        output = ids
    return output[0, len(prompt) :].tolist()


def _check_training(loaded: Loaded, method: str, shared: bool, place: Path) -> None:
    twin = copy.copy(loaded)
    model = methods.build(method, {}, "method")(copy.deepcopy(loaded.model))
    model = cast("PreTrainedModel", model)
    before = {
        name: weight.detach().clone() for name, weight in model.named_parameters() if weight.requires_grad
    }
    units = [Unit(row.example, row.ids[: row.prompt], (row,)) for row in _rows()]
    nothing: Any = None
    source = steps_of(units, [(sft(), 1.0)], Resources(1, *[nothing] * 4), size=3, tokens=1000, seed=0)
    forward = partial(edge_logprobs, shared=shared)
    settings = Settings(steps=2, rate=1e-3, precision="fp32", checkpoint=10)
    folder = place / method
    for _ in train(model, source, settings, folder, recipe={}, forward=forward):
        pass
    if all(torch.equal(before[name], weight) for name, weight in model.named_parameters() if name in before):
        raise Fault("no weight has moved")
    ids = (*PREFIX, *ENDS[0])
    with torch.no_grad():
        wanted = _logits(model, ids)
        save_tuned(model, twin, folder / "tuned")
        again = load_tuned(folder / "tuned", loaded.place)
        _close(_logits(again.model, ids), wanted, SAVED, "logits of the saved model")
        plain = merged(copy.deepcopy(again.model))
        _close(_logits(plain, ids), wanted, 10 * SAVED, "logits of the merged model")
        save_hf(folder / "export", plain, loaded.tokenizer, loaded.template, "f32", {})
        _close(_logits(load_hf(folder / "export"), ids), wanted, 10 * SAVED, "logits of the exported model")


def _close(found: torch.Tensor, wanted: torch.Tensor, bound: float, what: str) -> None:
    gap = float((found - wanted).norm() / wanted.norm().clamp(min=1e-12))
    if not gap <= bound:
        raise Fault(f"the {what} are {gap:.1e} apart")


@contextmanager
def _limited(seconds: int) -> Iterator[None]:
    def stop(*_: object) -> None:
        raise TimeoutError(f"more than {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def _silent() -> Iterator[None]:
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield


def _line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:200]
