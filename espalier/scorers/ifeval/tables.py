"""The words and letters that languages and sentences are told by, from `words.toml`."""

from __future__ import annotations

import tomllib
from importlib.resources import files
from typing import Any

_FILE = files("espalier") / "scorers" / "ifeval" / "words.toml"
TABLES: dict[str, Any] = tomllib.loads(_FILE.read_text(encoding="utf-8"))
