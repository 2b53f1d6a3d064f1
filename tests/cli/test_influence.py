"""``shapae influence`` in a process of its own."""

import numpy as np
import pandas as pd
import pytest
import torch

import shapae
from tests.cli.processes import run
from tests.cli.test_commands import work  # noqa: F401

BASIC = ("influence", "--model", "mine:Net", "--weights", "weights.pt", "--train", "X.csv")


def test_the_results_are_those_of_the_library(work):  # noqa: F811
    state = torch.load(work / "weights.pt", weights_only=True)
    torch.save({name: 2 * each for name, each in state.items()}, work / "early.pt")
    code, output, error = run(
        *(*BASIC, "--rows", "background.csv", "--out", "influence", "--checkpoint", "early.pt"),
        *("--checkpoint", "weights.pt", "--learning-rates", "0.1,0.2", "--parameters", "decoder.*,encoder.0.weight"),
        *("--pictures", "2", "--resume", "blocks", "--n-jobs", "2"),
        cwd=work,
    )
    assert (code, error) == (0, "")
    assert "Influence of 30 training rows on 12 rows" in output
    found = shapae.Influence.load(work / "influence" / "influence")
    import sys

    sys.path.insert(0, str(work))
    net = __import__("mine").Net()
    sys.path.remove(str(work))
    want = shapae.influence(
        net,
        work / "X.csv",
        work / "background.csv",
        checkpoints=[work / "early.pt", work / "weights.pt"],
        learning_rates=[0.1, 0.2],
        parameters=["decoder.*", "encoder.0.weight"],
    )
    np.testing.assert_allclose(found.values, want.values, rtol=1e-5, atol=1e-6 * np.abs(want.values).max())
    own = pd.read_csv(work / "influence" / "self_influence.csv", index_col=0)["self_influence"]
    np.testing.assert_allclose(own, np.sort(found.self_influence)[::-1], rtol=1e-6)
    listed = pd.read_csv(work / "influence" / "proponents.csv")
    assert len(listed) == 12 * 10
    assert sorted(path.name for path in (work / "influence").iterdir()) == [
        "influence",
        "opponents.csv",
        "proponents.csv",
        "rows",
        "self_influence.csv",
        "self_influence.png",
    ]
    assert len([*(work / "influence" / "rows").glob("*.png")]) == 2
    assert not (work / "blocks").exists()
    code, _, error = run(*BASIC, "--out", "influence", cwd=work)
    assert (code, "--force" in error) == (2, True)
    code, _, error = run(*BASIC, "--out", "influence", "--force", "--pictures", "0", cwd=work)
    assert (code, error) == (0, "")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--rows", "wide.csv"), "columns"),
        (("--learning-rates", "fast"), "learning_rates must be a positive number"),
        (("--checkpoint", "X.csv"), "can't read the weights in X.csv"),
    ],
)
def test_faults_are_one_line(work, options, message):  # noqa: F811
    code, _, error = run(*BASIC, *options, "--out", "none", cwd=work)
    assert code == 2
    assert message in error
    assert error.count("\n") == 1
    assert not (work / "none").exists()
