"""Mean and zero ablation against captum and a loop over the rows."""

import numpy as np
import pytest
import torch
from captum.attr import FeatureAblation

from tests.analysis.ranking.methods.tasks import (
    FEATURES,
    GROUPS,
    D,
    N,
    effects_by_loop,
    make_task,
    measure,
    squared_error,
)


@pytest.mark.parametrize("players", [FEATURES, GROUPS], ids=["features", "groups"])
@pytest.mark.parametrize("name", ["ablation_zero", "ablation_mean"])
def test_ablation_matches_captum_with_standard_errors_over_the_rows(name, players):
    task = make_task(players=players)
    baseline = task.background.mean(dim=0) if name == "ablation_mean" else torch.zeros(D, dtype=torch.float64)
    mask = torch.tensor([next(place for place, player in enumerate(players) if j in player) for j in range(D)])
    with torch.no_grad():
        peer = FeatureAblation(lambda rows: squared_error(task.autoencoder, rows, task.rows))
        rises = -peer.attribute(task.rows, baselines=baseline[None], feature_mask=mask[None]).numpy()
    rises = rises[:, [player[0] for player in players]]
    got = measure(name, task)
    np.testing.assert_allclose(got[:, 0, 0], rises.mean(axis=0), rtol=1e-9)
    np.testing.assert_allclose(got[:, 0, 1], rises.std(axis=0, ddof=1) / np.sqrt(N), rtol=1e-9)
    changes = [effects[:, 1].mean() for effects in effects_by_loop(task, lambda place, j: baseline[j])]
    np.testing.assert_allclose(got[:, 1, 0], changes, rtol=1e-9)
