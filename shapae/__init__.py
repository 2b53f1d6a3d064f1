"""SHAP values for PyTorch autoencoders on tabular data.

>>> import torch, shapae
>>> model = torch.nn.Sequential(torch.nn.Linear(4, 2), torch.nn.ReLU(), torch.nn.Linear(2, 4))
>>> explanation = shapae.Explainer(model, torch.randn(20, 4))(torch.randn(5, 4))
>>> explanation.values.shape, explanation.output_names
((5, 4), 'reconstruction error')
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from shapae import (
        adapters,
        backends,
        background,
        datasets,
        deepshap,
        demo,
        errors,
        groups,
        heads,
        importances,
        losses,
        metrics,
        plots,
    )
    from shapae.anomalies import Anomalies, explain_anomalies
    from shapae.autoencoder import Autoencoder
    from shapae.comparison import Comparison, compare
    from shapae.data import from_anndata
    from shapae.engine import Explainer
    from shapae.explanation import Explanation
    from shapae.groups import cluster_features, read_gmt
    from shapae.importance import Importance
    from shapae.rank import rank_features
    from shapae.ranking import GlobalRanking

# Where each name is at home. They are imported when asked for, because torch and shap take seconds.
_HOMES = {
    "Anomalies": "anomalies",
    "Autoencoder": "autoencoder",
    "Comparison": "comparison",
    "Explainer": "engine",
    "Explanation": "explanation",
    "GlobalRanking": "ranking",
    "Importance": "importance",
    "cluster_features": "groups",
    "compare": "comparison",
    "explain_anomalies": "anomalies",
    "from_anndata": "data",
    "rank_features": "rank",
    "read_gmt": "groups",
}
__all__ = [
    "Anomalies",
    "Autoencoder",
    "Comparison",
    "Explainer",
    "Explanation",
    "GlobalRanking",
    "Importance",
    "adapters",
    "background",
    "backends",
    "cluster_features",
    "compare",
    "datasets",
    "deepshap",
    "demo",
    "errors",
    "explain_anomalies",
    "from_anndata",
    "groups",
    "heads",
    "importances",
    "losses",
    "metrics",
    "plots",
    "rank_features",
    "read_gmt",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = import_module(f"{__name__}.{_HOMES.get(name, name)}")
    return getattr(home, name) if name in _HOMES else home


def __dir__() -> list[str]:
    return __all__
