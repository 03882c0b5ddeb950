"""Methods that add parts of their own, through the command line: a run, its answers and its proofs."""

from __future__ import annotations

import pytest

FEW = ("-o", "train.epochs=0.5", "-o", "data.test_limit=4", "-o", "decode.limit=3")


@pytest.mark.parametrize("kind", ["prompt", "adapter", "layers"])
def test_a_run_is_complete_and_proved(home, espalier, kind: str) -> None:
    method = ("-o", f"train.method={kind}", *FEW)
    result = espalier("run", "recipe.toml", *method, cwd=home)
    assert result.code == 0, result.err
    assert "Training is done" in espalier("run", "recipe.toml", *method, cwd=home).err
    assert espalier("generate", "runs/plural", "a cup", cwd=home).code == 0
    proofs = espalier("verify", "recipe.toml", *method, "--json", cwd=home)
    assert proofs.code == 0, proofs.out + proofs.err
