"""The command line: ``shapae demo``, ``explain``, ``summarize``, ``anomalies``, ``latents``, ``influence`` and others."""

import shapae.cli.anomalies
import shapae.cli.influence
import shapae.cli.latents  # noqa: F401 (each of these adds its command)
from shapae.cli.commands import main

__all__ = ["main"]
