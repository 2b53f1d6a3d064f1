"""DeepLIFT/SHAP for any PyTorch function of rows: additive for the function as written, without hooks or copies.

The aten operators that the function runs on one row are recorded on a tape. One small rule for each operator then leads
from the scores back to the features, for all pairs of rows and background rows.
"""

from shapae.deepshap.engine import DeepShap, attribute
from shapae.deepshap.many_outputs import ManyOutputs

__all__ = ["DeepShap", "ManyOutputs", "attribute"]


def __dir__() -> list[str]:  # tab completion shows the public names
    return __all__
