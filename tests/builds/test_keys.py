"""A stage is done again where the code that it depends on is another, in whatever room that lies."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from espalier.builds.keys import choice_key
from espalier.core.recipe import Choice
from espalier.data.judgement import filters
from espalier.generate.author import steps

if TYPE_CHECKING:
    from pathlib import Path


def choice(kind: str, **params: object) -> Choice:
    return Choice.model_validate({"kind": kind, **params})


@pytest.mark.parametrize(
    ("kind", "part"),
    [
        ("code", "scorers/code.py"),
        ("code", "sandbox/referee.py"),
        ("sql", "sandbox/query_process.py"),
        ("json", "scorers/json_schema.py"),
        ("length", "core/text.py"),
        ("novelty", "filters/novelty.py"),
    ],
)
def test_a_filter_judges_again_where_code_of_another_room_has_changed(
    kind: str, part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = choice_key(filters, choice(kind))
    assert choice_key(filters, choice(kind)) == before
    whole = {"form": choice_key(filters, choice("language"))}
    from espalier.builds import code_hash as module

    honest = module.file_sha256
    monkeypatch.setattr(
        module, "file_sha256", lambda file: "other" if str(file).endswith(part) else honest(file)
    )
    assert choice_key(filters, choice(kind)) != before
    if part.startswith(("scorers", "sandbox", "filters")):
        assert choice_key(filters, choice("language")) == whole["form"]


def test_a_judge_of_ones_own_is_part_of_a_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = tmp_path / "own_taste.py"
    module.write_text("def liking():\n    return None\n")
    monkeypatch.syspath_prepend(tmp_path)
    respond = choice("respond", judge="own_taste:liking")
    before = choice_key(steps, respond)
    module.write_text("def liking():\n    return 1\n")
    assert choice_key(steps, respond) != before
    # What only looks like a function is a text.
    assert choice_key(steps, choice("respond", task="nowhere:test"))
