"""The command line as a user runs it: in a process of its own, with files on disk."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib import pyplot as plt

import shapae
from shapae.analysis.comparison.benchmark import Benchmark
from shapae.cli.commands import _show_once, app
from shapae.cli.reports import new_benchmark
from tests.cli.processes import run

SHAPAE = Path(sys.executable).parent / "shapae"
PROGRAMS = [[SHAPAE], [sys.executable, "-m", "shapae"], [sys.executable, "-m", "shapae.cli"]]


def trained(net, rows):
    """Train for a moment, so that the reconstruction is better than the mean of the rows."""
    optimizer = torch.optim.Adam(net.parameters(), 0.03)
    for _ in range(100):
        optimizer.zero_grad()
        (net(rows) - rows).square().mean().backward()
        optimizer.step()
    return net


# What was understood of the model is printed before the work begins.
UNDERSTOOD = """  Autoencoder of Net
  reconstruction: forward, (n, 4)
  latents: encoder, (n, 2); decode(encode(x)) = reconstruct(x): yes
  decoder: decoder
"""


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A folder with a model, its weights and a table with column names that look like formulas."""
    folder = tmp_path_factory.mktemp("work")
    (folder / "mine.py").write_text(
        "from torch import nn\n"
        "class Net(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.encoder = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))\n"
        "        self.decoder = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 4))\n"
        "    def forward(self, rows):\n"
        "        return self.decoder(self.encoder(rows))\n"
        "class Functional(Net):\n"
        "    def forward(self, rows):\n"
        "        return self.decoder((5 * self.encoder(rows)).sin())\n"
        "def largest(autoencoder, rows):\n"
        "    return autoencoder.encode(rows).amax(dim=1)\n"
        "class Largest(nn.Module):\n"
        "    forward = staticmethod(largest)\n"
    )
    sys.path.insert(0, str(folder))
    table = pd.DataFrame(np.random.default_rng(0).standard_normal((30, 4)), columns=["CD79A", "=1+1", "-x", "b"])
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = trained(__import__("mine").Net(), torch.tensor(table.to_numpy()).float())
    sys.path.remove(str(folder))
    torch.save(net.state_dict(), folder / "weights.pt")
    table.to_csv(folder / "X.csv", index=False)
    pd.DataFrame(np.eye(7)).to_csv(folder / "wide.csv", index=False)
    table.head(12).to_csv(folder / "background.csv", index=False)
    return folder


EXPLAIN = ("explain", "--model", "mine:Net", "--weights", "weights.pt", "--data", "X.csv")


def test_explain_writes_the_results_of_the_library(work):
    code, output, error = run(*EXPLAIN, "--background", "background.csv", "--out", "one", cwd=work)
    assert (code, error) == (0, "")
    first = "Explainer of 'reconstruction_error' by 'deep', 12 background rows of 4 features\n"
    assert output == f"{first}{UNDERSTOOD}wrote bar.png, explanation, importance.csv, summary.png to one\n"
    sys.path.insert(0, str(work))
    net = __import__("mine").Net()
    net.load_state_dict(torch.load(work / "weights.pt", weights_only=True))
    want = shapae.Explainer(net, pd.read_csv(work / "background.csv"))(pd.read_csv(work / "X.csv"))
    got = shapae.Explanation.load(work / "one" / "explanation")
    np.testing.assert_array_equal(got.values, want.values)
    assert got.feature_names == ["CD79A", "=1+1", "-x", "b"]
    table = pd.read_csv(work / "one" / "importance.csv", index_col="feature")
    assert sorted(table.index) == ["'-x", "'=1+1", "CD79A", "b"]
    np.testing.assert_allclose(table["mean_abs_value"]["'=1+1"], np.abs(want.values[:, 1]).mean(), rtol=1e-6)
    assert table["mean_abs_value"].is_monotonic_decreasing
    assert plt.imread(work / "one" / "summary.png")[..., :3].std() > 0.01


def test_explain_of_several_outputs_draws_all_of_them_in_one_plot(work):
    code, output, error = run(
        *EXPLAIN, "--head", "latent", "--backend", "exact", "--n-jobs", 2, "--out", "latents", cwd=work
    )
    assert (code, error) == (0, "")
    assert output.endswith(f"{UNDERSTOOD}wrote explanation, importance.csv, latents.png to latents\n")
    made_by = json.loads((work / "latents" / "explanation" / "explanation.json").read_text())["made_by"]
    assert (made_by["head"], made_by["backend"], made_by["b"]) == ("latent", "exact", 30)
    assert list(pd.read_csv(work / "latents" / "importance.csv")) == ["feature", "latent 0", "latent 1"]


def test_summarize_writes_the_results_of_the_library(work):
    command = ("summarize", *EXPLAIN[1:], "--background", "background.csv", "--head", "latent")
    code, output, error = run(*command, "--out", "sums", cwd=work)
    assert (code, error) == (0, "")
    assert output.endswith(f"{UNDERSTOOD}wrote importance.csv, top.csv to sums\n")
    sys.path.insert(0, str(work))
    net = __import__("mine").Net()
    net.load_state_dict(torch.load(work / "weights.pt", weights_only=True))
    tables = [pd.read_csv(work / name) for name in ("background.csv", "X.csv")]
    want = shapae.Explainer(net, tables[0], head="latent").summarize(tables[1])
    got = pd.read_csv(work / "sums" / "importance.csv", index_col="feature")
    np.testing.assert_allclose(got, want.mean_abs, rtol=1e-6)
    top = pd.read_csv(work / "sums" / "top.csv")
    assert list(top["output"]) == ["latent 0"] * 4 + ["latent 1"] * 4
    assert {"'=1+1", "'-x"} < set(top["feature"])
    np.testing.assert_allclose(top["mean_abs_value"][0], want.mean_abs[:, 0].max(), rtol=1e-6)


@pytest.fixture(scope="module")
def annotated(work):
    """An .h5ad of the table, with groups of rows."""
    anndata = pytest.importorskip("anndata")
    table = pd.read_csv(work / "X.csv")
    kinds = pd.Categorical(["CD4+/CD25 T", "=B", "NK"] * 10, ["NK", "CD4+/CD25 T", "=B"])
    adata = anndata.AnnData(table.set_axis([f"cell {row}" for row in range(30)]), obs=None)
    adata.obs["kind"] = kinds
    adata.write_h5ad(work / "X.h5ad")
    return adata


@pytest.mark.parametrize("head", ["latent", "latent:1"])
def test_summarize_by_a_column_of_obs_writes_the_groups_of_the_library(head, work, annotated):
    command = ("summarize", *EXPLAIN[1:], "--data", "X.h5ad", "--background", "background.csv", "--head", head)
    out = f"by {head[-1]}"
    code, output, error = run(*command, "--by", "kind", "--out", out, cwd=work)
    assert (code, error) == (0, "")
    pictures = ["groups.png"] if head == "latent:1" else ["groups/output_00.png", "groups/output_01.png"]
    for name in pictures:
        assert plt.imread(work / out / name)[..., :3].std() > 0.01
    assert sorted(path.name for path in (work / out).iterdir()) == sorted([
        "groups.csv",
        pictures[0].partition("/")[0],
        "importance.csv",
        "top.csv",
    ])
    sys.path.insert(0, str(work))
    net = __import__("mine").Net()
    net.load_state_dict(torch.load(work / "weights.pt", weights_only=True))
    want = shapae.Explainer(net, pd.read_csv(work / "background.csv"), head=head).summarize(annotated, by="kind")
    got = pd.read_csv(work / out / "groups.csv")
    assert got["group"].unique().tolist() == ["NK", "CD4+/CD25 T", "'=B"]
    np.testing.assert_allclose(got["mean_value"], want.table["mean_value"], rtol=1e-4, atol=1e-8)
    assert len(pd.read_csv(work / out / "top.csv")) == len(want.top())
    code, _, error = run(*command, "--by", "kind", "--out", out, "--force", cwd=work)
    assert (code, error) == (0, "")


def test_summarize_by_an_unknown_column_is_one_line(work, annotated):
    command = ("summarize", *EXPLAIN[1:], "--background", "background.csv", "--by")
    code, _, error = run(*command, "kinds", "--data", "X.h5ad", "--out", "no", cwd=work)
    assert (code, error) == (2, "shapae: no column of obs is called 'kinds'; there are: kind.\n")
    code, _, error = run(*command, "kind", "--out", "no", cwd=work)
    assert code == 2
    assert "'kind' can be a column of obs only if the table is an AnnData" in error
    assert not (work / "no").exists()


def test_interactions_writes_the_results_of_the_library(work):
    command = ("interactions", *EXPLAIN[1:], "--background", "background.csv", "--seed", 3, "--top", 3)
    code, output, error = run(*command, "--out", "pairs", cwd=work)
    assert (code, error) == (0, "")
    assert output.endswith("wrote interaction_network.png, interactions, interactions.csv, interactions.png to pairs\n")
    sys.path.insert(0, str(work))
    net = __import__("mine").Net()
    net.load_state_dict(torch.load(work / "weights.pt", weights_only=True))
    tables = [pd.read_csv(work / name) for name in ("background.csv", "X.csv")]
    want = shapae.Explainer(net, tables[0]).interactions(tables[1], top=3)
    got = shapae.Interactions.load(work / "pairs" / "interactions")
    np.testing.assert_array_equal(got.values, want.values)
    assert got.made_by["seed"] == 3
    table = pd.read_csv(work / "pairs" / "interactions.csv")
    assert len(table) == 3
    assert {*table["feature"], *table["other_feature"]} < {"CD79A", "'=1+1", "'-x", "b"}
    np.testing.assert_allclose(table["mean_interaction"], want.top(3)["mean_interaction"], rtol=1e-5)
    assert plt.imread(work / "pairs" / "interactions.png")[..., :3].std() > 0.01


def test_rank_writes_the_results_of_the_library(work):
    command = ("rank", *EXPLAIN[1:], "--background", "background.csv", "--repeats", 2, "--sample", 20)
    code, output, error = run(*command, "--methods", "permutation, weights:gedeon", "--out", "ranks", cwd=work)
    assert (code, error) == (0, "")
    tables = ["ranking.csv", "ranking.png", "ranking_errors.csv", "ranking_raw.csv"]
    assert output == f"wrote agreement.csv, agreement.png, {', '.join(tables)} to ranks\n"
    sys.path.insert(0, str(work))
    net = __import__("mine").Net()
    net.load_state_dict(torch.load(work / "weights.pt", weights_only=True))
    background, rows = (pd.read_csv(work / name) for name in ("background.csv", "X.csv"))
    options = {"methods": ["permutation", "weights:gedeon"], "repeats": 2, "sample": 20}
    want = shapae.rank_features(net, rows, background=background, **options)
    for name, frame in {"ranking": want.table, "ranking_raw": want.raw, "ranking_errors": want.errors}.items():
        got = pd.read_csv(work / "ranks" / f"{name}.csv", index_col="feature")
        np.testing.assert_allclose(got, frame, rtol=1e-5)
        assert list(got.index) == ["CD79A", "'=1+1", "'-x", "b"]
    agreement = pd.read_csv(work / "ranks" / "agreement.csv", index_col=["measure", "method"])
    np.testing.assert_allclose(agreement, want.agreement, rtol=1e-6)
    assert run(*command, "--methods", "sage", "--out", "ranks", "--force", cwd=work)[0] == 0
    code, _, error = run(*command, "--methods", "sagge", "--out", "ranks", "--force", cwd=work)
    assert (code, error[:46]) == (2, "shapae: no method is called 'sagge'; there are")


def test_compare_writes_the_results_of_the_library(work):
    command = ("compare", *EXPLAIN[1:], "--background", "background.csv", "--backends", "deep, exact", "--seed", 3)
    code, output, error = run(*command, "--out", "compared", cwd=work)
    assert (code, output) == (0, "wrote comparison.csv, comparison.png to compared\n")
    assert "Warning" not in error
    sys.path.insert(0, str(work))
    net = __import__("mine").Net()
    net.load_state_dict(torch.load(work / "weights.pt", weights_only=True))
    tables = [pd.read_csv(work / name) for name in ("background.csv", "X.csv")]
    want = shapae.compare(net, *tables, backends=["deep", "exact"], seed=3).table
    got = pd.read_csv(work / "compared" / "comparison.csv", index_col="backend", keep_default_na=False)
    assert got.index.tolist() == ["deep", "exact", "random values", "randomised weights"]
    assert got.columns.tolist() == want.columns.tolist()
    same = ["relative error (fraction)", "insertion area (score)"]
    np.testing.assert_allclose(got[same].astype(float), want[same], rtol=1e-4, atol=1e-6)
    assert plt.imread(work / "compared" / "comparison.png")[..., :3].std() > 0.01


BENCHMARK = ("benchmark", *EXPLAIN[1:], "--background", "background.csv", "--repeats", 1)


def test_benchmark_writes_the_results_of_the_library(work):
    code, output, error = run(*BENCHMARK, "--rows", 20, "--seed", 3, "--out", "times.json", cwd=work)
    assert (code, error) == (0, "")
    lines = output.splitlines()
    assert lines[0].startswith("20 rows of 4 features against 12 background rows, head 'reconstruction_error', ")
    assert lines[-2:] == ["reference: exact, relative error 0", "wrote times.json"]
    found = json.loads((work / "times.json").read_text())
    sys.path.insert(0, str(work))
    net = __import__("mine").Net()
    net.load_state_dict(torch.load(work / "weights.pt", weights_only=True))
    background, rows = (pd.read_csv(work / name) for name in ("background.csv", "X.csv"))
    rows = shapae.background.sample(rows, 20, seed=4).rows
    for each in found["shapae benchmark"]:
        want = shapae.Explainer(net, background, backend=each["backend"], seed=3)(rows)
        assert each["largest residual (score)"] == np.abs(want.residual).max()
        assert each["time (s)"] == pytest.approx(20 * each["time per row (s)"])
    assert len(found["shapae benchmark"]) == 7
    assert (found["task"]["rows"], found["task"]["reference"]) == (20, "exact")
    assert found["machine"]["OMP_WAIT_POLICY"] == "PASSIVE"
    assert os.uname().nodename not in (work / "times.json").read_text()


def test_a_saved_explainer_takes_the_place_of_a_model(work):
    sys.path.insert(0, str(work))
    net = __import__("mine").Net()
    net.load_state_dict(torch.load(work / "weights.pt", weights_only=True))
    background, rows = (pd.read_csv(work / name) for name in ("background.csv", "X.csv"))
    ready = shapae.Explainer(net, background, backend="exact", seed=3)
    ready.save(work / "ready")
    saved = ("--explainer", "ready", "--data", "X.csv", "--out")
    assert run("explain", *saved, "by-saved", cwd=work)[::2] == (0, "")
    got = shapae.Explanation.load(work / "by-saved" / "explanation")
    np.testing.assert_array_equal(got.values, ready(rows).values)
    assert got.made_by["seed"] == 3
    changed = ("--head", "mine:largest", "--backend", "gradient", "--seed", 5)
    assert run("explain", *saved, "by-changed", *changed, cwd=work)[::2] == (0, "")
    got = shapae.Explanation.load(work / "by-changed" / "explanation")
    want = shapae.Explainer(net, background, head=__import__("mine").largest, backend="gradient", seed=5)(rows)
    np.testing.assert_array_equal(got.values, want.values)
    assert run("summarize", *saved, "sums-by-saved", cwd=work)[::2] == (0, "")  # of the error, not of the latents
    sums = pd.read_csv(work / "sums-by-saved" / "importance.csv", index_col="feature").loc["CD79A", "mean_abs_value"]
    assert sums == pytest.approx(ready.summarize(rows).table.loc["CD79A", "mean_abs_value"])
    assert run("interactions", *saved, "pairs-by-saved", cwd=work)[::2] == (0, "")
    pairs = shapae.Interactions.load(work / "pairs-by-saved" / "interactions")
    np.testing.assert_array_equal(pairs.values, ready.interactions(rows).values)


SOURCES = {
    "nothing": ((), "give --model and --weights, or --explainer"),
    "a model alone": (("--model", "mine:Net"), "give --weights, or --explainer"),
    "both": (("--explainer", "ready", "--model", "mine:Net"), "leave out --model: the explainer"),
    "a background": (("--explainer", "ready", "--background", "7"), "leave out --background: the explainer"),
    "no folder": (("--explainer", "nowhere"), "nowhere"),
}


@pytest.mark.parametrize("name", SOURCES)
def test_a_command_takes_a_model_or_a_saved_explainer(name, work):
    options, text = SOURCES[name]
    for command in ("explain", "summarize", "interactions"):
        code, output, error = run(command, *options, "--data", "X.csv", "--out", "no-source", cwd=work)
        assert (code, output) == (2, "")
        assert text in " ".join(error.replace("│", " ").split())
    assert not (work / "no-source").exists()


def test_a_head_of_the_users_own_is_imported_by_its_name(work):
    sys.path.insert(0, str(work))
    mine = __import__("mine")
    net = mine.Net()
    net.load_state_dict(torch.load(work / "weights.pt", weights_only=True))
    background, rows = (pd.read_csv(work / name) for name in ("background.csv", "X.csv"))
    want = shapae.Explainer(net, background, head=mine.largest)(rows)
    settings = ("--background", "background.csv", "--out")
    for name in ("largest", "Largest"):
        assert run(*EXPLAIN, "--head", f"mine:{name}", *settings, name, cwd=work)[::2] == (0, "")
        got = shapae.Explanation.load(work / name / "explanation")
        np.testing.assert_array_equal(got.values, want.values)
    chosen = ("--backends", "deep", "--head", "mine:largest")
    assert run("compare", *EXPLAIN[1:], *chosen, *settings, "own-compared", cwd=work)[::2] == (0, "")
    compared = pd.read_csv(work / "own-compared" / "comparison.csv", index_col=0).loc["deep", "deletion area (score)"]
    table = shapae.compare(net, background, rows, head=mine.largest, backends=["deep"]).table
    assert compared == pytest.approx(table.loc["deep", "deletion area (score)"])
    assert run(*BENCHMARK, *chosen, "--out", "own.csv", cwd=work)[::2] == (0, "")
    assert pd.read_csv(work / "own.csv").loc[0, "range of the scores"] == pytest.approx(np.ptp(want.scores))
    influence = ("influence", *EXPLAIN[1:5], "--train", "X.csv", "--pictures", 0, *chosen[2:])
    assert run(*influence, "--out", "own-influence", cwd=work)[::2] == (0, "")
    got = shapae.Influence.load(work / "own-influence" / "influence")
    np.testing.assert_allclose(got.scores, want.scores, rtol=1e-6)


def test_benchmark_writes_a_table_and_the_reasons_of_failures(work):
    settings = ("--backends", "deep, shap_kernel", "--head", "reconstruction:b", "--memory", "6 kB")  # too few
    code, output, error = run(*BENCHMARK, *settings, "--out", "times.csv", cwd=work)
    assert (code, error) == (0, "")
    table = pd.read_csv(work / "times.csv", index_col="backend", keep_default_na=False)
    assert table.index.tolist() == ["deep", "shap_kernel"]
    assert table["error"].str.partition(":")[0].tolist() == ["", "TooLarge"]
    failures = output.splitlines()[-3:-1]
    assert failures[0].startswith("reference: failed: TooLarge: ")
    assert failures[1].startswith("shap_kernel failed: TooLarge: ")
    assert (table["threads"] == table["threads"].iloc[0]).all()
    _, output, _ = run(*BENCHMARK, "--backends", "shap_kernel", "--memory", "3 kB", "--out", "none.json", cwd=work)
    assert output.splitlines()[1] == "no backend worked"
    (none,) = json.loads((work / "none.json").read_text())["shapae benchmark"]
    assert none["time (s)"] is None
    assert none["error"].startswith("TooLarge")


def test_what_json_does_not_have_is_null_in_the_file_of_a_benchmark(tmp_path):
    """Equal rows have values of 0 and infinite relative errors."""
    table = pd.DataFrame({"a": [np.inf, np.nan, 1.5], "error": ["", "why", ""]}, index=["x", "y", "z"])
    with new_benchmark(tmp_path / "out.json", force=False) as write:
        write(Benchmark(table.rename_axis("backend"), {}, {}))
    methods = json.loads((tmp_path / "out.json").read_text())["shapae benchmark"]
    assert [each["a"] for each in methods] == [None, None, 1.5]


def test_a_benchmark_replaces_only_an_earlier_benchmark(work):
    fast = (*BENCHMARK, "--rows", 2, "--backends", "deep")
    code, output, error = run(*fast, "--out", "X.csv", "--force", cwd=work)
    assert (code, output) == (2, "")
    assert error.startswith("shapae: X.csv already exists and holds something else. Give the name of a new file")
    assert run(*fast, "--out", "again.json", cwd=work)[0] == 0
    code, _, error = run(*fast, "--out", "again.json", cwd=work)
    assert (code, error[:46]) == (2, "shapae: again.json already exists. Give the na")
    assert run(*fast, "--out", "again.json", "--force", cwd=work)[0] == 0
    code, _, error = run(*fast, "--out", "times.txt", cwd=work)
    want = "shapae: the results of a benchmark are written to a .json or .csv file, got 'times.txt'."
    assert (code, error.strip()) == (2, want)


def test_a_table_with_another_separator_has_the_explanation_of_its_numbers(work):
    tables = [pd.read_csv(work / name) for name in ("background.csv", "X.csv")]
    tables[1].to_csv(work / "semicolons.txt", sep=";", index=False)
    files = ("--background", "background.csv", "--data", "semicolons.txt")
    assert run(*EXPLAIN, *files, "--out", "semicolons", cwd=work)[0] == 0
    sys.path.insert(0, str(work))
    net = __import__("mine").Net()
    net.load_state_dict(torch.load(work / "weights.pt", weights_only=True))
    got = shapae.Explanation.load(work / "semicolons" / "explanation")
    np.testing.assert_array_equal(got.values, shapae.Explainer(net, tables[0])(tables[1]).values)


@pytest.mark.parametrize(("option", "what"), [("--data", "rows"), ("--background", "background")])
def test_missing_numbers_are_said_to_be_in_their_file(work, option, what):
    table = pd.read_csv(work / "X.csv")
    table.iloc[3, 0] = np.nan
    table.to_csv(work / "holes.csv", index=False)
    code, _, error = run(*EXPLAIN, option, "holes.csv", "--out", "holes", cwd=work)
    assert (code, error.count("\n")) == (2, 1)
    want = f"shapae: the {what} in holes.csv must be finite, but 1 of 120 numbers are NaN or infinite, in row 3 and"
    assert error.startswith(want)


def run_program(program, *arguments, cwd):
    done = subprocess.run([*program, *map(str, arguments)], cwd=cwd, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("arguments", [("--help",), ("--version",), ("explain",), ("demo", "--outt")])
def test_programs_run_the_same_commands_under_the_same_name(work, program, arguments):
    assert run_program(program, *arguments, cwd=work) == run(*arguments, cwd=work)


def test_python_runs_a_command_with_workers(work):
    """The workers import the module again, without running it."""
    arguments = ("--n-jobs", 2, "--background", 5, "--out", "by module")
    code, output, _ = run_program(PROGRAMS[1], *EXPLAIN, *arguments, cwd=work)
    assert code == 0
    assert output.endswith("wrote bar.png, explanation, importance.csv, summary.png to by module\n")
    code, output, error = run_program(PROGRAMS[2], *EXPLAIN, "--out", "by module", cwd=work)
    assert (code, output, error.count("\n")) == (2, "", 1)
    assert error.startswith("shapae: by module already exists")


def test_a_warning_is_one_line(work):
    functional = ("--model", "mine:Functional", "--backend", "shap_deep", "--head", "reconstruction")
    code, _, error = run(*EXPLAIN, *functional, "--out", "warned", cwd=work)
    assert code == 0
    assert error.startswith("shapae: warning: the values of ")
    assert error.count("\n") == 1


def test_results_are_replaced_with_force_only_and_other_files_never(work):
    assert run(*EXPLAIN, "--out", "again", cwd=work)[0] == 0
    before = (work / "again" / "explanation" / "explanation.safetensors").read_bytes()
    code, output, error = run(*EXPLAIN, "--out", "again", cwd=work)
    assert (code, output) == (2, "")
    assert error.startswith("shapae: again already exists and holds bar.png, explanation")
    assert "or --force to replace" in error
    assert error.count("\n") == 1
    assert run(*EXPLAIN, "--out", "again", "--force", "--head", "latent:1", cwd=work)[0] == 0
    assert (work / "again" / "explanation" / "explanation.safetensors").read_bytes() != before
    (work / "again" / "thesis.txt").write_text("years of work")
    code, _, error = run(*EXPLAIN, "--out", "again", "--force", cwd=work)
    assert code == 2
    assert "holds thesis.txt" in error
    assert (work / "again" / "thesis.txt").read_text() == "years of work"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--head", "latant"], "no head is called 'latant'; there are: latent, "),
        (["--head", "latant:3"], "no head is called 'latant'; there are: latent, "),
        (["--head", "mine:larges"], "can't find 'mine:larges': module 'mine' has no attribute 'larges'. A head is "),
        (["--background", "gone.csv"], "can't read the table in gone.csv"),
        (["--weights", "X.csv"], "can't read the weights in X.csv"),
        (["--data", "wide.csv", "--background", "9"], "Net can't be run on 8 rows of 7 columns: RuntimeError (mat1"),
    ],
)
def test_an_error_is_one_clear_line_and_exit_code_2_and_leaves_nothing(work, arguments, text):
    before = sorted(work.iterdir())
    code, output, error = run(*EXPLAIN, "--out", "failed", *arguments, cwd=work)
    assert (code, output) == (2, "")
    assert error.startswith(f"shapae: {text}")
    assert error.count("\n") == 1
    assert sorted(work.iterdir()) == before


def test_the_version_is_that_of_the_package(capfd):
    with pytest.raises(SystemExit) as done:
        app(["--version"])
    assert (done.value.code, capfd.readouterr().out) == (0, f"shapae {shapae.__version__}\n")


def test_help_loads_neither_torch_nor_shap(tmp_path):
    code = (
        "import sys; from shapae.cli.commands import app, _show_once\n"
        "try: app(['--help'])\n"
        "except SystemExit: pass\n"
        "print(sorted({'torch', 'shap', 'numpy', 'pandas'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "explain" in done.stdout
    assert done.stdout.rstrip().endswith("[]")


# Writes the environment to a file when torch is about to be imported. Python runs a file of this name at its start.
SITECUSTOMIZE = """
import json, os, sys
class Watch:
    def find_spec(name, path=None, target=None):
        if name == "torch":
            with open(os.environ["SEEN"], "w") as file:
                json.dump({**os.environ}, file)
sys.meta_path.insert(0, Watch)
"""
WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")


def environment_of_torch(command, folder, given):
    """How OpenMP's threads wait, as the library of OpenMP sees it: torch brings it along."""
    (folder / "sitecustomize.py").write_text(SITECUSTOMIZE)
    paths = os.pathsep.join(filter(None, [str(folder), str(Path(shapae.__file__).parents[1])]))
    environment = {name: value for name, value in os.environ.items() if name not in WAITING}
    environment |= {"PYTHONPATH": paths, "SEEN": str(folder / "seen.json")} | given
    subprocess.run(command, cwd=folder, env=environment, capture_output=True, check=False)
    seen = json.loads((folder / "seen.json").read_text())
    return {name: seen[name] for name in WAITING if name in seen}


@pytest.mark.parametrize("program", PROGRAMS)
def test_idle_threads_of_the_command_line_sleep(tmp_path, program):
    assert environment_of_torch([*program, "demo", "--out", "."], tmp_path, {}) == {"OMP_WAIT_POLICY": "PASSIVE"}


@pytest.mark.parametrize("given", [{"OMP_WAIT_POLICY": "ACTIVE"}, {"GOMP_SPINCOUNT": "1000"}, {"KMP_BLOCKTIME": "9"}])
def test_idle_threads_wait_as_the_user_says(tmp_path, given):
    assert environment_of_torch([SHAPAE, "demo", "--out", "."], tmp_path, given) == given


def test_the_library_leaves_the_environment_alone(tmp_path):
    code = "import shapae.cli.demo, shapae.cli.reports, shapae.cli.commands"
    assert environment_of_torch([sys.executable, "-c", code], tmp_path, {}) == {}
    code = "import os, shapae; before = {**os.environ}; import shapae.cli.commands, torch; assert before == os.environ"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_demo_explains_real_genes(tmp_path):
    code, output, error = run("demo", "--out", "demo", cwd=tmp_path)
    assert (code, error) == (0, "")
    out = tmp_path / "demo"
    assert sorted(os.listdir(out)) == [
        *("bar.png", "explanation", "importance.csv", "latents", "latents.png", "summary.png", "waterfall.png")
    ]
    error = shapae.Explanation.load(out / "explanation")
    latents = shapae.Explanation.load(out / "latents")
    assert error.values.shape == (700, 765)
    assert latents.values.shape == (100, 765, 12)
    for explanation in (error, latents):
        assert np.abs(explanation.residual).max() < 1e-5 * np.ptp(explanation.scores)
    table = pd.read_csv(out / "importance.csv", index_col="feature")
    assert set(table.index) == set(shapae.datasets.pbmc68k().X.columns)
    assert [line.split()[1] for line in output.splitlines()[2:12]] == table.index[:10].tolist()
    for picture in out.glob("*.png"):
        assert plt.imread(picture)[..., :3].std() > 0.01


def test_explain_with_chunks_continues_and_writes_averages(work):
    command = (*EXPLAIN, "--background", "background.csv", "--chunks", "chunks", "--timeout", 100, "--out", "averages")
    code, output, error = run(*command, cwd=work)
    assert (code, error) == (0, "")
    assert output.endswith("wrote importance.csv, top.csv to averages\n")
    written, block = shapae.read(work / "chunks"), work / "chunks" / "block-000000.parquet"
    want = pd.read_csv(work / "averages" / "importance.csv", index_col=0)
    np.testing.assert_allclose(want["mean_abs_value"], written.importance().table["mean_abs_value"], rtol=1e-6)
    assert written.rows == 30
    before = block.stat().st_mtime_ns
    assert run(*command, "--force", cwd=work)[0] == 0
    assert block.stat().st_mtime_ns == before
    code, _, error = run(*command, "--force", "--head", "latent:0", cwd=work)
    assert code == 2
    assert error == (
        f"shapae: {work / 'chunks'} holds the blocks of other work: layers, head, scores of some rows differs. Give a "
        f"new or empty folder, or the same input as before.\n"
    )


def test_a_warning_of_a_file_that_is_read_twice_is_written_once(capsys):
    show = _show_once()
    for text in ("one", "other", "one"):
        show(UserWarning(text), UserWarning, "file.py", 3)
    assert capsys.readouterr().err == "shapae: warning: one\nshapae: warning: other\n"
