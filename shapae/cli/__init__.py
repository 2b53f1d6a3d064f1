"""The command line: ``shapae demo``, ``explain``, ``summarize``, ``anomalies``, ``latents``, ``influence`` ..."""

from shapae.cli import anomalies, influence, latents  # each adds its command
from shapae.cli.commands import main

__all__ = ["anomalies", "influence", "latents", "main"]
