"""`python -m bench`: measure Espalier beside its peers on this machine; a table, and JSON last."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench import rate, training
from espalier.core.caches import default_cache
from espalier.models.load import load_template
from espalier.models.places import find_model

STARTED = time.monotonic()


def main() -> None:
    options = _options()
    if (plain := _without_model(options)) is not None:
        print(json.dumps(plain))
        return
    os.environ["HF_HUB_OFFLINE"] = "1"
    model = find_model(options.model, options.cache, _say).folder
    template = load_template(model)
    formats = rate.formats_of(model)
    _say(formats.why)
    length = {"threads": options.threads, "rounds": options.rounds, "formats": formats}
    found: dict[str, Any] = {"precision": asdict(formats)}
    if options.what in ("training", "all"):
        chosen = {"task": options.task, "only": options.case, "settings": options.settings}
        found["training"] = training.main(model, template, _say, **chosen, **length)
    if options.what in ("decoding", "all"):
        from bench import decoding

        peer = {"llama_python": options.llama_python, "gguf": options.gguf}
        own = {"beams": decoding.BEAMS if options.case == ["beam"] else 1, "count": options.rows}
        found["decoding"] = decoding.main(model, _say, task=options.task, **own, **peer, **length)
    if options.what in ("filtering", "all"):
        from bench import filtering

        found["filtering"] = filtering.main(_say, rounds=options.rounds)
    if options.what == "choices":
        from bench import choices

        own = {"threads": options.threads, "rounds": options.rounds, "count": options.questions}
        found["choices"] = choices.main(model, _say, **own)
    if options.what == "generation":
        from bench import generation

        tried = tuple(dict.fromkeys((formats.decoding, "fp32")))
        own = {"threads": options.threads, "rounds": options.rounds, "only": options.case}
        found["generation"] = generation.main(model, _say, formats=tried, **own)
    if options.what == "media":
        from bench import media

        own = {"threads": options.threads, "rounds": options.rounds, "count": options.rows or 1_000}
        found["media"] = media.main(model, _say, **own)
    if options.what == "planning":
        from bench import planning

        found["planning"] = planning.main(model, _say)
    if options.what == "preference":
        from bench import preference

        found["preference"] = preference.main(model, template, _say, only=options.case, **length)
    if options.what == "reinforce":
        from bench import reinforce

        found["reinforce"] = reinforce.main(model, template, _say, task=options.task, **length)
    if not options.json and "training" in found:
        print(_table(found["training"]["cases"]))
    print(json.dumps(found))


def _without_model(options: argparse.Namespace) -> dict[str, Any] | None:
    """Return what is measured of statistics and scorers; None of all else."""
    if options.what == "coverage":
        from bench import coverage

        return coverage.main(_say, repetitions=options.repetitions or 1_000, only=options.case)
    if options.what == "studies":
        from bench import studies

        return studies.main(_say, repetitions=options.repetitions or 16)
    if options.what == "asking":
        from bench import asking

        return {"asking": asking.main(_say, rows=options.rows or 40)}
    if options.what == "rouge":
        from bench import rouge

        return {"rouge": rouge.main(_say, rounds=options.rounds)}
    return None


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument(
        "what",
        nargs="?",
        choices=(
            "training",
            "asking",
            "choices",
            "decoding",
            "filtering",
            "generation",
            "media",
            "planning",
            "preference",
            "reinforce",
            "rouge",
            "coverage",
            "studies",
            "all",
        ),
        default="all",
        help="all is training, decoding and filtering",
    )
    parser.add_argument("--model", default="smollm2-135m", help="a bundled model or a folder")
    parser.add_argument("--cache", type=Path, default=default_cache(), help="folder of converted models")
    parser.add_argument("--task", help="a task file in place of the published ones")
    parser.add_argument("--case", action="append", default=[], help="only this case; may be given again")
    parser.add_argument("--repetitions", type=int, help="of each cell: 1,000 for coverage, 16 for studies")
    parser.add_argument("--rounds", type=int, default=2, help="measured steps per case, after one to warm up")
    parser.add_argument(
        "--settings",
        default="likely",
        help='TRL settings to try, in the number format that is faster here: "likely", "all", or one name',
    )
    parser.add_argument(
        "--rows",
        type=int,
        help="decoding: how many prompts; 100, or 32 with beams; media: how many files of each kind; 1,000",
    )
    parser.add_argument("--questions", type=int, default=100, help="multiple choice: how many")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--llama-python", default=sys.executable, help="a Python that has llama-cpp-python")
    parser.add_argument("--gguf", help="the model's GGUF file, for llama.cpp")
    parser.add_argument("--json", action="store_true", help="no table")
    return parser.parse_args()


def _say(line: str) -> None:
    print(f"[{time.monotonic() - STARTED:5.0f} s] {line}", file=sys.stderr, flush=True)


def _table(cases: dict[str, dict[str, Any]]) -> str:
    rows = [("case", "Espalier", "TRL", "ratio", "lean share", "matrix", "peak MB", "TRL MB", "loss gap")]
    for name, case in cases.items():
        share = f"{case['lean_share']:.2f}" if "lean_share" in case else "-"
        rows.append(
            (
                name,
                f"{case['espalier']:.2f} rows/s",
                f"{case['trl']:.2f} rows/s",
                f"{case['ratio']:.1f}x",
                share,
                f"{case['matrix_share']:.0%}",
                str(case["sides"]["espalier"]["peak_mb"]),
                str(case["sides"]["trl"]["peak_mb"]),
                f"{case['loss_gap']:.2%}",
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows
    )


if __name__ == "__main__":
    main()
