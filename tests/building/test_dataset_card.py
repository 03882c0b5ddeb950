"""The head of a data set's card is what the hub takes."""

from __future__ import annotations

import pytest

from espalier.report.dataset_card import hub_licence


@pytest.mark.parametrize(
    ("said", "licence"),
    [("Apache 2.0", "apache-2.0"), ("CC BY-SA 4.0", "cc-by-sa-4.0"), ("mit", "mit"), ("", "unknown")],
)
def test_a_licence_is_called_as_on_the_hub(said: str, licence: str) -> None:
    assert hub_licence(said) == licence
