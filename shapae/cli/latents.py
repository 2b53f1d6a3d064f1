"""The command ``shapae latents``. Slow imports are inside of the functions."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shapae.cli.commands import (
    Backend,
    Background,
    Data,
    Force,
    Jobs,
    Memory,
    Model,
    Out,
    RowNames,
    Seed,
    Weights,
    app,
    write_to_folder,
)
from shapae.cli.inputs import load_background, split_names

if TYPE_CHECKING:
    from shapae.analysis.latents.report import LatentReport
    from shapae.cli.output import Report

# Number of active units of which pictures are drawn, by their variance.
PICTURES = 12
Covariates = Annotated[
    str | None,
    typer.Option(help="Columns of obs of an .h5ad, separated by commas; or a text file, .csv, with a line per row."),
]
GeneSets = Annotated[Path | None, typer.Option(help="GMT file with sets of features, such as pathways.")]


@app.command()
def latents(
    model: Model,
    weights: Weights,
    data: Data,
    out: Out,
    background: Background = "100",
    covariates: Covariates = None,
    gene_sets: GeneSets = None,
    backend: Backend = "deep",
    n_jobs: Jobs = None,
    memory: Memory = "1GB",
    seed: Seed = 0,
    row_names: RowNames = None,
    force: Force = False,
) -> None:
    """Report on the latent units: which are used, what drives them, what they do; write tables and pictures."""
    settings: dict[str, Any] = {"backend": backend, "n_jobs": n_jobs, "memory": memory, "seed": seed}

    def report(rows: Any) -> "Report":
        from shapae.analysis.latents.latents import latents
        from shapae.models.files import load_model
        from shapae.tables.groups import read_gmt

        sets = None if gene_sets is None else read_gmt(gene_sets)
        if gene_sets is not None and rows.names is not None:
            read_gmt(gene_sets, rows.names)  # refused before the work, if no gene is in the table
        causes = None if covariates is None else _load_covariates(covariates, data, rows)
        reference = load_background(background, rows, seed, row_names)
        found = latents(load_model(model, weights), rows, background=reference, covariates=causes, **settings)
        return _report_latents(found, sets)

    write_to_folder(data, out, force, report, row_names)


def _load_covariates(covariates: str, data: Path, rows: Any) -> Any:
    """Read a text file, or columns of obs without the rest of the file ``data``.

    Raises:
        UnknownName: ``obs`` has no such column.
    """
    import pandas as pd

    from shapae.tables.anndata import column_of_obs
    from shapae.utils.optional import import_optional

    if Path(covariates).suffix in (".csv", ".tsv", ".txt"):
        return _read_text(Path(covariates), rows)
    names = split_names(covariates) or []
    if data.suffix.lower() != ".h5ad":
        return names  # refused, with the reason
    backed = import_optional("anndata", "reading a .h5ad").read_h5ad(data, backed="r")
    try:
        return pd.concat([column_of_obs(backed, name) for name in names], axis=1)
    finally:
        backed.file.close()


def _read_text(path: Path, rows: Any) -> Any:
    """Read covariates, in the order of ``rows`` if the first column has their names.

    Raises:
        DataError: The file can't be read, or lacks some rows.
    """
    import pandas as pd

    from shapae.errors import DataError
    from shapae.tables.text import SEPARATORS
    from shapae.utils.text import enumerate_names, one_line

    try:
        with path.open(encoding="utf-8-sig") as file:
            first = file.readline()
        table = pd.read_csv(path, sep=max(SEPARATORS, key=first.count), encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise DataError(f"can't read the covariates in {path}: {one_line(error)}.") from error
    names = [] if rows.row_names is None else [str(name) for name in rows.row_names]
    keys = table.iloc[:, 0].astype(str)
    is_index = str(table.columns[0]).startswith("Unnamed: ")
    if not names and is_index:
        _refuse_shuffled(path, [*keys])
        return table.iloc[:, 1:]
    if not ({*keys} & {*names} or is_index):
        if names and keys.is_unique and not pd.api.types.is_numeric_dtype(table.iloc[:, 0]):
            raise DataError(
                f"the first column {table.columns[0]!r} of {path} may have the names of the rows, but {keys[0]!r} and "
                f"its other entries are no rows of the data, such as {names[0]!r}. Write the names as they are there, "
                f"or remove this column if the lines are in the order of the rows."
            )
        return table
    table = table.iloc[:, 1:].set_axis(keys)
    missing = [name for name in names if name not in {*keys}]
    if missing or keys.duplicated().any():
        twice = keys[keys.duplicated()].tolist()
        fault = f"lacks {enumerate_names(missing, 'row')}" if missing else f"repeats {enumerate_names(twice, 'row')}"
        raise DataError(f"{path} {fault} of the data. Give one line for each row, with its name in the first column.")
    return table.loc[names].reset_index(drop=True)


def _refuse_shuffled(path: Path, numbers: list[str]) -> None:
    """Check that lines with the numbers of the rows are in their order.

    Raises:
        DataError: They are in another order.
    """
    from shapae.errors import DataError

    expected = [str(number) for number in range(len(numbers))]
    if numbers != expected and {*numbers} == {*expected}:
        raise DataError(
            f"the lines of {path} have the numbers of the rows in another order, {', '.join(numbers[:3])} first. Sort "
            f"the lines, or remove the numbers if the lines are in the order of the rows."
        )


def _report_latents(report: "LatentReport", sets: dict[str, list[str]] | None) -> "Report":
    """Report on latent units: tables, and pictures of the first active units."""
    import pandas as pd

    from shapae import plots
    from shapae.analysis.latents.decoding import Decoder
    from shapae.cli.output import Files, Pictures, Report

    tables: dict[str, Callable[[], Any]] = {
        "units": lambda: report.table,
        "drives": lambda: report.signed,
        "moves": lambda: pd.DataFrame(report.moves, report.signed.index, report.signed.columns),
        "top": report.top,
    }
    if (causes := report.causes) is not None:
        tables |= {"covariates": lambda: causes.table, "covariates_of_units": lambda: causes.units}
        tables |= {"groups": lambda: report.by_group}
    if sets is not None and report.active:
        tables["sets"] = lambda: report.enrichment(sets)
    files: Files = {f"latent_{name}.csv": partial(_write_table, make) for name, make in tables.items()}
    draws = {"drives": plots.drives} | ({"sweeps": plots.sweep} if isinstance(report.decoder, Decoder) else {})
    pictures: Pictures = {
        f"{name}/{unit.replace(' ', '_')}.png": partial(draw, report, unit)
        for name, draw in draws.items()
        for unit in report.active[:PICTURES]
    }
    if causes is not None and report.active and len(report.by_group):
        pictures = {"latent_map.png": lambda: plots.latent_map(report)} | pictures
    return Report(files, pictures, repr(report))


def _write_table(make: Callable[[], Any], path: Path) -> None:
    from shapae.cli.reports import write_csv

    write_csv(make(), path)
