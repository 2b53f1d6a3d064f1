"""``shapae anomalies`` as a nightly job runs it: in a process of its own, with files on disk and exit codes."""

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib import pyplot as plt
from sklearn.preprocessing import StandardScaler
from torch import nn

import shapae
from shapae.cli.anomaly_reports import report_anomalies
from tests.cli import processes

NAMES = ["pressure", "=temp", "flow", "goods_fuel", "goods_rent"]
FILES = ["anomalies.csv", "anomalies.parquet", "sentences.txt", "summary.json"]
# The model is an Autoencoder with its scaler, whose numbers are in the file of its weights.
MINE = """
import numpy as np
from torch import nn
from shapae import Autoencoder
def net():
    net = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 2), nn.Linear(2, 5))
    return Autoencoder(net, preprocess=(np.zeros(5), np.ones(5)))
"""


def run(*arguments, cwd):
    return processes.run("anomalies", *arguments, cwd=cwd)


def payments(n, seed):
    rng = np.random.default_rng(seed)
    rent = rng.random(n) < 0.5
    flow = rng.standard_normal(n) + 3 * rent
    numbers = np.stack([100 * flow + 1000, -flow, flow], axis=1) + 0.1 * rng.standard_normal((n, 3))
    return pd.DataFrame(np.column_stack([numbers, ~rent, rent]).round(3), columns=NAMES)


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A folder with a model, its weights, normal rows, calm rows, and rows three of which are faulty."""
    folder = tmp_path_factory.mktemp("work")
    normal = payments(300, 0)
    scaler = StandardScaler().fit(normal)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 2), nn.Linear(2, 5))
        rows, optimizer = torch.tensor(scaler.transform(normal)).float(), torch.optim.Adam(net.parameters(), 0.02)
        for _ in range(200):
            optimizer.zero_grad()
            (net(rows) - rows).square().mean().backward()
            optimizer.step()
    autoencoder = shapae.Autoencoder(net, preprocess=scaler)
    (folder / "mine.py").write_text(MINE)
    torch.save(autoencoder.state_dict(), folder / "weights.pt")
    normal.to_csv(folder / "normal.csv", index=False)
    new = payments(40, 1)
    new.loc[7, "pressure"] = 3000
    new.loc[31, ["goods_fuel", "goods_rent"]] = new.loc[31, ["goods_rent", "goods_fuel"]].to_numpy()
    new.loc[12, "=temp"] = 15
    new.insert(0, "id", [f"{place:03d}" for place in range(40)])
    new.assign(time=pd.date_range("2024-01-01", periods=40, freq="h")).to_csv(folder / "new.csv", index=False)
    normal.head(20).assign(id="=A").to_csv(folder / "calm.csv", index=False)
    return folder, autoencoder


COMMON = ("--model", "mine:net", "--weights", "weights.pt", "--background", "normal.csv", "--keep-aside", "id, time")
NIGHTLY = (*COMMON, "--data", "new.csv")


def wanted(autoencoder, folder, **options):
    normal, new = pd.read_csv(folder / "normal.csv"), pd.read_csv(folder / "new.csv", dtype={"id": str})
    explainer = shapae.Explainer(autoencoder, shapae.background.sample(normal, 100))
    options = {"worst": 3, "normal": normal, "keep_aside": ["id", "time"]} | options
    return shapae.explain_anomalies(explainer, new, **options)


def test_alarms_are_those_of_the_library_in_all_files(work):
    folder, autoencoder = work
    code, output, error = run(*NIGHTLY, "--threshold", 0.99, "--pictures", 2, "--out", "alarms", cwd=folder)
    assert (code, error) == (0, "")
    want = wanted(autoencoder, folder, quantile=0.99)
    assert {7, 12, 31} <= {*want.rows} < {*range(40)}
    out, pictures = folder / "alarms", ["anomaly_001.png", "anomaly_002.png"]
    assert output == f"{want}\nwrote {', '.join(sorted([*FILES, *pictures]))} to alarms\n"
    assert (out / "sentences.txt").read_text().splitlines() == want.sentences()
    table = want.table.reset_index()
    columns = ["row", "id", "time", "feature", *table.columns[4:]]
    got = pd.read_parquet(out / "anomalies.parquet")
    assert [*got.columns] == columns
    pd.testing.assert_frame_equal(got, table[columns], rtol=1e-5)
    text = pd.read_csv(out / "anomalies.csv", dtype={"id": str}, keep_default_na=False)
    np.testing.assert_allclose(text["expected"], table["expected"], rtol=1e-5)
    assert text["id"].tolist() == [f"{row:03d}" for row in table["row"]]
    assert {*text["feature"]} == {feature.replace("=temp", "'=temp") for feature in table["feature"]}
    assert not any(cell.startswith("=") for cell in text["contributing"])
    summary = json.loads((out / "summary.json").read_text())
    assert (summary["anomalies"], summary["explained"]) == (want.found, len(want))
    assert summary["limit"] == pytest.approx(want.limit, rel=1e-5)
    assert summary["units of the readings"] == "table"
    for picture in pictures:
        assert plt.imread(out / picture)[..., :3].std() > 0.01


def test_a_saved_explainer_and_a_score_need_no_normal_rows(work, monkeypatch):
    folder, autoencoder = work
    normal, new = pd.read_csv(folder / "normal.csv"), pd.read_csv(folder / "new.csv", dtype={"id": str})
    groups = {"goods": ["goods_fuel", "goods_rent"]}
    ready = shapae.Explainer(autoencoder, normal[:50], groups=groups, head=shapae.heads.ReconstructionError("mae"))
    (folder / "scaled.py").write_text(MINE)  # under a name that no other test imports
    monkeypatch.syspath_prepend(folder)
    ready.save(folder / "ready", factory="scaled:net")
    limit = float(np.quantile(ready.scores(normal), 0.99))
    given = ("--explainer", "ready", "--data", "new.csv", "--keep-aside", "id,time", "--worst", 2, "--pictures", 0)
    want = shapae.explain_anomalies(ready, new, worst=2, threshold=limit, keep_aside=["id", "time"])
    assert run(*given, "--above", limit, "--out", "by-saved", cwd=folder)[::2] == (0, "")
    assert (folder / "by-saved" / "sentences.txt").read_text().splitlines() == want.sentences() != []
    assert run(*given, "--background", "normal.csv", "--out", "by-quantile", cwd=folder)[::2] == (0, "")
    want = shapae.explain_anomalies(ready, new, worst=2, quantile=0.99, normal=normal, keep_aside=["id", "time"])
    assert (folder / "by-quantile" / "sentences.txt").read_text().splitlines() == want.sentences() != []


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (
            ("--explainer", "ready"),
            "a file of normal rows, whose scores set the threshold; or --above",
        ),
        (("--model", "mine:net", "--weights", "weights.pt"), "give --background, a file of normal rows."),
        (("--above", 3, "--model", "mine:net", "--weights", "weights.pt"), "give --background, a file of normal rows."),
        (("--explainer", "ready", "--above", 3, "--groups", "one-hot"), "leave out --groups: the explainer"),
        (("--explainer", "ready", "--above", 3, "--background-rows", 9), "leave out --background-rows"),
    ],
)
def test_normal_rows_or_a_saved_explainer_are_asked_for(options, text, work):
    code, output, error = run(*options, "--data", "new.csv", "--out", "no-source", cwd=work[0])
    assert (code, output) == (2, "")
    assert text in " ".join(error.replace("│", " ").split())


def test_the_exit_code_is_3_only_if_it_is_asked_for_and_something_is_found(work):
    folder, autoencoder = work
    settings = ("--pictures", 0, "--above", 0.5)
    for option, want in (((), 0), (("--fail-if-found",), 3)):
        code, output, _ = run(*NIGHTLY, *settings, "--top", 1, *option, "--out", f"exit {want}", cwd=folder)
        assert code == want
        assert sorted(path.name for path in (folder / f"exit {want}").iterdir()) == FILES
        assert output.splitlines()[0] == repr(wanted(autoencoder, folder, threshold=0.5, top=1)).splitlines()[0]
    settings = ("--data", "calm.csv", "--keep-aside", "id", "--above", 1e6)
    code, output, error = run(*COMMON, *settings, "--fail-if-found", "--out", "calm", cwd=folder)
    assert (code, error) == (0, "")
    assert output.startswith("0 anomalies, 0 rows above 1000000; ")
    assert sorted(path.name for path in (folder / "calm").iterdir()) == FILES
    assert (folder / "calm" / "sentences.txt").read_text() == ""
    empty = [pd.read_csv(folder / "calm" / "anomalies.csv"), pd.read_parquet(folder / "calm" / "anomalies.parquet")]
    for table in empty:
        assert table.empty
        assert [*table.columns[:5]] == ["row", "id", "feature", "score", "reading"]
    assert json.loads((folder / "calm" / "summary.json").read_text())["anomalies"] == 0


def test_groups_are_one_hot_columns_or_those_of_a_file(work):
    folder, autoencoder = work
    (folder / "groups.json").write_text('{"goods": ["goods_fuel", "goods_rent"]}')
    tables = []
    for groups in ("one-hot", "groups.json"):
        options = ("--groups", groups, "--loss", "mae", "--pictures", 1, "--out", f"by {groups}", "--top", 10)
        assert run(*NIGHTLY, *options, cwd=folder)[0] == 0
        tables.append(pd.read_parquet(folder / f"by {groups}" / "anomalies.parquet"))
    pd.testing.assert_frame_equal(*tables)
    line = tables[0].set_index(["row", "feature"]).loc[31, "goods"]
    new = pd.read_csv(folder / "new.csv").loc[31]
    assert new[f"goods_{line['category']}"] == 1
    assert new[f"goods_{line['expected_category']}"] == 0
    (folder / "broken.json").write_text("goods")
    code, _, error = run(*NIGHTLY, "--groups", "broken.json", "--out", "failed", cwd=folder)
    assert (code, error.count("\n")) == (2, 1)
    assert error.startswith("shapae: can't read groups from broken.json: ")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (
            ("--keep-aside", "id"),
            "new.csv has no numbers in column time. Keep columns that are no features aside: --keep-aside 'id,time'. "
            "If the model was trained on them as one-hot columns, the file must hold these columns instead.",
        ),
        (("--keep-aside", "id,tme"), "no column is called 'tme'; there are: time, "),
        (("--keep-aside", "time"), "the columns of the rows in new.csv are with unexpected column id."),
        (("--background", "100"), "'100' is no table, and no path of a table"),
        (("--loss", "msee"), "no loss is called 'msee'; there are: mse, "),
    ],
)
def test_an_error_is_one_clear_line_and_leaves_nothing(work, options, text):
    folder, _ = work
    before = sorted(folder.iterdir())
    code, output, error = run(*NIGHTLY, *options, "--out", "failed", cwd=folder)
    assert (code, output, error.count("\n")) == (2, "", 1)
    assert error.startswith(f"shapae: {text}")
    assert sorted(folder.iterdir()) == before


def test_a_file_without_rows_is_named_as_such_and_no_column_is_called_text(work):
    folder, _ = work
    (folder / "quiet.csv").write_text((folder / "new.csv").read_text().partition("\n")[0] + "\n")
    for aside in ("id,time", "id"):
        code, _, error = run(*NIGHTLY, "--data", "quiet.csv", "--keep-aside", aside, "--out", "failed", cwd=folder)
        assert (code, error) == (
            2,
            "shapae: quiet.csv has names of columns, but no rows. Give a file with rows.\n",
        )


def test_numbers_that_name_the_rows_are_a_column_of_all_files(work):
    folder, autoencoder = work
    for name in ("normal", "new"):
        table = pd.read_csv(folder / f"{name}.csv", usecols=NAMES)[NAMES]
        table.insert(0, "nr", range(len(table)))
        table.to_csv(folder / f"{name} numbered.csv", index=False)
    files = ("--background", "normal numbered.csv", "--data", "new numbered.csv", "--pictures", 0)
    plain = (*COMMON[:4], *files, "--out", "numbered")
    code, _, error = run(*plain, cwd=folder)
    assert code == 2
    assert error.count("warning: the first column 'nr' of normal numbered.csv seems to number the rows") == 1
    assert error.count("--row-names 'nr', or in Python pd.read_csv('normal numbered.csv'") == 1
    code, output, error = run(*plain, "--row-names", "nr", cwd=folder)
    assert (code, error) == (0, "")
    want = wanted(autoencoder, folder, quantile=0.99)
    got = pd.read_csv(folder / "numbered" / "anomalies.csv")
    assert got["row"].tolist() == [*want.table.index.get_level_values("row")]
    np.testing.assert_allclose(got["score"], want.table["score"], rtol=1e-5)


def test_a_page_is_about_the_anomalies_and_there_is_none_without_any(work):
    folder, autoencoder = work
    settings = ("--pictures", 0, "--report", "--force", "--out", "page")
    code, output, error = run(*NIGHTLY, *settings, "--above", 0.5, "--groups", "one-hot", cwd=folder)
    assert (code, error) == (0, "")
    page = (folder / "page" / "report.html").read_text()
    assert f"<h1><bdi>{output.splitlines()[0]}</bdi></h1>" in page  # with the limit
    for row in wanted(autoencoder, folder, threshold=0.5).rows[:3]:
        assert f'scope="row"><bdi>{row}</bdi>' in page
    assert "report.html" in output.splitlines()[-1]
    code, output, error = run(*NIGHTLY, *settings, "--above", 1e6, cwd=folder)
    assert (code, error) == (0, "")
    assert sorted(path.name for path in (folder / "page").iterdir()) == FILES


def test_a_quantile_and_a_score_are_not_given_together(work):
    code, _, error = run(*NIGHTLY, "--threshold", 0.9, "--above", 3, "--out", "failed", cwd=work[0])
    assert code == 2
    assert "give --threshold, a quantile, or --above, a score" in error


def test_results_are_replaced_with_force_only_and_other_files_never(work):
    folder, _ = work
    options = (*NIGHTLY, "--above", 0.5, "--pictures", 1, "--top", 1, "--out", "again")
    assert run(*options, cwd=folder)[0] == 0
    code, _, error = run(*options, cwd=folder)
    assert (code, error[:52]) == (2, "shapae: again already exists and holds anomalies.csv")
    assert run(*options, "--above", 1e6, "--force", cwd=folder)[0] == 0
    assert sorted(path.name for path in (folder / "again").iterdir()) == FILES  # without the picture
    (folder / "again" / "thesis.txt").write_text("years of work")
    assert run(*options, "--force", cwd=folder)[0] == 2
    assert (folder / "again" / "thesis.txt").read_text() == "years of work"


def test_cells_of_any_kind_are_written(work, tmp_path):
    """Names of rows of several types, missing cells, and text that a spreadsheet would run as a formula."""
    _, autoencoder = work
    rows = payments(4, 2).set_axis(["a", 7, 2.5, "=x"])
    rows = rows.assign(
        note=["=1+1", None, 3, np.nan], code=["-5", "+49 1", "1e3", "@a"], day=pd.Timestamp("2024-01-01")
    )
    explainer = shapae.Explainer(autoencoder, payments(50, 3))
    options = {"rows": range(4), "worst": 1, "keep_aside": ["note", "code", "day"]}
    assert report_anomalies(shapae.explain_anomalies(explainer, rows, **options), pictures=0).write(tmp_path) == {}
    text = pd.read_csv(tmp_path / "anomalies.csv", dtype=str, keep_default_na=False)
    assert text["row"].tolist() == ["a", "7", "2.5", "'=x"]
    assert text["note"].tolist() == ["'=1+1", "", "3", ""]
    assert text["code"].tolist() == ["-5", "'+49 1", "1e3", "'@a"]
    table = pd.read_parquet(tmp_path / "anomalies.parquet")
    assert table["row"].tolist() == ["a", "7", "2.5", "=x"]
    assert [None if pd.isna(cell) else cell for cell in table["note"]] == ["=1+1", None, "3", None]
    assert (table["day"] == pd.Timestamp("2024-01-01")).all()


def test_help_loads_neither_torch_nor_pandas(work):
    code = (
        "import sys; from shapae.cli.commands import app\n"
        "try: app(['anomalies', '--help'])\n"
        "except SystemExit: pass\n"
        "print(sorted({'torch', 'shap', 'numpy', 'pandas'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=work[0], capture_output=True, text=True, check=True)
    assert "--fail-if-found" in done.stdout
    assert done.stdout.rstrip().endswith("[]")
