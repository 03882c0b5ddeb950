"""`docs/models.md` from what was found."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import transformers

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from conformance.check import Finding

HEAD = """# Which models can be tuned

All causal model types of transformers {version}, written by `make conformance`: a tiny random model of each
is loaded, its loss compared with transformers' own logits in fp64, its greedy answers with `generate`; it is
trained for two steps in full and with LoRA, saved, loaded again and exported, its logits compared each time.

- **shares**: what rows share is computed once, in training, scoring and decoding.
- **row by row**: the same results, each row computed by itself, for the reason given.
- **refused**: with this sentence, before anything is computed.
- **not made**: no tiny model of the type could be built from its configuration, so nothing is known.
- **fault**: something does not come out as transformers has it.

{totals}

| type | | why |
|---|---|---|
{rows}
"""


def write_page(path: Path, findings: Sequence[Finding]) -> None:
    """Write the table of all types with its totals."""
    counts = Counter(found.verdict for found in findings)
    totals = (
        f"Of {len(findings)} types: "
        + ", ".join(f"{n} {verdict}" for verdict, n in counts.most_common())
        + "."
    )
    rows = [
        f"| `{found.type}` | {found.verdict} | {found.why.replace('|', chr(92) + '|')} |"
        for found in findings
    ]
    text = HEAD.format(version=transformers.__version__, totals=totals, rows="\n".join(rows))
    path.write_text(text, encoding="utf-8")
