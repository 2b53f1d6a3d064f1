"""The command ``shapae report``. Slow imports are inside of the functions."""

from pathlib import Path
from typing import Annotated

import typer

from shapae.cli.commands import app

Folders = Annotated[
    list[Path],
    typer.Argument(help="Folders of `shapae explain`, or of explanation.save(): one for each head, of the same rows."),
]
Page = Annotated[Path, typer.Option(help="File for the report, .html.")]
Title = Annotated[str, typer.Option(help="Title of the report.")]
Force = Annotated[bool, typer.Option("--force", help="Replace an earlier report.")]


@app.command()
def report(folders: Folders, out: Page, title: Title = "", force: Force = False) -> None:
    """Report on saved explanations in one HTML file, for readers who compute nothing."""
    from shapae.cli.reports import EXPLANATION
    from shapae.explainer.explanation import Explanation
    from shapae.report.report import write_report

    homes = [folder / EXPLANATION if (folder / EXPLANATION).is_dir() else folder for folder in folders]
    first, *others = [Explanation.load(home) for home in homes]
    write_report(first, out, others=others, title=title, replaces=force)
    typer.echo(f"wrote {out}")
