"""`espalier report`: write a run's report again, for instance of an unfinished run."""

from __future__ import annotations

import typer

from espalier.cli.settings import RunPath
from espalier.core.run import find_run


def report(run: RunPath) -> None:
    """Write report.html again from what the folder of a run or a build holds."""
    from espalier.report.build import is_build, write_build_report
    from espalier.report.page import write_report

    folder = find_run(run).path
    typer.echo(write_build_report(folder) if is_build(folder) else write_report(folder))
