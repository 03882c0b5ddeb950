from __future__ import annotations

import shutil


def test_the_report_of_a_run_is_written_again(after, espalier) -> None:
    before = (after.folder / "report.html").read_text()
    (after.folder / "report.html").unlink()
    result = espalier("report", after.folder)
    assert (result.code, result.out) == (0, f"{after.folder}/report.html\n")
    assert (after.folder / "report.html").read_text() == before


def test_an_unfinished_run_has_a_report_too(after, espalier) -> None:
    for left in ("scores.json", "outputs.jsonl", "report.html"):
        (after.folder / left).unlink()
    shutil.rmtree(after.folder / "model")
    result = espalier("report", after.folder)
    assert result.code == 0, result.err
    assert "scores.json is not in the run folder" in (after.folder / "report.html").read_text()
