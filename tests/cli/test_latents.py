"""``shapae latents``: files in, files out; once in a process of its own, as a user runs it."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from safetensors.torch import save_file
from typer.testing import CliRunner

import shapae
from shapae.cli.commands import app
from shapae.errors import OutputError, ShapaeError
from tests.analysis.latents import planted
from tests.cli.processes import run

N = 60
ROWS = planted.rows(N)
KNOWN = planted.causes(N).set_axis(ROWS.index).assign(kind=["a/b", "=c", "d $"] * (N // 3))
SETS = "first\tabout\tg0\tg1\tg2\nothers\tabout\tg5\tg7\tx\n"


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    folder = tmp_path_factory.mktemp("work")
    (folder / "planted_factory.py").write_text(
        f"import sys\nsys.path.insert(0, {str(Path(planted.__file__).parents[3])!r})\n"
        "from tests.analysis.latents import planted\n"
        "def factory():\n    return planted.vae()\n"
    )
    save_file(planted.vae().state_dict(), folder / "weights.safetensors")
    ROWS.to_csv(folder / "X.csv")
    ROWS.iloc[:20].to_csv(folder / "background.csv")
    KNOWN.to_csv(folder / "known.csv")
    KNOWN[::-1].rename_axis("cell").to_csv(folder / "reversed.tsv", sep="\t")
    KNOWN[["kind"]].to_csv(folder / "kind.csv", index=False)
    KNOWN.iloc[1:].to_csv(folder / "short.csv")
    pd.concat([KNOWN, KNOWN.iloc[[3]]]).to_csv(folder / "twice.csv")
    KNOWN[::-1].set_axis(KNOWN.index[::-1].str.upper()).rename_axis("cell").to_csv(folder / "others.csv")
    KNOWN.reset_index(drop=True)[::-1].to_csv(folder / "shuffled.csv")
    ROWS.reset_index(drop=True).to_csv(folder / "numbered.csv")
    (folder / "sets.gmt").write_text(SETS)
    (folder / "foreign.gmt").write_text("theirs\tabout\tx\ty\n")
    return folder


LATENTS = ("latents", "--model", "planted_factory:factory", "--weights", "weights.safetensors", "--data", "X.csv")
TABLES = {"units", "drives", "moves", "top"}


@pytest.fixture
def call(work, monkeypatch):
    """Run the command in this process, in the folder of the files: the error, or None."""
    monkeypatch.chdir(work)
    monkeypatch.syspath_prepend(work)
    return lambda *options: CliRunner().invoke(app, [*LATENTS, *map(str, options)]).exception


def names(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_the_files_hold_the_report_of_the_library(work):
    options = ("--background", "background.csv", "--covariates", "known.csv", "--gene-sets", "sets.gmt")
    code, output, error = run(*LATENTS, *options, "--out", "all", cwd=work)
    assert (code, error) == (0, "")
    report = shapae.latents(planted.vae(), ROWS, background=ROWS.iloc[:20], covariates=KNOWN)
    assert output.startswith(f"{report!r}\nwrote drives, latent_covariates.csv, ")
    units = [f"{name.replace(' ', '_')}.png" for name in report.active]
    tables = TABLES | {"covariates", "covariates_of_units", "groups", "sets"}
    want = {f"latent_{name}.csv" for name in tables} | {"latent_map.png"}
    assert names(work / "all") == want | {f"{kind}/{unit}" for kind in ("drives", "sweeps") for unit in units}
    for path in (work / "all").rglob("*.png"):
        assert plt.imread(path)[..., :3].std() > 0.01
    read = {name: pd.read_csv(work / "all" / f"latent_{name}.csv") for name in tables}
    np.testing.assert_allclose(read["drives"].set_index("feature"), report.signed, atol=1e-12)
    np.testing.assert_allclose(read["moves"].set_index("feature"), report.moves, atol=1e-12)
    assert list(read["units"]["unit"]) == list(report.table.index)
    np.testing.assert_allclose(read["covariates"]["r2"], report.causes.table["r2"])
    np.testing.assert_allclose(read["groups"]["pooled_mean"], report.by_group["pooled_mean"])
    assert list(read["groups"]["group"].unique()) == ["'=c", "a/b", "d $"]
    sets = report.enrichment({"first": ["g0", "g1", "g2"], "others": ["g5", "g7", "x"]})
    np.testing.assert_allclose(read["sets"][["score", "p", "q"]], sets[["score", "p", "q"]])


def test_without_covariates_and_sets_there_are_no_tables_of_them(work, call):
    assert call("--out", "plain") is None
    assert {path.name for path in (work / "plain").glob("*.csv")} == {f"latent_{name}.csv" for name in TABLES}
    assert not (work / "plain" / "latent_map.png").exists()
    assert isinstance(call("--out", "plain"), OutputError)
    assert call("--out", "plain", "--force") is None


@pytest.mark.parametrize("file", ["reversed.tsv", "kind.csv"])
def test_lines_of_covariates_are_found_by_the_names_of_rows_or_by_their_order(work, call, file):
    assert call("--background", "background.csv", "--covariates", file, "--out", f"by {file}") is None
    report = shapae.latents(planted.vae(), ROWS, background=ROWS.iloc[:20], covariates=KNOWN)
    table = pd.read_csv(work / f"by {file}" / "latent_covariates.csv").set_index("covariate")
    np.testing.assert_allclose(table["r2"], report.causes.table["r2"][table.index])
    assert "kind" in table.index


def test_covariates_are_columns_of_obs_of_an_h5ad(work, call):
    anndata = pytest.importorskip("anndata")
    obs = KNOWN.astype({"kind": "category"})
    anndata.AnnData(ROWS.to_numpy(), obs, pd.DataFrame(index=ROWS.columns)).write_h5ad(work / "cells.h5ad")
    assert call("--data", "cells.h5ad", "--covariates", "cause 1, kind", "--out", "cells") is None
    table = pd.read_csv(work / "cells" / "latent_covariates.csv")
    assert table["covariate"].tolist() == ["cause 1", "kind"]
    error = call("--data", "cells.h5ad", "--covariates", "kidn", "--out", "no")
    assert str(error).startswith("no column of obs is called 'kidn'; there are: kind")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (("--covariates", "short.csv"), "short.csv lacks row row 0 of the data"),
        (("--covariates", "twice.csv"), "twice.csv repeats row row 3 of the data"),
        (("--covariates", "nowhere.csv"), "can't read the covariates in nowhere.csv"),
        (
            ("--covariates", "others.csv"),
            "the first column 'cell' of others.csv may have the names of the rows, but 'ROW 59' and its other entries",
        ),
        (
            ("--data", "numbered.csv", "--covariates", "shuffled.csv"),
            "shuffled.csv have the numbers of the rows in another order, 59, 58, 57 first",
        ),
        (("--covariates", "kind"), "can be columns of obs only of an AnnData"),
        (("--gene-sets", "foreign.gmt"), "no gene of foreign.gmt is among the features"),
        (("--gene-sets", "nowhere.gmt"), "can't read the gene sets in nowhere.gmt"),
        (("--background", "30", "--backend", "deeep"), "no backend is called 'deeep'"),
    ],
)
def test_what_is_wrong_is_said_and_leaves_nothing(work, call, options, text):
    before = names(work)
    error = call(*options, "--out", "wrong")
    assert isinstance(error, ShapaeError)
    assert text in str(error)
    assert names(work) == before
