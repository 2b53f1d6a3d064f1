"""Reports on latents as AnnData."""

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from shapae.explainer.export import ExplanationArrays, _select

if TYPE_CHECKING:
    from shapae.analysis.latents.report import LatentReport


def to_anndata(report: "LatentReport", adata: Any) -> Any:
    """Copy the explained AnnData, with the report; see ``LatentReport.to_anndata``."""
    n, m = report.latents.shape
    empty = np.empty((n, 0))
    parts = ExplanationArrays(
        values=np.empty((n, len(report.feature_names), 0)),
        errors={},
        data=np.empty((n, len(report.feature_names))),
        scores=empty,
        base_values=empty,
        residual=empty,
        rows=None if report.row_names is None else pd.Index(report.row_names),
        features=list(report.feature_names),
        outputs=[],
    )
    out = _select(parts, adata)
    out.obsm["X_latent"] = report.latents.copy()
    out.varm["latent_drives"], out.varm["latent_moves"] = report.drives.signed, report.moves.copy()
    record = {"names": np.array(report.unit_names, dtype=object), "units": _plain(report.table)}
    if report.causes is not None:
        record |= {"causes": _plain(report.causes.table), "groups": _plain(report.causes.groups)}
    out.uns["latents"] = record | {"made_by": json.dumps(report.made_by)}
    return out


def _plain(table: pd.DataFrame) -> pd.DataFrame:
    """Make a table that a file of AnnData can hold: no levels of names, and strings without gaps."""
    flat = table.reset_index()
    flat.index = flat.index.astype(str)
    for name in flat:
        if not pd.api.types.is_numeric_dtype(flat[name].dtype):
            flat[name] = flat[name].fillna("").astype(str)
    return flat
