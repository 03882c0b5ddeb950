"""Models by name: what loads, and how a folder that lacks something is refused."""

from __future__ import annotations

import json
import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import BloomConfig, GPT2Config, LlamaConfig

from espalier.core.errors import ModelError, TemplateError
from espalier.core.records import message
from espalier.models.adapters import methods
from espalier.models.load import load_model, load_template, load_tuned, save_tuned
from espalier.models.places import Place, find_model, weights_hash

if TYPE_CHECKING:
    from collections.abc import Callable

    from transformers import LlamaForCausalLM

WEIGHTS = "model.safetensors"


@pytest.fixture
def folder(tmp_path: Path, tiny_llama: LlamaForCausalLM, chat_tokenizer: Callable[[str], Any]) -> Path:
    """A complete model folder."""
    path = tmp_path / "model"
    tokenizer = chat_tokenizer("chatml")
    tiny_llama.resize_token_embeddings(len(tokenizer))
    tiny_llama.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


def found(name: Path | str, tmp_path: Path) -> Place:
    return find_model(str(name), tmp_path / "cache")


def test_a_folder_loads_in_fp32_with_its_template(folder: Path, tmp_path: Path) -> None:
    loaded = load_model(found(folder, tmp_path))
    assert loaded.model.dtype is torch.float32
    assert not loaded.model.training
    assert loaded.template.stop == "<|im_end|>"
    assert loaded.template.hash == load_template(str(folder)).hash
    assert loaded.weights == weights_hash(folder)


@pytest.mark.parametrize(
    ("config", "context"),
    [(LlamaConfig(max_position_embeddings=77), 77), (GPT2Config(n_positions=55), 55), (BloomConfig(), None)],
    ids=["llama", "gpt2", "bloom"],
)
def test_the_context_is_that_of_the_configuration(folder: Path, config: Any, context: int | None) -> None:
    config.save_pretrained(folder)
    assert load_template(str(folder)).context == (context or sys.maxsize)


def test_the_weights_hash_follows_the_weights(folder: Path) -> None:
    before = weights_hash(folder)
    tensors = load_file(folder / WEIGHTS)
    tensors["model.norm.weight"][0] += 1
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    assert weights_hash(folder) != before


@pytest.mark.parametrize(
    ("file", "key", "value", "same"),
    [
        ("config.json", "rms_norm_eps", 0.5, False),
        ("config.json", "attention_dropout", 0.1, False),
        ("config.json", "rope_parameters", {"rope_type": "default", "rope_theta": 7.0}, False),
        ("config.json", "transformers_version", "4.0", True),
        ("config.json", "dtype", "bfloat16", True),
        ("adapter_config.json", "lora_alpha", 64, False),
        ("adapter_config.json", "base_model_name_or_path", "elsewhere", True),
    ],
)
def test_the_weights_hash_follows_what_computes_them(
    folder: Path, file: str, key: str, value: Any, same: bool
) -> None:
    path = folder / file
    held = json.loads(path.read_text()) if path.exists() else {"lora_alpha": 32}
    path.write_text(json.dumps(held))
    before = weights_hash(folder)
    path.write_text(json.dumps({**held, key: value}))
    assert (weights_hash(folder) == before) is same


@pytest.mark.parametrize(
    ("lost", "said"),
    [
        (["config.json"], "holds no config.json, so it is not a model folder"),
        (["tokenizer.json", "tokenizer_config.json"], "holds no tokenizer. Save it beside the weights"),
        ([WEIGHTS], "holds no weights"),
    ],
)
def test_a_folder_that_lacks_a_part(folder: Path, tmp_path: Path, lost: list[str], said: str) -> None:
    for name in lost:
        (folder / name).unlink()
    with pytest.raises(ModelError) as caught:
        found(folder, tmp_path)
    assert caught.value.where == str(folder)
    assert said in str(caught.value)


def test_a_folder_without_a_chat_template(folder: Path, tmp_path: Path) -> None:
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(TemplateError, match=r"has no chat template.*instruction-tuned"):
        load_model(found(folder, tmp_path))


def test_damaged_files_are_named(folder: Path, tmp_path: Path) -> None:
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:5000])
    with pytest.raises(ModelError, match="The model cannot be loaded: "):
        load_model(found(folder, tmp_path))
    (folder / "tokenizer.json").write_text("{")
    with pytest.raises(ModelError, match="The tokenizer cannot be loaded: "):
        load_model(found(folder, tmp_path))


def test_weights_that_lack_a_tensor_are_not_filled_in(folder: Path, tmp_path: Path) -> None:
    tensors = load_file(folder / WEIGHTS)
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    with pytest.raises(
        ModelError, match=r"lack 1 of the model's tensors, such as model\.layers\.1\.mlp\.up_proj"
    ):
        load_model(found(folder, tmp_path))


@pytest.mark.parametrize("name", ["smolm2-135m", "./nowhere", "/nowhere/model", "a/b/c", "~/model"])
def test_no_such_name(name: str, tmp_path: Path) -> None:
    with pytest.raises(
        ModelError, match=r"no bundled name, no folder of a model or a run, and no hub id"
    ) as caught:
        found(name, tmp_path)
    assert "smollm2-135m" in caught.value.hint


@pytest.mark.parametrize("name", ["owner/model", "owner/not a name"])
def test_a_hub_model_without_the_hub_is_refused_at_once(name: str, tmp_path: Path) -> None:
    start = time.monotonic()
    with pytest.raises(ModelError, match=rf"{name}: There is no such folder.*Without the hub, use a bundled"):
        found(name, tmp_path)
    assert time.monotonic() - start < 5


@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_tuned_model_comes_back(folder: Path, tmp_path: Path, method: str) -> None:
    base = load_model(str(folder))
    model: Any = methods.build(method, {})(base.model)
    generator = torch.Generator().manual_seed(0)
    for weight in model.parameters():
        if weight.requires_grad:
            weight.data += 0.02 * torch.randn(weight.shape, generator=generator)
    ids = torch.tensor([base.template.prompt_ids([message("user", "Hello")])])
    with torch.no_grad():
        logits = model.eval()(ids).logits
        save_tuned(model, base, tmp_path / "tuned")
        again = load_tuned(tmp_path / "tuned", str(folder))
        assert torch.equal(again.model(ids).logits, logits)
        assert not torch.equal(load_model(str(folder)).model(ids).logits, logits)
    assert again.weights != base.weights
    assert (tmp_path / "tuned" / "adapter_model.safetensors").exists() == (method == "lora")


def test_a_damaged_adapter_is_named(folder: Path, tmp_path: Path) -> None:
    base = load_model(str(folder))
    save_tuned(methods.build("lora", {})(base.model), base, tmp_path / "tuned")  # type: ignore[arg-type]
    adapter = tmp_path / "tuned" / "adapter_model.safetensors"
    adapter.write_bytes(adapter.read_bytes()[:100])
    with pytest.raises(ModelError, match="The adapter cannot be loaded"):
        load_tuned(tmp_path / "tuned", str(folder))


def test_a_model_that_cannot_be_saved_leaves_the_old_one(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = load_model(str(folder))
    tuned = tmp_path / "tuned"
    save_tuned(base.model, base, tuned)
    before = weights_hash(tuned)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(base.tokenizer, "save_pretrained", full)
    with pytest.raises(ModelError, match=r"cannot be saved: .*No space left.*Free some space"):
        save_tuned(base.model, base, tuned)
    assert weights_hash(tuned) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "tuned"]


@pytest.mark.model
def test_the_bundled_model_is_plain_and_writes(bundled_model: Path, tmp_path: Path) -> None:
    loaded = load_model(str(bundled_model))
    assert sum(weight.numel() for weight in loaded.model.parameters()) == 134_515_008
    assert "quantization_config" not in vars(loaded.model.config)
    ids = torch.tensor([loaded.template.prompt_ids([message("user", "What is the capital of France?")])])
    answer = loaded.model.generate(ids, max_new_tokens=8, do_sample=False)[0, ids.shape[1] :]
    assert loaded.template.decode(answer.tolist()) == "The capital of France is Paris."
    shutil.rmtree(tmp_path)
