"""Folders that people have and that are no model to tune: each is refused in its own words."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from transformers import (
    BertConfig,
    BertLMHeadModel,
    RobertaConfig,
    RobertaForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
    XLNetConfig,
    XLNetLMHeadModel,
)

from espalier.core.errors import ModelError
from espalier.models import folder as folders
from espalier.models.folder import first_line
from espalier.models.load import load_model, load_template, load_tokenizer
from espalier.models.places import find_model

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


BEGINNING = b"\n\x0e\n\x05<unk>"  # of a SentencePiece file
TINY = {"vocab_size": 64, "d_model": 16, "d_ff": 16, "num_layers": 1, "num_heads": 2, "d_kv": 8}


def of(model: Callable[[], Any]) -> Callable[[Path], None]:
    def replace(folder: Path) -> None:
        without("*.safetensors")(folder)
        model().save_pretrained(folder)

    return replace


REFUSALS: dict[str, tuple[Callable[[Path], None], str]] = {
    "gptq": (
        changed(quantization_config={"quant_method": "gptq", "bits": 4}),
        r"quantised \(gptq\).*qlora.*pip install gptqmodel",
    ),
    "awq": (changed(quantization_config={"quant_method": "awq"}), r"quantised \(awq\).*plain"),
    "compressed": (
        changed(quantization_config={"quant_method": "compressed-tensors"}),
        r"quantised \(compressed-tensors\).*pip install compressed-tensors",
    ),
    "of four bits": (changed(quantization_config={"quant_method": "mxfp4"}), r"load it, dequantize\(\)"),
    "bits and bytes": (changed(quantization_config={"load_in_4bit": True}), r"quantised \(bitsandbytes\)"),
    "code": (changed(model_type="mine", auto_map={"AutoConfig": "x.C"}), r"code in its folder \(auto_map\)"),
    "unknown": (changed(model_type="lama"), r"knows no model type 'lama'.*llama"),
    "compressed before": (
        changed(compression_config={"quant_method": "compressed-tensors"}),
        r"quantised \(compressed-tensors\)",
    ),
    "quantised in a part": (
        changed(text_config={"quantization_config": {"quant_method": "fp8"}}),
        r"quantised \(fp8\)",
    ),
    "no object": (lambda folder: (folder / "config.json").write_text("[]"), r"should be an object"),
    "pointer": (
        lambda folder: (folder / "model.safetensors").write_text(
            "version https://git-lfs.github.com/spec/v1\n"
        ),
        r"model\.safetensors is a pointer of Git LFS, and not the file itself\. Fetch it: git lfs pull",
    ),
    "pointer in place of the words": (
        lambda folder: (folder / "tokenizer.json").write_text("version https://git-lfs.github.com/spec/v1\n"),
        r"tokenizer\.json is a pointer",
    ),
    "no text": (
        changed(
            model_type="clip", architectures=["CLIPModel"], text_config={"model_type": "clip_text_model"}
        ),
        r"\('clip', CLIPModel\) looks at pictures, and .* that only go on with a text\. Take a causal",
    ),
    "another head": (
        changed(model_type="bert", architectures=["BertForTokenClassification"]),
        r"BertForTokenClassification\) labels the words of a text",
    ),
    "classes": (
        changed(model_type="bert", architectures=["BertForSequenceClassification"]),
        r"BertForSequenceClassification\) puts texts into classes",
    ),
    "pictures": (
        changed(
            model_type="llava",
            architectures=["LlavaForConditionalGeneration"],
            text_config={"model_type": "llama"},
        ),
        r"reads pictures beside text.*language model that it was built on \('llama'\)",
    ),
    "sounds": (
        changed(
            model_type="qwen2_audio", architectures=["Qwen2AudioForConditionalGeneration"], audio_config={}
        ),
        r"hears or makes sounds",
    ),
    "speech": (
        changed(
            model_type="whisper", architectures=["WhisperForConditionalGeneration"], is_encoder_decoder=True
        ),
        r"hears or makes sounds",
    ),
    "vectors": (
        changed(model_type="mpnet", architectures=["MPNetModel"]),
        r"is an encoder: it fills gaps in texts or makes vectors of them",
    ),
    "vectors of BERT": (changed(model_type="bert", architectures=["BertModel"]), r"makes vectors of them"),
    "text part": (
        changed(model_type="mllama_text_model", architectures=["MllamaForCausalLM"]),
        r"a part of a larger model",
    ),
    "gaps": (changed(model_type="bert", architectures=["BertForMaskedLM"]), r"fills gaps in texts"),
    "bad size": (changed(hidden_size=33), r"hidden size .33. is not a multiple"),
    "bad value": (changed(hidden_size="many"), r"'hidden_size' expected int, got str"),
    "no type": (changed(model_type=None), r"names no model_type"),
    "two sequences": (of(lambda: T5ForConditionalGeneration(T5Config(**TINY))), r"an encoder with a decoder"),
    "adapter": (without("config.json", "adapter_config.json"), r"a PEFT adapter, and no model of its own"),
    "adapter's weights": (
        without("*", "adapter_model.safetensors"),
        r"an adapter's weights, and no adapter_config\.json",
    ),
    "words alone": (without("[cmg]*"), r"a tokenizer alone.*save_pretrained"),
    "old layout": (without("*", "params.json"), r"no config\.json.*params\.json"),
    "pipeline": (without("*", "model_index.json"), r"a pipeline that makes pictures"),
    "folder of folders": (
        lambda folder: (
            without("*")(folder),
            (folder / "checkpoint-9").mkdir(),
            without("x", "checkpoint-9/config.json")(folder),
        ),
        r"The folder checkpoint-9 in it is one",
    ),
    "gguf": (without("*", "model.gguf"), r"a GGUF file.*that it was made from"),
    "no weights": (without("*.safetensors", "model.onnx"), r"holds no weights.*model\.onnx"),
    "no tokenizer": (without("tokenizer*"), r"holds no tokenizer"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_it_is_refused_in_words(name: str, folder: Path, tmp_path: Path):
    change, words = REFUSALS[name]
    change(folder)
    refused(folder, tmp_path, words)


def refused(folder: Path, tmp_path: Path, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        load_model(find_model(str(folder), tmp_path))


@pytest.mark.parametrize(
    "make",
    [
        lambda: BertLMHeadModel(
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


def test_code_in_a_folder_is_not_run_where_transformers_has_the_type(folder: Path, tmp_path: Path) -> None:
    (folder / "modeling_llama.py").write_text("raise RuntimeError('it was run')\n")
    changed(auto_map={"AutoModelForCausalLM": "modeling_llama.LlamaForCausalLM"})(folder)
    assert load_model(find_model(str(folder), tmp_path / "cache")).model.config.model_type == "llama"


def test_torch_files_are_weights_and_run_no_code(folder: Path, tmp_path: Path) -> None:
    plain = load_model(str(folder)).model.state_dict()
    (folder / "model.safetensors").unlink()
    torch.save({}, folder / "training_args.bin")  # what a trainer leaves there is no weight
    refused(folder, tmp_path, "holds no weights")
    torch.save(plain, folder / "pytorch_model.bin")
    again = load_model(find_model(str(folder), tmp_path / "cache")).model.state_dict()
    assert all(torch.equal(again[name], weight) for name, weight in plain.items())
    torch.save({**plain, "more": Path("a path is an object of Python's")}, folder / "pytorch_model.bin")
    refused(folder, tmp_path, "Python code beside tensors, which is not run")


def test_weights_in_several_files(
    folder: Path, tmp_path: Path, llama: Callable[..., LlamaForCausalLM]
) -> None:
    (folder / "model.safetensors").unlink()
    tiny_llama = llama(320)
    tiny_llama.save_pretrained(folder, max_shard_size="20KB")
    shards = sorted(folder.glob("*.safetensors"))
    assert len(shards) > 1
    again = load_model(find_model(str(folder), tmp_path / "cache")).model.state_dict()
    assert all(torch.equal(again[name], weight) for name, weight in tiny_llama.state_dict().items())
    shards[0].unlink()
    refused(folder, tmp_path, "The model cannot be loaded")


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("tokenizer.model", BEGINNING, "pip install sentencepiece protobuf"),
        ("spiece.model", BEGINNING, "pip install sentencepiece protobuf"),
        ("tokenizer.model", b"IQ== 0\n", "pip install tiktoken"),
        ("qwen.tiktoken", b"IQ== 0\n", "pip install tiktoken"),
    ],
)
def test_a_tokenizer_that_needs_a_package_names_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch, file: str, content: bytes, said: str
) -> None:
    monkeypatch.setattr(folders, "find_spec", lambda name: None)
    load_template(str(folder))  # tokenizer.json needs none
    (folder / "tokenizer.json").unlink()
    (folder / file).write_bytes(content)
    with pytest.raises(ModelError, match=said):
        load_tokenizer(str(folder))


def test_a_class_of_tokenizer_that_needs_a_package_names_it(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "CpmAntTokenizer"}')
    with pytest.raises(ModelError, match=r"needs the package rjieba.*pip install rjieba"):
        load_tokenizer(str(folder))


def test_an_error_is_told_by_the_line_that_says_most() -> None:
    assert first_line(ValueError("\nfirst\nsecond")) == "first"
    assert first_line(KeyError()) == "KeyError"
    assert "Python code" in first_line(pickle.UnpicklingError("Weights only load failed. \x1b[1m..."))


def test_a_special_token_that_no_row_has_needs_no_embedding(
    folder: Path,
    llama: Callable[..., LlamaForCausalLM],
    chat_tokenizer: Callable[[str], PreTrainedTokenizerFast],
    tmp_path: Path,
):
    tokenizer = copy.deepcopy(chat_tokenizer("chatml"))
    rows = len(tokenizer)
    of(lambda: llama(rows))(folder)
    tokenizer.add_special_tokens({"pad_token": "<picture>"})
    tokenizer.save_pretrained(folder)
    load_model(find_model(str(folder), tmp_path))
    for words in ("{{ '<picture>' }}", "{% set sign = 'picture' %}{{ '<' + sign + '>' }}"):
        tokenizer.chat_template = words + str(chat_tokenizer("chatml").chat_template)
        tokenizer.save_pretrained(folder)
        refused(folder, tmp_path, rf"has 1 token .* of \('<picture>'\): its ids go up to {rows}, and")


def test_places_that_are_counted_from_the_padding_are_no_context(folder: Path, tmp_path: Path):
    size = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    config = RobertaConfig(
        vocab_size=320, max_position_embeddings=50, pad_token_id=1, is_decoder=True, **size
    )
    of(lambda: RobertaForCausalLM(config))(folder)
    loaded = load_model(find_model(str(folder), tmp_path))
    assert loaded.template.context == 48
    loaded.model(torch.full((1, 48), 7))
    with pytest.raises((IndexError, RuntimeError)):
        loaded.model(torch.full((1, 49), 7))
