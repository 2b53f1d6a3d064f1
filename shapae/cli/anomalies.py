"""The command ``shapae anomalies``, for a nightly job: alarms as tables, sentences and pictures."""

from pathlib import Path
from typing import Annotated, Any

import typer

from shapae.cli.commands import (
    Backend,
    Data,
    Force,
    Jobs,
    Memory,
    Out,
    RowNames,
    Seed,
    app,
)
from shapae.cli.inputs import split_names
from shapae.cli.source import OptionalModel, OptionalWeights, Saved, Source

# Exit code of --fail-if-found; 1 and 2 are those of errors.
FOUND = 3
# Quantile of the scores of normal rows above which rows are anomalies, if nothing else is given.
THRESHOLD = 0.99
Normal = Annotated[
    Path | None,
    typer.Option(help="Normal rows in a file: their scores set the threshold, and some are the background."),
]
Threshold = Annotated[
    float | None,
    typer.Option(
        min=0,
        max=1,
        help=f"Quantile of the scores of the normal rows above which a row is an anomaly; {THRESHOLD} by default.",
    ),
]
Above = Annotated[float | None, typer.Option(help="Score above which a row is an anomaly, instead of --threshold.")]
Most = Annotated[int, typer.Option(min=1, help="Largest number of anomalies that are explained, the worst first.")]
Worst = Annotated[int, typer.Option(min=1, help="Number of features with the largest errors for each anomaly.")]
Loss = Annotated[str, typer.Option(help="Loss of the reconstruction error: mse, mae, l2, bce_with_logits, ...")]
Aside = Annotated[
    str | None,
    typer.Option(
        "--keep-aside",
        help="Names of columns that are no features, separated by commas: time stamps, identifiers. They come back "
        "beside each anomaly.",
    ),
]
Groups = Annotated[
    str | None,
    typer.Option(help='"one-hot" for the columns of each attribute, such as colour_red, or a JSON file of groups.'),
]
Compared = Annotated[int, typer.Option(min=1, help="Number of normal rows, drawn at random, that are the background.")]
Pictures = Annotated[int, typer.Option(min=0, max=1000, help="Largest number of pictures, the worst anomalies first.")]
Page = Annotated[
    bool, typer.Option("--report", help="Write report.html, too, if there are anomalies: one page about them.")
]
Fail = Annotated[bool, typer.Option("--fail-if-found", help=f"Exit with code {FOUND} if there are anomalies.")]


@app.command()
def anomalies(
    context: typer.Context,
    data: Data,
    out: Out,
    model: OptionalModel = None,
    weights: OptionalWeights = None,
    saved: Saved = None,
    background: Normal = None,
    threshold: Threshold = None,
    above: Above = None,
    top: Most = 100,
    worst: Worst = 3,
    loss: Loss = "mse",
    keep_aside: Aside = None,
    groups: Groups = None,
    background_rows: Compared = 100,
    pictures: Pictures = 10,
    page: Page = False,
    fail_if_found: Fail = False,
    backend: Backend = "deep",
    n_jobs: Jobs = None,
    memory: Memory = "1GB",
    seed: Seed = 0,
    row_names: RowNames = None,
    force: Force = False,
) -> None:
    """Explain the rows with larger errors than normal rows; write tables, sentences and pictures to a folder.

    The exit code is 0 also if there are anomalies, but 3 with --fail-if-found.
    """
    from shapae.cli.anomaly_reports import NAMES, Job, Tables, describe, report_anomalies
    from shapae.cli.output import Report, write_report

    settings: dict[str, Any] = {"backend": backend, "n_jobs": n_jobs, "memory": memory, "seed": seed}
    files = Tables(background, split_names(keep_aside or None) or [], row_names)
    source = Source(context, saved, model, weights, ("loss", "groups", "background_rows"))
    choice = {"top": top, "worst": worst} | _limit(threshold, above)
    _check_normal(background, saved, above)
    job = Job(source, files, loss=loss, groups=groups, count=background_rows, settings=settings)
    found: list[Any] = []

    def report() -> Report:
        anomalies, explainer = job.find(data, choice)
        found.append(anomalies)
        return report_anomalies(anomalies, pictures=pictures, explainer=explainer if page else None)

    _, written = write_report(out, NAMES if force else (), report)
    typer.echo(describe(found[0], written, out))
    if fail_if_found:
        _exit(found[0].found)


def _limit(threshold: float | None, above: float | None) -> dict[str, float]:
    """Convert the options to arguments of ``explain_anomalies``.

    Raises:
        BadParameter: Both are given.
    """
    if above is None:
        return {"quantile": THRESHOLD if threshold is None else threshold}
    if threshold is not None:
        raise typer.BadParameter("give --threshold, a quantile, or --above, a score, but not both.")
    return {"threshold": above}


def _check_normal(background: Path | None, saved: Path | None, above: float | None) -> None:
    """Check that there are normal rows, unless a saved explainer has its background and the threshold is a score.

    Raises:
        BadParameter: There are none.
    """
    if background is None and saved is None:
        raise typer.BadParameter("give --background, a file of normal rows.")
    if background is None and above is None:
        raise typer.BadParameter(
            "give --background, a file of normal rows, whose scores set the threshold; or --above, a score."
        )


def _exit(found: int) -> None:
    """Exit with a code of its own if anomalies were found.

    Raises:
        Exit: There are some.
    """
    if found:
        raise typer.Exit(FOUND)
