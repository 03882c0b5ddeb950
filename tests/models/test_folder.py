"""What people give as a model: each sort of folder or file that cannot be tuned is told in its own words."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from transformers import BertConfig, T5Config

from espalier.core.errors import ModelError
from espalier.models import folder as folders
from espalier.models.folder import first_line
from espalier.models.load import find_model, load_model, load_template, load_tokenizer

if TYPE_CHECKING:
    from collections.abc import Callable

    from transformers import LlamaForCausalLM

BEGINNING = b"\n\x0e\n\x05<unk>"  # of a SentencePiece file


@pytest.fixture
def folder(tmp_path: Path, tiny_llama: LlamaForCausalLM, chat_tokenizer: Callable[[str], Any]) -> Path:
    """A complete model folder."""
    path = tmp_path / "model"
    tokenizer = chat_tokenizer("chatml")
    tiny_llama.resize_token_embeddings(len(tokenizer))
    tiny_llama.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


def refusal(name: Path, tmp_path: Path) -> str:
    """What is said of a folder that cannot be tuned, wherever on the way it is noticed."""
    with pytest.raises(ModelError) as caught:
        load_model(find_model(str(name), tmp_path / "cache"))
    assert caught.value.where == str(name)
    return str(caught.value)


def configured(folder: Path, **changes: Any) -> Path:
    """Change a folder's configuration."""
    path = folder / "config.json"
    config = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({key: value for key, value in config.items() if value is not None}))
    return folder


@pytest.mark.parametrize(
    ("method", "said"),
    [
        ("bitsandbytes", "`pip install bitsandbytes`"),
        ("gptq", "`pip install gptqmodel`"),
        ("awq", "`pip install gptqmodel`"),
        ("compressed-tensors", "`pip install compressed-tensors`"),
        ("mxfp4", "transformers can load it, dequantize()"),
        ("of tomorrow", "transformers can load it, dequantize()"),
    ],
)
def test_quantised_weights_are_told_by_their_method(
    folder: Path, tmp_path: Path, method: str, said: str
) -> None:
    text = refusal(configured(folder, quantization_config={"quant_method": method}), tmp_path)
    assert f"quantised ({method}), and training needs plain ones" in text
    assert "train.method = 'qlora'" in text
    assert said in text


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model_type": "lama"}, r"knows no model type 'lama'\. Did you mean 'llama'\?"),
        ({"model_type": "fresh", "auto_map": {"AutoConfig": "c.C"}}, r"code in its folder \(auto_map\)"),
        ({"model_type": None}, "names no model_type"),
        ({"model_type": "clip", "architectures": ["CLIPModel"]}, r"type 'clip' \(CLIPModel\) does not write"),
        ({"hidden_size": 33}, "hidden size .33. is not a multiple"),
        ({"hidden_size": "many"}, "'hidden_size' expected int, got str"),
    ],
)
def test_a_configuration_that_is_no_model_to_tune(
    folder: Path, tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(ModelError, match=said):
        load_model(find_model(str(configured(folder, **changes)), tmp_path / "cache"))


def test_encoders_are_no_models_to_tune(folder: Path, tmp_path: Path) -> None:
    T5Config(architectures=["T5ForConditionalGeneration"]).save_pretrained(folder)
    assert "an encoder with a decoder ('t5')" in refusal(folder, tmp_path)
    BertConfig(architectures=["BertForTokenClassification"]).save_pretrained(folder)
    assert "BertForTokenClassification" in refusal(folder, tmp_path)
    BertConfig(architectures=["BertForSequenceClassification"]).save_pretrained(folder)
    assert "BertForSequenceClassification" in refusal(folder, tmp_path)


def test_code_in_a_folder_is_not_run_where_transformers_has_the_type(folder: Path, tmp_path: Path) -> None:
    (folder / "modeling_llama.py").write_text("raise RuntimeError('it was run')\n")
    configured(folder, auto_map={"AutoModelForCausalLM": "modeling_llama.LlamaForCausalLM"})
    assert load_model(find_model(str(folder), tmp_path / "cache")).model.config.model_type == "llama"


def test_an_adapter_is_no_model(folder: Path, tmp_path: Path) -> None:
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "owner/base"}')
    text = refusal(folder, tmp_path)
    assert "a PEFT adapter, and no model of its own; its base model is owner/base" in text
    assert "merge_and_unload()" in text


def test_files_are_no_folders(tmp_path: Path) -> None:
    for name, said in (
        ("model.gguf", "a GGUF file"),
        ("model.safetensors", "a file, and a model is a folder"),
    ):
        (tmp_path / name).write_bytes(b"GGUF")
        assert said in refusal(tmp_path / name, tmp_path)
    assert "(it has model.gguf)" in refusal(tmp_path, tmp_path)


def test_torch_files_are_weights_and_run_no_code(folder: Path, tmp_path: Path) -> None:
    plain = load_model(str(folder)).model.state_dict()
    (folder / "model.safetensors").unlink()
    torch.save({}, folder / "training_args.bin")  # what a trainer leaves there is no weight
    assert "holds no weights (*.safetensors)" in refusal(folder, tmp_path)
    torch.save(plain, folder / "pytorch_model.bin")
    again = load_model(find_model(str(folder), tmp_path / "cache")).model.state_dict()
    assert all(torch.equal(again[name], weight) for name, weight in plain.items())
    torch.save({**plain, "more": Path("a path is an object of Python's")}, folder / "pytorch_model.bin")
    assert "Python code beside tensors, which is not run" in refusal(folder, tmp_path)


def test_weights_in_several_files(folder: Path, tmp_path: Path, tiny_llama: LlamaForCausalLM) -> None:
    (folder / "model.safetensors").unlink()
    tiny_llama.save_pretrained(folder, max_shard_size="20KB")
    shards = sorted(folder.glob("*.safetensors"))
    assert len(shards) > 1
    again = load_model(find_model(str(folder), tmp_path / "cache")).model.state_dict()
    assert all(torch.equal(again[name], weight) for name, weight in tiny_llama.state_dict().items())
    shards[0].unlink()
    assert "The model cannot be loaded" in refusal(folder, tmp_path)


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
