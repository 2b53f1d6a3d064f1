"""The command line. Each command calls one public verb; what takes seconds to import is imported inside."""

import sys
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(
    help="SHAP values for PyTorch autoencoders on tabular data.", no_args_is_help=True, add_completion=False
)
Out = Annotated[Path, typer.Option(help="Folder for the results.")]
Force = Annotated[bool, typer.Option("--force", help="Replace the results of an earlier run.")]


@app.command()
def demo(out: Out = Path("demo"), force: Force = False) -> None:
    """Train an autoencoder on real genes, explain it, and draw the plots."""
    from shapae.cli.demo import run

    typer.echo(run(out, force=force))


Model = Annotated[str, typer.Option(help="package.module:factory, called without arguments.")]
Weights = Annotated[Path, typer.Option(help="State dict: .safetensors, or .pt of torch.save.")]
Data = Annotated[Path, typer.Option(help="Rows to explain: .csv, .parquet, .h5ad or .npy.")]
Background = Annotated[
    str, typer.Option(help="Number of rows drawn from the data (all of them, if there are fewer), or a file.")
]
Head = Annotated[str, typer.Option(help="What is explained, such as latent:3.")]
Backend = Annotated[str, typer.Option(help="How it is attributed.")]
Jobs = Annotated[int | None, typer.Option(help="Number of workers; -1 for all cores.")]
Memory = Annotated[str, typer.Option(help="Bound on what is held at once.")]
Seed = Annotated[int, typer.Option(help="Of all that is drawn.")]
Tolerance = Annotated[float | None, typer.Option(help="Stop when the standard errors are below this part of a value.")]


@app.command()
def explain(
    model: Model,
    weights: Weights,
    data: Data,
    out: Out,
    background: Background = "100",
    head: Head = "reconstruction_error",
    backend: Backend = "deep",
    n_jobs: Jobs = None,
    memory: Memory = "1GB",
    seed: Seed = 0,
    tolerance: Tolerance = None,
    force: Force = False,
) -> None:
    """Explain a model on a table: the explanation, a table of importances and pictures in a folder."""
    from shapae.cli.reports import write_results

    made = partial(_explainer, model, weights, background, head=head, backend=backend, tolerance=tolerance)
    made = partial(made, n_jobs=n_jobs, memory=memory, seed=seed)
    _write(data, out, force, lambda rows, folder: write_results(made(rows)(rows), folder))


@app.command()
def summarize(
    model: Model,
    weights: Weights,
    data: Data,
    out: Out,
    background: Background = "100",
    head: Head = "latent",
    backend: Backend = "deep",
    n_jobs: Jobs = None,
    memory: Memory = "1GB",
    seed: Seed = 0,
    tolerance: Tolerance = None,
    force: Force = False,
) -> None:
    """Tables of what matters to each output over all rows, however many these are, in a folder."""
    from shapae.cli.reports import write_importance

    made = partial(_explainer, model, weights, background, head=head, backend=backend, tolerance=tolerance)
    made = partial(made, n_jobs=n_jobs, memory=memory, seed=seed)
    _write(data, out, force, lambda rows, folder: write_importance(made(rows).summarize(rows), folder))


Methods = Annotated[str | None, typer.Option(help="With commas between, such as permutation,weights:gedeon.")]
Repeats = Annotated[int, typer.Option(help="How often what is random is done.")]
Sample = Annotated[int | None, typer.Option(help="So many of the rows are used.")]


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
    force: Force = False,
) -> None:
    """Rank the features by several methods: tables of importances and agreement, and pictures, in a folder."""
    from shapae.analysis.ranking.ranking import rank_features
    from shapae.cli.files import load_model
    from shapae.cli.reports import write_ranking

    options: dict[str, Any] = {"repeats": repeats, "sample": sample, "n_jobs": n_jobs, "seed": seed}
    options["methods"] = None if methods is None else [method.strip() for method in methods.split(",")]

    def write(rows: Any, folder: Path) -> None:
        compared = _background(background, rows, seed)
        write_ranking(rank_features(load_model(model, weights), rows, background=compared, **options), folder)

    _write(data, out, force, write)


Backends = Annotated[str | None, typer.Option(help="Names with commas between; all that take so many features.")]
Reference = Annotated[str | None, typer.Option(help="Backend that the others are compared with.")]


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
    force: Force = False,
) -> None:
    """Which backend to believe: a table and a picture of all of them beside a reference, in a folder."""
    from shapae.analysis.comparison.comparison import compare
    from shapae.cli.files import load_model
    from shapae.cli.reports import write_comparison

    options: dict[str, Any] = {"head": head, "reference": reference, "n_jobs": n_jobs, "memory": memory, "seed": seed}
    options["backends"] = [name.strip() for name in backends.split(",")] if backends else None

    def write(rows: Any, folder: Path) -> None:
        found = compare(load_model(model, weights), _background(background, rows, seed), rows, **options)
        write_comparison(found.table, found.plot(), folder)

    _write(data, out, force, write)


def _write(data: Path, out: Path, force: bool, write: Callable[[Any, Path], None]) -> None:
    """What ``write`` makes of the table in ``data``, to the folder ``out``."""
    from shapae.cli.files import load_table
    from shapae.cli.reports import NAMES
    from shapae.utils.directories import atomic_directory

    with atomic_directory(out, replaces=NAMES if force else ()) as fresh:
        write(load_table(data), fresh)
    typer.echo(f"wrote {', '.join(sorted(path.name for path in out.iterdir()))} to {out}")


def _explainer(model: str, weights: Path, background: str, rows: Any, *, seed: int, **settings: Any) -> Any:
    from shapae.cli.files import load_model
    from shapae.explainer.explainer import Explainer

    return Explainer(load_model(model, weights), _background(background, rows, seed), seed=seed, **settings)


def _background(background: str, rows: Any, seed: int) -> Any:
    """So many of the rows, or what a file holds."""
    from shapae.cli.files import load_table
    from shapae.tables.background import sample

    if background.isdecimal():
        return sample(rows, min(int(background), len(rows)), seed=seed)
    return load_table(Path(background))


def main() -> None:
    """Run the command line; an error is one line and exit code 2."""
    from shapae.errors import ShapaeError

    warnings.showwarning = lambda message, *_: typer.echo(f"shapae: warning: {message}", err=True)
    sys.path.insert(0, "")  # the user's model is in a package of the folder that this is run from
    try:
        app()
    except Exception as error:
        kind = "" if isinstance(error, ShapaeError) else f"{type(error).__name__}: "
        notes = getattr(error, "__notes__", [])
        typer.echo(" ".join(f"shapae: {kind}{'; '.join([str(error), *notes])}".split()), err=True)
        sys.exit(2)
