"""Anomalies: rows with large reconstruction errors, the features at fault, and plain sentences about them."""

from shapae.analysis.anomalies.explain import explain_anomalies
from shapae.analysis.anomalies.result import Anomalies

__all__ = ["Anomalies", "explain_anomalies"]


def __dir__() -> list[str]:  # tab completion shows the public names
    return __all__
