"""Which weights move: each tuning method is a function that prepares a model, chosen by `train.method`.

This is the table of methods, and of how what they add is saved, loaded and folded in. Methods that add parts
of their own have a file each: `layers.py`, `bottleneck.py`, `soft_prompt.py`, `quantised.py`. None has
dropout: a dropped token would be dropped for every row that shares it.
"""

from __future__ import annotations

import json
import warnings
from collections import Counter
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias, cast

import torch
from peft import IA3Config, LoraConfig, PeftConfig, PeftModel, get_peft_model
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils import get_peft_model_state_dict, set_peft_model_state_dict
from pydantic import Field
from safetensors.torch import load_file, save_file
from torch import nn

from espalier.core.errors import RecipeError
from espalier.core.files import read_json
from espalier.core.registry import Registry
from espalier.models import bottleneck, media, soft_prompt
from espalier.models.encoders.attached import blind, read_beside, write_beside
from espalier.models.files import ADAPTER, CONFIG
from espalier.models.inside import outside
from espalier.models.layers import Place, expand
from espalier.models.quantised import bitsandbytes, from_4_bits, is_quantised, to_4_bits
from espalier.models.reward import rates

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

    import torch
    from transformers import PreTrainedModel

# What a method returns: it marks or adds the weights to be trained and returns the model to train.
Method: TypeAlias = "Callable[[PreTrainedModel], torch.nn.Module]"
Count = Annotated[int, Field(gt=0)]

methods: Registry[Method] = Registry("method")

# Beside an adapter whose base was in 4 bits.
BASE = "base_quantization.json"
# How parts that are not peft's are written and read, by the `peft_type` of their configuration.
FORMATS = {
    "PROMPT_TUNING": (soft_prompt.write, soft_prompt.read),
    "BOTTLENECK": (bottleneck.write, bottleneck.read),
    "PROJECTOR": (media.write, media.read),
}


def method_on(model: PreTrainedModel, kind: str, params: Mapping[str, Any], seed: int) -> PreTrainedModel:
    """Return the model with the weights that a method moves; fresh ones follow the seed."""
    torch.manual_seed(seed)
    encoder = outside(model)
    made = cast("PreTrainedModel", methods.build(kind, params, "train.method")(model))
    for weight in encoder.values():  # its features are kept
        weight.requires_grad_(False)
    embedding = media.media_embedding(made)
    for weight in embedding.projecting if embedding else ():  # with whatever a method adds
        weight.requires_grad_(True)
    return made


# Types with state space layers for which peft refuses some targets.
MAMBA = ("falcon_h1", "falcon_mamba", "mamba", "mamba2", "nemotron_h")


@methods.register("full")
def full() -> Method:
    """All weights."""
    return lambda model: model.requires_grad_(True)


@methods.register("lora")
def lora(
    *,
    rank: int = 16,
    alpha: int = 32,
    targets: str | list[str] = "all-linear",
    rslora: bool = False,
    dora: bool = False,
) -> Method:
    """Low-rank updates of the linear layers (Hu et al. 2021, arXiv 2106.09685), by peft.

    `rslora` scales them by alpha / sqrt(rank) and not alpha / rank (arXiv 2312.03732); `dora` trains the
    weights' magnitudes apart from their directions (arXiv 2402.09353).
    """
    config = partial(
        LoraConfig,
        r=rank,
        lora_alpha=alpha,
        lora_dropout=0.0,
        target_modules=targets,
        use_rslora=rslora,
        use_dora=dora,
        task_type="CAUSAL_LM",
    )
    return partial(_with_peft, config=config)


@methods.register("qlora")
def qlora(*, rank: int = 16, alpha: int = 32, targets: str | list[str] = "all-linear") -> Method:
    """LoRA on linear layers in 4 bits (Dettmers et al. 2023, arXiv 2305.14314), by peft and bitsandbytes."""
    bitsandbytes()  # without it, say so before anything is computed
    above = lora(rank=rank, alpha=alpha, targets=targets)
    return lambda model: above(to_4_bits(model))


@methods.register("layers")
def layers(*, count: Count = 4, place: Place = "between") -> Method:
    """New blocks, at first the identity, between or on top of the frozen ones (Wu 2024, arXiv 2401.02415)."""
    return partial(expand, count=count, place=place)


@methods.register("adapter")
def adapter(*, size: Count = 64) -> Method:
    """A bottleneck of `size` dimensions after each MLP (Houlsby et al. 2019, arXiv 1902.00751)."""
    return partial(bottleneck.adapted, size=size)


@methods.register("ia3")
def ia3(*, targets: list[str] | None = None, inputs: list[str] | None = None) -> Method:
    """A factor for each key, value and MLP dimension (Liu et al. 2022, arXiv 2205.05638), by peft.

    `targets` are the linear layers whose outputs are scaled, `inputs` those of them whose inputs are scaled
    in their place; without both, peft's choice for the model's type.
    """
    config = partial(IA3Config, target_modules=targets, feedforward_modules=inputs, task_type="CAUSAL_LM")
    return partial(_with_peft, config=config)


@methods.register("prompt")
def prompt(*, tokens: Count = 20) -> Method:
    """A soft prompt: so many trained vectors before every row (Lester et al. 2021, arXiv 2104.08691)."""
    return partial(soft_prompt.prompted, tokens=tokens)


@methods.register("projector")
def projector() -> Method:
    """The projectors alone, from encoders' features to the model's embeddings (LLaVA's first stage)."""
    return media.only_projectors


@methods.register("bitfit")
def bitfit() -> Method:
    """The biases (Ben Zaken et al. 2021, arXiv 2106.10199); where there are none, the norms' weights."""

    def prepare(model: PreTrainedModel) -> PreTrainedModel:
        model.requires_grad_(False)
        vectors = {name: weight for name, weight in model.named_parameters() if weight.ndim == 1}
        biases = [weight for name, weight in vectors.items() if name.endswith("bias")]
        for weight in biases or vectors.values():
            weight.requires_grad_(True)
        return model

    return prepare


@methods.register("head")
def head() -> Method:
    """The output layer alone; where it is tied to the embedding, it becomes a copy of its own."""

    def prepare(model: PreTrainedModel) -> PreTrainedModel:
        model.requires_grad_(False)
        _own_output(model).weight.requires_grad_(True)
        return model

    return prepare


def merged(model: nn.Module) -> PreTrainedModel:
    """Return the model with what peft added folded into its weights, in place; 4-bit weights become plain.

    They are marked as trained then: what is saved of the model is all of it (`media.write` goes by that).
    A soft prompt and bottlenecks cannot be folded in and stay what they are, see `is_plain`.
    """
    if not isinstance(model, PeftModel):
        return cast("PreTrainedModel", model)
    base = model.get_base_model()
    if is_quantised(base):
        # peft would round the sum to 4 bits again: take the adapter off and put it onto the plain weights.
        tensors, config = get_peft_model_state_dict(model), model.peft_config["default"]
        model = _with_peft(from_4_bits(cast("Any", model).unload()), lambda: config)
        set_peft_model_state_dict(model, tensors)
    return cast("Any", model).merge_and_unload().requires_grad_(True)


def without_adapter(model: nn.Module) -> AbstractContextManager[object] | None:
    """Return what turns peft's adapter off meanwhile, so that the model is its own base; None without one.

    A base in 4 bits is left out, as that is no longer the one that was tuned.
    """
    if not isinstance(model, PeftModel) or is_quantised(model.get_base_model()):
        return None
    return cast("AbstractContextManager[object]", model.disable_adapter())


def is_plain(model: PreTrainedModel) -> bool:
    """Whether the model is one that transformers alone can hold: no adapter, soft prompt or bottleneck."""
    return not isinstance(model, PeftModel) and all(write(model) is None for write, _ in FORMATS.values())


def save_weights(model: nn.Module, folder: Path) -> None:
    """Save a whole model as transformers does, and what a method adds to a base as peft does.

    Raises:
        OSError, SafetensorError: it cannot be written.
    """
    for write, _ in FORMATS.values():
        if found := write(cast("PreTrainedModel", model)):
            folder.mkdir(parents=True)
            config, tensors = found
            (folder / CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
            save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / ADAPTER)
            write_beside(model, folder)
            return
    with blind(model):
        _save_blind(model, folder)
    write_beside(model, folder)


def _save_blind(model: nn.Module, folder: Path) -> None:
    """Save a whole model, or what peft added to one."""
    if not isinstance(model, PeftModel):
        cast("PreTrainedModel", model).save_pretrained(str(folder))
        return
    # Of an embedding with an adapter the adapter is enough: its own weights are the base model's.
    model.save_pretrained(str(folder), save_embedding_layers=False)
    if is_quantised(model.get_base_model()):
        (folder / BASE).write_text('{"quant_type": "nf4"}\n')


def add_weights(model: PreTrainedModel, folder: Path) -> PreTrainedModel:
    """Return the base model with what `save_weights` saved of a method's additions.

    Raises:
        OSError, ValueError, KeyError, RuntimeError, SafetensorError, DataError: it is damaged or of another
            model.
        MissingExtra: its base was in 4 bits, and bitsandbytes is not installed.
    """
    model = read_beside(model, folder)
    config = read_json(folder / CONFIG)
    if config["peft_type"] in FORMATS:
        _, read = FORMATS[config["peft_type"]]
        read(model, config, load_file(folder / ADAPTER))
        return model
    if (folder / BASE).exists():
        model = from_4_bits(to_4_bits(model))
    with peft_as_it_is():
        adapted = _untied(PeftModel.from_pretrained(model, str(folder)))
    _make_sure(adapted, load_file(folder / ADAPTER))
    return cast("PreTrainedModel", adapted)


def _make_sure(model: PeftModel, tensors: dict[str, torch.Tensor]) -> None:
    """Put an adapter's tensors where they belong: of some types peft renames them, and then leaves them out.

    Raises:
        ValueError: a tensor has no place in the model.
    """

    def lost() -> list[str]:
        with peft_as_it_is():
            own = get_peft_model_state_dict(model, save_embedding_layers=False)
        return [name for name, tensor in tensors.items() if name not in own or not own[name].equal(tensor)]

    places = {name.replace(".default", ""): weight for name, weight in model.named_parameters()}
    for name in lost():
        if name in places:
            places[name].data.copy_(tensors[name])
    if names := lost():
        raise ValueError(f"{len(names)} of its tensors have no place in the model, such as {names[0]}")


@contextmanager
def peft_as_it_is() -> Generator[None]:
    """Keep warnings from users who can do nothing about them.

    peft 0.21 asks transformers 5 by an old name; and it warns of tied layers, which are untied here, and
    of GPT-2's layers, which it turns round by itself.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        warnings.filterwarnings("ignore", "fan_in_fan_out is set to", UserWarning)
        warnings.filterwarnings("ignore", "Model has `tie_word_embeddings=True` and", UserWarning)
        yield


def _untied(model: PeftModel) -> PeftModel:
    """Give the output layer weights of its own where it or the embedding is adapted and the two are tied.

    Else what is folded into the one would change the other, and another model be saved than was trained.
    """
    base = cast("PreTrainedModel", model.get_base_model())
    output, words = base.get_output_embeddings(), base.get_input_embeddings()
    adapted = isinstance(output, BaseTunerLayer) or isinstance(words, BaseTunerLayer)
    if adapted and output is not None and output.weight is words.weight:
        _own_output(base)
    return model


def _own_output(model: PreTrainedModel) -> nn.Linear:
    """Make the output layer's weights a copy of their own, and return the layer."""
    output: Any = model.get_output_embeddings()
    layer = cast("nn.Linear", output.get_base_layer() if isinstance(output, BaseTunerLayer) else output)
    layer.weight = nn.Parameter(layer.weight.detach().clone(), requires_grad=layer.weight.requires_grad)
    model.config.tie_word_embeddings = model.config.get_text_config().tie_word_embeddings = False
    model.all_tied_weights_keys = {}
    return layer


def _unusual(model: PreTrainedModel) -> list[str]:
    """Return the linear layers that LoRA has to leave alone.

    Those are layers whose code does something else with their weights: a forward of their own, or state space
    layers, which hand the weights of some of their parts to a kernel; and those that share their weights.
    """
    mamba = model.config.get_text_config().model_type in MAMBA
    several = _shared_weights(model)
    embedding = media.media_embedding(model)
    before = set(embedding.projectors.modules() if embedding else ())
    foreign = {id(weight) for weight in outside(model).values()}
    return [
        name
        for name, part in model.named_modules()
        if (isinstance(part, nn.Linear) and (not _is_linear(part) or part in before))
        or (isinstance(part, nn.Linear) and id(part.weight) in foreign)
        or (isinstance(part, nn.Linear) and id(part.weight) in several)
        or (mamba and name.rpartition(".")[2] in ("out_proj", "conv1d"))
    ]


def _shared_weights(model: nn.Module) -> set[int]:
    """Return the ids of weights that several linear layers have in common, as blocks of some types do."""
    layers = (part for part in model.modules() if isinstance(part, nn.Linear))
    return {weight for weight, many in Counter(id(layer.weight) for layer in layers).items() if many > 1}


def _check_shared(model: PeftModel) -> None:
    """Refuse adapters on layers with common weights: folded in, each would change the others too."""
    several = _shared_weights(model)
    for name, part in model.named_modules():
        layer = part.get_base_layer() if isinstance(part, BaseTunerLayer) else None
        if isinstance(layer, nn.Linear) and id(layer.weight) in several:
            raise RecipeError(
                f"The layer {name.removeprefix('base_model.model.')} has its weights in common with another.",
                where="train.method",
                hint="Name other layers in train.method.targets, or take the method full.",
            )


@torch.no_grad()
def _is_linear(layer: nn.Linear) -> bool:
    """Whether a linear layer computes what such a layer does, though its code may be another."""
    if type(layer).forward is nn.Linear.forward:
        return True
    weight = layer.weight
    probe = torch.ones(1, 1, layer.in_features, dtype=weight.dtype, device=weight.device)
    try:
        found = layer(probe)
        wanted = nn.functional.linear(probe, weight, layer.bias)
        return (
            isinstance(found, torch.Tensor) and found.shape == wanted.shape and torch.allclose(found, wanted)
        )
    except (IndexError, RuntimeError, TypeError, ValueError):  # or it is an outline, without values
        return False


def _with_peft(model: PreTrainedModel, config: Callable[[], PeftConfig]) -> PeftModel:
    try:
        with peft_as_it_is():
            chosen = config()
            if isinstance(chosen, LoraConfig) and chosen.target_modules == "all-linear":
                chosen.exclude_modules = _unusual(model)
            if rates(model) and isinstance(chosen, LoraConfig):
                chosen.task_type, chosen.modules_to_save = "SEQ_CLS", ["score"]
            adapted = _untied(cast("PeftModel", get_peft_model(model, chosen)))
    except ValueError as error:
        raise RecipeError(f"The adapter cannot be made: {error}", where="train.method") from None
    _check_shared(adapted)
    return adapted
