"""The command ``shapae explain``. Slow imports are inside of the functions."""

import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shapae.cli.commands import (
    Backend,
    Background,
    Data,
    Force,
    Head,
    Jobs,
    Memory,
    Out,
    RowNames,
    Seed,
    Tolerance,
    app,
    with_explainer,
    write_to_folder,
)
from shapae.cli.source import OptionalModel, OptionalWeights, Saved, Source

if TYPE_CHECKING:
    from shapae.cli.output import Report

Chunks = Annotated[
    Path | None,
    typer.Option(
        help="Folder of finished blocks of rows, for tables of any length: the same command continues after an "
        "interruption. The other results are averages then."
    ),
]
Format = Annotated[str, typer.Option(help="Format of the blocks: parquet or zarr.")]
Page = Annotated[
    bool, typer.Option("--report", help="Write report.html, too: one page about the results, with checks of them.")
]
Timeout = Annotated[
    float | None, typer.Option(help="Seconds after which a block counts as hung, and its worker is stopped.")
]


@app.command()
def explain(
    context: typer.Context,
    data: Data,
    out: Out,
    model: OptionalModel = None,
    weights: OptionalWeights = None,
    saved: Saved = None,
    background: Background = "100",
    head: Head = "reconstruction_error",
    backend: Backend = "deep",
    chunks: Chunks = None,
    format: Format = "parquet",
    timeout: Timeout = None,
    n_jobs: Jobs = None,
    memory: Memory = "1GB",
    seed: Seed = 0,
    tolerance: Tolerance = None,
    row_names: RowNames = None,
    page: Page = False,
    force: Force = False,
) -> None:
    """Explain a model on a table; write the explanation, a table of importances and pictures to a folder."""
    if chunks is not None:
        _check_apart(chunks, out)
        _check_no_page(page)
    settings: dict[str, Any] = {"head": head, "backend": backend, "tolerance": tolerance, "n_jobs": n_jobs}
    settings |= {"memory": memory, "seed": seed}
    report: Any = partial(_report_all, page=page)
    if chunks is not None:
        report = partial(_report_chunks, chunks=chunks, format=format, timeout=timeout)
    source = Source(context, saved, model, weights)
    run = with_explainer(report, source, settings, background=background, row_names=row_names)
    write_to_folder(data, out, force, run, row_names)


def _check_apart(chunks: Path, out: Path) -> None:
    """Check that neither folder is inside the other: results are put into an empty one, at the end.

    Raises:
        OutputError: One is inside the other.
    """
    from shapae.errors import OutputError

    one, other = (Path(os.path.realpath(each)) for each in (chunks, out))
    if one.is_relative_to(other) or other.is_relative_to(one):
        raise OutputError(
            f"--chunks {chunks} and --out {out} must be two folders, neither inside the other. Give another one, such "
            f"as --chunks {other}-chunks."
        )


def _check_no_page(page: bool) -> None:
    """Check that no report of averages is asked for: it shows single rows.

    Raises:
        OutputError: It is.
    """
    from shapae.errors import OutputError

    if page:
        raise OutputError(
            "--report shows single rows, and with --chunks the results are averages. Leave out one of them, or report "
            "on a part of the rows."
        )


def _report_all(explainer: Any, rows: Any, *, page: bool) -> "Report":
    from shapae.cli.output import Report
    from shapae.cli.reports import PAGE, report_explanation

    explanation = explainer(rows)
    report = report_explanation(explanation)
    if not page:
        return report
    return Report(report.files | {PAGE: partial(explanation.report, explainer=explainer)}, report.pictures)


def _report_chunks(explainer: Any, rows: Any, *, chunks: Path, format: str, timeout: float | None) -> "Report":
    from shapae.cli.reports import report_importance

    return report_importance(explainer.write(rows, chunks, format=format, timeout=timeout).importance())
