"""`espalier report`: write a run's report again, for instance of an unfinished run."""

from __future__ import annotations

import typer

from espalier.cli.settings import RunPath
from espalier.core.run import find_run


def report(run: RunPath) -> None:
    """Write report.html again from what the run folder holds."""
    from espalier.report.page import write_report

    typer.echo(write_report(find_run(run).path))
