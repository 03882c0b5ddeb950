from __future__ import annotations

import json
from pathlib import Path


def test_json_has_every_check_and_all_are_ok(home: Path, espalier) -> None:
    result = espalier("verify", "recipe.toml", "--json", cwd=home)
    assert result.code == 0, result.out
    table = json.loads(result.out)
    assert set(table) == {"checks", "precision"}
    assert all(set(check) == {"name", "gap", "bound", "ok"} for check in table["checks"])
    assert all(check["ok"] is True and check["gap"] <= check["bound"] for check in table["checks"])
    names = " ".join(check["name"] for check in table["checks"])
    for what in (
        "ids than the tokenizer's",
        "prefix sharing",
        "fp64",
        "accumulation",
        "batch order",
        "bf16",
        "decoding",
        "save and load",
    ):
        assert what in names


def test_a_gap_that_is_too_large_exits_with_1(home: Path, espalier, monkeypatch) -> None:
    from espalier.runs import verify

    def wrong(*_: object, **__: object):
        yield verify.Check("prefix sharing", float("nan"), 1e-12)
        yield verify.Check("batch order", 0.0, 1e-7)

    monkeypatch.setattr(verify, "verify", wrong)
    shown = espalier("verify", "recipe.toml", cwd=home)
    assert shown.code == 1
    assert "TOO LARGE  prefix sharing" in shown.out
    table = json.loads(espalier("verify", "recipe.toml", "--json", cwd=home).out)
    assert [(check["gap"], check["ok"]) for check in table["checks"][1:]] == [(None, False), (0.0, True)]


def test_ids_that_are_not_the_tokenizer_s_are_noticed(home: Path, espalier, monkeypatch) -> None:
    from espalier.encode.tokenizer import Reader
    from espalier.runs import verify

    own = Reader.ids
    monkeypatch.setattr(verify, "verify", lambda *_, **__: iter(()))
    monkeypatch.setattr(Reader, "ids", lambda self, text: own(self, text.replace("cup", "mug")))
    shown = espalier("verify", "recipe.toml", cwd=home)
    assert shown.code == 1
    assert "TOO LARGE  answers with other ids than the tokenizer's" in shown.out
