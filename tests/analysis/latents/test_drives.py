"""Features that drive units: importances of the Explainer, with directions that are signs of weights."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import shapae
from shapae import Explainer
from shapae.analysis.latents.drives import Drives
from tests import cases
from tests.analysis.latents import planted

ROWS = cases.table(40, seed=1)
BACKGROUNDS = {
    "the rows": ROWS,
    "others": cases.table(9, seed=2),
    "far below": cases.table(9, seed=2) - 5,
    "far above": cases.table(9, seed=2) + 5,
    "weighted": shapae.background.weighted(cases.table(9, seed=2), np.arange(1, 10)),
    "drawn": None,
}


@pytest.mark.parametrize("background", BACKGROUNDS.values(), ids=BACKGROUNDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_direction_of_a_linear_encoder_is_the_sign_of_each_weight(background, dtype):
    model = cases.build(cases.Linear, dtype=dtype)
    report = shapae.latents(model, ROWS, background=background)
    weight = model.encoder.weight.detach().numpy().T
    np.testing.assert_array_equal(report.drives.direction, np.sign(weight))
    np.testing.assert_allclose(report.drives.consistency, 1, atol=1e-5)
    np.testing.assert_array_equal(np.sign(report.signed), np.sign(weight))


def test_signed_importances_of_a_linear_encoder_have_their_closed_form():
    model, background = cases.build(cases.Linear), BACKGROUNDS["others"]
    report = shapae.latents(model, ROWS, background=background)
    weight = model.encoder.weight.detach().numpy().T
    deviation = np.abs(ROWS - background.mean(axis=0)).mean(axis=0)
    np.testing.assert_allclose(report.signed, weight * deviation[:, None], atol=1e-12)


def test_the_importances_are_those_of_the_explainer_for_any_memory(model, background):
    want = Explainer(model, background, head="latent").summarize(ROWS)
    reports = [shapae.latents(model, ROWS, background=background, memory=memory) for memory in ("1GB", "20kB")]
    for report in reports:
        got = report.drives.importance
        for name in ("mean_abs", "mean", "mean_abs_error", "mean_error", "residual"):
            np.testing.assert_allclose(getattr(got, name), getattr(want, name), atol=1e-12)
        assert (got.rows, got.output_names) == (40, want.output_names)
    np.testing.assert_allclose(reports[0].drives.covariation, reports[1].drives.covariation, atol=1e-12)


def test_parts_of_the_rows_are_merged_by_their_numbers(model, background):
    explainer = Explainer(model, background, head="latent")
    parts = []
    for rows, residual in ((ROWS[:10], [1.0, 2.0, 3.0]), (ROWS[10:], [5.0, 6.0, 3.0])):
        importance = replace(explainer.summarize(rows), residual=np.array(residual))
        parts.append(Drives(importance, np.full((cases.D, 3), len(rows)), np.full((cases.D, 3), 40.0)))
    merged = parts[0] + parts[1]
    np.testing.assert_allclose(merged.importance.residual, [4, 5, 3])
    np.testing.assert_allclose(merged.consistency, 0.5)
    np.testing.assert_allclose(merged.importance.mean_abs, explainer.summarize(ROWS).mean_abs, atol=1e-12)


def test_direction_and_consistency_have_their_formula_row_by_row(model, background):
    report = shapae.latents(model, ROWS, background=background)
    values = Explainer(model, background, head="latent")(ROWS).values
    signed, size = np.zeros(values.shape[1:]), np.zeros(values.shape[1:])
    for i, j, k in np.ndindex(values.shape):
        product = values[i, j, k] * (ROWS[i, j] - background[:, j].mean())
        signed[j, k] += product
        size[j, k] += abs(product)
    np.testing.assert_array_equal(report.drives.direction, np.sign(signed))
    np.testing.assert_allclose(report.drives.consistency, np.abs(signed) / size, atol=1e-10)


class Even(nn.Module):
    """Its latents are |x|: high and low readings both raise it, so that there is no direction."""

    def __init__(self):
        super().__init__()
        self.decoder = nn.Linear(cases.D, cases.D)

    def encoder(self, rows):
        return rows.abs()

    def forward(self, rows):
        return self.decoder(self.encoder(rows))


def test_a_feature_that_raises_a_unit_both_ways_has_no_consistent_direction():
    rows = np.vstack([ROWS, -ROWS])
    report = shapae.latents(cases.build(Even), rows, background=rows)
    assert np.diag(report.drives.consistency).max() < 0.01
    assert np.diag(report.drives.importance.mean_abs).min() > 0.1


def test_features_outside_of_the_block_of_a_unit_have_neither_importance_nor_direction():
    report = shapae.latents(planted.vae(), planted.rows())
    for unit, block in planted.BLOCKS.items():
        outside = np.delete(report.drives.signed[:, unit], block)
        np.testing.assert_array_equal(outside, 0)
        np.testing.assert_array_equal(report.drives.direction[block, unit], np.sign(planted.LOADINGS))


def test_the_top_features_are_sorted_in_each_direction():
    report = shapae.latents(cases.build(cases.Linear), ROWS)
    top = report.top(2).sort_index(level=[0, 1], sort_remaining=False)
    for unit in report.active:
        column = report.signed[unit].sort_values()
        up, down = column[column > 0][::-1], column[column < 0]
        assert list(top.loc[unit, "up"].index) == list(up.index[:2])
        assert list(top.loc[unit, "down"].index) == list(down.index[:2])
        line = report.table.loc[unit]
        assert (line["up"], line["down"]) == (", ".join(up.index[:3]), ", ".join(down.index[:3]))
