"""The command line: ``shapae demo``, ``explain``, ``summarize``, ``anomalies``, ``rank``, ``compare`` and others."""

from shapae.cli.anomaly_commands import anomalies
from shapae.cli.commands import main

__all__ = ["anomalies", "main"]
