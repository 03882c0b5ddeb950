"""Folders that people have and that are no model to tune: each is refused in its own words."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from transformers import (
    BertConfig,
    BertForMaskedLM,
    T5Config,
    T5ForConditionalGeneration,
    XLNetConfig,
    XLNetLMHeadModel,
)

from espalier.core.errors import ModelError
from espalier.models.load import find_model, load_model

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast


@pytest.fixture
def folder(
    llama: Callable[..., LlamaForCausalLM],
    chat_tokenizer: Callable[[str], PreTrainedTokenizerFast],
    tmp_path: Path,
) -> Path:
    llama(320).save_pretrained(tmp_path / "model")
    chat_tokenizer("chatml").save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def changed(**values: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, **values}))

    return change


def without(pattern: str, *others: str) -> Callable[[Path], None]:
    def remove(folder: Path) -> None:
        for file in folder.glob(pattern):
            file.unlink()
        for name in others:
            (folder / name).write_text("{}")

    return remove


TINY = {"vocab_size": 64, "d_model": 16, "d_ff": 16, "num_layers": 1, "num_heads": 2, "d_kv": 8}


def of(model: Callable[[], Any]) -> Callable[[Path], None]:
    def replace(folder: Path) -> None:
        without("*.safetensors")(folder)
        model().save_pretrained(folder)

    return replace


REFUSALS: dict[str, tuple[Callable[[Path], None], str]] = {
    "gptq": (changed(quantization_config={"quant_method": "gptq", "bits": 4}), r"quantised \(gptq\).*qlora"),
    "awq": (changed(quantization_config={"quant_method": "awq"}), r"quantised \(awq\).*plain"),
    "bits and bytes": (changed(quantization_config={"load_in_4bit": True}), r"quantised \(bitsandbytes\)"),
    "code": (changed(model_type="mine", auto_map={"AutoConfig": "x.C"}), r"code in its folder \(auto_map\)"),
    "unknown": (changed(model_type="lama"), r"knows no model type 'lama'.*llama"),
    "no type": (changed(model_type=None), r"names no model_type"),
    "two sequences": (of(lambda: T5ForConditionalGeneration(T5Config(**TINY))), r"an encoder with a decoder"),
    "adapter": (without("config.json", "adapter_config.json"), r"a PEFT adapter, and no model of its own"),
    "gguf": (without("*", "model.gguf"), r"no config\.json.*model\.gguf"),
    "no weights": (without("*.safetensors", "model.onnx"), r"holds no weights.*model\.onnx"),
    "no tokenizer": (without("tokenizer*"), r"holds no tokenizer"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_it_is_refused_in_words(name: str, folder: Path, tmp_path: Path):
    change, words = REFUSALS[name]
    change(folder)
    with pytest.raises(ModelError, match=words):
        load_model(find_model(str(folder), tmp_path))


@pytest.mark.parametrize(
    "make",
    [
        lambda: BertForMaskedLM(
            BertConfig(
                vocab_size=320,
                hidden_size=16,
                num_hidden_layers=1,
                num_attention_heads=2,
                intermediate_size=16,
                is_decoder=False,
            )
        ),
        lambda: XLNetLMHeadModel(XLNetConfig(vocab_size=320, d_model=16, n_layer=1, n_head=2, d_inner=16)),
    ],
    ids=["bert", "xlnet"],
)
@pytest.mark.filterwarnings("ignore")
def test_a_model_that_reads_ahead_is_refused(make: Callable[[], Any], folder: Path, tmp_path: Path):
    torch.manual_seed(0)
    of(make)(folder)
    with pytest.raises(ModelError, match="reads ahead"):
        load_model(find_model(str(folder), tmp_path))


def test_a_file_is_no_folder(folder: Path, tmp_path: Path):
    for name, words in (("a.gguf", "a GGUF file"), ("a.safetensors", "a model is a folder")):
        (tmp_path / name).write_bytes(b"GGUF")
        with pytest.raises(ModelError, match=words):
            find_model(str(tmp_path / name), tmp_path)


def test_a_tokenizer_with_more_tokens_than_the_model_is_refused(
    folder: Path, llama: Callable[..., LlamaForCausalLM], tmp_path: Path
):
    llama(250).save_pretrained(folder)
    with pytest.raises(ModelError, match=r"tokens that the model has no embedding of.*250 embeddings"):
        load_model(find_model(str(folder), tmp_path))
