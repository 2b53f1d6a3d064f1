"""``shapae report``, and ``shapae explain --report``."""

import numpy as np
import pandas as pd
import pytest
import torch
from typer.testing import CliRunner

import shapae.cli.explain
import shapae.cli.report  # noqa: F401
from shapae.cli.commands import app
from shapae.errors import OutputError
from tests import cases
from tests.report.pages import Page, explainer, picked, rows


def run(*arguments):
    done = CliRunner().invoke(app, [*map(str, arguments)])
    if done.exception:
        raise done.exception
    return done.output


def test_folders_of_several_heads_become_one_report(tmp_path):
    explanation, latents = explainer()(rows()), explainer("latent")(rows())
    explanation.save(tmp_path / "one" / "explanation")  # as shapae explain writes it
    latents.save(tmp_path / "two")
    path = tmp_path / "report.html"
    assert run("report", tmp_path / "one", tmp_path / "two", "--out", path, "--title", "Cells") == f"wrote {path}\n"
    page = Page.of(path)
    picked(explanation, page.data())
    assert "latent 0" in page.text
    assert "Cells" in page.text
    with pytest.raises(OutputError, match=r"already exists.*or --force to replace an earlier report"):
        run("report", tmp_path / "one", "--out", path)
    run("report", tmp_path / "one", "--out", path, "--force")
    assert "latent 0" not in Page.of(path).text


def test_a_folder_without_an_explanation_is_named(tmp_path):
    with pytest.raises(OutputError, match=r"nothing does not hold an explanation"):
        run("report", tmp_path / "nothing", "--out", tmp_path / "report.html")


@pytest.fixture
def command(tmp_path, monkeypatch):
    """The beginning of ``shapae explain`` for a model in a file."""
    monkeypatch.chdir(tmp_path)
    torch.save(cases.build(cases.Question, dtype=torch.float32).state_dict(), "weights.pt")
    pd.DataFrame(cases.table(20), columns=[*"abcdef"]).to_csv("X.csv", index=False)
    return "explain", "--model", "tests.cases:Question", "--weights", "weights.pt", "--data", "X.csv", "--out", "out"


def test_explain_writes_a_report_with_checks(command, tmp_path):
    assert "report.html" in run(*command, "--report")
    page = Page.of(tmp_path / "out" / "report.html")
    explanation = shapae.Explanation.load(tmp_path / "out" / "explanation")
    np.testing.assert_allclose(page.data()["rows"][0]["score"], explanation.scores.max(), rtol=1e-5)
    assert "With either half of the background" in page.text
    run(*command, "--report", "--force")


def test_a_report_of_averages_is_refused_before_the_work(command, tmp_path):
    with pytest.raises(OutputError, match=r"^--report shows single rows"):
        run(*command, "--report", "--chunks", "blocks")
    assert not (tmp_path / "out").exists()
