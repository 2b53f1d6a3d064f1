"""Faults of pictures: each fails alone, and the results are there."""

import warnings
from unittest.mock import patch

import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure
from typer.testing import CliRunner

import shapae.cli  # noqa: F401 (it adds all commands)
from shapae.cli import reports
from shapae.cli.commands import app
from shapae.cli.influence import report_influence
from shapae.cli.output import Report, write_report
from shapae.errors import OutputWarning
from shapae.utils.context import preserve_rng
from tests.cases import build, table
from tests.explainer import factories
from tests.explainer.explanations import explanation
from tests.faults.saved import RESULTS
from tests.faults.table import Fault


def drawn(make, count, error=None):
    """All pictures fail, and all else is written."""

    def cause(folder):
        error_ = error or ValueError("Image size of 4000000x1050 pixels is too large")
        with patch.object(Figure, "savefig", side_effect=error_), pytest.warns(OutputWarning) as caught:
            report, names = write_report(folder / "it", (), make)
        assert len(report.pictures) == count
        messages = [str(each.message) for each in caught]
        for name in report.pictures:
            assert any(message.startswith(f"{name} can't be drawn: {type(error_).__name__}") for message in messages)
        assert sorted(path.name for path in (folder / "it").iterdir()) == names == sorted(report.files)

    return cause


def one_fails(folder):
    """One picture fails, and the next one is drawn."""
    report = reports.report_explanation(explanation(feature_names=list("abcdef")))

    def fail():
        raise MemoryError

    pictures = {"summary.png": fail, "bar.png": report.pictures["bar.png"]}
    with pytest.warns(OutputWarning, match=r"summary\.png can't be drawn: MemoryError"):
        _, names = write_report(folder / "it", (), lambda: Report(report.files, pictures))
    assert names == ["bar.png", "explanation", "importance.csv"]
    assert (folder / "it" / "bar.png").read_bytes()[1:4] == b"PNG"


def long_names(folder):
    """Names of 100 000 letters do not fit onto a picture, or are drawn."""
    names = [letter * 100_000 for letter in "abcdef"]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        _, found = write_report(
            folder / "it", (), lambda: reports.report_explanation(explanation(3, feature_names=names))
        )
    assert {"explanation", "importance.csv"} <= {*found}
    assert ("latents.png" in found) or any("latents.png can't be drawn" in str(each.message) for each in caught)


def picture_appears(folder):
    """A picture of the user's appears while ours is drawn."""
    report = reports.report_explanation(explanation())

    def draw():
        (folder / "it" / "bar.png").write_text("mine")
        return report.pictures["bar.png"]()

    with pytest.warns(OutputWarning, match=r"bar\.png can't be drawn: .*already exists"):
        write_report(folder / "it", (), lambda: Report(report.files, {"bar.png": draw}))
    assert (folder / "it" / "bar.png").read_text() == "mine"


def commanded(name, options, want):
    """A command whose pictures fail has the exit code 0, and writes all else."""

    def cause(folder):
        model = build(factories.Plain)
        torch.save(model.state_dict(), folder / "w.pt")
        rows = pd.DataFrame(table(12, seed=1), columns=list("abcdef"))
        rows.to_csv(folder / "X.csv", index=False)
        data = ["--train" if name == "influence" else "--data", folder / "X.csv", "--out", folder / "out"]
        files = ["--model", "tests.explainer.factories:Plain", "--weights", folder / "w.pt", *data]
        with (
            patch.object(Figure, "savefig", side_effect=ValueError("no font")),
            warnings.catch_warnings(),
            preserve_rng(),
        ):
            warnings.simplefilter("ignore")
            arguments = [name, *files, *options, *(["--background", folder / "X.csv"] if name == "anomalies" else [])]
            done = CliRunner().invoke(app, [str(each) for each in arguments], catch_exceptions=False)
        assert done.exit_code == 0
        assert {path.name for path in (folder / "out").iterdir()} >= {*want}
        assert not [*(folder / "out").rglob("*.png")]

    return cause


COMMANDS = {
    "rank": (["--methods", "weights:gedeon,activations", "--sample", "5"], ["ranking.csv", "agreement.csv"]),
    "compare": (["--backends", "deep,gradient", "--reference", "exact"], ["comparison.csv"]),
    "latents": ([], ["latent_units.csv", "latent_drives.csv", "latent_moves.csv", "latent_top.csv"]),
    "anomalies": (["--threshold", "0.5", "--pictures", "2"], ["anomalies.csv", "sentences.txt", "summary.json"]),
}
FAULTS = [
    Fault("pictures", f"all pictures of {name} fail", drawn(make, count), None, "all tables are there")
    for name, make, count in [
        ("an explanation", lambda: reports.report_explanation(explanation()), 2),
        ("several outputs", lambda: reports.report_explanation(explanation(3)), 1),
        (
            "groups",
            lambda: reports.report_grouped_importance(
                RESULTS["grouped_importance"]().__class__.of(explanation(), list("aabbbcca"))
            ),
            1,
        ),
        ("interactions", lambda: reports.report_interactions(RESULTS["interactions"]()), 2),
        ("influences", lambda: report_influence(RESULTS["influence"](), 2), 3),
    ]
]
FAULTS += [
    Fault(
        "pictures",
        f"pictures fail by {error!r}",
        drawn(lambda: reports.report_explanation(explanation()), 2, error),
        None,
        "tables are there",
    )
    for error in (MemoryError(), RecursionError("too deep"), KeyError("font"), OSError(28, "No space left on device"))
]
FAULTS += [
    Fault("pictures", "one of two pictures fails", one_fails, None, "the other one is drawn"),
    Fault("pictures", "names have 100 000 letters", long_names, None, "all tables are there"),
    Fault("pictures", "a file appears in the place of a picture", picture_appears, None, "it stays"),
]
FAULTS += [
    Fault("pictures", f"all pictures of shapae {name} fail", commanded(name, *each), None, "exit code 0, all tables")
    for name, each in COMMANDS.items()
]
