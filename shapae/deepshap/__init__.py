"""DeepLIFT/SHAP for any PyTorch function of rows: additive for the function as it is, without hooks or copies.

One row is run, and the aten operators that it runs are recorded on a tape; then one small rule for each operator leads
from the scores back to the features, for all pairs of rows and background rows.
"""

from shapae.deepshap.engine import DeepShap, attribute

__all__ = ["DeepShap", "attribute"]
