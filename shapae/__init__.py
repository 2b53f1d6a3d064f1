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
    from shapae import backends, datasets, deepshap, errors, heads, plots
    from shapae.analysis.anomalies import Anomalies, explain_anomalies
    from shapae.analysis.comparison import metrics
    from shapae.analysis.comparison.comparison import Comparison, compare
    from shapae.analysis.influence.generated import generate_rows
    from shapae.analysis.influence.influence import influence
    from shapae.analysis.influence.result import Influence
    from shapae.analysis.latents.latents import latents
    from shapae.analysis.latents.report import LatentReport
    from shapae.analysis.ranking import methods as importances
    from shapae.analysis.ranking.ranking import rank_features
    from shapae.analysis.ranking.result import GlobalRanking
    from shapae.cli import demo
    from shapae.explainer.explainer import Explainer
    from shapae.explainer.explanation import Explanation
    from shapae.explainer.grouped_importance import GroupedImportance
    from shapae.explainer.importance import Importance
    from shapae.explainer.interactions import Interactions
    from shapae.explainer.written.blocks import ExplanationBlocks, read
    from shapae.explainer.written.explain import explain_block
    from shapae.heads import losses
    from shapae.heads.score import score
    from shapae.models import adapters
    from shapae.models.autoencoder import Autoencoder
    from shapae.tables import background, groups
    from shapae.tables.groups import cluster_features, read_gmt
    from shapae.tables.table import from_anndata
    from shapae.utils.version import __version__ as __version__

# Where each name is at home, and each module. They are imported when asked for, because torch and shap take seconds.
_NAMES = {
    "Anomalies": "analysis.anomalies",
    "Autoencoder": "models.autoencoder",
    "Comparison": "analysis.comparison.comparison",
    "Explainer": "explainer.explainer",
    "Explanation": "explainer.explanation",
    "ExplanationBlocks": "explainer.written.blocks",
    "GlobalRanking": "analysis.ranking.result",
    "Influence": "analysis.influence.result",
    "GroupedImportance": "explainer.grouped_importance",
    "Importance": "explainer.importance",
    "Interactions": "explainer.interactions",
    "LatentReport": "analysis.latents.report",
    "cluster_features": "tables.groups",
    "compare": "analysis.comparison.comparison",
    "explain_anomalies": "analysis.anomalies",
    "explain_block": "explainer.written.explain",
    "from_anndata": "tables.table",
    "generate_rows": "analysis.influence.generated",
    "influence": "analysis.influence.influence",
    "latents": "analysis.latents.latents",
    "rank_features": "analysis.ranking.ranking",
    "read": "explainer.written.blocks",
    "read_gmt": "tables.groups",
    "score": "heads.score",
    "__version__": "utils.version",
}
_MODULES = {
    "adapters": "models.adapters",
    "background": "tables.background",
    "groups": "tables.groups",
    "demo": "cli.demo",
    "importances": "analysis.ranking.methods",
    "losses": "heads.losses",
    "metrics": "analysis.comparison.metrics",
}
__all__ = [
    "Anomalies",
    "Autoencoder",
    "Comparison",
    "Explainer",
    "Explanation",
    "ExplanationBlocks",
    "GlobalRanking",
    "GroupedImportance",
    "Importance",
    "Influence",
    "Interactions",
    "LatentReport",
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
    "explain_block",
    "from_anndata",
    "generate_rows",
    "groups",
    "heads",
    "importances",
    "influence",
    "latents",
    "losses",
    "metrics",
    "plots",
    "rank_features",
    "read",
    "read_gmt",
    "score",
]


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        return getattr(import_module(f"{__name__}.{_NAMES[name]}"), name)
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return import_module(f"{__name__}.{_MODULES.get(name, name)}")


def __dir__() -> list[str]:
    return __all__
