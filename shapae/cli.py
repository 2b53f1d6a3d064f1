"""The command line. Each command calls one public verb; what takes seconds to import is imported inside."""

import sys
import warnings
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    help="SHAP values for PyTorch autoencoders on tabular data.", no_args_is_help=True, add_completion=False
)
Out = Annotated[Path, typer.Option(help="Folder for the results.")]
Force = Annotated[bool, typer.Option("--force", help="Replace the results of an earlier run.")]


@app.command()
def demo(out: Out = Path("demo"), force: Force = False) -> None:
    """Train an autoencoder on real genes, explain it, and draw the plots."""
    from shapae.demo import run

    typer.echo(run(out, force=force))


@app.command()
def explain(
    model: Annotated[str, typer.Option(help="package.module:factory, called without arguments.")],
    weights: Annotated[Path, typer.Option(help="State dict: .safetensors, or .pt of torch.save.")],
    data: Annotated[Path, typer.Option(help="Rows to explain: .csv, .parquet or .npy.")],
    out: Out,
    background: Annotated[
        str, typer.Option(help="Number of rows drawn from the data (all of them, if there are fewer), or a file.")
    ] = "100",
    head: Annotated[str, typer.Option(help="What is explained, such as latent:3.")] = "reconstruction_error",
    backend: Annotated[str, typer.Option(help="How it is attributed.")] = "deep",
    n_jobs: Annotated[int | None, typer.Option(help="Number of workers; -1 for all cores.")] = None,
    memory: Annotated[str, typer.Option(help="Bound on what is held at once.")] = "1GB",
    seed: Annotated[int, typer.Option(help="Of all that is drawn.")] = 0,
    force: Force = False,
) -> None:
    """Explain a model on a table: the explanation, a table of importances and pictures in a folder."""
    from shapae.data import drawn
    from shapae.engine import Explainer
    from shapae.files import read_model, read_table
    from shapae.folder import written_whole
    from shapae.results import NAMES, write_results

    with written_whole(out, replaces=NAMES if force else ()) as fresh:
        rows = read_table(data)
        compared = drawn(rows, int(background), seed) if background.isdecimal() else read_table(Path(background))
        explainer = Explainer(
            read_model(model, weights),
            compared,
            head=head,
            backend=backend,
            n_jobs=n_jobs,
            memory=memory,
            seed=seed,
        )
        write_results(explainer(rows), fresh)
    typer.echo(f"wrote {', '.join(sorted(path.name for path in out.iterdir()))} to {out}")


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
