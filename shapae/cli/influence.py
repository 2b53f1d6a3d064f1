"""The command ``shapae influence``. Slow imports are inside of the functions."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shapae.cli.commands import Force, Head, Jobs, Memory, Model, Out, Seed, Weights, app, write_to_folder
from shapae.cli.inputs import read_head, split_names

if TYPE_CHECKING:
    from shapae.analysis.influence.result import Influence
    from shapae.cli.output import Report

# Number of training rows that are listed for each row.
LISTED = 10
Train = Annotated[Path, typer.Option(help="Training rows: .csv, .tsv, .txt, .parquet, .h5ad or .npy.")]
Rows = Annotated[
    Path | None, typer.Option(help="Rows that may be influenced, such as new ones; the training rows, if none.")
]
Loss = Annotated[str | None, typer.Option(help="Loss of the training: mse, mae, bce, elbo and others.")]
Checkpoints = Annotated[
    list[Path] | None, typer.Option("--checkpoint", help="State dict during the training; give it for each, in order.")
]
Rates = Annotated[str | None, typer.Option(help="Learning rates of the checkpoints, separated by commas.")]
Parameters = Annotated[str, typer.Option(help="all, last, last:2, or patterns such as decoder.*, separated by commas.")]
Projection = Annotated[int | None, typer.Option(help="Dimensions of gradients of other than linear layers.")]
Pictures = Annotated[int, typer.Option(min=0, help="Number of rows, those with the largest scores, that are drawn.")]
Resume = Annotated[Path | None, typer.Option(help="Folder of finished blocks: an interrupted run continues from it.")]


@app.command()
def influence(
    model: Model,
    weights: Weights,
    train: Train,
    out: Out,
    rows: Rows = None,
    head: Head = "reconstruction_error",
    loss: Loss = None,
    checkpoint: Checkpoints = None,
    learning_rates: Rates = None,
    parameters: Parameters = "all",
    projection: Projection = None,
    pictures: Pictures = 10,
    n_jobs: Jobs = None,
    memory: Memory = "1GB",
    seed: Seed = 0,
    resume: Resume = None,
    force: Force = False,
) -> None:
    """Estimate the influence of each training row on the scores of rows; write arrays, tables and pictures."""
    settings: dict[str, Any] = {
        "loss": loss,
        "parameters": split_names(parameters),
        "projection": projection,
    }
    settings |= {"checkpoints": checkpoint, "n_jobs": n_jobs, "memory": memory, "seed": seed, "resume": resume}
    if learning_rates is not None:
        settings["learning_rates"] = split_names(learning_rates)

    def report(table: Any) -> "Report":
        from shapae.analysis.influence.influence import influence
        from shapae.models.files import load_model

        explained = table if rows is None else rows
        found = influence(load_model(model, weights), table, explained, head=read_head(head), **settings)
        return report_influence(found, pictures)

    write_to_folder(train, out, force, report)


def report_influence(influence: "Influence", pictures: int) -> "Report":
    """Report on influences: arrays, tables of proponents, opponents and self influence, and pictures.

    Args:
        influence: Influences.
        pictures: Number of rows that are drawn, those with the largest scores.
    """
    import numpy as np
    import pandas as pd

    from shapae import plots
    from shapae.cli.output import Files, Pictures, Report
    from shapae.cli.reports import INFLUENCE, write_csv

    listed = min(LISTED, len(influence.losses))
    columns = {"self_influence": influence.self_influence, "loss": influence.losses}
    own = pd.DataFrame(columns, influence.train_index).sort_values("self_influence", ascending=False, kind="stable")
    files: Files = {
        INFLUENCE: influence.save,
        "proponents.csv": lambda path: write_csv(influence.proponents(listed).reset_index("rank"), path),
        "opponents.csv": lambda path: write_csv(influence.opponents(listed).reset_index("rank"), path),
        "self_influence.csv": partial(write_csv, own),
    }
    # Rows are found by their numbers if several have one name.
    drawn = influence if influence.row_index.is_unique else replace(influence, row_names=None)
    worst = np.argsort(-influence.scores, kind="stable")[:pictures].tolist()
    rows: Pictures = {
        f"rows/{rank:02}.png": partial(plots.influence, drawn, drawn.row_index[place])
        for rank, place in enumerate(worst, start=1)
    }
    return Report(files, {"self_influence.png": partial(plots.self_influence, influence)} | rows, repr(influence))
