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
    from shapae import backends, datasets, deepshap, demo, errors, heads, importances, metrics, plots
    from shapae.anomalies import Anomalies, explain_anomalies
    from shapae.comparison import Comparison, compare
    from shapae.explainer.explainer import Explainer
    from shapae.explainer.explanation import Explanation
    from shapae.explainer.importance import Importance
    from shapae.heads import losses
    from shapae.models import adapters
    from shapae.models.autoencoder import Autoencoder
    from shapae.rank import rank_features
    from shapae.ranking import GlobalRanking
    from shapae.tables import background, groups
    from shapae.tables.groups import cluster_features, read_gmt
    from shapae.tables.table import from_anndata

# Where each name is at home, and each module. They are imported when asked for, because torch and shap take seconds.
_NAMES = {
    "Anomalies": "anomalies",
    "Autoencoder": "models.autoencoder",
    "Comparison": "comparison",
    "Explainer": "explainer.explainer",
    "Explanation": "explainer.explanation",
    "GlobalRanking": "ranking",
    "Importance": "explainer.importance",
    "cluster_features": "tables.groups",
    "compare": "comparison",
    "explain_anomalies": "anomalies",
    "from_anndata": "tables.table",
    "rank_features": "rank",
    "read_gmt": "tables.groups",
}
_MODULES = {
    "adapters": "models.adapters",
    "background": "tables.background",
    "groups": "tables.groups",
    "losses": "heads.losses",
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
    if name in _NAMES:
        return getattr(import_module(f"{__name__}.{_NAMES[name]}"), name)
    module = import_module(f"{__name__}.{_MODULES.get(name, name)}")
    module.__dir__ = lambda: module.__all__  # type: ignore[method-assign]  # tab completion shows what is meant
    return module


def __dir__() -> list[str]:
    return __all__
