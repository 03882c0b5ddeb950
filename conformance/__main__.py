"""`python -m conformance [TYPE …]`: put every causal model type of transformers through Espalier.

Without types all are checked and `docs/models.md` is written.
"""

from __future__ import annotations

import os
import sys
from multiprocessing import get_context
from pathlib import Path

from conformance.check import Finding, check
from conformance.page import write_page


def main() -> None:
    """Check the types that are named, or all."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    os.environ["HF_HUB_OFFLINE"] = "1"
    wanted = sys.argv[1:] or sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
    findings: list[Finding] = []
    with get_context("spawn").Pool(os.cpu_count(), maxtasksperchild=20) as pool:
        for found in pool.imap(check, wanted):
            findings.append(found)
            print(f"{found.type:28} {found.verdict:11} {found.why[:150]}", flush=True)
    if not sys.argv[1:]:
        write_page(Path("docs") / "models.md", findings)
    sys.exit(any(found.verdict == "fault" for found in findings))


if __name__ == "__main__":
    main()
