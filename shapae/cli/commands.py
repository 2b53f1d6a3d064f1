"""Command line. Each command calls one public function; slow imports are inside of the functions."""

import os
import sys
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shapae.cli.inputs import load_background, read_head, read_rows, split_names
from shapae.cli.source import OptionalModel, OptionalWeights, Saved, Source
from shapae.utils.signals import exit_on_signals
from shapae.utils.version import __version__

if TYPE_CHECKING:
    from shapae.cli.output import Report

# Environment variables that say how the idle threads of OpenMP wait: of the standard, of GNU's library and of LLVM's.
WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
app = typer.Typer(no_args_is_help=True, add_completion=False)
Out = Annotated[Path, typer.Option(help="Folder for the results.")]
Force = Annotated[bool, typer.Option("--force", help="Replace the results of an earlier run.")]
Model = Annotated[str, typer.Option(help="package.module:factory, called without arguments.")]
Weights = Annotated[Path, typer.Option(help="State dict: .safetensors, or .pt of torch.save.")]
Data = Annotated[
    Path,
    typer.Option(
        help="Rows to explain: .csv, .tsv, .txt, .parquet, .h5ad or .npy. cells.h5ad/layers/counts is a layer, and "
        "cells.h5ad/raw is .raw."
    ),
]
Background = Annotated[
    str, typer.Option(help="Number of rows drawn from the data (all rows, if there are fewer), or a file.")
]
RowNames = Annotated[
    str | None, typer.Option(help="Column of the text or .parquet files that names the rows, and is no feature.")
]
Head = Annotated[
    str,
    typer.Option(
        help="Score to explain, such as latent:3 or reconstruction_error:fixed; a head of yours: package.module:head."
    ),
]
Backend = Annotated[str, typer.Option(help="Attribution method.")]
Backends = Annotated[
    str | None, typer.Option(help="Names, separated by commas; by default all that take the number of features.")
]
Reference = Annotated[str | None, typer.Option(help="Backend that the others are compared with.")]
Methods = Annotated[str | None, typer.Option(help="Names, separated by commas, such as permutation,weights:gedeon.")]
Repeats = Annotated[int, typer.Option(help="Number of repetitions of each random step.")]
Sample = Annotated[int | None, typer.Option(help="Use a random sample of this many rows.")]
Timed = Annotated[
    str | None,
    typer.Option(help="Names, separated by commas; by default deep, coalitions, gradient, those of shap and captum."),
]
File = Annotated[Path, typer.Option(help="File for the results, .json or .csv.")]
Rows = Annotated[int, typer.Option(min=1, help="Number of rows drawn from the data (all rows, if there are fewer).")]
Calls = Annotated[int, typer.Option(min=1, help="Number of measured calls of each backend.")]
Sure = Annotated[
    float, typer.Option(help="Bound on the reference's standard errors, as a fraction of the largest value of a row.")
]
Top = Annotated[int, typer.Option(help="Number of features, the most important ones, whose pairs are computed.")]
Tolerance = Annotated[
    float | None, typer.Option(help="Stop when the standard errors are below this fraction of the largest value.")
]
By = Annotated[str | None, typer.Option(help="Column of obs of a .h5ad: average over each group of rows, too.")]
Jobs = Annotated[int | None, typer.Option(help="Number of workers; -1 for all cores.")]
Memory = Annotated[str, typer.Option(help="Bound on the memory.")]
Seed = Annotated[int, typer.Option(min=0, help="Random seed.")]


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"shapae {__version__}")
        raise typer.Exit


@app.callback()
def shapae(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """SHAP values for PyTorch autoencoders on tabular data."""


@app.command()
def demo(out: Out = Path("demo"), force: Force = False) -> None:
    """Train an autoencoder on real genes, explain it, and draw the plots."""
    from shapae.cli.demo import run

    typer.echo(run(out, force=force))


def with_explainer(
    report: Callable[[Any, Any], "Report"],
    source: Source,
    settings: dict[str, Any],
    *,
    background: str,
    row_names: str | None,
) -> Callable[[Any], "Report"]:
    """Make a function that runs an explainer on rows and reports on the results."""

    def explain_and_report(rows: Any) -> "Report":
        explainer = source.make(settings, background, rows, row_names)
        lines = repr(explainer).splitlines()
        typer.echo("\n".join(line for line in lines if "next: " not in line))  # which is Python
        return report(explainer, rows)

    return explain_and_report


def _summarize(explainer: Any, rows: Any, *, data: Path, by: str | None) -> "Report":
    from shapae.cli.reports import report_grouped_importance, report_importance

    if by is None:
        return report_importance(explainer.summarize(rows))
    return report_grouped_importance(explainer.summarize(data, by=by))  # the file again: the rows have no labels


def _interact(explainer: Any, rows: Any, *, top: int) -> "Report":
    from shapae.cli.reports import report_interactions

    return report_interactions(explainer.interactions(rows, top))


@app.command()
def summarize(
    context: typer.Context,
    data: Data,
    out: Out,
    model: OptionalModel = None,
    weights: OptionalWeights = None,
    saved: Saved = None,
    background: Background = "100",
    head: Head = "latent",
    backend: Backend = "deep",
    by: By = None,
    n_jobs: Jobs = None,
    memory: Memory = "1GB",
    seed: Seed = 0,
    tolerance: Tolerance = None,
    row_names: RowNames = None,
    force: Force = False,
) -> None:
    """Average attributions over all rows of a table of any length; write tables of importances to a folder."""
    settings: dict[str, Any] = {"head": head, "backend": backend, "tolerance": tolerance, "n_jobs": n_jobs}
    settings |= {"memory": memory, "seed": seed}
    report, source = partial(_summarize, data=data, by=by), Source(context, saved, model, weights)
    run = with_explainer(report, source, settings, background=background, row_names=row_names)
    write_to_folder(data, out, force, run, row_names)


@app.command()
def interactions(
    context: typer.Context,
    data: Data,
    out: Out,
    model: OptionalModel = None,
    weights: OptionalWeights = None,
    saved: Saved = None,
    background: Background = "100",
    head: Head = "reconstruction_error",
    backend: Backend = "deep",
    top: Top = 20,
    n_jobs: Jobs = None,
    memory: Memory = "1GB",
    seed: Seed = 0,
    row_names: RowNames = None,
    force: Force = False,
) -> None:
    """Compute how pairs of the most important features interact; write arrays, a table and pictures to a folder."""
    settings = {"head": head, "backend": backend, "n_jobs": n_jobs, "memory": memory, "seed": seed}
    report, source = partial(_interact, top=top), Source(context, saved, model, weights)
    run = with_explainer(report, source, settings, background=background, row_names=row_names)
    write_to_folder(data, out, force, run, row_names)


@app.command()
def rank(
    model: Model,
    weights: Weights,
    data: Data,
    out: Out,
    background: Background = "100",
    methods: Methods = None,
    repeats: Repeats = 5,
    sample: Sample = None,
    n_jobs: Jobs = None,
    seed: Seed = 0,
    row_names: RowNames = None,
    force: Force = False,
) -> None:
    """Rank the features by several methods; write tables and pictures of importances and agreement to a folder."""
    options: dict[str, Any] = {"repeats": repeats, "sample": sample, "n_jobs": n_jobs, "seed": seed}
    options["methods"] = split_names(methods)

    def report(rows: Any) -> "Report":
        from shapae.analysis.ranking.ranking import rank_features
        from shapae.cli.reports import report_ranking
        from shapae.models.files import load_model

        reference = load_background(background, rows, seed, row_names)
        return report_ranking(rank_features(load_model(model, weights), rows, background=reference, **options))

    write_to_folder(data, out, force, report, row_names)


@app.command()
def compare(
    model: Model,
    weights: Weights,
    data: Data,
    out: Out,
    background: Background = "100",
    head: Head = "reconstruction_error",
    backends: Backends = None,
    reference: Reference = None,
    n_jobs: Jobs = None,
    memory: Memory = "1GB",
    seed: Seed = 0,
    row_names: RowNames = None,
    force: Force = False,
) -> None:
    """Compare backends with a reference; write a table and a picture to a folder."""
    options: dict[str, Any] = {"reference": reference, "n_jobs": n_jobs, "memory": memory, "seed": seed}
    options["backends"] = split_names(backends or None)

    def report(rows: Any) -> "Report":
        from shapae.analysis.comparison.comparison import compare
        from shapae.cli.reports import report_comparison
        from shapae.models.files import load_model

        reference_rows = load_background(background, rows, seed, row_names)
        chosen = {"head": read_head(head), **options}
        return report_comparison(compare(load_model(model, weights), reference_rows, rows, **chosen))

    write_to_folder(data, out, force, report, row_names)


@app.command()
def benchmark(
    model: Model,
    weights: Weights,
    data: Data,
    out: File,
    background: Background = "100",
    head: Head = "reconstruction_error",
    backends: Timed = None,
    rows: Rows = 100,
    repeats: Calls = 3,
    tolerance: Sure = 0.01,
    n_jobs: Jobs = None,
    memory: Memory = "1GB",
    seed: Seed = 0,
    row_names: RowNames = None,
    force: Force = False,
) -> None:
    """Measure the seconds, residuals and errors of backends, shap and captum on this machine; write a file."""
    from shapae.analysis.comparison.benchmark import benchmark
    from shapae.cli.reports import describe_benchmark, new_benchmark
    from shapae.models.files import load_model
    from shapae.tables.background import sample

    options: dict[str, Any] = {
        "backends": split_names(backends),
        "repeats": repeats,
        "tolerance": tolerance,
    }
    options |= {"n_jobs": n_jobs, "memory": memory, "seed": seed}
    with new_benchmark(out, force=force) as write:
        table = read_rows(data, row_names)
        reference = load_background(background, table, seed, row_names)
        chosen = sample(table, min(rows, len(table)), seed=seed + 1).rows  # not those of the background
        found = benchmark(load_model(model, weights), reference, chosen, head=read_head(head), **options)
        write(found)
    typer.echo(f"{describe_benchmark(found)}\nwrote {out}")


def write_to_folder(
    data: Path, out: Path, force: bool, report: Callable[[Any], "Report"], row_names: str | None = None
) -> None:
    """Read the table ``data`` and write the report on it to the folder ``out``."""
    from shapae.cli.output import write_report
    from shapae.cli.reports import NAMES

    written, names = write_report(out, NAMES if force else (), lambda: report(read_rows(data, row_names)))
    if written.text is not None:
        typer.echo(written.text)
    typer.echo(f"wrote {', '.join(names)} to {out}")


def wait_passively() -> None:
    """Let the idle threads of OpenMP sleep instead of spin, unless the user has chosen.

    Threads that spin take the processor from each other as soon as another process is busy. OpenMP reads the variable
    when torch is imported, which must come later.
    """
    if not any(name in os.environ for name in WAITING):
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"


def _show_once() -> Callable[..., None]:
    """Make a function that writes a warning in a line, unless it wrote the same text before."""
    written = set()

    def show(message: Warning | str, *_: Any) -> None:
        if str(message) not in written:
            written.add(str(message))
            typer.echo(f"shapae: warning: {message}", err=True)

    return show


def main() -> None:
    """Run the command line; an error is one line and exit code 2."""
    from shapae.errors import ShapaeError

    wait_passively()
    warnings.showwarning = _show_once()
    sys.path.insert(0, "")  # the package of the user's model is in the working folder
    try:
        with exit_on_signals():
            app(prog_name="shapae")
    except Exception as error:
        kind = "" if isinstance(error, ShapaeError) else f"{type(error).__name__}: "
        notes = [note for note in getattr(error, "__notes__", []) if "\n" not in note]  # no tracebacks of workers
        typer.echo(" ".join(f"shapae: {kind}{'; '.join([str(error), *notes])}".split()), err=True)
        sys.exit(2)
